"""One question to an OpenAI-compatible server (vLLM, llama.cpp, a paid one): ``POST {server}/chat/completions``.

``http.client`` rather than ``urllib``, because the latter sends what is asked to a proxy that an environment variable
names.
"""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tunesmith.errors import UserError

PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Answers of a server that is busy or starting: worth asking again."""


@dataclass(frozen=True)
class ChatServer:
    """Where to ask, and how patiently."""

    url: str
    """The address up to ``/v1``."""
    timeout: float
    """Seconds for one answer."""
    retries: int
    """How often to ask again after a passing failure."""
    pause: float
    """Seconds before asking again; twice as long each time."""
    key_variable: str | None = None
    """Environment variable that holds the key."""

    def chat(self, messages: Sequence[Mapping[str, str]], **options: Any) -> str:
        """The text of the reply. ``UserError`` where the server cannot be reached or refuses."""
        body = json.dumps({"messages": list(messages), **options}, ensure_ascii=False).encode()
        problem = ""
        for attempt in range(self.retries + 1):
            if attempt:
                time.sleep(self.pause * 2 ** (attempt - 1))
            try:
                status, text = self._post(body)
            except (OSError, http.client.HTTPException) as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            if status == 200:
                return _content(self.url, text)
            problem = f"HTTP {status}: {' '.join(text.split())[:200]}"
            if status not in PASSING:
                raise UserError(
                    f"the server {self.url} refused the question",
                    got=problem,
                    hint="Check the model's name, the key and that the address ends in /v1.",
                    code="server-refused",
                )
        raise UserError(
            f"the server {self.url} cannot be reached ({self.retries + 1} attempts)",
            got=problem,
            hint="Start it, or correct the address; what was trained so far is kept.",
            code="server-unreachable",
        )

    def _post(self, body: bytes) -> tuple[int, str]:
        place = urlsplit(self.url)
        kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
        connection = kind(place.hostname or "", place.port, timeout=self.timeout)
        try:
            connection.request("POST", f"{place.path.rstrip('/')}/chat/completions", body, self._headers())
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace")
        finally:
            connection.close()

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if self.key_variable is not None:
            key = os.environ.get(self.key_variable)
            if not key:
                raise UserError(
                    f"the environment variable {self.key_variable} is to hold the server's key, and is not set",
                    hint=f"export {self.key_variable}=…",
                    code="no-key",
                )
            headers["Authorization"] = f"Bearer {key}"
        return headers


def _content(url: str, text: str) -> str:
    try:
        return str(json.loads(text)["choices"][0]["message"]["content"] or "")
    except (ValueError, KeyError, IndexError, TypeError):
        raise UserError(
            f"the server {url} answers, but not as an OpenAI-compatible one",
            got=" ".join(text.split())[:200],
            allowed='{"choices": [{"message": {"content": …}}]}',
            hint="Check that the address ends in /v1.",
            code="server-refused",
        ) from None
