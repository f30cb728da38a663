"""Every ailment is found in a run built to have it and in no healthy one, with evidence that stands in the record."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from logs import RECIPE, STEPS, answers, healthy, history

from tunesmith.diagnosis import RULES
from tunesmith.diagnosis.diagnose import diagnose, findings
from tunesmith.diagnosis.history import Finding, History, Row
from tunesmith.diagnosis.labels import suspicious

GOOD = [f"The answer is {place}." for place in range(40)]
LOOP = ["so it goes on and on and so it goes on and on and so it goes on and on"] * 40


def names(found: History) -> list[str]:
    return [one.name for one in findings(found)]


def only(found: History) -> Finding:
    (finding,) = findings(found)
    return finding


@pytest.mark.parametrize("noise", [0.0, 0.03, 0.1, 0.3])
@pytest.mark.parametrize("seed", range(8))
def test_healthy_runs_are_left_alone(noise: float, seed: int) -> None:
    run = history(noise=noise, seed=seed, before=answers(["", *GOOD[1:]]), after=answers(GOOD), rows=plain_rows(seed))
    assert names(run) == []
    assert diagnose(run)["healthy"]
    assert diagnose(run)["looked_for"] == list(RULES.entries)


@pytest.mark.parametrize("shape", ["short", "flat from the start", "slow base", "noisy start"])
def test_other_healthy_shapes(shape: str) -> None:
    if shape == "short":
        run = history()
        run = replace(run, events=run.events[:8])
    elif shape == "flat from the start":  # a base that is good already, at the usual rate
        run = history(lambda step: 1.0 - 0.02 * step / STEPS)
    elif shape == "slow base":
        run = history(lambda step: 2.0 - 0.3 * (1 - math.exp(-step / 60)))
    else:
        run = history(lambda step: healthy(step) * (1.3 if step < 6 else 1.0))
    assert names(run) == []


def test_a_run_that_diverged() -> None:
    run = history(
        lambda step: healthy(step) if step < 100 else 6.0,
        recipe={"train": {"learning_rate": 0.05, "clip": 0}},
    )
    finding = only(run)
    assert (finding.name, finding.severity) == ("rate-too-high", "bad")
    assert "diverged" in finding.what
    assert "0.01" in finding.advice
    assert "train.clip back" in finding.advice
    assert any("250" not in one.text and "usual for this method" in one.text for one in finding.evidence)


def test_a_run_that_diverged_at_once() -> None:
    before = {"task": {"nll": {"value": 4.0}}}
    finding = only(history(lambda step: 4.0 if step < 3 else 6.5, before=before))
    assert (finding.name, finding.severity) == ("rate-too-high", "bad")
    harder = history(lambda step: healthy(step) + 1.0, before={"task": {"nll": {"value": 1.0}}})
    assert names(harder) == [], "training rows are harder than held-out ones"


def test_a_run_that_was_thrown_back_and_recovered() -> None:
    finding = only(history(lambda step: healthy(step) + (1.5 if 60 <= step < 90 else 0.0)))
    assert (finding.name, finding.severity) == ("rate-too-high", "warn")
    assert "part of the training was undone" in finding.what


def test_a_rate_that_is_too_low() -> None:
    low = {"train": {"learning_rate": 1e-6, "clip": 1.0}}
    slow = history(lambda step: 4.0 - 0.1 * step / STEPS, recipe=low, noise=0.05)
    finding = only(slow)
    assert finding.name == "rate-too-low"
    assert "200 times lower than usual" in finding.what
    assert "2e-04" in finding.advice or "0.0002" in finding.advice
    assert names(replace(slow, usual_rate=None)) == []
    assert names(history(recipe=low)) == [], "it learned well: the rate was right"


def test_overfitting_and_that_the_best_was_kept() -> None:
    def held(step: int) -> float:
        return healthy(min(step, 96)) + 0.004 * max(0, step - 96)

    run = history(lambda step: 3.9 * math.exp(-step / 60), held)
    finding = only(run)
    assert (finding.name, finding.severity) == ("overfitting", "warn")
    assert "update 96" in finding.what
    assert "1 epochs" in finding.advice
    slight = history(lambda step: 3.9 * math.exp(-step / 60), lambda step: 1.0 if step == 96 else 1.05)
    assert only(replace(slight, report={"best_step": 96})).severity == "note"


def test_underfitting() -> None:
    finding = only(history(lambda step: 4.0 - 3.0 * step / STEPS))
    assert finding.name == "underfitting"
    assert "Train longer" in finding.advice


def test_spikes_with_the_rows_that_caused_them() -> None:
    asked: list[int] = []

    def rows_of(step: int) -> list[Row]:
        asked.append(step)
        return [Row("rows.jsonl line 7", "garbled � text", 9.0), Row("rows.jsonl line 8", "fine", 0.5)]

    finding = only(history(lambda step: healthy(step) * (5.0 if step == 150 else 1.0), rows_of=rows_of))
    assert (finding.name, finding.severity) == ("loss-spikes", "note")
    assert asked == [150]
    assert "Update 150" in finding.what
    assert [one.text for one in finding.evidence][1] == "rows.jsonl line 7 (loss 9 now): garbled � text"
    many = history(lambda step: healthy(step) * (5.0 if step % 30 == 0 else 1.0))
    assert only(many).severity == "warn"


def test_rows_that_are_not_shuffled_repeat_their_noise() -> None:
    def sorted_rows(step: int) -> float:
        return healthy(step) * (1.6 if (step % 80) // 10 % 2 else 0.8)

    finding = only(history(sorted_rows, recipe={"train": {"learning_rate": 2e-4, "shuffle": False}}, noise=0.05))
    assert finding.name == "order-effects"
    assert "train.shuffle to true" in finding.advice


def test_a_source_that_is_unlearned_for_another() -> None:
    run = history()
    events = [
        {**event, "validation_loss/early": 1 + event["step"] / 200, "validation_loss/late": 3 - event["step"] / 200}
        if event["kind"] == "evaluation"
        else event
        for event in run.events
    ]  # fmt: skip
    finding = only(replace(run, events=events))
    assert finding.name == "order-effects"
    assert "held-out rows of early" in finding.evidence[0].text


def kept(change: float, low: float, verdict: str = "worse") -> dict[str, Any]:
    figures = {"value": change, "low": low, "high": change + 0.1}
    found = {"before": {"value": 1.0}, "after": {"value": 1.0 + change}, "change": figures, "verdict": verdict}
    return {"changes": {"retention": {"nll": found}}}


def test_forgetting() -> None:
    assert only(history(report=kept(0.5, 0.4))).severity == "warn"
    assert only(history(report=kept(2.0, 1.8))).severity == "bad"
    assert "replay" in only(history(report=kept(0.5, 0.4))).advice
    assert names(history(report=kept(0.1, 0.05))) == []
    assert names(history(report=kept(0.5, -0.1, "same"))) == []


def test_collapse_into_repetition_and_into_one_answer() -> None:
    finding = only(history(before=answers(GOOD), after=answers([f"{text} {n}" for n, text in enumerate(LOOP)])))
    assert (finding.name, finding.severity) == ("collapse", "bad")
    assert "repetitions" in finding.evidence[0].text
    same = only(history(before=answers(GOOD), after=answers(["I do not know."] * 30 + GOOD[:10])))
    assert same.name == "collapse"
    assert "30 of 40 different questions" in same.evidence[0].text
    yes_or_no = ["yes", "no"] * 20
    assert names(history(before=answers(GOOD), after=answers(yes_or_no, wanted=lambda place: yes_or_no[place]))) == []


def test_sampled_answers_whose_entropy_vanished() -> None:
    run = history()
    rollouts = [{"kind": "rollout", "step": 24 * n, "entropy": 2.0 * 0.3**n, "reward": 0.1} for n in range(6)]
    assert only(replace(run, events=[*run.events, *rollouts])).name == "collapse"


def test_instructions_lost() -> None:
    endless = [text + " And then" * 20 for text in GOOD]
    finding = next(one for one in findings(history(before=answers(GOOD), after=answers(endless, stopped=False)))
                   if one.name == "instructions-lost")  # fmt: skip
    assert "do not come to an end, 0% before" in finding.evidence[0].text
    empty = only(history(before=answers(GOOD), after=answers([""] * 15 + GOOD[15:])))
    assert "are empty" in empty.evidence[0].text
    marked = only(history(before=answers(GOOD), after=answers([f"{text}<|im_start|>user" for text in GOOD])))
    assert "chat template" in marked.evidence[0].text
    cut = answers([text[::-1][:6] for text in GOOD], stopped=False)  # a low limit is no ailment
    assert names(history(before=answers(GOOD), after=cut)) == []


def plain_rows(seed: int = 0, count: int = 100) -> list[Row]:
    import random

    drawn = random.Random(seed)
    return [
        Row(f"rows.jsonl line {n}", f"row {n}", loss := 0.8 * math.exp(drawn.gauss(0, 0.4)), loss * 4)
        for n in range(count)
    ]


def test_labels_that_look_wrong() -> None:
    rows = plain_rows()
    wrong = [Row("rows.jsonl line 900", "two plus two → fish", 6.0, 6.5), Row("rows.jsonl line 901", "x → y", 5.0, 4.8)]
    odd = [Row("rows.jsonl line 902", "rare, and much learned of it", 6.0, 20.0)]
    assert [row.where for row in suspicious([*rows, *wrong, *odd])] == ["rows.jsonl line 900", "rows.jsonl line 901"]
    finding = only(history(rows=[*rows, *wrong]))
    assert (finding.name, finding.severity) == ("suspect-labels", "note")
    assert "rows.jsonl line 900 (loss 6): two plus two → fish" in finding.evidence[0].text
    assert suspicious(rows[:10] + wrong) == [], "too few rows to say"
    untrained = [replace(row, base=row.loss * 1.01) for row in rows]
    assert suspicious([*untrained, *wrong]) == [], "a model that learned nothing knows no better"
    assert suspicious([replace(row, base=None) for row in [*rows, *wrong]]) == [], "nobody knows what it learned"


def test_labels_of_classes_name_both() -> None:
    rows = [replace(row, loss=row.loss / 10, label="good", said="good") for row in plain_rows()]
    wrong = Row("rows.csv line 5", "I hated it", 4.0, 0.7, label="good", said="bad")
    hard = Row("rows.csv line 6", "who knows", 4.0, 0.7, label="good", said="good")
    (found,) = suspicious([*rows, wrong, hard])
    assert found == wrong
    assert "labelled good, the model says bad" in only(history(rows=[*rows, wrong])).evidence[0].text


def test_what_another_finding_explains_is_not_told() -> None:
    run = history(lambda step: healthy(step) if step < 100 else 6.0, rows=[Row("a line 1", "x", 1.0)] * 30)
    assert names(run) == ["rate-too-high"]


def test_every_source_of_evidence_leads_to_its_event() -> None:
    run = history(lambda step: healthy(step) * (5.0 if step == 150 else 1.0))
    for finding in findings(run):
        for one in finding.evidence:
            _, place, key = one.source.split("#")[1].split("/", 2)[0:3]
            assert isinstance(run.events[int(place)][key], float)
    assert RECIPE["train"]["learning_rate"] == 2e-4
