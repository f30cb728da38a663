"""Numbers and tables as people read them, on a terminal and in a pipe."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from tunesmith.cli.output import ALIGNED, PIPE_WIDTH, grid, interval, pairs, shown


def printed(table: object, *, terminal: bool) -> list[str]:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80 if terminal else PIPE_WIDTH, no_color=True)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_single_row_is_shown_to_have_no_interval() -> None:
    assert interval({"value": 0.5, "low": None, "high": None, "n": 1}) == "0.5 (n=1, no interval)"
    assert interval({"value": 0.5, "low": 0.25, "high": 1.0, "n": 1}) == "0.5 [0.25, 1]"
    assert interval({"value": 0.5, "low": 0.25, "high": None, "n": 9}) == "0.5"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (13052.4, "13,052"),
        (1000.0, "1,000"),
        (-2500000.0, "-2,500,000"),
        (999.96, "1,000"),
        (75.86, "75.86"),
        (0.12349, "0.1235"),
        (0.0, "0"),
        (2e-4, "2.0e-04"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (1234, "1,234"),
        (True, "yes"),
        (None, "-"),
    ],
)
def test_a_number_is_shown_as_people_write_it(value: object, text: str) -> None:
    assert shown(value) == text


def test_a_table_in_a_pipe_is_compact_lines() -> None:
    table = grid(
        ("", "metric [x]", "why"), [(Text("passed", "green"), "loss", "so"), ("FAILED", "l" * 110, "x" * 2000)]
    )
    assert printed(table, terminal=False) == [
        f"        {'metric [x]':{ALIGNED}}  why",
        f"passed  {'loss':{ALIGNED}}  so",
        f"FAILED  {'l' * 110}  {'x' * 2000}",
    ]
    assert printed(pairs({"out_dir": "merged", "bound": 0.5}), terminal=False) == ["out dir  merged", "bound    0.5"]
    assert printed(grid(("a", "b"), [("x", "")]), terminal=False) == ["a  b", "x"]
    assert printed(pairs({}), terminal=False) == []


def test_a_table_on_a_terminal_is_drawn() -> None:
    assert any("─" in line for line in printed(grid(("a", "b"), [("x", "y")]), terminal=True))
    assert all("─" not in line for line in printed(grid(("a", "b"), [("x", "y")]), terminal=False))
