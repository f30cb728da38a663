"""Ctrl-C once: finish the update, save, say how to go on. Twice: stop at once; what was saved stays whole."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from tunesmith.events import Event, Sink


class Interrupt:
    """Context that turns the first SIGINT or SIGTERM into a flag (only in the main thread)."""

    def __init__(self, emit: Sink) -> None:
        self.asked = False
        self._emit = emit
        self._former: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._emit(Event("note", 0, {"text": "stopping after this update and saving; press Ctrl-C again to stop now"}))
