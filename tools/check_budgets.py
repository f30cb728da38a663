"""Files, functions and parameter lists stay small; the list of exceptions may only shrink.

An exception that is no longer needed, or larger than needed, fails as well: so a refactoring is never undone silently.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from telling import tell

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("src", "tests", "tools", "scripts", "benchmarks", "examples")
FILE_LINES = 400
FUNCTION_LINES = 60
PARAMETERS = 8

EXCEPTIONS: dict[str, int] = {}
"""``path`` or ``path:function`` or ``path:function()`` -> lines, lines or parameters allowed today."""


def measures(root: Path = ROOT) -> Iterator[tuple[str, int, int]]:
    """(name, measured, budget) of every file, function and parameter list."""
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            text = path.read_text(encoding="utf-8")
            yield name, len(text.splitlines()), FILE_LINES
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{name}:{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1, FUNCTION_LINES
                    yield f"{name}:{node.name}()", _parameters(node), PARAMETERS


def problems(root: Path = ROOT, exceptions: dict[str, int] | None = None) -> list[str]:
    """What is over its budget, and which exceptions are out of date."""
    exceptions = EXCEPTIONS if exceptions is None else exceptions
    found, used = [], set()
    for name, measured, budget in measures(root):
        limit = exceptions.get(name, budget)
        if measured > limit:
            found.append(f"{name}: {measured}, budget {limit}")
        if name in exceptions and measured > budget:
            used.add(name)
            if measured < limit:
                found.append(f"{name}: {measured} now, lower its exception from {limit}")
    return found + [f"{name}: its exception is no longer needed" for name in sorted(set(exceptions) - used)]


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return len([argument for argument in arguments if argument.arg not in ("self", "cls")])


if __name__ == "__main__":
    sys.exit(tell("budgets", problems()))
