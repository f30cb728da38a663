"""A process that calls one function on samples: reads pickled jobs from stdin, answers each call on stdout.

Its own process, because a call that hangs (in Python or inside C code that keeps the interpreter's lock) can only be
ended by ending a process; ``rewards.calls`` does so from outside. As a second line the kernel's own alarm ends this
process a little later, so that no hanging call survives a parent that was killed.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from tunesmith.rewards.orders import Call, Failed, Load

GRACE = 30
"""Seconds that the alarm comes after the limit of the parent."""


def main() -> None:
    """Serve until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process above, which ends this one
    orders, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not get into the answers
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)  # whatever reads must not eat the orders
    function: Callable[[Any], object] | None = None
    while True:
        try:
            order = pickle.load(orders)
        except EOFError:
            return
        answer: object = None
        try:
            if isinstance(order, Load):
                function = _load(order)
            else:
                assert function is not None
                answer = _called(function, order)
        except BaseException as error:
            answer = Failed(_line(error), _trace(error))
        answers.write(_pickled(answer))
        answers.flush()


def _load(order: Load) -> Callable[[Any], object]:
    sys.path[:] = order.path
    place, _, name = order.target.rpartition(":" if ".py:" in order.target else ".")
    function = getattr(_module(place), name)
    if not callable(function):
        raise TypeError(f"{name} is a {type(function).__name__}, not a function")
    return partial(function, **order.arguments)


def _module(place: str) -> Any:
    if not place.endswith(".py"):
        return import_module(place)
    path = Path(place).expanduser().resolve()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses and pickle look a class's module up by name
    sys.path.insert(0, str(path.parent))
    spec.loader.exec_module(module)
    return module


def _called(function: Callable[[Any], object], order: Call) -> object:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, order.seconds + GRACE)
    try:
        return _plain(function(order.value))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _plain(value: object) -> object:
    """Numbers and lists of any library (arrays, tensors) as Python's own, so that the parent needs no library."""
    return value.tolist() if hasattr(value, "tolist") else value


def _pickled(answer: object) -> bytes:
    try:
        return pickle.dumps(answer)
    except Exception:
        return pickle.dumps(Failed(f"it returned {repr(answer)[:80]}, which is no number", ""))


def _trace(error: BaseException) -> str:
    """The traceback from where the user's own code begins."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))


def _line(error: BaseException) -> str:
    """``ValueError: no digits (rewards.py, line 12)``."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename) != Path(__file__) and "<frozen" not in frame.filename]
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {error}{place}"


if __name__ == "__main__":
    main()
