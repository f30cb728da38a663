"""Imports point down: every folder of the package imports only what the table below allows, and there are no cycles.

Imports inside functions count as well; those under ``if TYPE_CHECKING`` do not, because they never run. What the table
says must stay free of torch at import time is checked too.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from telling import tell

PACKAGE = "tunesmith"
SOURCE = Path(__file__).resolve().parent.parent / "src" / PACKAGE

ORDER: tuple[tuple[str, ...], ...] = (
    ("errors", "registry", "events", "seed", "files"),
    ("contracts",),
    ("recipe",),
    ("data", "metrics", "rewards"),
    ("models",),
    ("methods", "objectives", "generation"),
    ("addons",),
    ("engine",),
    ("interop", "rollouts"),
    ("evaluation", "proof", "insight", "diagnosis"),
    ("report",),
    ("making",),
    ("run",),
    ("bench",),
    ("cli",),
    ("__main__",),
)
"""From the ground up. A folder imports the rows below its own; within a row only what ``SIDEWAYS`` lists."""

SIDEWAYS: dict[str, frozenset[str]] = {
    "registry": frozenset({"errors"}),
    "files": frozenset({"errors"}),
    "rewards": frozenset({"metrics"}),
}
LIGHT = frozenset({"errors", "registry", "events", "seed", "files", "contracts", "recipe", "rewards", "cli"})
"""Folders that import no heavy library when they are imported (``tunesmith --help`` must be quick)."""
HEAVY = frozenset({"torch", "transformers", "numpy", "datasets", "tokenizers", "safetensors"})


@dataclass(frozen=True)
class Import:
    """One import: ``target`` as written, in ``file`` at ``line``; ``lazy`` where it is inside a function."""

    file: Path
    line: int
    target: str
    lazy: bool


def allowed() -> dict[str, frozenset[str]]:
    """The explicit table: folder -> folders it may import."""
    table: dict[str, frozenset[str]] = {}
    below: frozenset[str] = frozenset()
    for row in ORDER:
        for folder in row:
            table[folder] = below | SIDEWAYS.get(folder, frozenset()) | {folder}
        below |= frozenset(row)
    return table


def imports(path: Path, source: Path = SOURCE) -> Iterator[Import]:
    """Every import of one file that can run."""
    module = module_of(path, source)
    yield from _walk(ast.parse(path.read_text(encoding="utf-8")), path, module, lazy=False)


def problems(source: Path = SOURCE) -> list[str]:
    """What breaks the table, one sentence each."""
    table = allowed()
    found = []
    for path in sorted(source.rglob("*.py")):
        here = folder_of(module_of(path, source))
        if here is None:
            continue  # the package's own __init__ hands out names lazily
        if here not in table:
            found.append(f"{path}: '{here}' has no row in the layer table (tools/check_layers.py)")
            continue
        for item in imports(path, source):
            found.extend(_judge(item, here, table))
    return found + [f"a cycle of modules: {' -> '.join(cycle)}" for cycle in cycles(module_graph(source))]


def module_graph(source: Path = SOURCE) -> dict[str, set[str]]:
    """Module -> modules of the package that it imports at import time."""
    names = {module_of(path, source): path for path in source.rglob("*.py")}
    graph: dict[str, set[str]] = {}
    for name, path in names.items():
        targets = {item.target for item in imports(path, source) if not item.lazy}
        graph[name] = {known for target in targets if (known := _known(target, names)) and known != name}
    return graph


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Cycles found by depth-first search, each once."""
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(node: str, trail: list[str]) -> None:
        if node in trail:
            found.append([*trail[trail.index(node) :], node])
            return
        if node in done:
            return
        for following in sorted(graph.get(node, ())):
            visit(following, [*trail, node])
        done.add(node)

    for name in sorted(graph):
        visit(name, [])
    return found


def module_of(path: Path, source: Path = SOURCE) -> str:
    """``src/tunesmith/data/mask.py`` -> ``tunesmith.data.mask``."""
    parts = path.relative_to(source.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def folder_of(module: str) -> str | None:
    """``tunesmith.data.mask`` -> ``data``; None for the package itself and for others."""
    parts = module.split(".")
    return parts[1] if parts[0] == PACKAGE and len(parts) > 1 else None


def _judge(item: Import, here: str, table: dict[str, frozenset[str]]) -> Iterator[str]:
    where = f"{item.file}:{item.line}"
    target = folder_of(item.target)
    if target is not None and target in table and target not in table[here]:
        yield f"{where}: '{here}' may not import '{target}' ({item.target})"
    if here in LIGHT and not item.lazy and item.target.split(".")[0] in HEAVY:
        yield f"{where}: '{here}' may not import {item.target} at import time; import it where it is used"


def _walk(node: ast.AST, path: Path, module: str, *, lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(path, child.lineno, alias.name, lazy) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from _from(child, path, module, lazy)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _walk(other, path, module, lazy=lazy)
        else:
            inside = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _walk(child, path, module, lazy=inside)


def _from(node: ast.ImportFrom, path: Path, module: str, lazy: bool) -> Iterator[Import]:
    base = node.module or ""
    if node.level:
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        parents = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*parents, *([base] if base else [])])
    # `from tunesmith import run` names a module, `from tunesmith.run import train` an attribute: both are kept
    yield from (Import(path, node.lineno, f"{base}.{alias.name}", lazy) for alias in node.names)


def _known(target: str, names: dict[str, Path]) -> str | None:
    if target in names:
        return target
    parent = target.rpartition(".")[0]
    return parent if parent in names else None


if __name__ == "__main__":
    sys.exit(tell("layers", problems()))
