"""Near duplicates against every pair compared by hand."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from curate_rows import asked, item_of

from tunesmith.data.curate import near_dedup
from tunesmith.data.curate.near_dedup import NearDedup, band_size
from tunesmith.data.curate.shingles import jaccard, shingle_sets, shingles
from tunesmith.data.curate.texts import words

pytest.importorskip("rensa", reason="the near-dedup step needs the `curate` extra")


def made_rows(seed: int, *, alphabet: int = 3000) -> list[dict[str, str]]:
    """Texts of 30 to 120 words; two in three are changed copies, from hardly to half."""
    random_ = random.Random(seed)
    vocabulary = [f"w{number}" for number in range(alphabet)]
    rows: list[dict[str, str]] = []
    for _ in range(120):
        text = random_.choices(vocabulary, k=random_.randint(30, 120))
        rows.append(asked("say it", " ".join(text)))
        for share in (random_.uniform(0.0, 0.15), random_.uniform(0.1, 0.5)):
            changed = [random_.choice(vocabulary) if random_.random() < share else word for word in text]
            rows.append(asked("say it", " ".join(changed)))
    random_.shuffle(rows)
    return rows


def slow_set(text: str, group: int) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[at : at + group]) for at in range(len(found) - group + 1)} or {tuple(found)}


def slow_jaccard(first: set[Any], second: set[Any]) -> float:
    return len(first & second) / len(first | second)


def slow_drops(rows: list[dict[str, str]], threshold: float, group: int) -> set[int]:
    """Greedy, by all pairs: a row goes when an earlier one that stays is like it."""
    sets = [slow_set(f"{row['instruction']}\n{row['output']}", group) for row in rows]
    kept: list[int] = []
    for number, one in enumerate(sets):
        if all(slow_jaccard(one, sets[other]) < threshold for other in kept):
            kept.append(number)
    return set(range(len(rows))) - set(kept)


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("group", [1, 2, 3])
def test_it_drops_what_comparing_all_pairs_drops(threshold: float, group: int, tmp_path: Path) -> None:
    rows = made_rows(7)
    items = [item_of(row, number=number) for number, row in enumerate(rows)]
    found = NearDedup(threshold=threshold, group=group).choose(items, tmp_path)
    wanted = slow_drops(rows, threshold, group)
    hits = len(wanted & set(found))
    assert len(wanted) > 10
    assert hits >= 0.99 * len(wanted)
    assert hits >= 0.99 * len(found)


def test_what_is_dropped_names_a_row_that_stays_and_their_likeness(tmp_path: Path) -> None:
    rows = made_rows(3)
    items = [item_of(row, number=number) for number, row in enumerate(rows)]
    found = NearDedup(threshold=0.7).choose(items, tmp_path)
    for number, drop in found.items():
        assert drop.like is not None and drop.like < number and drop.like not in found
        alike = slow_jaccard(*(slow_set(items[one].of("row"), 2) for one in (number, drop.like)))
        assert drop.shown == f"J = {alike:.2f}"
        assert alike >= 0.7
    assert list(tmp_path.iterdir()) == []


def test_shingles_are_those_of_tuples_of_words() -> None:
    texts = ["a b c d a b", "a b", "b a", "a", "", "a b c d a b", "d c b a", "A, b. C d; a B!", "é a b", "\n'a' b\n"]
    texts += ["it's a b", "it s a b", "'it's'", "它 a b", "它a b", "\u2019it\u2019s\u2019", "ab", "a\nb c", "?", "ba"]
    for group in (1, 2, 3, 5):
        made = shingle_sets(texts, group)
        slow = [slow_set(text, group) if words(text) else set() for text in texts]
        for first, one in enumerate(slow):
            for second, other in enumerate(slow):
                wanted = slow_jaccard(one, other) if one and other else 0.0
                assert jaccard(made[first], made[second]) == pytest.approx(wanted)


def test_sets_do_not_depend_on_what_stands_beside_them() -> None:
    texts = [f"one two three {number} five six" for number in range(20)]
    for one, text in zip(shingles(texts, 3), texts, strict=True):
        assert np.array_equal(one, shingles([text], 3)[0])
    assert shingles([], 3) == []


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_a_pair_at_the_threshold_is_compared_nearly_always(threshold: float) -> None:
    size = band_size(threshold, 128)
    assert 1.0 - (1.0 - threshold**size) ** (128 // size) >= 0.99
    if size < 16:
        larger = size + 1
        assert 1.0 - (1.0 - threshold**larger) ** (128 // larger) < 0.99


def test_rows_without_words_and_of_one_word(tmp_path: Path) -> None:
    rows = [asked("?", "!!"), asked("?", "!!"), asked("yes", "no"), asked("yes", "no"), asked("no", "yes")]
    items = [item_of(row, number=number) for number, row in enumerate(rows)]
    assert set(NearDedup().choose(items, tmp_path)) == {3}


def test_in_a_crowd_the_most_alike_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(1)
    shared = [f"s{number}" for number in range(40)]
    rows = [
        asked("say it", " ".join([*shared, *(f"w{chance.randrange(10**6)}" for _ in range(15))])) for _ in range(60)
    ]
    for number in (0, 7, 31):
        rows.append(asked("say it", rows[number]["output"] + " more"))
    items = [item_of(row, number=number) for number, row in enumerate(rows)]
    compared: list[int] = []
    monkeypatch.setattr("tunesmith.data.curate.near_dedup.COMPARED", 5)
    first_like = near_dedup._first_like

    def counting(row: int, candidates: Any, *rest: Any) -> Any:
        compared.append(len(candidates))
        return first_like(row, candidates, *rest)

    monkeypatch.setattr("tunesmith.data.curate.near_dedup._first_like", counting)
    found = NearDedup(threshold=0.85).choose(items, tmp_path)
    assert {number: drop.like for number, drop in found.items()} == {60: 0, 61: 7, 62: 31}
    assert max(compared) == 5
