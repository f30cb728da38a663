"""The judge, beside a server of the test's own on a free port."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from reward_samples import said

from tunesmith.errors import UserError
from tunesmith.rewards.build import build_rewards
from tunesmith.rewards.judge import Judge

Reply = Callable[[dict[str, Any], int], tuple[int, str]]


class Server:
    """What it answers is ``reply(body, number of the question)``; ``asked`` holds the bodies and ``keys`` the keys."""

    def __init__(self) -> None:
        self.reply: Reply = lambda *_: (200, "Score: 10")
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.paths: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.asked.append(body)
                server.keys.append(self.headers.get("Authorization"))
                server.paths.append(self.path)
                status, text = server.reply(body, len(server.asked))
                if status == 200 and not text.startswith("{"):
                    text = json.dumps({"choices": [{"message": {"content": text}}]})
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def judge(self, **options: Any) -> Judge:
        return Judge(**{"server": self.url, "model": "m", "pause": 0.0, "parallel": 1, **options})


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.http.shutdown()
    made.http.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("reply", "options", "score"),
    [
        ("Fine.\nScore: 10", {}, 1.0),
        ("Score: 1", {}, 0.0),
        ("score : **5.5**", {}, 0.5),
        ('It says "Score: 10", which I ignore.\nScore: 1', {}, 0.0),
        ("[[3]]", {"pattern": r"\[\[(\d)\]\]", "scale": (1, 5)}, 0.5),
        ("Score: -1", {"scale": (-1, 1)}, 0.0),
    ],
)
def test_the_last_score_of_a_reply_is_put_on_0_to_1(
    reply: str, options: dict[str, Any], score: float, server: Server
) -> None:
    server.reply = lambda *_: (200, reply)
    (verdict,) = server.judge(**options).judge([said("a duck")])
    assert verdict.score == pytest.approx(score, abs=1e-12)
    assert verdict.note == reply
    assert server.paths == ["/v1/chat/completions"]


def test_the_judge_reads_question_answer_reference_and_rubric(server: Server) -> None:
    server.judge(rubric="Is it {short}?", model="big", seed=7).score(
        [said("{prompt} {low}", "three", prompt="How {many}?")]
    )
    (body,) = server.asked
    text = body["messages"][0]["content"]
    for words in (
        "Is it {short}?",
        "How {many}?",
        "\n{prompt} {low}\n",
        "<right_answer>\nthree\n",
        "from 1 (worst) to 10",
    ):
        assert words in text
    assert body["model"] == "big"
    assert body["seed"] == 7
    assert body["temperature"] == 0.0
    server.judge(prompt="{answer}!").score([said("duck")])
    assert server.asked[-1]["messages"][0]["content"] == "duck!"
    server.judge().score([said("duck")])
    assert "right_answer" not in server.asked[-1]["messages"][0]["content"]


def test_answers_keep_their_order_when_asked_together(server: Server) -> None:
    server.reply = lambda body, _: (200, f"Score: {body['messages'][0]['content']}")
    samples = [said(str(1 + n % 10)) for n in range(30)]
    scores = server.judge(prompt="{answer}", parallel=8).score(samples)
    assert scores == pytest.approx([(n % 10) / 9 for n in range(30)])


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_is_asked_again(status: int, server: Server) -> None:
    server.reply = lambda _, at: (status, "busy") if at < 3 else (200, "Score: 10")
    assert server.judge().score([said("duck")]) == [1.0]
    assert len(server.asked) == 3


def test_a_failure_that_stays_is_told(server: Server) -> None:
    server.reply = lambda *_: (503, "starting")
    with pytest.raises(UserError, match=r"cannot be reached \(3 attempts\); got HTTP 503: starting") as raised:
        server.judge(retries=2).score([said("duck")])
    assert raised.value.code == "server-unreachable"


@pytest.mark.parametrize(("status", "text"), [(401, "no key"), (404, "no such model"), (200, '{"error": 1}')])
def test_a_refusal_is_told_at_once(status: int, text: str, server: Server) -> None:
    server.reply = lambda *_: (status, text)
    with pytest.raises(UserError) as raised:
        server.judge().score([said("duck")])
    assert raised.value.code == "server-refused"
    assert text in str(raised.value)
    assert len(server.asked) == 1


def test_a_reply_without_a_score_is_asked_again_under_another_seed(server: Server) -> None:
    server.reply = lambda _, at: (200, "Hm." if at == 1 else "Score: 10")
    assert server.judge(seed=5).score([said("duck")]) == [1.0]
    assert [(body["seed"], body["temperature"]) for body in server.asked] == [(5, 0.0), (6, 0.7)]


def test_one_reply_without_a_score_is_0_with_a_note_and_all_are_an_error(server: Server) -> None:
    server.reply = lambda body, _: (200, "Score: 99" if "goose" in body["messages"][0]["content"] else "Score: 10")
    verdicts = server.judge(retries=1).judge([said("duck"), said("goose")])
    assert [verdict.score for verdict in verdicts] == [1.0, 0.0]
    assert verdicts[1].note == "no score in the reply: Score: 99"
    with pytest.raises(UserError, match=r"gave no score on sample 1 \('How many ducks\?'\), nor on any of 2"):
        server.judge().score([said("goose"), said("goose")])


def test_a_silent_server_is_found_before_training() -> None:
    with socket.socket() as taken:  # a port that nobody serves
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(UserError, match=r"cannot be reached \(2 attempts\); got ConnectionRefusedError"):
            build_rewards([{"name": "judge", "server": url, "model": "m", "retries": 1, "pause": 0}])


def test_a_server_that_hangs_is_not_waited_for() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"
        with pytest.raises(UserError, match=r"cannot be reached .*TimeoutError"):
            Judge(server=url, model="m", retries=0, timeout=0.2).score([said("duck")])


def test_the_key_comes_from_the_named_variable(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "abc")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # is not asked
    build_rewards([server.judge(key_variable="JUDGE_KEY")])
    server.judge().score([said("duck")])
    assert server.keys == ["Bearer abc", None]
    monkeypatch.delenv("JUDGE_KEY")
    with pytest.raises(UserError, match="JUDGE_KEY"):
        server.judge(key_variable="JUDGE_KEY").score([said("duck")])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"server": "localhost:8000"}, "address"),
        ({"scale": (5, 1)}, "scale"),
        ({"prompt": "Grade it."}, "answer"),
        ({"pattern": "("}, "regular expression"),
        ({"pattern": "Score"}, "group"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Judge(**{"server": "http://localhost/v1", "model": "m", **options})
