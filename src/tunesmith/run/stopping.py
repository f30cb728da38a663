"""Runs that end before they should: by Ctrl-C outside the updates (the engine answers for those), which says what is
kept and can go on; or because their input is refused, which leaves no folder where nothing was begun."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tunesmith.engine import checkpoint
from tunesmith.errors import Interrupted, UserError
from tunesmith.run.folder import ARTIFACTS, Run


@contextmanager
def stoppable(run: Run) -> Iterator[Callable[[str], None]]:
    """Turn a ``KeyboardInterrupt`` into ``Interrupted``, and tidy up after a refusal; the function it yields is told
    what is being done."""
    doing = "the start"

    def now(what: str) -> None:
        nonlocal doing
        doing = what

    try:
        yield now
    except UserError:
        run.discard()
        raise
    except KeyboardInterrupt as error:
        begun = (run.folder / "recipe.yaml").is_file()
        raise Interrupted(f"Stopped during {doing}. {_kept(run)}", folder=str(run.folder), begun=begun) from error


def _kept(run: Run) -> str:
    saved = checkpoint.steps(run.checkpoints)
    if not saved:
        return "No update was saved yet; tokens that were made are kept."
    results = "".join(f", and the result in {run.folder / name}" for name in ARTIFACTS if (run.folder / name).is_dir())
    return f"The updates are saved up to {saved[-1]}{results}."
