"""Programs that a model wrote, run where they can do little harm: ``passes(program, tests)``.

Each program has a process of its own (``rewards.guard``) with no environment, an empty temporary folder, a session of
its own that is killed as a whole, limits of time, memory and output, and only Python's standard library. On Linux
(x86-64, arm64) the kernel refuses every system call beyond computing (no network, no new process or thread, no file
written; seccomp) and, from 5.13 on, every file to read but Python's library and shared ones (Landlock), unless it was
built without them. Everywhere Python's audit hook refuses the same.

What it does not guard against:
- holes in the kernel, and timing or hardware channels. Code from people who attack you belongs in a virtual machine;
- other systems than those, where only limits and the audit hook stand, which code made for it can get round;
- programs made to deceive their *tests* rather than to harm: a result that is equal to everything, a test function
  replaced, a look into the running frames. Passing is said by a word that only the parent knows, so ending early or
  printing "passed" does not pass, but tests and program share one interpreter.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tunesmith.errors import UserError

GUARD = Path(__file__).with_name("guard.py")
START_SECONDS = 60.0
"""How long a fresh interpreter may take to be ready on a busy machine; the program's own time starts then."""
CHUNK = 1 << 16


@dataclass(frozen=True)
class Limits:
    """What one program may use."""

    seconds: float = 5.0
    """Time on the clock from the program's first line, and (rounded up) of the processor."""
    memory_mib: int = 512
    """Address space of the whole process, the interpreter's 30 MiB included."""
    output_bytes: int = 1 << 20
    """Bytes printed; all of them are thrown away."""


@dataclass(frozen=True)
class Task:
    """A program and the tests that are run after it in the same module: passing is running through without an error."""

    program: str
    tests: str


@dataclass(frozen=True)
class Ended:
    """How a program ended; ``reason`` is why it did not pass, "" where it did."""

    passed: bool
    reason: str = ""


DEFAULT = Limits()


def passes(program: str, tests: str, *, timeout: float = DEFAULT.seconds) -> bool:
    """Whether ``program`` followed by ``tests`` (Python with asserts) runs through within ``timeout`` seconds."""
    return run_program(Task(program, tests), limits=Limits(seconds=timeout)).passed


def run_programs(tasks: Sequence[Task], *, limits: Limits = DEFAULT, workers: int | None = None) -> list[Ended]:
    """How each of ``tasks`` ended, in their order; ``workers`` at a time (default: the cores this process may use)."""
    with ThreadPoolExecutor(workers or _cores()) as pool:
        return list(pool.map(lambda task: run_program(task, limits=limits), tasks))


def run_program(task: Task, *, limits: Limits = DEFAULT) -> Ended:
    """Run one program; whatever it does ends in an ``Ended``. ``UserError`` where no sandbox can be started."""
    word = secrets.token_hex(16)
    reading, writing = os.pipe()
    order = {
        "program": task.program,
        "tests": task.tests,
        "word": word,
        "channel": writing,
        "cpu_seconds": limits.seconds + 1,
        "memory_bytes": limits.memory_mib << 20,
    }
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as stdin:
        # ascii, because a program may hold halves of surrogate pairs, which UTF-8 cannot
        stdin.write(json.dumps(order).encode("ascii"))
        stdin.seek(0)
        try:
            process = _start(folder, stdin.fileno(), writing)
        finally:
            os.close(writing)
        try:
            return _listen(process, reading, word, limits)
        finally:
            _kill(process)
            os.close(reading)


def _start(folder: str, stdin: int, channel: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-s", "-S", "-P", "-B", "-X", "utf8", str(GUARD)],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        cwd=folder,
        env={"PYTHONHASHSEED": "0"},  # a program that depends on the order of a set gets the same score every time
        pass_fds=(channel,),
        start_new_session=True,
    )


@dataclass
class _Heard:
    """What came from a program so far: ``said`` by its guard, bytes ``printed`` and the ``first`` of them."""

    said: bytes = b""
    printed: int = 0
    first: bytes = b""

    @property
    def ready(self) -> bool:
        return self.said.startswith(b"ready\n")


def _listen(process: subprocess.Popen[bytes], channel: int, word: str, limits: Limits) -> Ended:
    """Follow what the program prints and what its guard says until one of them settles the matter."""
    assert process.stdout is not None
    heard = _Heard()
    deadline, started = time.monotonic() + START_SECONDS, False
    with selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            events = selector.select(max(0.0, deadline - time.monotonic()))
            pieces = {key.fd: os.read(key.fd, CHUNK) for key, _ in events}
            if pieces.get(process.stdout.fileno()) == b"":
                selector.unregister(process.stdout)
            heard.said += pieces.get(channel, b"")
            piece = pieces.get(process.stdout.fileno(), b"")
            heard.printed += len(piece)
            heard.first = (heard.first + piece)[:CHUNK]
            if heard.ready and not started:
                started, deadline = True, time.monotonic() + limits.seconds
            ended = _verdict(heard, word) or _beyond(heard, limits)
            if ended is not None:
                return ended
            if time.monotonic() >= deadline:
                return _too_slow(heard, limits)
            if pieces.get(channel) == b"":
                return _silent(process, heard, limits)


def _verdict(heard: _Heard, word: str) -> Ended | None:
    """What the guard said of the end; None before that."""
    for line in heard.said.decode("utf-8", "replace").split("\n")[:-1]:
        kind, _, rest = line.partition(" ")
        if kind == "passed" and secrets.compare_digest(rest.encode(), word.encode()):
            return Ended(True)
        if kind == "failed":
            return Ended(False, rest)
    return None


def _beyond(heard: _Heard, limits: Limits) -> Ended | None:
    """Whether more came than may come."""
    if heard.printed > limits.output_bytes:
        return Ended(False, f"it printed more than {limits.output_bytes:,} bytes")
    if len(heard.said) > CHUNK:
        return Ended(False, "it wrote into the guard's channel")
    return None


def _too_slow(heard: _Heard, limits: Limits) -> Ended:
    if not heard.ready:
        raise _no_sandbox(f"it was not ready after {START_SECONDS:g} seconds")
    return Ended(False, f"it did not end within {limits.seconds:g} seconds")


def _silent(process: subprocess.Popen[bytes], heard: _Heard, limits: Limits) -> Ended:
    """The process ended (or closed its channel) without a verdict."""
    try:
        code = process.wait(timeout=limits.seconds)
    except subprocess.TimeoutExpired:
        return Ended(False, "it closed the guard's channel")
    if not heard.ready:
        assert process.stdout is not None
        words = (heard.first + process.stdout.read()).decode("utf-8", "replace").split("\n")
        raise _no_sandbox(next((line for line in reversed(words) if line.strip()), f"exit code {code}")[:300])
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return Ended(False, f"it used more than {math.ceil(limits.seconds + 1)} seconds of the processor")
    if code < 0:
        return Ended(False, f"it crashed ({signal.Signals(-code).name})")
    return Ended(False, "it ended before its tests did")


def _no_sandbox(why: str) -> UserError:
    return UserError(
        "no process for generated code can be started",
        got=why,
        hint="More memory (memory_mib) or fewer programs at once may help.",
        code="no-sandbox",
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    # its group first: the number stays taken until the process is waited for
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
