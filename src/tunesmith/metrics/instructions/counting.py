"""How many: ``at_least``, ``at_most``, ``exactly`` of whatever is counted."""

from __future__ import annotations


def within(count: int, at_least: int | None, at_most: int | None, exactly: int | None) -> bool:
    """Whether ``count`` meets every bound that is given; ``ValueError`` where none is."""
    bounds = (at_least, at_most, exactly)
    if all(bound is None for bound in bounds):
        raise ValueError("it needs at_least, at_most or exactly")
    if any(bound is not None and not isinstance(bound, int) for bound in bounds):
        raise ValueError("at_least, at_most and exactly are whole numbers")
    low = at_least is None or count >= at_least
    high = at_most is None or count <= at_most
    return low and high and (exactly is None or count == exactly)
