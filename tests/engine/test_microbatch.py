"""Cutting updates: nothing is lost, nothing is doubled, and no piece is over the budget unless it is one row."""

from __future__ import annotations

import pytest
from training import examples

from families import configs
from tunesmith.contracts.batch import Example
from tunesmith.engine import microbatch


def lengths(pieces: list[list[Example]]) -> list[list[int]]:
    return [[len(example) for example in piece] for piece in pieces]


@pytest.mark.parametrize("budget", [1, 10, 24, 25, 48, 100, 10_000])
def test_every_row_once_and_within_the_budget(budget: int) -> None:
    rows = examples(50)
    pieces = microbatch.cut(rows, budget)
    assert sorted(example.row for piece in pieces for example in piece) == list(range(50))
    assert all(len(piece) == 1 or sum(map(len, piece)) <= budget for piece in pieces)


def test_longest_first_and_greedy() -> None:
    rows = {size: next(row for row in examples(500, longest=12) if len(row) == size) for size in (3, 5, 8, 12)}
    assert lengths(microbatch.cut([rows[3], rows[8], rows[12], rows[5]], 13)) == [[12], [8, 5], [3]]
    assert lengths(microbatch.cut([rows[3], rows[8], rows[12], rows[5]], 100)) == [[12, 8, 5, 3]]


def test_rows_of_a_prompt_take_room() -> None:
    rows = {size: next(row for row in examples(500, longest=12) if len(row) == size) for size in (3, 5, 8, 12)}
    given = [rows[3], rows[8], rows[12], rows[5]]
    assert lengths(microbatch.cut(given, 28, rows_ahead=5)) == [[12], [8, 5], [3]]
    assert lengths(microbatch.cut(given, 48, rows_ahead=5)) == [[12, 8, 5, 3]]
    assert lengths(microbatch.cut(given, 1000, at_least=2, rows_ahead=5)) == [[12], [8, 5], [3]]


def test_the_order_of_rows_does_not_matter() -> None:
    rows = examples(30)
    assert microbatch.cut(rows, 60) == microbatch.cut(rows[::-1], 60)


@pytest.mark.parametrize("processes", [2, 3, 4])
def test_every_process_has_a_part(processes: int) -> None:
    pieces = microbatch.cut(examples(16), 10_000, at_least=processes)
    assert len(pieces) >= processes
    assert max(map(len, pieces)) < 16


@pytest.mark.parametrize("family", sorted(configs()))
def test_tokens_at_once_depend_on_total_memory_only_and_hold_the_longest_row(family: str) -> None:
    config = configs()[family]
    options = {"device": "cpu", "total_memory": 2**33, "half": False}
    tokens = microbatch.tokens_for(config, longest=64, **options)
    assert microbatch.SMALLEST <= tokens <= microbatch.LARGEST
    assert microbatch.tokens_for(config, longest=100_000, **options) == 100_000
    half = microbatch.tokens_for(config, longest=64, **{**options, "half": True})
    assert half >= tokens


def test_tokens_at_once_by_hand() -> None:
    """512 MiB over 31 copies of 64 numbers of 4 bytes in 2 layers is 33,825 tokens, more than the largest: 32,768.
    Sixteen times the width leaves 2,114."""
    config = configs()["llama"]
    options = {"longest": 1, "device": "cpu", "total_memory": 2**33, "half": False}
    assert microbatch.tokens_for(config, **options) == 32_768
    config.hidden_size = 1024
    assert microbatch.tokens_for(config, **options) == 2**29 // (31 * 1024 * 2 * 4) == 2_114
    assert microbatch.tokens_for(config, **{**options, "half": True}) == 4_228
