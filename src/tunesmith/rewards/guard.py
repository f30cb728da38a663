"""The inside of the sandbox: takes a program from stdin, gives up every power it can, and runs it. Imported by nobody.

``rewards.sandbox`` starts this file as ``python -s -S -P -B guard.py``: only the standard library is there. Order:
resource limits, then the kernel's doors (Linux on x86-64 and arm64), then Python's audit hook, then the program.

- The filter (seccomp, kernel/Documentation/userspace-api/seccomp_filter.rst) is a list of the system calls that
  computing needs; any other (sockets, new processes and threads, files opened for writing, signals to others …) fails
  with EPERM.
- Landlock (kernel/Documentation/userspace-api/landlock.rst) leaves only Python's library and shared libraries
  readable.
- The audit hook (PEP 578) sees the same at Python's level, says what was tried and ends the program at once, even
  inside ``except Exception: pass``. It also lets files be read only where Python's own library lies.

The trap: a program that ends early (``os._exit(0)``) must not look like one that passed, so passing is said with a
word that only the parent knows beforehand.
"""

from __future__ import annotations

import json
import math
import os
import resource
import struct
import sys
import types
from collections.abc import Callable
from typing import Any, NoReturn

ACTS = {
    "socket.": "use the network",
    "subprocess.": "start a process",
    "os.fork": "start a process",
    "os.forkpty": "start a process",
    "os.exec": "start a process",
    "os.spawn": "start a process",
    "os.posix_spawn": "start a process",
    "os.system": "start a process",
    "pty.": "start a process",
    "os.kill": "send a signal",
    "ctypes.": "reach below Python",
    "resource.setrlimit": "raise its limits",
    "resource.prlimit": "raise its limits",
}
"""Audit events (or their beginnings) that end the program."""
FILES = frozenset(
    f"os.{name}"
    for name in (
        *("remove", "rename", "rmdir", "mkdir", "link", "symlink", "truncate", "chmod", "chown", "chflags", "utime"),
        *("chdir", "fchdir", "mkfifo", "setxattr", "removexattr"),
    )
)
LOOKS = frozenset(["open", "os.listdir", "os.scandir"])
READABLE = ("/usr/share/zoneinfo", os.devnull, "/dev/urandom")
"""What may be read besides Python's library."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

# system call -> (number on x86-64, number on arm64), None where it does not exist there
_CALLS: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "stat": (4, None), "fstat": (5, 80), "lstat": (6, None),
    "poll": (7, None), "lseek": (8, 62), "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "ioctl": (16, 29),
    "pread64": (17, 67), "readv": (19, 65), "writev": (20, 66), "access": (21, None), "select": (23, None),
    "sched_yield": (24, 124), "mremap": (25, 216), "madvise": (28, 233), "dup": (32, 23), "nanosleep": (35, 101),
    "getitimer": (36, 102), "setitimer": (38, 103), "getpid": (39, 172), "exit": (60, 93), "uname": (63, 160),
    "fcntl": (72, 25), "getcwd": (79, 17), "readlink": (89, None), "gettimeofday": (96, 169), "getrlimit": (97, 163),
    "getrusage": (98, 165), "sysinfo": (99, 179), "times": (100, 153), "getuid": (102, 174), "getgid": (104, 176),
    "geteuid": (107, 175), "getegid": (108, 177), "getppid": (110, 173), "sigaltstack": (131, 132),
    "gettid": (186, 178), "time": (201, None), "futex": (202, 98), "sched_getaffinity": (204, 123),
    "getdents64": (217, 61), "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115),
    "exit_group": (231, 94), "newfstatat": (262, 79), "readlinkat": (267, 78), "faccessat": (269, 48),
    "pselect6": (270, 72), "ppoll": (271, 73), "getrandom": (318, 278), "membarrier": (324, 283), "statx": (332, 291),
    "rseq": (334, 293), "faccessat2": (439, 439),
}  # fmt: skip
_CHECKED: dict[str, tuple[int | None, int | None]] = {
    "open": (2, None), "openat": (257, 56), "prlimit64": (302, 261), "tgkill": (234, 131)
}  # fmt: skip
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}


def main() -> NoReturn:
    """Read the order, close the doors, run the program, say how it ended."""
    order = json.loads(sys.stdin.buffer.read())
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    tell = _teller(order["channel"])
    limit(order["cpu_seconds"], order["memory_bytes"])
    close_doors()
    tell("ready")
    sys.addaudithook(_hook(tell))
    reason = _attempt(order["program"], order["tests"])
    tell(f"failed {reason}" if reason else f"passed {order['word']}")
    os._exit(0)


def limit(cpu_seconds: float, memory_bytes: int) -> None:
    """The kernel's limits for this process. ``RLIMIT_NPROC`` does not bind root; the filter does."""
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 32,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_CPU: math.ceil(cpu_seconds),
        resource.RLIMIT_AS: memory_bytes,
    }
    for kind, value in wanted.items():
        try:
            resource.setrlimit(kind, (value, value))
        except (ValueError, OSError):
            if sys.platform == "linux":  # macOS refuses some of them
                raise


