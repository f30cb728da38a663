"""The first look at data files: quick, without torch, and with the same words as the long one."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tunesmith.data import look
from tunesmith.data.look import check_sources
from tunesmith.errors import UserError
from tunesmith.recipe.schema import DataConfig

GOOD = '{"prompt": "a", "completion": "b"}\n'


def config(*paths: Path | str, validation: Path | None = None) -> DataConfig:
    held_out = [{"path": str(validation)}] if validation else 0.1
    return DataConfig(train=[{"path": str(path)} for path in paths], validation=held_out)


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("rows.jsonl", None, "missing-file"),
        ("rows.jsonl", "", "empty-file"),
        ("rows.jsonl", '{"prompt": \n', "bad-json"),
        ("rows.json", "[{]", "bad-json"),
        ("rows.json", "", "empty-file"),
        ("rows.csv", "", "empty-file"),
        ("rows.txt", "\n\n", "empty-file"),
        ("rows.xls", "x", "unknown-file-type"),
        ("rows.jsonl", '{"x": 1}\n', "unknown-data-format"),
    ],
)
def test_what_is_plainly_wrong_is_told(tmp_path: Path, name: str, content: str | None, code: str) -> None:
    good = tmp_path / "good.jsonl"
    good.write_text(GOOD)
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    for wrong in (config(good, path), config(good, validation=path)):
        with pytest.raises(UserError) as raised:
            check_sources(wrong)
        assert raised.value.code == code


def test_good_files_pass_and_hub_ids_are_left_for_later(tmp_path: Path) -> None:
    (tmp_path / "good.jsonl").write_text(GOOD)
    (tmp_path / "book.txt").write_text("One.\n\nTwo.")
    check_sources(config(tmp_path, tmp_path / "good.jsonl", tmp_path / "book.txt", "somebody/some-data"))


def test_large_files_are_not_read_to_their_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("a.jsonl", GOOD), ("b.txt", "one line of text\n"), ("c.csv", "text\none\n")):
        (tmp_path / name).write_text(text + (text.splitlines()[-1] + "\n") * 300_000)
    monkeypatch.setattr(look, "LARGE_JSON", 1000)
    (tmp_path / "d.json").write_text(json.dumps([{"prompt": "a", "completion": "b"}] * 100)[:-1])
    started = time.perf_counter()
    check_sources(config(*(tmp_path / name for name in ("a.jsonl", "b.txt", "c.csv", "d.json"))))
    assert time.perf_counter() - started < 0.25  # all of it takes more than a second


@pytest.mark.parametrize("command", ["train", "check", "data show", "data report", "init"])
@pytest.mark.parametrize("content", [None, "", "[1\n"])
def test_a_bad_file_is_refused_before_torch_is_loaded(tmp_path: Path, command: str, content: str | None) -> None:
    if content is not None:
        (tmp_path / "rows.jsonl").write_text(content)
    (tmp_path / "r.yaml").write_text("data: {train: [{path: rows.jsonl}]}\n")
    words = [*command.split(), "rows.jsonl" if command == "init" else "r.yaml"]
    script = (
        "import sys; from tunesmith.cli.main import main; "
        f"code = main({words!r}); print(code, {{'torch', 'transformers'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "2 set()\n"
    assert "rows.jsonl" in done.stderr
