"""``data show`` of a file: every format is recognised and said, without a model; of a recipe, how sources are mixed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from said import Tunesmith
from small_model import write_model

from tunesmith.data.formats import FORMATS


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("paragraphs", "lines")])
def test_every_format_is_recognised_by_show(call: Tunesmith, tmp_path: Path, name: str) -> None:
    rows = FORMATS.load(name).samples[:1] * 2
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = call("data", "show", path, "--json").json
    assert found["format"] == name
    assert [row["readable"] for row in found["rows"]] == [True] * len(rows)
    assert call("data", "show", path).out.startswith(f"{path}: {name} (")


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, ["user: a", "chosen: b", "rejected: c"]),
        ({"prompt": "a", "completion": "b", "label": False}, ["user: a", "not wanted: b"]),
        ({"prompt": "a", "responses": ["b", "c", "d"]}, ["answer 1: b", "answer 3: d"]),
        ({"prompt": "a", "steps": ["b", "c"], "labels": [1, 0]}, ["labels: b [1.0]  c [0.0]"]),
        ({"image": "a.png", "text": "b"}, ["image: a.png", "user: <image>", "assistant: b"]),
        ({"text": "a b", "spans": [[2, 3, "X"]]}, ["labels: a [O]  b [B-X]"]),
        ({"question": "q", "context": "a b", "answers": []}, ["text: a b", "answers: (none)"]),
        ({"text": "a", "label": ["x", "y"], "id": 7}, ["label: x, y", "further column: id: 7"]),
        ({"instruction": "a", "output": "b", "reasoning": "c"}, ["assistant thinks: c", "assistant: b"]),
        ({"instruction": "a", "output": ""}, ["cannot be read: column 'output' is empty"]),
    ],
)
def test_what_a_row_says(call: Tunesmith, tmp_path: Path, row: dict[str, object], parts: list[str]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    said = call("data", "show", path)
    assert said.code == 0, said.err
    for part in parts:
        assert part in said.out


def test_what_cannot_be_shown_is_said(call: Tunesmith, tmp_path: Path) -> None:
    assert call("data", "show", tmp_path / "none.jsonl").code == 2
    (tmp_path / "odd.jsonl").write_text('{"colour": 1}\n')
    said = call("data", "show", tmp_path / "odd.jsonl")
    assert (said.code, "is not recognised" in said.err) == (2, True)
    assert "plain" in call("formats").out
    assert call("formats", "preference", "--json").json[0]["converts_to"] == {"ranked": "all rows"}


def test_a_mixture_is_shown(call: Tunesmith, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    for name, count in (("large", 30), ("small", 10)):
        rows = [
            {"messages": [{"role": "user", "content": f"{name} {n}"}, {"role": "assistant", "content": "yes"}]}
            for n in range(count)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = tmp_path / "recipe.yaml"
    data = "{train: [{path: large.jsonl}, {path: small.jsonl, weight: 2}], validation: 0, mixing: {temperature: 1}}"
    recipe.write_text(f"model: {{base: {model}}}\ntrain: {{epochs: 2}}\ndata: {data}\n")
    large, small = call("data", "show", recipe, "--json").json["sources"]
    assert (large["rows"], small["rows"], small["weight"]) == (30, 10, 2.0)
    assert (large["seen_in_epoch"], small["seen_in_epoch"]) == pytest.approx((1.0, 2.0))
    assert (large["epoch_share"], small["seen_in_run"]) == pytest.approx((0.6, 4.0))
    said = call("data", "show", recipe)
    assert "2.00 times 4.00 times" in " ".join(said.out.split())
    refused = call("data", "show", recipe, "data.mixing.repeats=0.5", "train.steps=100")
    assert (refused.code, "too few rows for so many steps" in refused.err) == (2, True)
