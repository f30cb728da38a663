"""Size budgets: kept by the repository, and the check finds what is over and what is no longer needed."""

from __future__ import annotations

from pathlib import Path

import check_budgets


def planted(folder: Path, text: str) -> Path:
    (folder / "src").mkdir()
    (folder / "src" / "x.py").write_text(text)
    return folder


def test_the_repository_keeps_its_budgets() -> None:
    assert check_budgets.problems() == []


def test_what_is_too_long_is_found(tmp_path: Path) -> None:
    long_function = "def f(self, a, b, c, d, e, f, g, h, *, i):\n" + "    a\n" * 60
    found = check_budgets.problems(planted(tmp_path, long_function + "a\n" * 340), {})
    assert found == ["src/x.py: 401, budget 400", "src/x.py:f: 61, budget 60", "src/x.py:f(): 9, budget 8"]


def test_exceptions_may_only_shrink(tmp_path: Path) -> None:
    root = planted(tmp_path, "a\n" * 410)
    assert check_budgets.problems(root, {"src/x.py": 410}) == []
    assert check_budgets.problems(root, {"src/x.py": 420}) == ["src/x.py: 410 now, lower its exception from 420"]
    unneeded = {"src/x.py": 410, "src/gone.py": 500}
    assert check_budgets.problems(root, unneeded) == ["src/gone.py: its exception is no longer needed"]
