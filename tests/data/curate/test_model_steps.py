"""Steps that ask a model: what they do with its answers, chunk by chunk, and what is refused without one."""

from __future__ import annotations

import pytest
from asked_models import Ruled
from curate_rows import Run, asked, item_of

from tunesmith.data.curate import TABLE, base
from tunesmith.data.curate.difficulty import Difficulty
from tunesmith.data.curate.judge_score import JudgeScore
from tunesmith.data.curate.perplexity import Perplexity
from tunesmith.data.curate.pii_model import PiiModel
from tunesmith.data.curate.reward_score import RewardScore
from tunesmith.data.curate.semantic_dedup import SemanticDedup, clustered, repeated
from tunesmith.data.curate.toxicity_model import ToxicityModel
from tunesmith.errors import UserError


def surprised(given: float, alone: float) -> dict[str, str]:
    return asked("how?", f"so {given} {alone}")


def test_perplexity_drops_beyond_bounds_and_the_worst_share(run: Run) -> None:
    rows = [surprised(0.5, 1.0), surprised(2.0, 1.0), surprised(1.0, 1.0), surprised(0.1, 1.0), asked("a", "no number")]
    step = Perplexity(model="m", most=7.0, least=1.2)
    assert run(rows, step, models=Ruled()).dropped == {
        2: "curate perplexity: its perplexity is above 7.0",
        4: "curate perplexity: its perplexity is below 1.2",
    }
    worst = run(rows, Perplexity(model="m", worst=0.5), models=Ruled())
    assert sorted(worst.dropped) == [2, 3]


def test_difficulty_is_the_ratio_and_one_is_too_much(run: Run) -> None:
    rows = [surprised(1.0, 2.0), surprised(2.2, 2.0), surprised(0.2, 2.0), surprised(1.8, 2.0)]
    assert sorted(run(rows, Difficulty(model="m"), models=Ruled()).dropped) == [2]
    # among the worst half are the two that are easiest to follow
    both = run(rows, Difficulty(model="m", worst=0.5), models=Ruled()).dropped
    assert sorted(both) == [1, 2, 3]


def test_scores_of_answers_decide(run: Run) -> None:
    rows = [asked("a", "x" * size) for size in (5, 1, 9, 3)]
    assert sorted(run(rows, RewardScore(model="m", least=4.0), models=Ruled()).dropped) == [2, 4]
    judge = Ruled()
    step = JudgeScore(server="http://localhost:1/v1", model="m", worst=0.25, rubric="short", options={"timeout": 3})
    assert sorted(run(rows, step, models=judge).dropped) == [2]
    assert dict(judge.options) == {
        "server": "http://localhost:1/v1", "model": "m", "parallel": 8, "rubric": "short", "timeout": 3,
    }  # fmt: skip


def test_toxicity_and_names_by_a_model(run: Run) -> None:
    rows = [asked("a", "I hate it"), asked("Who is Ann?", "Ann is Ann."), asked("b", "fine")]
    found = run(rows, ToxicityModel(model="m"), PiiModel(model="m"), models=Ruled())
    assert found.dropped == {1: "curate toxicity-model: a model says 'toxic'"}
    assert found.kept[2] == asked("Who is [PER]?", "[PER] is [PER].")
    assert found.notes == {"curate pii-model: PER hidden": 1}
    assert run(rows, PiiModel(model="m", action="drop"), models=Ruled()).dropped.keys() == {2}
    assert run(rows, PiiModel(model="m", kinds=["LOC"]), models=Ruled()).dropped == {}
    with pytest.raises(UserError, match="'rude'") as error:
        run(rows, ToxicityModel(model="m", labels=["rude"]), models=Ruled())
    assert error.value.code == "unknown-label"


def test_what_was_measured_before_it_was_stopped_is_not_asked_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "CHUNK", 3)
    rows = [surprised(1.0 + number, 1.0) for number in range(10)]

    class Breaking(Ruled):
        def language(self, name: str, max_tokens: int):  # type: ignore[no-untyped-def]
            read = super().language(name, max_tokens)

            def breaking(records):  # type: ignore[no-untyped-def]
                if len(self.said) == 2:
                    raise KeyboardInterrupt
                return read(records)

            return breaking

    with pytest.raises(KeyboardInterrupt):
        run(rows, Perplexity(model="m", most=20.0), models=Breaking())
    again = Ruled()
    assert sorted(run(rows, Perplexity(model="m", most=20.0), models=again).dropped) == list(range(3, 11))
    assert again.said == [3, 1]


def test_semantic_duplicates_are_those_of_all_pairs(run: Run) -> None:
    angles = [0.0, 1.0, 0.1, 0.15, 2.0, 1.05, 0.4]
    rows = [asked("a", f"text {angle}") for angle in angles]
    found = run(rows, SemanticDedup(encoder="m", threshold=0.98, of="answer"), models=Ruled())
    assert sorted(found.dropped) == [3, 4, 6]  # cos 0.1 = 0.995, cos 0.15 = 0.989, cos 0.05
    shown = found.found.ledger.examples["curate semantic-dedup: means the same as an earlier answer"][0].text
    assert shown.startswith("cosine 1.00, like rows.jsonl line 1: ")


def test_many_rows_are_clustered_and_copies_stay_together(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    monkeypatch.setattr("tunesmith.data.curate.semantic_dedup.ALL", 10)
    monkeypatch.setattr("tunesmith.data.curate.semantic_dedup.ROWS", 20)
    chance = np.random.default_rng(0)
    points = chance.normal(size=(100, 8)).astype(np.float32)
    points = np.concatenate([points, points + 1e-3 * chance.normal(size=points.shape)]).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    clusters = clustered(points, seed=0)
    assert len(set(clusters.tolist())) > 3
    assert (clusters[:100] == clusters[100:]).mean() > 0.98
    assert sorted(repeated(points, 0.999)) == list(range(100, 200))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("perplexity", {"model": "m", "most": 1.0}),
        ("difficulty", {"model": "m"}),
        ("reward-score", {"model": "m", "least": 0.0}),
        ("judge-score", {"server": "http://localhost:1/v1", "model": "m", "least": 0.0}),
        ("toxicity-model", {"model": "m"}),
        ("pii-model", {"model": "m"}),
        ("semantic-dedup", {"encoder": "m"}),
        ("label-noise", {"encoder": "m"}),
        ("outliers", {"encoder": "m"}),
    ],
)
def test_without_what_opens_models_a_step_refuses(name: str, options: dict[str, object]) -> None:
    step = TABLE.load(name)(**options)
    assert step.asks_model
    row = (
        item_of({"text": "a b 1.0", "label": "x"}, "labelled")
        if name == "label-noise"
        else item_of(asked("a", "b 1.0 2.0"))
    )
    with pytest.raises(UserError) as error:
        step.look_at([row]) if hasattr(step, "look_at") else step.sketch([row])
    assert error.value.code == "no-models"


def test_which_rows_go_must_be_said() -> None:
    for name in ("perplexity", "reward-score"):
        with pytest.raises(UserError, match="least"):
            TABLE.load(name)(model="m")
