"""How numbers are written for people: few digits, units, no exponents where a word does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

THIN = "\u202f"
"""A narrow blank between a number and its unit, at which no line breaks."""
STEPS = (("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12), ("P", 1e15), ("E", 1e18), ("Z", 1e21), ("Y", 1e24))


def plain(value: Any) -> str:
    """Three figures: ``1,234``, ``12.3``, ``0.123``, ``2e-05``."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 100:
        return _minus(f"{value:,.0f}")
    if size >= 10:
        return _minus(f"{value:.1f}")
    return _minus(f"{value:.2f}" if size >= 1 else f"{value:.3g}")


def signed(value: float) -> str:
    """``+0.12``, ``−0.12``."""
    return f"+{plain(value)}" if value > 0 else plain(value)


def points(value: float) -> str:
    """A difference of shares in hundredths: ``+12``, ``−0.3``."""
    written = f"{100 * value:+.{0 if abs(value) >= 0.0995 else 1}f}"
    return "0" if float(written) == 0 else written.replace("-", "−", 1)


def percent(value: float) -> str:
    """A share: ``12.3 %`` below ten, whole ones above."""
    digits = 1 if 0 < abs(value) < 0.0995 else 0
    return _minus(f"{100 * value:.{digits}f}") + THIN + "%"


def scaled(value: float, unit: str = "") -> str:
    """``1.23 M`` followed by ``unit``."""
    size = abs(value)
    letter, factor = max((step for step in STEPS if size >= step[1]), key=lambda step: step[1], default=STEPS[0])
    number = value / factor
    written = f"{number:.3g}" if abs(number) < 999.5 else f"{number:.0f}"
    return written + (THIN + letter + unit if letter or unit else "")


def seconds(value: float) -> str:
    """``0.42 s``, ``12 s``, ``4 min 3 s``, ``2 h 5 min``, ``3 d 4 h``."""
    if value < 60:
        return f"{value:.2g}{THIN}s" if value < 9.5 else f"{value:.0f}{THIN}s"
    for first, second, size in (("d", "h", 3600), ("h", "min", 60), ("min", "s", 1)):
        whole, rest = divmod(round(value / size), 24 if first == "d" else 60)
        if whole:
            return f"{whole}{THIN}{first}" + (f" {rest}{THIN}{second}" if rest else "")
    return f"{value:.0f}{THIN}s"


def _minus(text: str) -> str:
    return text.replace("-", "−", 1) if text.startswith("-") else text


FORMS: Mapping[str, Callable[[Any], str]] = {
    "plain": plain,
    "signed": signed,
    "points": points,
    "percent": percent,
    "scaled": scaled,
    "flops": lambda value: scaled(value, "FLOP"),
    "bytes": lambda value: scaled(value, "B"),
    "energy": lambda value: scaled(value / 3600, "Wh"),
    "seconds": seconds,
    "rate": lambda value: f"{value:g}".replace("e-0", "e-"),
}
"""Form -> how a value is written in it."""
