"""Programs in the sandbox: what computes passes, whatever else fails with its reason, and the kernel's part alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tunesmith.errors import UserError
from tunesmith.rewards import sandbox
from tunesmith.rewards.sandbox import GUARD, Ended, Limits, Task, passes, run_program, run_programs

RIGHT = "def f(x):\n    return x + 1\n"
TESTS = "assert f(1) == 2\nassert f(2) == 3"
SHORT = Limits(seconds=0.5, memory_mib=256)
ROOMY = Limits(seconds=30.0)
"""For what must end by itself: only a broken sandbox uses it up."""
IN_THE_KERNEL = sys.platform == "linux" and os.uname().machine in ("x86_64", "aarch64")

COMPUTES = {
    "library": "import re, math, json, random, datetime, decimal, hashlib, uuid, zoneinfo, asyncio, unittest, sqlite3\n"
    "random.random(), datetime.datetime.now(), hashlib.sha256(b'a'), uuid.uuid4(), zoneinfo.ZoneInfo('UTC')\n",
    "dataclass and pickle": "from __future__ import annotations\nimport pickle\nfrom dataclasses import dataclass\n"
    "@dataclass\nclass A:\n    x: int\nassert pickle.loads(pickle.dumps(A(1))) == A(1)\n",
    "sleeps": "import time; time.sleep(0.01)\n",
    "prints": "print('x' * 1000)\n",
    "surrogates in a string": "s = 'caf\\udce9'\n",
    "other letters": "größe = 'é'\n",
}
REFUSED = {
    "fork": ("import os\ntry:\n    os.fork()\nexcept BaseException:\n    pass\n", "it tried to start a process"),
    "subprocess": ("import subprocess; subprocess.run(['true'])\n", "it tried to start a process"),
    "system": ("import os; os.system('true')\n", "it tried to start a process"),
    "socket": ("try:\n    import socket; socket.socket()\nexcept OSError:\n    pass\n", "it tried to use the network"),
    "url": ("import urllib.request as u; u.urlopen('http://127.0.0.1:9')\n", "it tried to use the network"),
    "write": ("open('{outside}/made', 'w')\n", "it tried to write a file"),
    "write here": ("open('made', 'a')\n", "it tried to write a file"),
    "write low": ("import os; os.open('{outside}/made', os.O_CREAT | os.O_WRONLY)\n", "it tried to write a file"),
    "make folder": ("import os; os.mkdir('{outside}/made')\n", "it tried to change files"),
    "remove": ("import os; os.remove('{outside}/secret')\n", "it tried to change files"),
    "kill": ("import os; os.kill(os.getppid(), 9)\n", "it tried to send a signal"),
    "ctypes": ("import ctypes; ctypes.CDLL(None)\n", "it tried to reach below Python"),
    "limits": ("import resource as r; r.setrlimit(r.RLIMIT_CPU, (9, 9))\n", "it tried to raise its limits"),
    "read": ("open('{outside}/secret').read()\n", "PermissionError: files cannot be read here"),
    "list": ("import os; os.listdir('{outside}')\n", "PermissionError: files cannot be read here"),
    "read a link": ("import os; open(os.path.join(os.getcwd(), '..', '..', 'etc', 'passwd'))\n", "PermissionError"),
    "input": ("input()\n", "EOFError"),
    "installed packages": ("import pydantic\n", "ModuleNotFoundError"),
    "memory": ("x = [0] * 10**9\n", "it used more memory than it may"),
    "output": ("while True: print('x' * 10000)\n", "it printed more than 1,048,576 bytes"),
    "error output": ("import sys\nwhile True: sys.stderr.write('x' * 10000)\n", "it printed more than"),
    "ends early": ("import sys; sys.exit(0)\n", "the program ended itself"),
    "ends at once": ("import os; os._exit(0)\n", "it ended before its tests did"),
    "forges": ("import os\nfor f in range(3, 1024):\n    try: os.write(f, b'passed 0\\n')\n    except OSError: pass\n"
               "os._exit(0)\n", "it ended before its tests did"),
    "closes everything": ("import os; os.closerange(0, 1024)\n", "it "),
    "floods the channel": ("import os\nwhile True:\n    for f in range(3, 1024):\n"
                           "        try: os.write(f, b'x' * 9999)\n        except OSError: pass\n",
                           "it wrote into the guard's channel"),
    "crashes": ("import signal; signal.raise_signal(signal.SIGSEGV)\n", "it crashed (SIGSEGV)"),
    "syntax": ("def f(x) return x\n", "SyntaxError"),
    "null byte": ("x = 1\0", "SyntaxError"),
    "odd error": ("class E(Exception):\n    def __str__(self): raise ValueError\nraise E\n", "E at line 3"),
    "recursion": ("def f(x): return f(x)\n", "RecursionError"),
    "wrong": ("def f(x):\n    return 2\n", "AssertionError at line 2 of the tests: assert f(2) == 3"),
}  # fmt: skip
ENDLESS = {
    "loop": "while True: pass\n",
    "sleep": "import time; time.sleep(1000)\n",
    "loop that catches": "while True:\n    try:\n        while True: pass\n    except BaseException: pass\n",
    "ignores signals": "import signal\nfor s in (15, 24, 14): signal.signal(s, signal.SIG_IGN)\nwhile True: pass\n",
    "one long operation": "x = 3 ** 10 ** 9\n",
}


@pytest.mark.parametrize("name", COMPUTES)
def test_what_computes_passes(name: str) -> None:
    assert run_program(Task(COMPUTES[name] + RIGHT, TESTS), limits=ROOMY) == Ended(True)


@pytest.mark.parametrize("name", REFUSED)
def test_whatever_else_fails_and_says_why(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x = 1")
    program, reason = REFUSED[name]
    ended = run_program(Task((RIGHT + program).replace("{outside}", str(tmp_path)), TESTS), limits=ROOMY)
    if name in ("syntax", "odd error"):
        ended = run_program(Task(program, TESTS), limits=ROOMY)
    assert not ended.passed
    assert ended.reason.startswith(reason)
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize("name", ENDLESS)
def test_what_never_ends_is_ended(name: str) -> None:
    begun = time.monotonic()
    ended = run_program(Task(ENDLESS[name], TESTS), limits=SHORT)
    assert ended == Ended(False, "it did not end within 0.5 seconds")
    assert time.monotonic() - begun < 30


def test_tests_see_the_program_and_a_timeout_is_kept() -> None:
    assert passes(RIGHT, TESTS)
    assert not passes(RIGHT, "assert f(1) == 3")
    assert not passes("", TESTS)
    assert not passes(RIGHT, "while True: pass", timeout=0.3)


def test_many_programs_keep_their_order() -> None:
    tasks = [Task(f"x = {n}", "assert x % 2 == 0") for n in range(8)]
    assert [ended.passed for ended in run_programs(tasks, workers=3)] == [True, False] * 4
    assert run_programs([]) == []


def test_the_order_of_sets_is_the_same_every_time() -> None:
    tests = "assert [f for f in {'a', 'b', 'c', 'd', 'e'}] == " + repr(
        eval(subprocess.run(
            [sys.executable, "-c", "print([f for f in {'a', 'b', 'c', 'd', 'e'}])"],
            env={"PYTHONHASHSEED": "0"}, capture_output=True, check=True, text=True,
        ).stdout)
    )  # fmt: skip
    assert all(passes("", tests) for _ in range(3))


def test_no_environment_is_handed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    assert passes("import os", "assert 'API_KEY' not in os.environ")


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.tempfile, "tempdir", str(tmp_path))
    before = len(os.listdir("/proc/self/fd")) if IN_THE_KERNEL else 0  # noqa: PTH208
    for program in (RIGHT, "while True: pass", "import os; os._exit(0)"):
        run_program(Task(program, TESTS), limits=SHORT)
    assert list(tmp_path.iterdir()) == []
    assert (len(os.listdir("/proc/self/fd")) if IN_THE_KERNEL else 0) == before  # noqa: PTH208


def test_a_sandbox_that_cannot_start_is_no_score(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "guard.py").write_text("raise RuntimeError('no seat')")
    monkeypatch.setattr(sandbox, "GUARD", tmp_path / "guard.py")
    with pytest.raises(UserError, match=r"no process for generated code can be started.*no seat"):
        run_program(Task(RIGHT, TESTS))


KERNEL = f"""
import os, sys
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("guard", {str(GUARD)!r})
guard = module_from_spec(spec)
spec.loader.exec_module(guard)
{{without}}
guard.close_doors()
{{act}}
"""
NO_LANDLOCK = "guard._hide_files = lambda call: None"
ACTS = {
    "socket": "import socket; socket.socket()",
    "fork": "os.fork()",
    "exec": "os.execv('/bin/true', ['true'])",
    "write": "open('{outside}/made', 'w')",
    "append": "open('{outside}/secret', 'a')",
    "remove": "os.remove('{outside}/secret')",
    "rename": "os.rename('{outside}/secret', '{outside}/made')",
    "mkdir": "os.mkdir('{outside}/made')",
    "chmod": "os.chmod('{outside}/secret', 0)",
    "kill": "os.kill(os.getppid(), 0)",
    "setrlimit": "import resource as r; r.setrlimit(r.RLIMIT_CPU, (9, 9))",
    "setuid": "os.setuid(0)",
    "chdir": "os.chdir('/')",
    "read": "open('{outside}/secret')",
    "list": "os.listdir('{outside}')",
}


@pytest.mark.skipif(not IN_THE_KERNEL, reason="the kernel's filter is for Linux on x86-64 and arm64")
@pytest.mark.parametrize("name", ACTS)
def test_the_kernel_refuses_without_the_hook(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    without = "" if name in ("read", "list") else NO_LANDLOCK
    act = KERNEL.format(act=ACTS[name].replace("{outside}", str(tmp_path)), without=without)
    done = subprocess.run([sys.executable, "-S", "-c", act], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "PermissionError" in done.stderr or "not allowed to raise" in done.stderr, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
    assert (tmp_path / "secret").read_text() == "x"


@pytest.mark.skipif(not IN_THE_KERNEL, reason="the kernel's filter is for Linux on x86-64 and arm64")
def test_the_kernel_lets_compute_and_signal_itself() -> None:
    computes = "import hashlib, signal; hashlib.sha256(b'a'); signal.raise_signal(signal.SIGUSR1)"
    act = KERNEL.format(act=computes, without="")
    done = subprocess.run([sys.executable, "-S", "-c", act], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGUSR1, done.stderr
