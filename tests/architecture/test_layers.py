"""Imports point down, and the check that says so finds what is planted."""

from __future__ import annotations

from pathlib import Path

import pytest

import check_layers


def planted(folder: Path, **files: str) -> Path:
    source = folder / "tunesmith"
    for name, text in {"__init__": "", **files}.items():
        path = source / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return source


def test_the_package_keeps_its_layers() -> None:
    assert check_layers.problems() == []


@pytest.mark.parametrize(
    "text",
    [
        "from tunesmith.engine import loop",
        "import tunesmith.engine.loop",
        "from tunesmith import engine",
        "from ..engine import loop",
        "from .. import engine",
        "def late():\n    from tunesmith.engine.loop import fit",
        "if True:\n    import tunesmith.engine",
    ],
)
def test_an_import_that_points_up_is_found(text: str, tmp_path: Path) -> None:
    found = check_layers.problems(planted(tmp_path, methods__in__lora=text, engine__in__loop=""))
    assert len(found) == 1
    assert "'methods' may not import 'engine'" in found[0]


def test_imports_for_types_only_are_free(tmp_path: Path) -> None:
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tunesmith.engine import loop\n"
    assert check_layers.problems(planted(tmp_path, methods__in__lora=text)) == []


def test_torch_at_import_time_is_found_where_it_must_not_be(tmp_path: Path) -> None:
    lazy = "def f():\n    import torch\n"
    found = check_layers.problems(
        planted(tmp_path, errors="import torch", recipe__in__load=lazy, engine__in__x="import torch")
    )
    assert [problem.split(": ")[1] for problem in found] == [
        "'errors' may not import torch at import time; import it where it is used"
    ]


def test_a_folder_without_a_row_is_found(tmp_path: Path) -> None:
    assert "no row in the layer table" in check_layers.problems(planted(tmp_path, helpers__in__x=""))[0]


def test_a_cycle_of_modules_is_found(tmp_path: Path) -> None:
    one, two = "from tunesmith.data.two import x", "from tunesmith.data import one"
    found = check_layers.problems(planted(tmp_path, data__in__one=one, data__in__two=two))
    assert found == ["a cycle of modules: tunesmith.data.one -> tunesmith.data.two -> tunesmith.data.one"]


def test_the_table_is_the_order_that_the_design_states() -> None:
    table = check_layers.allowed()
    assert "engine" not in table["methods"]
    assert {"methods", "models", "recipe"} <= table["engine"]
    assert table["cli"] >= table["run"]
    assert table["errors"] == {"errors"}
