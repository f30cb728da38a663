"""What a person sees while a run works: a live panel on a terminal, plain lines anywhere else.

Both are sinks: they listen to events and draw, and change nothing. Words go to stderr.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tunesmith.events import Event

BARS = "▁▂▃▄▅▆▇█"
LINE_EVERY_SECONDS = 5.0


def sparkline(values: list[float], width: int = 40) -> str:
    """The last ``width`` values (averaged down where there are more) as block characters, low to high."""
    if not values:
        return ""
    size = max(1, -(-len(values) // width))
    means = [sum(part) / len(part) for part in (values[start : start + size] for start in range(0, len(values), size))]
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    return "".join(BARS[int((value - low) / span * (len(BARS) - 1))] for value in means)


def duration(seconds: float) -> str:
    """``75`` -> ``1:15``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@dataclass
class State:
    """What the displays know, gathered from events."""

    total: int = 0
    step: int = 0
    name: str = ""
    losses: list[float] = field(default_factory=list)
    recent: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=20))
    useful_per_token: float = 0.0
    """share of the hardware's second that one real token is worth"""
    phase: str = ""
    reward: float | None = None
    """mean over the answers last sampled"""
    metrics: dict[str, Any] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        """Update from one event."""
        values = event.values
        if event.kind == "start":
            self.total, self.name = int(values["steps"]), str(values.get("name", ""))
            if values.get("flops_per_token") and values.get("peak_flops"):
                self.useful_per_token = float(values["flops_per_token"]) / float(values["peak_flops"])
            self.step = event.step
        elif event.kind == "step":
            self.step, self.phase = event.step, ""
            self.losses.append(float(values["loss"]))
            self.recent.append((float(values["tokens"]), float(values["seconds"])))
        elif event.kind == "rollout":
            self.reward = float(values["reward"])
        elif event.kind == "evaluation":
            self.metrics = dict(values)
        elif event.kind == "phase":
            self.phase = str(values["text"])

    @property
    def speed(self) -> float:
        """Real tokens a second over the last updates."""
        seconds = sum(item[1] for item in self.recent)
        return sum(item[0] for item in self.recent) / seconds if seconds else 0.0

    @property
    def left(self) -> float:
        """Seconds of training left at the present pace (evaluations not counted)."""
        seconds = sum(item[1] for item in self.recent)
        return seconds / len(self.recent) * (self.total - self.step) if self.recent else 0.0

    def facts(self) -> list[tuple[str, str]]:
        """Name and value of each figure shown."""
        facts = [("step", f"{self.step:,} of {self.total:,}")]
        if self.losses:
            facts.append(("loss", f"{self.losses[-1]:.4f}"))
        if self.reward is not None:
            facts.append(("reward", f"{self.reward:.3f}"))
        if "validation_loss" in self.metrics:
            facts.append(("validation", f"{self.metrics['validation_loss']:.4f}"))
        if self.recent:
            facts.append(("tokens/s", f"{self.speed:,.0f}"))
            if self.useful_per_token:
                facts.append(("useful", f"{self.speed * self.useful_per_token:.0%}"))
            facts.append(("memory", f"{_memory() / 2**30:.1f} GiB"))
            facts.append(("left", duration(self.left)))
        return facts


class Plain:
    """A line now and then."""

    def __init__(self, write: Callable[[str], None] | None = None) -> None:
        self.state = State()
        self._write = write or _line
        self._last = float("-inf")

    def __call__(self, event: Event) -> None:
        """Take one event in and show what is worth showing."""
        self.state.take(event)
        if event.kind in ("note", "phase"):
            self._write(str(event.values["text"]))
        elif event.kind == "evaluation":
            shown = ", ".join(f"{name} {value:.4f}" for name, value in event.values.items() if isinstance(value, float))
            self._write(f"step {event.step}: {shown}{' (best so far)' if event.values.get('best') else ''}")
        elif event.kind == "step":
            now = time.monotonic()
            if now - self._last >= LINE_EVERY_SECONDS or event.step == self.state.total:
                self._last = now
                self._write("  ".join(f"{name} {value}" for name, value in self.state.facts()))

    def close(self) -> None:
        """Nothing to put away."""


class Panel:
    """A panel that stays in place: progress bar, loss sparkline, figures."""

    def __init__(self, console: Console) -> None:
        self.state = State()
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True, get_renderable=self.draw)
        self._live.start()

    def __call__(self, event: Event) -> None:
        """Take one event in and show what is worth showing."""
        self.state.take(event)
        if event.kind == "note":
            self._console.print(Text(str(event.values["text"]), style="yellow"))
        elif event.kind == "evaluation":
            mark = " ✓ best" if event.values.get("best") else ""
            loss = event.values.get("validation_loss")
            text = f"step {event.step:>6}  validation loss {loss:.4f}{mark}" if isinstance(loss, float) else ""
            self._console.print(Text(text, style="dim"))
        elif event.kind == "end":
            self.close()

    def draw(self) -> RenderableType:
        """The panel as it stands now."""
        if not self.state.total or self.state.phase:
            return Text(f"· {self.state.phase or 'starting'} …", style="cyan")
        bar = ProgressBar(total=self.state.total, completed=self.state.step, width=40)
        row = Table.grid(padding=(0, 2))
        facts = self.state.facts()
        row.add_row(*(Text(value, style="bold") for _, value in facts))
        row.add_row(*(Text(name, style="dim") for name, _ in facts))
        return Group(bar, Text(sparkline(self.state.losses), style="green"), row)

    def close(self) -> None:
        """Remove the panel and give the terminal back."""
        self._live.stop()


def display(console: Console | None = None) -> Panel | Plain:
    """The panel where stderr is a terminal, lines elsewhere. Call its ``close`` at the end."""
    console = console or Console(stderr=True)
    return Panel(console) if console.is_terminal else Plain()


def _memory() -> int:
    import resource

    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _line(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
