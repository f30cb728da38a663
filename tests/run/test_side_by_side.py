"""Two models side by side: blind, resumable votes, what they say, and a server as the judge."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tunesmith.cli.main import main
from tunesmith.data.recognise import recognise
from tunesmith.errors import UserError
from tunesmith.metrics.agreement import cohen, fleiss
from tunesmith.run.pair_judge import PairJudge
from tunesmith.run.side_by_side import Table, prepare, prompts_in

PROMPTS = [f"question {number}" for number in range(12)]


def good_and_bad(model: str, prompts: Sequence[str]) -> list[str]:
    """Model `one` answers well; the last prompt is answered alike by both."""
    return ["the same" if prompt == PROMPTS[-1] else f"{model} says {prompt}" for prompt in prompts]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return prepare("one", "two", PROMPTS, tmp_path / "table", good_and_bad)


def test_answers_are_written_once_and_more_prompts_may_follow(table: Table) -> None:
    def never(model: str, prompts: Sequence[str]) -> list[str]:
        raise AssertionError("they are all answered")

    assert prepare("one", "two", PROMPTS, table.folder, never).pairs == table.pairs
    before = table.pairs
    more = prepare("one", "two", [*PROMPTS, "another"], table.folder, good_and_bad)
    assert [pair.number for pair in more.pairs] == list(range(13))
    assert more.pairs[:12] == before
    with pytest.raises(UserError) as told:
        prepare("one", "three", PROMPTS, table.folder, good_and_bad)
    assert told.value.code == "other-models"
    with pytest.raises(UserError, match="no prompt"):
        prepare("one", "two", [], table.folder, good_and_bad)


def test_places_are_drawn_for_each_judge_and_stay(table: Table) -> None:
    pairs = table.pairs
    for judge in ("anna", "ben"):
        left = [table.left_of(pair, judge) for pair in pairs]
        assert left == [table.left_of(pair, judge) for pair in pairs]
        assert set(left) == {"a", "b"}
    assert [table.left_of(pair, "anna") for pair in pairs] != [table.left_of(pair, "ben") for pair in pairs]
    assert [pair.number for pair in table.open_pairs("anna")] != sorted(
        pair.number for pair in table.open_pairs("anna")
    )


def test_votes_are_kept_counted_and_may_be_taken_back(table: Table) -> None:
    waiting = table.open_pairs("anna")
    assert len(waiting) == 11, "equal answers are not asked"
    for pair, winner in zip(waiting, ["a"] * 6 + ["tie", "b"], strict=False):
        table.vote(pair, "anna", winner)  # type: ignore[arg-type]
    again = Table(table.folder)
    assert [pair.number for pair in again.open_pairs("anna")] == [pair.number for pair in waiting[8:]]
    result = again.result()
    assert result["win_rate"]["value"] == pytest.approx((6 + 0.5 + 0 + 0.5) / 9), "the equal pair is a tie"
    assert (result["ties"], result["votes"], result["pairs"], result["equal"]) == (1, 8, 12, 1)
    table.vote(waiting[7], "anna", None)
    assert table.result()["votes"] == 7
    table.vote(waiting[0], "anna", "b")
    assert next(vote for vote in table.votes if vote.number == waiting[0].number).winner == "b"
    with (table.folder / "votes.jsonl").open("a") as file:
        file.write('{"number": 1, "jud')  # the terminal was closed while a vote was written
    assert table.result()["votes"] == 7


def test_judges_are_averaged_by_prompt_and_their_agreement_told(table: Table) -> None:
    pairs = [pair for pair in table.pairs if not pair.equal]
    for at, pair in enumerate(pairs):
        table.vote(pair, "anna", "a" if at < 8 else "b")
        table.vote(pair, "ben", "a" if at < 6 else "b")
    result = table.result()
    means = [1.0] * 6 + [0.5] * 2 + [0.0] * 3 + [0.5]
    assert result["win_rate"]["value"] == pytest.approx(sum(means) / 12)
    assert result["win_rate"]["n"] == 12
    # 9 of 11 agree; chance: (8·6 + 3·5) / 121
    assert result["agreement"]["cohen"]["anna and ben"] == pytest.approx((9 / 11 - 63 / 121) / (1 - 63 / 121))
    rows = table.preferences()
    assert len(rows) == 9, "prompts on which the judges differ say nothing"
    assert recognise(rows, path="votes", columns={}).format.name == "preference"
    first = next(row for row in rows if row["prompt"][0]["content"] == pairs[0].prompt)
    assert (first["chosen"], first["rejected"]) == (pairs[0].a, pairs[0].b)


def test_kappa_of_any_number_of_judges_by_hand() -> None:
    """Fleiss: of [aab] 1 of 3 pairs agrees, of [bb] all; a says 2 of 5, b 3 of 5; one judge alone tells nothing."""
    assert fleiss([["a", "a", "b"], ["b", "b"], ["a"]]) == pytest.approx((2 / 3 - 13 / 25) / (1 - 13 / 25))
    assert fleiss([["a", "a"], ["b", "b"]]) == pytest.approx(1.0)
    assert (fleiss([["a"], ["b"]]), fleiss([["a", "a"]]), cohen(["a"], ["a"]), cohen([], [])) == (None,) * 4


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("p.txt", "one\ntwo\n", ["one", "two"]),
        ("p.jsonl", '{"prompt": "one"}\n{"messages": [{"role": "user", "content": "two"}]}\n', ["one", "two"]),
    ],
)
def test_prompts_come_from_lines_or_rows(tmp_path: Path, name: str, text: str, wanted: list[str]) -> None:
    (tmp_path / name).write_text(text)
    assert prompts_in(str(tmp_path / name)) == wanted


def test_a_row_without_a_prompt_is_told(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "one"}\n{"quest": "two"}\n')
    with pytest.raises(UserError, match="row 2") as told:
        prompts_in(str(tmp_path / "p.jsonl"))
    assert told.value.code == "bad-prompts"


def test_people_vote_with_keys_and_go_on_later(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["judge", "one", "two", "--out", str(table.folder), "--judge", "anna"]
    monkeypatch.setattr("sys.stdin", io.StringIO("1\n2\nx\ns\nt\nu\n2\nq\n"))
    assert main(words) == 0
    capsys.readouterr()
    assert [vote.judge for vote in table.votes] == ["anna"] * 3
    order = [pair for pair in Table(table.folder).pairs if pair.number in {vote.number for vote in table.votes}]
    assert len(order) == 3
    for vote in table.votes[:2]:
        chosen = vote.left if vote.number == table.votes[0].number else {"a": "b", "b": "a"}[vote.left]
        assert vote.winner == chosen
    monkeypatch.setattr("sys.stdin", io.StringIO("t\n" * 8))
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["votes"] == 11
    assert main([*words, "--results"]) == 0
    out = tmp_path / "prefs.jsonl"
    assert main([*words, "--export", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 3


def test_what_is_missing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", "one", "two", "--out", str(tmp_path / "none")]) == 2
    assert "--prompts FILE" in capsys.readouterr().err
    assert main(["judge", "one", "two", "--server", "http://localhost:1/v1"]) == 2
    assert "--model" in capsys.readouterr().err


class Judging:
    """A server that prefers answers of `one`, or whatever stands first."""

    def __init__(self, says: str) -> None:
        self.says, self.asked = says, 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                server.asked += 1
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                text = body["messages"][0]["content"]
                first = re.search(r"<answer_1>\n(.*?)\n</answer_1>", text, re.DOTALL)
                assert first is not None
                place = "1" if first[1].startswith("one") else "2"
                reply = {"fair": f"Better: 2? no. Better: {place}", "first": "Better: **1**", "mute": "hm"}[server.says]
                sent = json.dumps({"choices": [{"message": {"content": reply}}]}).encode()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"


@pytest.fixture(params=["fair", "first", "mute"])
def judging(request: pytest.FixtureRequest) -> Iterator[Judging]:
    made = Judging(request.param)
    thread = Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.http.shutdown()
    thread.join()
    made.http.server_close()


def test_a_server_is_asked_in_both_places(judging: Judging, table: Table) -> None:
    judge: Any = PairJudge(judging.url, "m", pause=0.0, retries=1, parallel=2)
    if judging.says == "mute":
        with pytest.raises(UserError) as told:
            judge.judge(table)
        assert told.value.code == "bad-judge"
        return
    assert judge.judge(table) == 11
    assert judging.asked == 22
    result = table.result()
    assert result["win_rate"]["value"] == pytest.approx((11 + 0.5) / 12 if judging.says == "fair" else 0.5)
    assert judge.judge(table) == 0, "what is judged is not asked again"


def test_a_server_that_is_no_address_is_told(table: Table) -> None:
    with pytest.raises(UserError, match="no address"):
        PairJudge("localhost", "m").judge(table)
