"""What a caller gives as a method: a method, or the name of one."""

from __future__ import annotations

from tunesmith.contracts.method import Method
from tunesmith.errors import UserError
from tunesmith.methods import TABLE
from tunesmith.recipe.parts import build
from tunesmith.recipe.schema import Part


def given(method: Method | str) -> Method:
    """``method`` itself, or the one of that name with its defaults.

    Raises ``UserError``: ``unknown-method``, ``missing-value``; ``not-a-method`` for anything else.
    """
    if isinstance(method, str):
        built: Method = build(TABLE, Part(name=method))
        return built
    if isinstance(method, type) or not hasattr(method, "attach"):
        raise UserError(
            "what is attached has to be a method",
            got=f"the class {method.__name__}" if isinstance(method, type) else f"{method!r}",
            allowed="a method such as ts.Lora(rank=8), or the name of one such as 'lora'",
            hint=f"Call it: {method.__name__}()." if isinstance(method, type) else None,
            code="not-a-method",
        )
    return method
