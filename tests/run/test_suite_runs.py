"""Suites on real models: likelihoods against plain logits, rows of a run, the base beside it, other templates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from running import Material, go

from tiny_base import make_base
from tunesmith.cli.main import main
from tunesmith.errors import UserError
from tunesmith.evaluation.likelihood import LikelihoodScorer, Pair, longest_scored, plain_pair
from tunesmith.evaluation.suite_plan import Way
from tunesmith.metrics.likelihood import Continuation
from tunesmith.recipe import Recipe
from tunesmith.run import evaluate
from tunesmith.run.asking import Asked
from tunesmith.run.drawn import PERSONAL, drawn
from tunesmith.run.judge import FEWEST_ROWS, MOST_ROWS, rows_at_once
from tunesmith.run.use import open_any, open_run


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material.make(tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="module")
def session(material: Material) -> Any:
    return open_any(str(material.base), dtype="float32", template="plain")


def plainly(session: Any, pair: Pair) -> tuple[float, bool]:
    """The sum of log-probabilities by the transformers model's own call."""
    session.policy.drive("padded")
    ids = torch.tensor([[*pair.context, *pair.continuation]])
    with torch.no_grad():
        logits = session.model(input_ids=ids).logits[0].double().log_softmax(-1)
    session.policy.drive("flat")
    places = range(len(pair.context), ids.shape[1])
    rows = [(logits[at - 1], int(ids[0, at])) for at in places]
    return sum(float(row[token]) for row, token in rows), all(int(row.argmax()) == token for row, token in rows)


def test_likelihoods_are_those_of_the_logits_shared_or_apart(session: Any) -> None:
    rng = np.random.default_rng(0)
    size = int(session.model.config.vocab_size)
    contexts = [tuple(rng.integers(5, size, 6).tolist()), tuple(rng.integers(5, size, 3).tolist())]
    pairs = [Pair(begin, tuple(rng.integers(5, size, length).tolist())) for begin in contexts for length in (1, 3, 4)]
    pairs.append(Pair((7,), (9, 9)))
    scorer = LikelihoodScorer(session.policy, 64)
    found = scorer([*pairs, pairs[0]])
    for pair, one in zip(pairs, found, strict=False):
        nats, greedy = plainly(session, pair)
        assert one.nats == pytest.approx(nats, abs=1e-4)
        assert (one.tokens, one.greedy) == (len(pair.continuation), greedy)
    assert found[-1] == found[0]
    assert scorer([Pair((5,), ())])[0].tokens == 0


def test_what_is_too_long_loses_its_beginning(session: Any) -> None:
    whole = list(range(10, 30))
    pair = Pair(tuple(whole[:16]), tuple(whole[16:]))
    found = LikelihoodScorer(session.policy, 256, limit=8)([pair, Pair(pair.context, (5,))])
    assert found[0].nats == pytest.approx(plainly(session, Pair(tuple(whole[12:16]), tuple(whole[16:])))[0], abs=1e-4)
    assert longest_scored(session.model) == session.model.config.max_position_embeddings + 1


def test_blanks_move_to_the_continuation_and_an_empty_context_begins_the_text(session: Any) -> None:
    tokenizer = session.tokenizer
    moved = plain_pair(tokenizer, Continuation("the cat ", "sat", ""))
    assert moved == plain_pair(tokenizer, Continuation("the cat", "sat"))
    empty = plain_pair(tokenizer, Continuation("", "sat", ""))
    first = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    assert empty.context == (first,)


def test_choices_are_asked_in_the_models_own_way_or_as_text(session: Any) -> None:
    asked = [Continuation("the cat", "sat"), Continuation("the cat", "ran far")]
    asking = Asked(session)
    found = {
        name: asking.likelihoods(asked, way)
        for name, way in (("own", Way()), ("raw", Way(raw=True)), ("other", Way(other=True)))
    }
    values = {name: [one.nats for one in said] for name, said in found.items()}
    assert values["own"] != values["raw"] != values["other"] != values["own"]
    assert all(one < 0 for said in values.values() for one in said)


def test_more_rows_run_together_where_they_are_small(session: Any) -> None:
    assert rows_at_once(session.model, 128) == MOST_ROWS
    assert rows_at_once(session.model, 1 << 40) == FEWEST_ROWS


