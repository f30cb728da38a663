"""Calls of a function that may hang, in a process that can be ended (``rewards.worker`` is the other side)."""

from __future__ import annotations

import os
import pickle
import selectors
import signal
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from tunesmith.rewards.orders import Call, Failed, Load

LOADING_SECONDS = 300.0
"""How long a module may take to be imported (it may import torch on a busy machine)."""


class CallFailedError(Exception):
    """A call that gave no value; the message says why in a line, ``trace`` is the function's traceback or ""."""

    def __init__(self, what: str, trace: str = "") -> None:
        self.trace = trace
        super().__init__(what)


class Caller:
    """One function in a process of its own, which is started at the first call and again after one that hung."""

    def __init__(self, target: str, arguments: dict[str, Any]) -> None:
        self._load = Load(target, arguments, [*sys.path, str(Path.cwd())])
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Load the function; ``CallFailedError`` where it cannot be found."""
        with self._lock:
            self._started()

    def call(self, value: Any, *, seconds: float) -> Any:
        """What the function returns for ``value``; ``CallFailedError`` where it raises, dies or takes too long."""
        with self._lock:
            process = self._started()
            return self._asked(process, Call(value, seconds), seconds)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            command = [sys.executable, "-m", "tunesmith.rewards.worker"]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
            self._process = process
            self._end = weakref.finalize(self, _kill, process)
            try:
                self._asked(process, self._load, LOADING_SECONDS)
            except CallFailedError:
                self._stop()
                raise
        return self._process

    def _asked(self, process: subprocess.Popen[bytes], order: Load | Call, seconds: float) -> Any:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(pickle.dumps(order))
            process.stdin.flush()
            answer = _read(process.stdout, time.monotonic() + seconds)
        except TimeoutError:
            self._stop()
            raise CallFailedError(f"it did not end within {seconds:g} seconds") from None
        except (EOFError, BrokenPipeError):
            self._stop()
            raise CallFailedError(f"it ended its process ({_ending(process)})") from None
        except BaseException:
            self._stop()  # an answer that nobody read must not be taken for that of the next call
            raise
        if isinstance(answer, Failed):
            raise CallFailedError(answer.what, answer.trace)
        return answer

    def _stop(self) -> None:
        self._end()
        self._process = None


@lru_cache(maxsize=16)
def caller(target: str, arguments: tuple[tuple[str, Any], ...] = ()) -> Caller:
    """The process of a function, shared by all who ask for the same one; it ends with this process."""
    return Caller(target, dict(arguments))


def _read(pipe: IO[bytes], deadline: float) -> Any:
    """One pickled value, however many pieces it comes in."""
    data = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            piece = os.read(pipe.fileno(), 1 << 16)
            if not piece:
                raise EOFError
            data += piece
            try:
                return pickle.loads(data)
            except (EOFError, pickle.UnpicklingError):
                continue


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and whatever it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):  # what was not yet sent finds nobody
                pipe.close()


def _ending(process: subprocess.Popen[bytes]) -> str:
    code = process.returncode
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
