"""``python -m tunesmith`` is the command ``tunesmith``, as ``torchrun -m tunesmith train …`` starts it."""

from __future__ import annotations

import sys

from tunesmith.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
