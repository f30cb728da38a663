"""``make`` on a tiny model: in this process, stopped and continued, and through a server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tiny_base import make_base, make_rows
from tunesmith.errors import UserError
from tunesmith.events import Event
from tunesmith.models.load import load_tokenizer
from tunesmith.run import make

LENGTH = [{"name": "length", "at_most": 8}]
OPTIONS = {"rewards": LENGTH, "n": 3, "max_new_tokens": 12, "together": 4, "limit": 10}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_base(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", 20))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class Stop:
    """A sink that presses Ctrl-C when the first batch is told."""

    def __call__(self, event: Event) -> None:
        if "written" in str(event.values.get("text")):
            raise KeyboardInterrupt


def test_stopped_and_continued_is_one_go(base: str, rows: str, tmp_path: Path) -> None:
    whole = make("best-of", base, rows=rows, out=tmp_path / "whole.jsonl", pairs=tmp_path / "whole-p.jsonl", **OPTIONS)
    assert (whole["done"], whole["of"]) == (10, 10)
    assert whole["measured"]["reward_of_best"]["value"] >= whole["measured"]["reward_of_one"]["value"]
    again = {"rows": rows, "out": tmp_path / "two.jsonl", "pairs": tmp_path / "two-p.jsonl", **OPTIONS}
    with pytest.raises(KeyboardInterrupt):
        make("best-of", base, sinks=(Stop(),), **again)
    assert json.loads((tmp_path / "two.ledger.json").read_text())["done"] == 4
    make("best-of", base, **again)
    for name in ("{}.jsonl", "{}-p.jsonl"):
        first, second = ((tmp_path / name.format(stem)).read_bytes() for stem in ("whole", "two"))
        assert first == second


def test_rows_that_are_made_can_be_trained_on(base: str, rows: str, tmp_path: Path) -> None:
    from tunesmith.recipe import Recipe
    from tunesmith.run import prepare

    found = make("failures", base, rows=rows, out=tmp_path / "f.jsonl", pairs=tmp_path / "p.jsonl", max_new_tokens=6)
    assert found["written"]["rows"] == 20
    for path, objective in (("f.jsonl", "sft"), ("p.jsonl", "dpo")):
        data = {"train": [str(tmp_path / path)], "validation": 0.0, "workers": 1}
        prepared = prepare(Recipe(model={"base": base}, data=data, objective={"name": objective}))
        assert len(prepared.train) == len(lines(tmp_path / path))
        assert prepared.refusal is None


def test_a_dry_run_asks_and_writes_nothing(base: str, rows: str, tmp_path: Path) -> None:
    found = make("best-of", base, rows=rows, out=tmp_path / "x.jsonl", dry_run=True, **OPTIONS)
    assert (found["of"], found["first"][0]) == (10, "What is  0 and 0?")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "options", "code"),
    [
        ("best", {}, "unknown-maker"),
        ("best-of", {}, "no-data"),
        ("best-of", {"rows": "none.jsonl"}, "missing-file"),
        ("best-of", {"reward": "numeric"}, "unknown-key"),
        ("best-of", {"n": 0}, "out-of-range"),
        ("self-instruct", {"pairs": "p.jsonl"}, "cannot-combine"),
        ("failures", {}, "not-a-run"),
        ("constitutional", {"principles": "none.yaml"}, "bad-principles"),
        ("best-of", {"rewards": ["nmeric"]}, "unknown-reward"),
    ],
)
def test_mistakes_are_told(kind: str, options: dict[str, Any], code: str, base: str, rows: str, tmp_path: Path) -> None:
    given = {"rewards": LENGTH} if kind == "best-of" else {}
    if code not in ("no-data", "missing-file", "not-a-run"):
        given["rows"] = rows
    with pytest.raises(UserError) as told:
        make(kind, base, out=tmp_path / "x.jsonl", **(given | options))
    assert told.value.code == code
    assert not list(tmp_path.iterdir())


def test_rows_of_which_none_can_be_read_are_told(base: str, tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text('{"messages": []}\n{"messages": [3]}\n')
    with pytest.raises(UserError) as told:
        make(
            "constitutional",
            base,
            rows={"path": str(tmp_path / "b.jsonl"), "format": "messages"},
            out=tmp_path / "x.jsonl",
        )
    assert told.value.code == "no-data"


def test_plain_text_asks_nothing(base: str, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("Once upon a time.")
    with pytest.raises(UserError) as told:
        make("constitutional", base, rows=str(tmp_path / "t.txt"), out=tmp_path / "x.jsonl")
    assert told.value.code == "no-prompt"


class Completions(BaseHTTPRequestHandler):
    """Answers every completion with the tokens of "It is 7." and the end of turn."""

    ids: list[int]

    def do_GET(self) -> None:
        self._send({"data": [{"id": "tiny", "max_model_len": 512}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/tokenize":
            self.send_error(404)
            return
        choice = {"text": "It is 7.", "finish_reason": "stop", "token_ids": self.ids, "stop_reason": self.ids[-1]}
        self._send({"choices": [choice]})

    def _send(self, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Be quiet."""


@pytest.fixture
def server(base: str) -> Iterator[str]:
    tokenizer = load_tokenizer(base)
    Completions.ids = [*tokenizer("It is 7.", add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    found = ThreadingHTTPServer(("127.0.0.1", 0), Completions)
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{found.server_address[1]}/v1"
    found.shutdown()
    thread.join()
    found.server_close()


def test_a_server_answers_in_place_of_the_model(server: str, base: str, rows: str, tmp_path: Path) -> None:
    found = make("best-of", base, rows=rows, out=tmp_path / "x.jsonl", server=server, **OPTIONS)
    assert found["written"] == {"rows": 10}
    assert {row["messages"][-1]["content"] for row in lines(tmp_path / "x.jsonl")} == {"It is 7."}


def test_the_command_reads_its_options_off_the_config(base: str, rows: str, tmp_path: Path) -> None:
    from tunesmith.cli.make import make as command

    words = ["best-of", base, "--rows", rows, "--rewards", "{name: length, at_most: 8}", "--n", "2", "--limit", "3"]
    done = CliRunner().invoke(command, [*words, "--max-new-tokens", "8", "--out", str(tmp_path / "x.jsonl"), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["how"], found["of"]) == ("best-of", 3)
    assert "3 of 3 rows" in done.stderr
