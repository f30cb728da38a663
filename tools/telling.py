"""How every check ends: what is wrong, line by line, then one line that says whether anything is."""

from __future__ import annotations

from collections.abc import Sequence


def tell(name: str, problems: Sequence[str]) -> int:
    """Print the ``problems`` of the check ``name``; the exit code, 1 where there are any."""
    for problem in problems:
        print(problem)
    print(f"{name}: {len(problems)} problems" if problems else f"{name}: ok")
    return 1 if problems else 0
