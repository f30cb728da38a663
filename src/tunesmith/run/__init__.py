"""The composition root: the only place where names become objects. Each function here is one command."""

from __future__ import annotations

from tunesmith.run.folder import Run
from tunesmith.run.train import train
from tunesmith.run.use import attach, chat, compare, load, merge

__all__ = ["Run", "attach", "chat", "compare", "load", "merge", "train"]
