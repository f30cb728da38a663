"""The benchmarks live in ``benchmarks/``, which is no package, and some of whose files are named like folders of tests:
only those that are tested here are made importable."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def importable(name: str, file: Path) -> None:
    """Load ``file`` as the module, or the package, ``name``."""
    where = [str(file.parent)] if file.name == "__init__.py" else None
    spec = spec_from_file_location(name, file, submodule_search_locations=where)
    assert spec is not None and spec.loader is not None
    sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


importable("sidebyside", FOLDER / "sidebyside" / "__init__.py")
for name in ("beside_trl", "startup", "page", "sweep", "scaling"):
    importable(name, FOLDER / f"{name}.py")
