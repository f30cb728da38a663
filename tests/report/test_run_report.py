"""The page about a run: every number in it stands in a file of the folder, and a browser shows it without a request."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from tracing import Folder, read, wrong

from browser import opened
from made_runs import make_run
from tunesmith.cli.main import main
from tunesmith.errors import UserError
from tunesmith.report.run_facts import RunFacts
from tunesmith.report.run_page import run_page
from tunesmith.run.reporting import write_report


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    return make_run(folder, proofs=True).folder


@pytest.fixture(scope="module")
def page(run: Path) -> Path:
    return write_report([run])


def test_every_number_and_text_stands_in_a_file_of_the_folder(page: Path, run: Path) -> None:
    reader = read(page.read_text())
    assert wrong(reader, Folder({"": run})) == []
    assert len(reader.numbers) > 60
    assert reader.loose == [], "a digit that names no source"


def test_a_number_that_is_not_in_its_file_is_found(page: Path, run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "other", ignore=shutil.ignore_patterns("checkpoints", "adapter"))
    report = json.loads((other / "report.json").read_text())
    report["changes"]["task"]["nll"]["after"]["value"] += 0.001
    report["tokens"] += 1
    (other / "report.json").write_text(json.dumps(report))
    said = " ".join(wrong(read(page.read_text()), Folder({"": other})))
    assert "report.json#/changes/task/nll/after/value" in said
    assert "flops_per_token report.json#/tokens" in said, "a derived number is made again from its sources"


def test_names_within_the_page_are_unique_and_pictures_name_their_files(page: Path, run: Path) -> None:
    reader = read(page.read_text())
    assert [name for name, often in Counter(reader.names).items() if often > 1] == []
    assert len(reader.figures) >= 8
    for source in " ".join(reader.figures).split():
        assert (run / source.partition("#")[0]).is_file()


def test_the_page_says_what_was_judged(page: Path) -> None:
    text = re.sub(r"<[^>]+>", "", page.read_text())
    for words in ("DO NOT SHIP", "validation_loss missed", "What it gained", "What it forgot", "Proofs", "Its answers"):
        assert words in text
    assert "Content-Security-Policy" in page.read_text()
    assert "<script" not in page.read_text()
    assert "http://" not in page.read_text().replace("http://www.w3.org/", "")


def test_the_same_folder_gives_the_same_bytes(page: Path, run: Path) -> None:
    assert run_page(RunFacts.read(run)) == page.read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it_without_a_request_or_a_complaint(page: Path, tmp_path: Path, scheme: str) -> None:
    with opened(page, scheme="dark" if scheme == "dark" else "light") as shown:
        assert shown.requests == []
        assert shown.console == []
        paper, ink = (
            shown.page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color")
        )
        light = sum(map(int, re.findall(r"\d+", paper)[:3])) > sum(map(int, re.findall(r"\d+", ink)[:3]))
        assert light == (scheme == "light")
        assert shown.paper(tmp_path / "page.pdf").stat().st_size > 10_000


@pytest.mark.parametrize("width", [1100, 390])
def test_it_fits_the_window(page: Path, width: int) -> None:
    with opened(page, width=width) as shown:
        assert shown.overflowing() == 0


def test_a_run_without_a_result_is_told_as_such(run: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    half.mkdir()
    for name in ("recipe.yaml", "events.jsonl", "ledger.json", "environment.json"):
        shutil.copy(run / name, half / name)
    (half / "report.json").write_text(json.dumps({"finished": False, "steps": 3}))
    text = re.sub(r"<[^>]+>", "", write_report([half]).read_text())
    assert "This run is not finished: 3 of 12 updates are done." in text
    assert "How it went" in text


def test_the_command_writes_it_and_refuses_what_is_no_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(run), "--out", str(tmp_path / "deep" / "x.html"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"] == str(tmp_path / "deep" / "x.html")
    assert (tmp_path / "deep" / "x.html").is_file()
    assert main(["report", str(tmp_path)]) == 2
    assert "is not a run folder" in capsys.readouterr().err
    with pytest.raises(UserError, match="named twice"):
        write_report([run, run])


def test_several_runs_side_by_side(folder: Path, run: Path, tmp_path: Path) -> None:
    other = make_run(folder, "other", learning_rate=1e-4).folder
    page = write_report([run, other], out=tmp_path / "both.html")
    reader = read(page.read_text())
    compared = tmp_path / "compare"
    from tunesmith.run import compare

    compared.write_text(json.dumps(compare([run, other])))
    assert wrong(reader, Folder({"1/": run, "2/": other, "compare": compared})) == []
    assert reader.loose == []
    assert [name for name, often in Counter(reader.names).items() if often > 1] == []
    with opened(page) as shown:
        assert (shown.requests, shown.console, shown.overflowing()) == ([], [], 0)


@pytest.mark.slow
def test_looks_inside_stand_in_the_report(folder: Path) -> None:
    from tunesmith.insight import LOOKS
    from tunesmith.run.inspecting import inspect

    run = make_run(folder, "seen")
    for what in LOOKS.entries:
        inspect(run, what, prompt="What is very 3 and 3?", answer="It is 6. Sure.")
    page = write_report([run.folder])
    reader = read(page.read_text())
    assert wrong(reader, Folder({"": run.folder})) == []
    assert reader.loose == []
    drawn = {source.partition("#")[0] for source in " ".join(reader.figures).split()}
    assert drawn >= {f"insight/{what}.json" for what in LOOKS.entries if what not in ("tokens", "contributions")}
    assert page.stat().st_size < 2_000_000
    with opened(page) as shown:
        assert (shown.requests, shown.console, shown.overflowing()) == ([], [], 0)


@pytest.mark.slow
def test_a_run_of_several_stages_and_one_without_an_exam(folder: Path) -> None:
    staged = make_run(folder, "staged", stages=[{"name": "first"}, {"name": "second", "train": {"steps": 4}}]).folder
    page = write_report([staged])
    reader = read(page.read_text())
    assert wrong(reader, Folder({"": staged})) == []
    text = re.sub(r"<[^>]+>", "", page.read_text())
    assert "1-first" in text
    assert "2-second" in text
    bare = make_run(folder, "bare", prompts=0, validation=0.0, evaluate_every=100).folder
    text = re.sub(r"<[^>]+>", "", write_report([bare]).read_text())
    assert "no rows were held out" in text