def close_doors() -> None:
    """Let the kernel refuse files and system calls, where it can (Linux, known machines)."""
    machine = os.uname().machine
    if sys.platform != "linux" or machine not in _ARCHITECTURES:
        return
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    libc.prctl(38, ctypes.c_ulong(1), zero, zero, zero)  # PR_SET_NO_NEW_PRIVS, which both of the following ask for
    _hide_files(libc.syscall)
    code = _filter_code(*_ARCHITECTURES[machine])
    held = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(held)))
    libc.prctl(22, ctypes.c_ulong(2), program)  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
    for name in [name for name in sys.modules if name == "_ctypes" or name.split(".")[0] == "ctypes"]:
        del sys.modules[name]


def _hide_files(call: Callable[..., int]) -> None:
    """Landlock: from here on only libraries can be read (kernels before 5.13 do not know it: nothing happens)."""
    create, add, restrict = 444, 445, 446
    everything, read_file, read_folder = 0x1FFF, 1 << 2, 1 << 3
    rules = call(create, struct.pack("Q", everything), 8, 0)
    if rules < 0:
        return
    for path in (*_library(), *_shared_libraries(), *READABLE):
        if os.path.exists(path):  # noqa: PTH110 - pathlib costs a third of the start
            place = os.open(path, os.O_PATH)
            rights = read_file | (read_folder if os.path.isdir(path) else 0)  # noqa: PTH112
            call(add, rules, 1, struct.pack("=Qi", rights, place), 0)
            os.close(place)
    call(restrict, rules, 0)
    os.close(rules)


def _library() -> tuple[str, ...]:
    """Folders of Python's standard library."""
    files = (os.__file__, json.__file__, struct.__file__)
    return tuple({os.path.realpath(os.path.dirname(file)) for file in files})  # noqa: PTH120


def _shared_libraries() -> set[str]:
    """Folders that hold shared libraries, of this process and of the system."""
    with open("/proc/self/maps", "rb") as maps:  # noqa: PTH123
        mapped = {os.fsdecode(line.split(maxsplit=5)[5].strip()) for line in maps if b".so" in line}
    return {os.path.dirname(path) for path in mapped} | {"/lib", "/lib64", "/usr/lib", "/etc/ld.so.cache"}  # noqa: PTH120


