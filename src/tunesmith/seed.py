"""Seeds that are a function of where we are, so that nothing about randomness has to be saved.

Every source of randomness takes its seed from the run's seed and a path of words and numbers ("order", epoch) or
("update", step). A resumed run, a replayed update and a second process therefore see the numbers of the first.
"""

from __future__ import annotations

import hashlib


def derive(seed: int, *path: str | int) -> int:
    """A 63-bit seed for ``path`` under ``seed``; independent paths give independent seeds."""
    text = "/".join([str(seed), *map(str, path)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
