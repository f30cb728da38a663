"""What a page says about the training itself: losses by source, noise, answers at evaluations, cost."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tracing import Folder, read, wrong

from browser import opened
from tunesmith.diagnosis.noise import noise_scale
from tunesmith.report.sections.watched import SHOWN, chosen
from tunesmith.run.reporting import write_report


def step(number: int, *, noisy: bool) -> dict[str, Any]:
    """An update of 300 tokens of two sources; ``noisy``: with a measured gradient of noise scale 20 and 16 rows."""
    terms = {"nll": 2.0 - number / 50, "nll/rows": 1.5 - number / 50, "nll/more": 3.0 - number / 50}
    measured = {"gradient": {"signal": 1.0 + 0.1 * (number % 2), "noise": 1.3, "examples": 16}} if noisy else {}
    counts = {"nll": 300.0, "nll/rows": 200.0, "nll/more": 100.0}
    values = {"loss": terms["nll"], "norm": 1.0, "rate": 1e-3, "tokens": 500, "seconds": 0.5, "cpu_seconds": 0.9}
    return {"kind": "step", "step": number, **values, "terms": terms, "counts": counts, **measured}


def samples(number: int, *said: str) -> dict[str, Any]:
    asked = [("What <b> is 1?", "One."), ("Say 2.", "")]
    answers = [
        {"prompt": f"<|im_start|>user\n{prompt}<|im_end|>\n", "reference": wanted, "answer": answer, "stopped": True}
        for (prompt, wanted), answer in zip(asked, said, strict=True)
    ]
    return {"kind": "samples", "step": number, "answers": answers, "seconds": 0.1}


def made(folder: Path, *, noisy: bool = True, **report: Any) -> Path:
    """A run folder of forty updates."""
    folder.mkdir()
    events = [{"kind": "start", "step": 0, "flops_per_token": 1.0}, samples(0, "begun", "first"), samples(0, "?", "")]
    for number in range(1, 41):
        events.append(step(number, noisy=noisy))
        if number % 10 == 0:
            events.append(samples(number, "One." if number > 20 else "Two.", f"two {number}"))
    noise = noise_scale(events)
    told = {"finished": True, "steps": 40, "cpu_seconds": 36.0, "energy_joules": 7.2e6, **report}
    told["noise_scale"] = None if noise is None else noise.as_dict()
    (folder / "recipe.yaml").write_text("name: made\nmodel: {base: tiny}\n")
    (folder / "report.json").write_text(json.dumps(told))
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return folder


def words(page: Path) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.read_text()).split())


def test_everything_told_of_the_training_stands_in_its_files(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    page = write_report([run])
    reader = read(page.read_text())
    assert wrong(reader, Folder({"": run})) == []
    assert reader.loose == []
    assert {"events.jsonl#step/terms", "events.jsonl#step/gradient"} <= set(" ".join(reader.figures).split())
    text = words(page)
    assert "Training loss by source" in text
    assert "Parts of the loss" not in text, "there is one part, told by source"
    assert "Gradient noise scale: 19.8 rows" in text
    assert "The batch fits" in text
    assert "energy 2 kWh" in text
    assert "processor time 36 s" in text


def test_answers_stand_below_each_other_and_grey_where_they_did_not_change(tmp_path: Path) -> None:
    page = write_report([made(tmp_path / "run")])
    section = re.search(r'<section id="watched">.*?</section>', page.read_text(), re.S)
    assert section is not None
    rows = re.findall(r"<tr>(.*?)</tr>", section[0], re.S)
    cells = [[re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.S)] for row in rows]
    assert cells == [
        ["", "What &lt;b&gt; is 1?", "Say 2."],
        ["wanted", "One.", ""],
        ["update 0", "?", "nothing"],
        ["update 10", "Two.", "two 10"],
        ["update 20", "Two.", "two 20"],
        ["update 30", "One.", "two 30"],
        ["update 40", "One.", "two 40"],
    ]
    grey = ["absent" in row for row in rows]
    assert grey == [False, False, True, False, True, False, True]


def test_what_was_not_measured_is_said(tmp_path: Path) -> None:
    page = write_report([made(tmp_path / "run", noisy=False, energy_joules=None)])
    assert read(page.read_text()).loose == []
    assert "Gradient noise scale: not measured." in words(page)
    assert "energy not told by this machine" in words(page)


@pytest.mark.parametrize("count", [1, 2, SHOWN, SHOWN + 1, 57])
def test_the_first_and_the_last_evaluation_are_shown(count: int) -> None:
    found = chosen(count)
    assert (found[0], found[-1]) == (0, count - 1)
    assert len(set(found)) == len(found) == min(count, SHOWN)


@pytest.mark.parametrize("width", [1100, 390])
def test_it_fits_the_window(width: int, tmp_path: Path) -> None:
    with opened(write_report([made(tmp_path / "run")]), width=width) as shown:
        assert (shown.requests, shown.console, shown.overflowing()) == ([], [], 0)