def _filter_code(column: int, architecture: int) -> bytes:
    """The filter as BPF instructions ``(code, jump if true, jump if false, constant)``."""
    load, equal, any_bit, answer = 0x20, 0x15, 0x45, 0x06
    allow, refuse, end = 0x7FFF0000, 0x00050001, 0x80000000  # refuse: errno 1, EPERM

    def argument(at: int) -> int:
        return 16 + 8 * at

    code = [(load, 0, 0, 4), (equal, 1, 0, architecture), (answer, 0, 0, end), (load, 0, 0, 0)]

    def add(name: str, *checks: tuple[int, int, int, int]) -> None:
        number = _CHECKED[name][column]
        if number is not None:
            code.extend([(equal, 0, len(checks), number), *checks])

    for name, at in (("open", 1), ("openat", 2)):
        add(name, (load, 0, 0, argument(at)), (any_bit, 0, 1, _WRITING), (answer, 0, 0, refuse), (answer, 0, 0, allow))
    new_limit = argument(2)
    read_only = [(load, 0, 0, new_limit), (equal, 0, 3, 0), (load, 0, 0, new_limit + 4), (equal, 0, 1, 0)]
    add("prlimit64", *read_only, (answer, 0, 0, allow), (answer, 0, 0, refuse))
    own = [(load, 0, 0, argument(0)), (equal, 0, 1, os.getpid())]
    add("tgkill", *own, (answer, 0, 0, allow), (answer, 0, 0, refuse))
    for numbers in _CALLS.values():
        if numbers[column] is not None:
            code += [(equal, 0, 1, numbers[column] or 0), (answer, 0, 0, allow)]
    code.append((answer, 0, 0, refuse))
    return b"".join(struct.pack("HBBI", *one) for one in code)


def _teller(channel: int) -> Callable[[str], None]:
    write = os.write

    def tell(line: str) -> None:
        write(channel, line.replace("\n", " ").encode("utf-8", "replace")[:600] + b"\n")

    return tell


def _hook(tell: Callable[[str], None]) -> Callable[[str, tuple[Any, ...]], None]:
    """What sees every audit event; a program that replaces names of this module changes nothing in it."""
    acts, files, looks = tuple(ACTS.items()), FILES, LOOKS
    look, end = _looker(), os._exit

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        what = None
        if event in looks:
            what = look(event, arguments)
        elif event in files:
            what = "change files"
        else:
            for beginning, act in acts:
                if event.startswith(beginning):
                    what = act
        if what is not None:
            tell(f"failed it tried to {what}")
            end(1)

    return hook


def _looker() -> Callable[[str, tuple[Any, ...]], str | None]:
    """For events that name a file: what is done if it is to be written; ``PermissionError`` if it may not be read."""
    allowed = tuple(place + os.sep for place in (*_library(), *READABLE))
    writing, real, decoded, separator = _WRITING, os.path.realpath, os.fsdecode, os.sep

    def look(event: str, arguments: tuple[Any, ...]) -> str | None:
        path, mode, flags = (*arguments, None, None)[:3]
        if event == "open" and any(sign in "wax+" for sign in mode or ""):
            return "write a file"
        if event == "open" and isinstance(flags, int) and flags & writing:
            return "write a file"
        if not isinstance(path, int):
            place = real(decoded(path or "."))
            if not (place + separator).startswith(allowed):
                raise PermissionError(f"files cannot be read here: {place}")
        return None

    return look


def _attempt(program: str, tests: str) -> str:
    """Run program, then tests, in one module; "" or why they did not pass."""
    module = types.ModuleType("solution")
    sys.modules["solution"] = module  # dataclasses and pickle look a class's module up by name
    for name, text in (("program", program), ("tests", tests)):
        try:
            exec(compile(text, f"<{name}>", "exec"), module.__dict__)
        except SystemExit:
            return f"the {name} ended itself"
        except BaseException as error:
            return _reason(error, {"<program>": program, "<tests>": tests})
    return ""


def _reason(error: BaseException, texts: dict[str, str]) -> str:
    """``AssertionError at line 3 of the tests: assert f(2) == 4``."""
    if isinstance(error, MemoryError):
        return "it used more memory than it may"
    try:
        words = f": {error}" if str(error) else ""
    except BaseException:
        words = ""
    trace, line, name = error.__traceback__, 0, ""
    while trace is not None:
        if trace.tb_frame.f_code.co_filename in texts:
            line, name = trace.tb_lineno, trace.tb_frame.f_code.co_filename
        trace = trace.tb_next
    if not name:
        return f"{type(error).__name__}{words}"[:300]
    lines = texts[name].splitlines()
    shown = lines[line - 1].strip() if 0 < line <= len(lines) else ""
    return f"{type(error).__name__}{words[:200]} at line {line} of the {name[1:-1]}: {shown[:200]}"


if __name__ == "__main__":
    main()
