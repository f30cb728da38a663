"""A small server that speaks vLLM's dialect of OpenAI's completions: a real generator behind http.server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tunesmith.contracts.sampler import Ask, Sampling
from tunesmith.generation.generator import Generator
from tunesmith.interop.named import Adapters

BASE = "tiny"


class Stub:
    """What the server knows; tests read ``seen`` and change the rest.

    ``failures`` are HTTP statuses to answer with first; ``bend`` changes a choice before it is sent; ``missing`` are
    paths that are not there.
    """

    def __init__(self, generator: Generator, adapters: Adapters | None = None) -> None:
        self.generator, self.adapters = generator, adapters
        self.seen: list[tuple[str, Any]] = []
        self.failures: list[int] = []
        self.missing: set[str] = set()
        self.context = 256
        self.encode: Callable[[str], list[int]] = lambda text: list(text.encode())
        self.bend: Callable[[dict[str, Any]], None] = lambda _: None
        self.lock = threading.Lock()

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        """Status and content for a request."""
        self.seen.append((path, body))
        if self.failures:
            return self.failures.pop(0), {"error": {"message": "try later"}}
        if path in self.missing:
            return 404, {"detail": "Not Found"}
        if path == "/v1/models":
            loaded = self.adapters.names if self.adapters else ()
            cards = [{"id": BASE, "max_model_len": self.context, "parent": None}]
            return 200, {"data": [*cards, *({"id": name, "parent": BASE} for name in loaded)]}
        if path == "/tokenize":
            return 200, {"tokens": self.encode(body["prompt"])}
        if path == "/v1/completions":
            return 200, {"choices": [self._choice(body)]}
        return self._adapter(path, body)

    def _adapter(self, path: str, body: Any) -> tuple[int, Any]:
        assert self.adapters is not None
        name = body["lora_name"]
        if path == "/v1/load_lora_adapter":
            if name in self.adapters.names:
                return 400, {"error": {"message": f"The lora adapter '{name}' has already been loaded."}}
            self.adapters.load(name, body["lora_path"])
            self.adapters.set()
            return 200, "Success"
        if name not in self.adapters.names:
            return 404, {"error": {"message": f"The lora adapter '{name}' cannot be found."}}
        self.adapters.remove(name)
        return 200, "Success"

    def _choice(self, body: dict[str, Any]) -> dict[str, Any]:
        ask = Ask(
            body["prompt"],
            [body["seed"]],
            Sampling(body["temperature"], max(0, body["top_k"]), body["top_p"], body["repetition_penalty"]),
            max_new_tokens=body["max_tokens"],
            min_new_tokens=body["min_tokens"],
            stop=body["stop"],
            adapter=None if body["model"] == BASE else body["model"],
        )
        self.generator.stop_ids = frozenset(body["stop_token_ids"])
        ((found,),) = self.generator.sample([ask], logprobs=True)
        ids = [*found.ids, found.stop] if isinstance(found.stop, int) else found.ids
        choice: dict[str, Any] = {
            "text": found.text,
            "finish_reason": "stop" if found.stopped else "length",
            "stop_reason": found.stop,
            "token_ids": ids,
        }
        if body.get("logprobs") is not None:
            tokens = [f"token_id:{token}" for token in ids]
            choice["logprobs"] = {"token_logprobs": found.logprobs, "tokens": tokens}
        self.bend(choice)
        return choice


@contextmanager
def served(stub: Stub) -> Iterator[str]:
    """``stub`` on a free port of this machine; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(*stub.answer(self.path, None))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with stub.lock:
                self._send(*stub.answer(self.path, body))

        def _send(self, status: int, content: Any) -> None:
            data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
