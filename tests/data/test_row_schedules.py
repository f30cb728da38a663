"""Schedules of data: mixtures of sources, rows from easy to hard, tags in front of prompts."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from small_rows import encode_answers, pair, write_rows

from tunesmith.contracts.data import Message, Record
from tunesmith.data.chat import ChatEncoder
from tunesmith.data.curriculum import Growing, competence
from tunesmith.data.loader import SequenceFeed, TokenFeed
from tunesmith.data.mixing import mixed
from tunesmith.data.prepare import prepare
from tunesmith.data.store import TokenStore
from tunesmith.data.tags import Tags, tagged
from tunesmith.errors import UserError
from tunesmith.recipe.schema import DataConfig, OrderConfig


@pytest.fixture
def store(tmp_path: Path, plain_encoder: ChatEncoder) -> TokenStore:
    """Source 0 has 30 rows, source 1 has 10."""
    paths = [
        write_rows(tmp_path / "a.jsonl", [pair(number, "yes " * (number % 7 + 1)) for number in range(30)]),
        write_rows(tmp_path / "b.jsonl", [pair(number) for number in range(100, 110)]),
    ]
    config = DataConfig(train=[{"path": str(path)} for path in paths], validation=0.0)
    return prepare(config, encode_answers, plain_encoder, seed=0, cache=tmp_path / "c", options_key="").train


def test_a_mixture_by_hand() -> None:
    """900, 100 rows at T = 2: p ∝ 30, 10, so 750 and 250 of the 1,000; a cap of 400: p ∝ 20, 10; weight 3: 30, 30."""
    counts = {0: 900, 1: 100}
    assert mixed(counts, {}) == pytest.approx({0: 1.0, 1: 1.0})
    assert mixed(counts, {}, temperature=2.0) == pytest.approx({0: 750 / 900, 1: 2.5})
    assert mixed(counts, {}, temperature=2.0, cap=400) == pytest.approx({0: 1000 * 2 / 3 / 900, 1: 10 / 3})
    heavy = mixed(counts, {1: 3.0}, temperature=2.0)
    assert heavy[0] * 900 == pytest.approx(heavy[1] * 100) == pytest.approx(600)
    alike = mixed(counts, {}, temperature=1e9)
    assert alike[0] * 900 == pytest.approx(500)


def test_a_mixed_epoch_keeps_its_size_and_its_shares(store: TokenStore) -> None:
    weights = mixed({0: 30, 1: 10}, {}, temperature=1e9)
    feed = SequenceFeed(store, seed=0, batch_size=8, weights=weights)
    seen = Counter(row.source for step in range(feed.steps_in(1)) for row in feed.update(step))
    assert seen == {0: 20, 1: 20}


def test_competence_is_the_papers_curve() -> None:
    """c(t) = √(t (1 − c₀²)/T + c₀²): the start at t = 0, all at T, and its square a straight line between."""
    values = [competence(step, steps=8, start=0.5) for step in range(12)]
    assert values[0] == 0.5
    assert values[4] == pytest.approx(math.sqrt((0.25 + 1.0) / 2))
    assert values[8:] == [1.0] * 4
    assert np.allclose(np.diff(np.square(values[:9])), 0.75 / 8)


def test_growing_draws_from_the_easy_part_and_then_from_all(store: TokenStore) -> None:
    difficulty = np.random.default_rng(0).permutation(40).astype(np.float64)
    plain = SequenceFeed(store, seed=0, batch_size=4)
    feed = Growing(plain, store, difficulty, batch_size=4, steps=20, start=0.2, seed=0)
    rank = {int(row): int(difficulty[place]) for place, row in enumerate(store.rows)}
    for step in range(20):
        rows = [row.row for row in feed.update(step)]
        limit = max(4, math.ceil(40 * competence(step, steps=20, start=0.2)))
        assert len(set(rows)) == 4
        assert all(rank[row] < limit for row in rows)
    hardest = max(rank[row.row] for step in range(15, 20) for row in feed.update(step))
    assert hardest > 30
    assert [[row.row for row in feed.update(step)] for step in (20, 25)] == [
        [row.row for row in plain.update(step)] for step in (0, 5)
    ]
    again = Growing(plain, store, difficulty, batch_size=4, steps=20, start=0.2, seed=0)
    assert [[row.row for row in again.update(step)] for step in reversed(range(30))] == [
        [row.row for row in feed.update(step)] for step in reversed(range(30))
    ]
    assert feed.epoch_of(30) == pytest.approx(3.0)
    assert feed.steps_in(2) == plain.steps_in(2)


def test_growing_heeds_the_weights_of_sources(store: TokenStore) -> None:
    plain = SequenceFeed(store, seed=0, batch_size=4)
    weights = {0: 1e-9, 1: 1.0}
    feed = Growing(plain, store, np.zeros(40), batch_size=4, steps=50, start=1.0, seed=0, weights=weights)
    assert {row.source for step in range(50) for row in feed.update(step)} == {1}


@pytest.mark.parametrize("kind", ["rows", "tokens"])
def test_sorted_is_the_first_epoch_from_easy_to_hard(kind: str, store: TokenStore) -> None:
    lengths = store.lengths.astype(np.float64)
    feed: SequenceFeed | TokenFeed
    plain: SequenceFeed | TokenFeed
    if kind == "rows":
        feed = SequenceFeed(store, seed=0, batch_size=4, difficulty=lengths)
        plain = SequenceFeed(store, seed=0, batch_size=4)
    else:
        feed = TokenFeed(store, seed=0, batch_tokens=200, difficulty=lengths)
        plain = TokenFeed(store, seed=0, batch_tokens=200)
    steps = feed.steps_in(1)
    sizes = [len(row) for step in range(steps) for row in feed.update(step)]
    assert sizes == sorted(lengths.tolist())
    second = [[row.row for row in one.update(steps)] for one in (feed, plain)]
    assert second[0] == second[1]


def test_tags_stand_in_front_of_the_first_question() -> None:
    asked = (Message("system", "Be kind."), Message("user", "Hello?"), Message("assistant", "Yes."))
    record = Record(messages=asked, meta={"tone": " formal ", "size": 3, "empty": ""})
    tags = Tags(("tone", "size", "empty", "missing"))
    found = tagged(record, tags).messages
    assert found is not None
    assert [one.content for one in found] == ["Be kind.", "[tone: formal] [size: 3] Hello?", "Yes."]
    text = Record(text="A river.", spans=((2, 7),), meta={"tone": "dry"})
    moved = tagged(text, Tags(("tone",), "<{value}> "))
    assert moved.text == "<dry> A river."
    assert [moved.text[start:end] for start, end in moved.spans] == ["river"]
    assert tagged(record, Tags()) is record
    assert tagged(record, Tags(("missing",))) is record


def test_tags_reach_the_tokens_and_name_their_column(tmp_path: Path, plain_encoder: ChatEncoder) -> None:
    rows = [pair(number) | {"tone": ["dry", "warm"][number % 2]} for number in range(6)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")

    def made(**tags: object) -> TokenStore:
        config = DataConfig(train=[{"path": str(path)}], validation=0.0, **tags)  # type: ignore[arg-type]
        return prepare(config, encode_answers, plain_encoder, seed=0, cache=tmp_path / "c", options_key="").train

    plain, with_tags = made(), made(tags={"columns": ["tone"]})
    for number in range(6):
        assert "[tone: " not in plain_encoder.decode(plain[number].ids.tolist())
        assert f"[tone: {['dry', 'warm'][number % 2]}] " in plain_encoder.decode(with_tags[number].ids.tolist())
        assert plain[number].targets == with_tags[number].targets
    with pytest.raises(UserError) as raised:
        made(tags={"columns": ["tune"]})
    assert raised.value.code == "unknown-column"
    assert "tone" in str(raised.value)


def test_a_column_belongs_to_its_order() -> None:
    for values in ({"name": "column"}, {"name": "length", "column": "hard"}):
        with pytest.raises(ValueError, match="column"):
            OrderConfig.model_validate(values)
