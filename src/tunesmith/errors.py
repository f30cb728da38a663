"""The one exception for users: what is wrong, what was given, what is allowed, what to do next.

Everything else that is raised is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in the user's input, told in one clear sentence.

    ``code`` is a short kebab-case name that matches a heading of the error reference (``docs/reference/errors.md``).
    """

    def __init__(
        self,
        what: str,
        *,
        got: object = None,
        allowed: object = None,
        hint: str | None = None,
        code: str = "invalid-input",
    ) -> None:
        self.what = what
        self.got = got
        self.allowed = allowed
        self.hint = hint
        self.code = code
        super().__init__(self.sentence())

    def sentence(self) -> str:
        """The whole message: what, got, allowed, next."""
        parts = [self.what]
        if self.got is not None:
            parts.append(f"got {_shown(self.got)}")
        if self.allowed is not None:
            parts.append(f"allowed: {_shown(self.allowed)}")
        text = "; ".join(parts)
        return f"{text}. {self.hint}" if self.hint else f"{text}."

    def __reduce__(self) -> tuple[object, ...]:
        # worker processes hand errors back by pickle, which by default would pass only the sentence
        return (_rebuild, (self.what, self.got, self.allowed, self.hint, self.code))


def _rebuild(what: str, got: object, allowed: object, hint: str | None, code: str) -> UserError:
    return UserError(what, got=got, allowed=allowed, hint=hint, code=code)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A sentence naming the closest known word, or None where none is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean '{close[0]}'?" if close else None


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value if len(value) <= 300 else value[:300] + "…"
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(str(item) for item in value)
    return str(value)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C between the updates of a run: ``saved`` says in a sentence or two when, and what is kept in ``folder``.

    ``begun`` is whether the run can be resumed; otherwise nothing of it is lost by starting it again.
    """

    def __init__(self, saved: str, *, folder: str, begun: bool) -> None:
        self.saved = saved
        self.folder = folder
        self.begun = begun
        super().__init__(saved)


class GateFailed(Exception):  # noqa: N818 - it is an outcome, not an error
    """A proof or a gate said no: nothing is wrong with the input, and the command ends with exit code 1."""