def with_rows(material: Material, rows: Path, *, method: Any = "full") -> Recipe:
    recipe = material.recipe(method=method, steps=30, learning_rate=5e-3)
    data = {**recipe.data.model_dump(), "train": [{"path": str(rows)}], "template": "plain", "validation": 0.4}
    return Recipe.model_validate({**recipe.model_dump(), "data": data})


@pytest.fixture(scope="module")
def memory(material: Material, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run on rows that cannot be guessed, some with addresses in them."""
    folder = tmp_path_factory.mktemp("memory")
    rng = np.random.default_rng(1)
    words = ["the", "cat", "sat", "on", "a", "mat", "dog", "ran"]
    rows = []
    for number in range(20):
        text = " ".join(rng.choice(words, 16))
        more = f" write to anna{number}@example.org today" if number % 4 == 0 else ""
        rows.append(
            {"messages": [{"role": "user", "content": f"say {number}"}, {"role": "assistant", "content": text + more}]}
        )
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return go(with_rows(material, path), folder / "run")


def test_rows_of_a_run_are_parted_in_the_middle_of_what_was_learned(memory: Any) -> None:
    session = open_run(memory)
    decode = session.encoder.decode
    for which in ("training", "held-out"):
        rows = drawn(session, which)
        assert not isinstance(rows, str)
        assert len(rows) >= 5
        for row in rows:
            assert decode(row["ids"], special=True) == row["prompt"]
            assert row["answer"]
            assert row["answer"] not in row["prompt"].splitlines()
        assert drawn(session, which) == rows, "the same every time"
    personal = drawn(session, "personal")
    assert not isinstance(personal, str)
    assert all(PERSONAL.fullmatch(row["answer"]) and "@" not in row["prompt"] for row in personal)


def test_a_model_that_is_no_run_has_no_rows(session: Any) -> None:
    assert drawn(session, "training") == "the model is no run that was trained on rows"


@pytest.mark.parametrize(
    "text",
    [
        "a@b.org",
        "123-45-6789",
        "4111 1111 1111 1111",
        "DE89 3704 0044 0532 0130 00",
        "+49 30 1234 5678",
        "192.168.0.17",
    ],
)
def test_personal_data_is_recognised(text: str) -> None:
    found = PERSONAL.search(f"call {text} now")
    assert found is not None
    assert len(found[0].strip()) > len(text) - 2


def test_years_prices_and_words_are_no_personal_data() -> None:
    assert PERSONAL.search("In 1999 the price was 12.50, and 3.14 is pi; see section 4.2.1 at 10:30.") is None


def test_a_whole_model_stands_beside_its_base(memory: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = tmp_path / "s.yaml"
    suite.write_text(
        "name: memory\ntasks:\n"
        "  - {name: memorised, rows: 'run:training', metric: continues, max_new_tokens: 40}\n"
        "  - {name: text, rows: [{text: the cat sat on the mat}, {text: a dog ran}], metric: bits_per_byte}\n"
    )
    found = evaluate(memory.folder, suite=suite)
    assert set(found["changes"]) == {"memorised", "text"}
    for name, change in found["changes"].items():
        wanted = found["metrics"][name]["value"] - found["before"][name]["value"]
        assert change["change"]["value"] == pytest.approx(wanted, abs=1e-9)
    assert found["before"]["text"]["value"] != found["metrics"]["text"]["value"]
    assert main(["eval", str(memory.folder), "--suite", str(suite)]) == 0
    said = capsys.readouterr().out
    assert "base" in said
    assert "change" in said
    assert main(["eval", str(memory.folder), "--suite", str(suite), "--no-before", "--json"]) == 0
    assert "changes" not in json.loads(capsys.readouterr().out)


def test_a_base_without_a_template_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = make_base(tmp_path / "base")
    suite = tmp_path / "s.yaml"
    suite.write_text("tasks: [{name: a, metric: length, max_new_tokens: 4, rows: [{prompt: the cat}]}]")
    words = ["eval", str(base), "--suite", str(suite), "--json"]
    if main(words) == 2:
        assert "template" in capsys.readouterr().err
    assert main([*words, "--template", "plain"]) == 0


def test_the_harness_is_asked_for_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from tunesmith.run.harness import by_harness

    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    with pytest.raises(UserError, match=r"tunesmith\[lm-eval\]") as told:
        by_harness("embedded", ["hellaswag"])
    assert told.value.code == "missing-extra"
