"""The order of training as a pure function of the step, and the flat batch with its predictions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_rows import encode_answers, pair, write_rows

from tunesmith.contracts.batch import Example
from tunesmith.data.chat import ChatEncoder
from tunesmith.data.collate import flatten
from tunesmith.data.loader import SequenceFeed, TokenFeed
from tunesmith.data.prepare import prepare
from tunesmith.data.store import TokenStore
from tunesmith.errors import UserError
from tunesmith.recipe.schema import DataConfig


@pytest.fixture
def store(tmp_path: Path, plain_encoder: ChatEncoder) -> TokenStore:
    """Source 0 has 23 rows, source 1 has 10."""
    paths = [
        write_rows(tmp_path / "a.jsonl", [pair(number, "yes " * (number % 7 + 1)) for number in range(23)]),
        write_rows(tmp_path / "b.jsonl", [pair(number) for number in range(100, 110)]),
    ]
    config = DataConfig(train=[{"path": str(path)} for path in paths], validation=0.0)
    return prepare(config, encode_answers, plain_encoder, seed=0, cache=tmp_path / "c", options_key="").train


def rows(feed: Any, steps: range) -> list[int]:
    return [example.row for step in steps for example in feed.update(step)]


def test_an_epoch_holds_every_row_once_and_epochs_differ(store: TokenStore) -> None:
    feed = SequenceFeed(store, seed=0, batch_size=4)
    assert feed.steps_in(1) == 9
    first, second = rows(feed, range(9)), rows(feed, range(9, 18))
    assert sorted(first) == sorted(second) == list(range(33))
    assert first != second
    assert len(feed.update(8)) == 1  # 33 = 8 * 4 + 1: the rest is kept
    assert sorted(rows(SequenceFeed(store, seed=1, batch_size=4), range(9))) == list(range(33))
    assert rows(SequenceFeed(store, seed=1, batch_size=4), range(9)) != first


def test_an_update_is_a_pure_function_of_its_step(store: TokenStore) -> None:
    forward = [rows(SequenceFeed(store, seed=5, batch_size=4), range(s, s + 1)) for s in range(20)]
    feed = SequenceFeed(store, seed=5, batch_size=4)
    assert [rows(feed, range(s, s + 1)) for s in reversed(range(20))] == forward[::-1]


def test_epochs_and_steps_agree(store: TokenStore) -> None:
    feed = SequenceFeed(store, seed=0, batch_size=4)
    assert [feed.steps_in(epochs) for epochs in (0.01, 0.5, 1, 1.5, 3)] == [1, 5, 9, 14, 27]
    assert feed.epoch_of(0) == 0.0
    assert feed.epoch_of(4) == pytest.approx(16 / 33)
    assert feed.epoch_of(9) == 1.0


def test_without_shuffle_rows_come_in_their_order(store: TokenStore) -> None:
    feed = SequenceFeed(store, seed=0, batch_size=10, shuffle=False)
    assert rows(feed, range(4)) == list(range(33))


def test_weights_repeat_whole_sources_and_rotate_through_fractions(store: TokenStore) -> None:
    feed = SequenceFeed(store, seed=0, batch_size=8, weights={0: 0.5, 1: 2.0})
    epochs = [Counter(rows(feed, range(e * feed.steps_in(1), (e + 1) * feed.steps_in(1)))) for e in range(4)]
    for seen in epochs:
        assert [seen[row] for row in range(23, 33)] == [2] * 10
        assert sum(seen[row] for row in range(23)) == 12  # round(0.5 * 23)
        assert all(seen[row] <= 1 for row in range(23))
    total = Counter[int]()
    for seen in epochs:
        total += seen
    assert min(total[row] for row in range(23)) >= 2  # 48 places for 23 rows, each in its turn
    assert max(total[row] for row in range(23)) <= 3


def test_token_updates_are_even_and_complete(store: TokenStore) -> None:
    budget = 200
    feed = TokenFeed(store, seed=0, batch_tokens=budget)
    steps = feed.steps_in(1)
    assert steps == int(store.lengths.sum()) // budget
    for epoch in (0, 1):
        span = range(epoch * steps, (epoch + 1) * steps)
        assert sorted(rows(feed, span)) == list(range(33))
        even, longest = store.lengths.sum() / steps, store.lengths.max()
        sizes = [sum(map(len, feed.update(step))) for step in span]
        assert all(abs(size - even) < longest for size in sizes)
    assert feed.epoch_of(steps) == 1.0
    with pytest.raises(UserError) as raised:
        TokenFeed(store, seed=0, batch_tokens=10)
    assert raised.value.code == "batch-too-small"


def test_the_store_gives_back_what_was_encoded(store: TokenStore, plain_encoder: ChatEncoder) -> None:
    example = store[24]
    assert (example.row, example.source) == (24, 1)
    assert example.ids.dtype == np.int32
    assert plain_encoder.decode(example.ids.tolist()).endswith("the answer is two 101")
    assert store.lengths[24] == len(example)
    assert store.trained_counts[24] == example.trained.sum()


def example(ids: list[int], trained: list[int], row: int, source: int = 0) -> Example:
    return Example(np.array(ids, dtype=np.int32), np.array(trained, dtype=np.bool_), row, source)


def test_a_flat_batch_predicts_each_target_from_the_row_before() -> None:
    """By hand: sequences [5 6 7] with target 7, [8 9] with target 9, [4] whose only token nothing predicts."""
    batch = flatten([example([5, 6, 7], [1, 0, 1], 11), example([8, 9], [0, 1], 12, 1), example([4], [1], 13)])
    assert batch.main.ids.tolist() == [5, 6, 7, 8, 9, 4]
    assert batch.main.positions.tolist() == [0, 1, 2, 0, 1, 0]
    assert batch.main.layout.starts.tolist() == [0, 3, 5, 6]
    assert batch.main.layout.lengths == (3, 2, 1)
    assert batch.readout.rows.tolist() == [1, 3]
    assert batch.readout.labels.tolist() == [7, 9]
    assert batch.readout.unit.tolist() == [0, 1]
    assert batch.readout.weights.tolist() == [1.0, 1.0]
    assert batch.unit_ids.tolist() == [11, 12, 13]
    assert batch.sources.tolist() == [0, 1, 0]
    assert batch.tokens == 6


def test_flat_batches_agree_with_a_loop() -> None:
    generator = np.random.default_rng(0)
    examples = []
    for row in range(20):
        length = int(generator.integers(1, 30))
        examples.append(
            example(generator.integers(0, 99, length).tolist(), generator.integers(0, 2, length).tolist(), row)
        )
    batch, start, expected = flatten(examples), 0, []
    for unit, one in enumerate(examples):
        expected += [(start + i - 1, int(one.ids[i]), unit) for i in range(1, len(one)) if one.trained[i]]
        start += len(one)
    columns = (batch.readout.rows, batch.readout.labels, batch.readout.unit)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected
