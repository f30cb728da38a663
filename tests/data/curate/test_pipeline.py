"""Steps over files: their order, their ledger, being killed and resumed, and what a result is kept under."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from curate_rows import Run, asked, result

from tunesmith.data.curate import base, pipeline
from tunesmith.data.curate.base import Change, Drop, Item, RowStep, SetStep
from tunesmith.data.curate.exact_dedup import ExactDedup
from tunesmith.data.curate.length import Length
from tunesmith.data.curate.pii import Pii
from tunesmith.data.curate.pipeline import curate, step_counts
from tunesmith.data.curate.unicode import Unicode
from tunesmith.errors import UserError
from tunesmith.recipe.schema import SourceConfig

BLANKS = Unicode(mojibake=False)


class Loud(RowStep):
    """Writes answers in capitals."""

    NAME: ClassVar[str] = "loud"

    def look(self, item: Item) -> Change:
        return Change({**item.value, "output": item.answer.upper()}, ("made loud",))


class Every(SetStep):
    """Drops every n-th of the rows it sees."""

    NAME: ClassVar[str] = "every"
    n: int = 3

    def choose(self, items: Iterable[Item], folder: Path) -> Mapping[int, Drop]:
        numbers = [item.number for item in items]
        return {number: Drop("its turn", like=numbers[0]) for number in numbers[:: self.n]}


class First(RowStep):
    """Drops all but the first n rows."""

    NAME: ClassVar[str] = "first"
    n: int

    def look(self, item: Item) -> Drop | None:
        return Drop("too late") if item.number >= self.n else None


def rows_of(count: int) -> list[dict[str, str]]:
    return [asked(f"what is {number}?", f"it is  the number {number} ") for number in range(count)]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_each_step_sees_what_the_one_before_left(run: Run) -> None:
    rows = [asked("a", "x one"), asked("b", "y two"), asked("a", "x one"), asked("c", "z")]
    found = run(rows, ExactDedup(), Loud(), Every(n=2), Length(of="answer", min_words=2))
    assert found.dropped == {
        1: "curate every: its turn",
        3: "curate exact-dedup: the row is the same as an earlier one",
        4: "curate every: its turn",
    }
    assert found.kept == {2: {**asked("b", "Y TWO")}}
    examples = found.found.ledger.examples
    assert examples["curate exact-dedup: the row is the same as an earlier one"][0].text.startswith(
        "like rows.jsonl line 1: "
    )


def test_what_is_no_row_is_dropped_with_its_line_and_reason(run: Run) -> None:
    found = run([asked("a", "b"), "{broken", "[1, 2]", {"instruction": "a", "output": ""}, "", asked("c", "d")], BLANKS)
    assert sorted(found.kept) == [1, 6]
    assert found.dropped[2].startswith("the line is no JSON")
    assert found.dropped[3] == "the row is list, not an object"
    assert found.dropped[4] == "column 'output' is empty"
    assert found.found.ledger.rows == 5
    assert step_counts(found.found.ledger, [BLANKS]) == {"reading": 3, "unicode": 0}


def test_a_step_that_empties_an_answer_drops_the_row(run: Run) -> None:
    found = run([asked("a", "\u200b\u200b"), asked("a", "b")], BLANKS)
    assert found.dropped == {1: "column 'output' is empty"}


def test_a_row_keeps_its_number_in_every_part(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "CHUNK", 7)
    found = run(rows_of(30), Every(n=4), First(n=18))
    assert sorted(found.kept) == [line for line in range(1, 19) if line % 4 != 1]


@pytest.mark.parametrize("workers", [1, 2])
def test_parts_give_the_same_bytes_whoever_makes_them(workers: int, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(70)
    whole = contents(run(rows, BLANKS, Pii(), Every(), Length()).found.folder)
    monkeypatch.setattr(base, "CHUNK", 7)
    monkeypatch.setattr(pipeline, "_key", lambda *_: f"other{workers}")
    again = contents(run(rows, BLANKS, Pii(), Every(), Length(), workers=workers).found.folder)
    assert again == whole


def test_the_result_is_kept_until_something_that_decides_it_changes(run: Run, tmp_path: Path) -> None:
    first = run(rows_of(5), BLANKS, Length())
    assert not first.found.hit
    assert run(rows_of(5), BLANKS, Length()).found.hit
    for changed in ((BLANKS, Length(min_words=2)), (Length(), BLANKS), (BLANKS,)):
        assert run(rows_of(5), *changed).found.key != first.found.key
    assert run(rows_of(6), BLANKS, Length()).found.key != first.found.key
    words = tmp_path / "words.txt"
    from tunesmith.data.curate.toxicity import Toxicity

    words.write_text("it is")
    assert run(rows_of(5), Toxicity(words=str(words))).dropped.keys() == {1, 2, 3, 4, 5}
    words.write_text("something else")
    assert run(rows_of(5), Toxicity(words=str(words))).dropped == {}


def test_stopped_between_and_within_passes_it_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "CHUNK", 10)
    rows, steps = rows_of(45), (BLANKS, Every(), Length(), Every(n=4))
    whole = run(rows, *steps)
    key = iter(f"stopped{number}" for number in range(1000))
    for stop in range(1, 14):
        name, calls = next(key), 0
        monkeypatch.setattr(pipeline, "_key", lambda *_, name=name: name)

        def stopping(path: Path, content: bytes, *, stop: int = stop) -> None:
            nonlocal calls
            calls += 1
            if calls == stop:
                path.with_name(f".{path.name}.tmp").write_bytes(content[:50])
                raise KeyboardInterrupt
            path.write_bytes(content)

        with monkeypatch.context() as within:
            within.setattr("tunesmith.data.curate.jobs.write_bytes", stopping)
            with pytest.raises(KeyboardInterrupt) if stop <= 10 else monkeypatch.context():
                run(rows, *steps)
        again = run(rows, *steps)
        assert contents(again.found.folder) == contents(whole.found.folder)
        assert not (again.found.folder.parent / f"{name}.work").exists()


SCRIPT = """
import sys
from pathlib import Path
from tunesmith.data.curate import TABLE, base, pipeline
from tunesmith.recipe.schema import SourceConfig
base.CHUNK = 50
given = {
    "unicode": {"mojibake": False}, "exact-dedup": {}, "pii": {}, "near-dedup": {"threshold": 0.9},
    "balance": {"by": "length"},
}
steps = [TABLE.load(name)(**options) for name, options in given.items()]
told = lambda text: print(text, flush=True)
pipeline.curate([SourceConfig(path=sys.argv[1])], steps, cache=Path(sys.argv[2]), workers=int(sys.argv[3]), told=told)
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_is_resumed_to_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("rensa", reason="the near-dedup step needs the `curate` extra")
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows_of(3000)))
    command = [sys.executable, "-c", SCRIPT, str(path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(tmp_path / "whole"), "1"], check=True, env=environment, stdout=subprocess.DEVNULL)
    killed = 0
    for wanted in ("(pass 1", "(pass 2", "(pass 3", "(pass 4", "(pass 5", "never"):
        process = subprocess.Popen(
            [*command, str(tmp_path / "killed"), "2"], env=environment, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for line in process.stdout:
            if wanted in line:
                time.sleep(0.05 * killed)
                process.send_signal(signal.SIGKILL)
                killed += 1
        process.wait()
    (one,), (other,) = ([path for path in (tmp_path / name).iterdir() if path.is_dir()] for name in ("whole", "killed"))
    assert killed >= 3
    assert one.name == other.name
    assert contents(one) == contents(other)


def test_texts_whose_answers_stand_by_characters_are_not_changed(tmp_path: Path) -> None:
    row = {"question": "who?", "context": "It was  Ann.", "answers": [{"text": "Ann", "answer_start": 8}]}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match="changes texts") as error:
        curate([SourceConfig(path=str(path))], [BLANKS], cache=tmp_path / "cache", workers=1)
    assert error.value.code == "cannot-combine"
    kept = curate([SourceConfig(path=str(path))], [Length()], cache=tmp_path / "cache", workers=1)
    assert result(kept).kept == {1: row}


def test_several_sources_keep_their_rows_apart(tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.csv"
    one.write_text("".join(json.dumps(row) + "\n" for row in rows_of(3)))
    two.write_text("ask,say\nwhat is 1?,it is  the number 1 \nnew,row\n")
    sources = [SourceConfig(path=str(one)), SourceConfig(path=str(two), columns={"prompt": "ask", "completion": "say"})]
    found = curate(sources, [BLANKS, ExactDedup(by="prompt")], cache=tmp_path / "cache", workers=1)
    kept = [result(pipeline.Curated("", found.folder, found.readings[:1], hit=True)).kept]
    assert kept == [{number + 1: row for number, row in enumerate(rows_of(3))}]
    ledger = found.ledger
    assert [(source.kept, source.dropped) for source in ledger.sources] == [(3, 0), (1, 1)]
    assert [(entry.source, entry.line, entry.row) for entry in ledger.entries] == [(1, 2, 3)]
    assert "like one.jsonl line 2" in next(iter(ledger.examples.values()))[0].text
