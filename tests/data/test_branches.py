"""Examples with several answers to one beginning: from encodings through the store to a flat micro-batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tunesmith.contracts.batch import Example
from tunesmith.contracts.data import Encoding
from tunesmith.data.collate import flatten, labelled
from tunesmith.data.fit import fit, longest_sequence
from tunesmith.data.ledger import Ledger
from tunesmith.data.store import Encoded, TokenStore, example_of, join_parts, part_path, write_part


def pair() -> Encoding:
    """Beginning 10 11 12; answers 20 21 and 30 31 32; all of the answers trained."""
    ids = [10, 11, 12, 20, 21, 30, 31, 32]
    return Encoding(ids, [False] * 3 + [True] * 5, branches=(3, 5), extras={"margin": [0.5]})


def plain(*ids: int) -> Example:
    return Example(np.array(ids, dtype=np.int32), np.array([False] + [True] * (len(ids) - 1)), row=7)


def test_a_pair_is_three_segments_of_which_two_go_on_from_the_first() -> None:
    batch = flatten([example_of(pair(), 4), example_of(pair(), 9)])
    assert batch.main.layout.lengths == (3, 2, 3, 3, 2, 3)
    assert batch.main.layout.parents == (-1, 0, 0, -1, 3, 3)
    assert batch.main.positions.tolist() == [0, 1, 2, 3, 4, 3, 4, 5] * 2
    assert batch.readout.labels.tolist() == [20, 21, 30, 31, 32] * 2
    # the first token of each answer is predicted by the beginning's last row, 2 (and 10 in the second example)
    assert batch.readout.rows.tolist() == [2, 3, 2, 5, 6, 10, 11, 10, 13, 14]
    assert batch.readout.unit.tolist() == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    assert batch.groups.tolist() == [0, 0, 1, 1]
    assert batch.unit_ids.tolist() == [4, 4, 9, 9]
    assert batch.examples == 2
    assert batch.extras["margin"].tolist() == [0.5, 0.5]


def test_pairs_and_plain_sequences_share_a_stream() -> None:
    batch = flatten([plain(1, 2, 3), Example(*_arrays(pair()), row=1, branches=(3, 5)), plain(4, 5)])
    assert batch.main.layout.parents == (-1, -1, 1, 1, -1)
    assert batch.readout.unit.tolist() == [0, 0, 1, 1, 2, 2, 2, 3]
    assert batch.readout.rows.tolist() == [0, 1, 5, 6, 5, 8, 9, 11]
    assert batch.groups.tolist() == [0, 1, 1, 2]


def test_plain_sequences_have_no_parents() -> None:
    assert flatten([plain(1, 2), plain(3, 4)]).main.layout.parents is None


def test_answers_without_a_beginning_stand_alone() -> None:
    """A first token has nothing before it: it is no target, though it is marked."""
    example = Example(np.array([5, 6, 8, 9], dtype=np.int32), np.ones(4, dtype=bool), row=0, branches=(0, 2))
    batch = flatten([example])
    assert batch.main.layout.parents is None
    assert batch.main.layout.lengths == (2, 2)
    assert batch.main.positions.tolist() == [0, 1, 0, 1]
    assert batch.readout.labels.tolist() == [6, 9]


def test_labelled_answers_are_read_at_their_own_rows() -> None:
    ids = np.array([10, 11, 20, 21, 30], dtype=np.int32)
    trained = np.array([False, False, False, True, True])
    batch = labelled([Example(ids, trained, 0, labels=np.array([1, 0], dtype=np.int32), branches=(2, 4))])
    assert batch.readout.rows.tolist() == [3, 4]
    assert batch.readout.unit.tolist() == [0, 1]


def test_the_store_gives_back_branches_and_extras(tmp_path: Path) -> None:
    parts = [part_path(tmp_path, number) for number in range(3)]
    for number, encodings in enumerate([[pair(), pair()], [], [pair()]]):
        sequences = [Encoded(one, row, 0, row, 0) for row, one in enumerate(encodings)]
        write_part(parts[number], sequences, ledger=Ledger([]), vocabulary=100)
    join_parts(parts, tmp_path / "store", ledger=Ledger([]))
    store = TokenStore(tmp_path / "store")
    assert len(store) == 3
    assert store.extras == ["margin"]
    for example in store:
        assert example.branches == (3, 5)
        assert example.ids.tolist() == pair().ids
        assert example.extras["margin"].tolist() == [0.5]
        assert example.sequences == 2
        assert example.targets == 5


def test_the_length_of_a_pair_is_that_of_its_longer_sequence() -> None:
    assert longest_sequence(pair()) == 6
    assert fit([pair()], max_tokens=6, overlong="drop").status == "kept"
    assert fit([pair()], max_tokens=5, overlong="drop").status == "dropped"


def test_cutting_a_pair_cuts_each_answer_at_its_end() -> None:
    fitted = fit([pair()], max_tokens=5, overlong="cut")
    assert fitted.status == "cut"
    (cut,) = fitted.encodings
    assert cut.ids == [10, 11, 12, 20, 21, 30, 31]
    assert cut.trained == [False] * 3 + [True] * 4
    assert cut.branches == (3, 5)


def test_a_read_answer_is_read_at_its_new_end() -> None:
    trained = [False, False, False, False, True, False, False, True]
    encoding = Encoding(pair().ids, trained, labels=[1, 2], branches=(3, 5))
    (cut,) = fit([encoding], max_tokens=5, overlong="cut").encodings
    assert cut.trained == [False, False, False, False, True, False, True]
    assert cut.labels == [1, 2]


def test_answers_that_are_alike_once_cut_are_no_pair() -> None:
    encoding = Encoding([10, 11, 20, 21, 20, 22], [False, False, True, True, True, True], branches=(2, 4))
    assert fit([encoding], max_tokens=4, overlong="cut").status == "kept"
    assert fit([encoding], max_tokens=3, overlong="cut").status == "dropped"


@pytest.mark.parametrize("overlong", ["cut", "split"])
def test_a_beginning_that_leaves_no_room_drops_the_row(overlong: str) -> None:
    assert fit([pair()], max_tokens=3, overlong=overlong).status == "dropped"  # type: ignore[arg-type]


def test_a_prompt_is_kept_without_a_target_and_never_cut() -> None:
    prompt = Encoding([1, 2, 3, 4], [False] * 4, asks=True)
    assert fit([prompt], max_tokens=4, overlong="cut").status == "kept"
    assert fit([prompt], max_tokens=3, overlong="cut").status == "dropped"


def _arrays(encoding: Encoding) -> tuple[np.ndarray, np.ndarray]:
    return np.array(encoding.ids, dtype=np.int32), np.array(encoding.trained)
