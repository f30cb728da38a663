"""``data show`` and ``data report``: what would be trained on, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from said import Tunesmith
from small_model import write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def recipe(model: Path, tmp_path: Path) -> Path:
    """Ten conversations and a row without an answer."""
    turns = [[{"role": "user", "content": f"ask {n}"}, {"role": "assistant", "content": f"say {n}"}] for n in range(10)]
    rows = [*turns, [{"role": "user", "content": "ask"}]]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    path = tmp_path / "recipe.yaml"
    path.write_text(f"model: {{base: {model}}}\ndata: {{train: [{{path: rows.jsonl}}], validation: 0.2}}\n")
    return path


def test_show_marks_the_trained_tokens(call: Tunesmith, recipe: Path) -> None:
    said = call("data", "show", recipe, "-n", "2")
    assert said.code == 0, said.err
    assert "rows.jsonl" in said.out.splitlines()[0]
    assert "<|im_start|>user" in said.out
    number = said.out.partition("ask ")[2][0]
    assert f"[[say {number}<|im_end|>]]" in said.out
    assert said.out.count("[[") == 2
    assert "key " in said.err


def test_show_json_has_every_token_once(call: Tunesmith, recipe: Path) -> None:
    sequences = call("data", "show", recipe, "-n", "100", "--json").json["sequences"]
    assert len(sequences) == 8
    for sequence in sequences:
        trained = "".join(part["text"] for part in sequence["parts"] if part["trained"])
        number = sequence["row"]
        assert trained == f"say {number}<|im_end|>"
        assert sequence["trained_tokens"] == len(f"say {number}") + 1  # a token a byte, and the end of the turn
        assert "".join(part["text"] for part in sequence["parts"]).startswith(
            f"<|im_start|>user\nask {number}<|im_end|>"
        )


def test_report_is_the_ledger(call: Tunesmith, recipe: Path) -> None:
    found = call("data", "report", recipe, "--json").json
    assert (found["rows"], found["kept"], found["dropped"]) == (11, 10, 1)
    assert found["sequences"] == {"train": 8, "validation": 2}
    words = call("data", "report", recipe).out
    assert "11 rows: 10 kept, 0 cut, 0 split, 1 dropped" in words
    assert "line 11" in words


def test_rows_can_be_looked_at_even_where_training_would_be_refused(call: Tunesmith, recipe: Path) -> None:
    said = call("data", "report", recipe, "data.max_lost=0.05", "--json")
    assert said.code == 0
    assert said.json["dropped"] == 1
    why = "1 of 11 rows would be dropped (9%)"
    assert said.json["refusal"].startswith(why)
    assert f"`tunesmith train` would refuse these rows: {why}" in said.err
    assert "refuse" in call("data", "show", recipe, "data.max_lost=0.05").err
    sound = call("data", "report", recipe, "--json")
    assert sound.json["refusal"] is None
    assert "refuse" not in sound.err


ANSWERED = {"messages": [{"role": "user", "content": "ask"}, {"role": "assistant", "content": "say"}]}
ASKED = {"messages": [{"role": "user", "content": "ask"}]}


@pytest.mark.parametrize(
    ("row", "override", "told"),
    [
        (ANSWERED, "data.max_tokens=8", "every row is longer than max_tokens (8); got it is longer than 8 tokens (2"),
        (ASKED, "data.max_lost=0.5", "no row is left to train on; got the conversation has no answer"),
        (ASKED, "data.max_lost=1", "no row is left to train on; got the conversation has no answer"),
    ],
)
def test_the_ledger_is_shown_where_nothing_is_left(
    call: Tunesmith, recipe: Path, tmp_path: Path, row: dict[str, object], override: str, told: str
) -> None:
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps(row)}\n" * 2)
    report = call("data", "report", recipe, override)
    assert report.code == 0, report.err
    assert "0 kept" in report.out
    assert "rows.jsonl line 1: " in report.out
    assert told in report.err.splitlines()[-1]
    assert call("data", "report", recipe, override, "--json").json["sequences"]["train"] == 0
    show = call("data", "show", recipe, override)
    assert (show.code, show.out) == (2, "")
    assert told in show.err


def test_over_long_rows_that_are_forbidden_are_all_counted(call: Tunesmith, recipe: Path) -> None:
    said = call("data", "report", recipe, "data.max_tokens=8", "data.overlong=refuse")
    assert said.code == 0
    assert "10 dropped: it is longer than 8 tokens" in said.out
    assert "line 1 and 9 more rows are longer than max_tokens" in said.err
