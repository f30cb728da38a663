"""JSON over HTTP to a server that speaks OpenAI's dialect, with the standard library alone.

A busy, restarting or unreachable server is tried again, each pause twice the one before; what the server refuses is
told at once, in its own words. Proxies named in the environment are not used: what a run does is said in its recipe.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

from tunesmith.errors import UserError

_BUSY = (408, 429, 500, 502, 503, 504)
_LONGEST_PAUSE = 30.0
"""seconds"""


class RefusedError(UserError):
    """The server answered with an error; ``status`` is its HTTP number."""

    def __init__(self, status: int, path: str, told: str) -> None:
        self.status = status
        hint = "Give the server's key." if status in (401, 403) else None
        super().__init__(f"the server refused {path} ({status}): {told}", hint=hint, code="server-refused")


def _direct() -> OpenerDirector:
    return build_opener(ProxyHandler({}))


@dataclass(frozen=True)
class Connection:
    """How a server is reached: ``url`` with or without ``/v1``; ``key`` is sent as a bearer token.

    ``timeout`` is in seconds and for one try; ``retries`` come after the first try, ``pause`` seconds after it, then
    twice that, and so on. ``sleep`` is how it pauses.
    """

    url: str
    key: str | None = field(default=None, repr=False)
    timeout: float = 600.0
    retries: int = 4
    pause: float = 0.5
    sleep: Callable[[float], None] = time.sleep
    _opener: OpenerDirector = field(default_factory=_direct, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise UserError("a server's address begins with http:// or https://", got=self.url, code="bad-server-url")

    def get(self, path: str) -> Any:
        """The JSON at ``path`` (below the server's root). Raises as :meth:`post`."""
        return self._call(path, None)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Send ``body`` to ``path``; the answer's JSON, or its text where it is none.

        Raises ``RefusedError``; ``UserError``: ``server-unreachable``, ``server-busy``.
        """
        return self._call(path, json.dumps(body).encode())

    def _call(self, path: str, body: bytes | None) -> Any:
        for tried in range(self.retries + 1):
            try:
                return _json(self._once(path, body))
            except HTTPError as error:
                told = _told(error)
                if error.code not in _BUSY:
                    raise RefusedError(error.code, path, told) from error
                failure = UserError(
                    f"the server at {self.url} did not answer {path}: {error.code}, {told}",
                    got=f"{tried + 1} tries",
                    code="server-busy",
                )
            except (OSError, HTTPException) as error:
                failure = UserError(
                    f"the server at {self.url} cannot be reached: {_reason(error)}",
                    got=f"{tried + 1} tries",
                    hint="Is it running, and is the address right?",
                    code="server-unreachable",
                )
            if tried < self.retries:
                self.sleep(min(_LONGEST_PAUSE, self.pause * 2**tried))
        raise failure

    def _once(self, path: str, body: bytes | None) -> bytes:
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        root = self.url.rstrip("/").removesuffix("/v1")
        with self._opener.open(Request(root + path, body, headers), timeout=self.timeout) as response:
            found: bytes = response.read()
            return found


def _json(content: bytes) -> Any:
    text = content.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", error)) or type(error).__name__


def _told(error: HTTPError) -> str:
    """The server's own words: OpenAI puts them under ``error.message``, older servers under ``message``."""
    try:
        found = _json(error.read())
    except OSError:
        found = ""
    if isinstance(found, dict):
        inner = found.get("error", found)
        found = inner.get("message", inner) if isinstance(inner, dict) else inner
    return str(found)[:300] or str(error.reason)
