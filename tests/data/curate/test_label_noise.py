"""Wrong labels by confident learning, and rows unlike all others."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from curate_rows import Run, asked, item_of
from planted import Writer

from tunesmith.data.curate.label_noise import LabelNoise, doubts
from tunesmith.data.curate.outliers import Outliers, distances
from tunesmith.errors import UserError

pytest.importorskip("sklearn", reason="label noise and outliers need the `curate` extra")


def test_the_confident_joint_of_five_rows_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.1, 0.9], [0.45, 0.55]])
    given = np.array([0, 0, 0, 1, 1])
    # t_0 = (0.9 + 0.8 + 0.3) / 3 = 0.667, t_1 = (0.9 + 0.55) / 2 = 0.725: row 2 is under both, row 4 too
    found = doubts(probabilities, given)
    assert found.errors.tolist() == []
    assert found.margin == pytest.approx([0.8, 0.6, -0.4, 0.8, 0.1])
    assert found.order.tolist() == [2, 4, 1, 0, 3]
    # with 0.75 row 2 passes t_1 = 0.725 and is counted as a 1 that is labelled 0
    probabilities[2] = [0.25, 0.75]
    assert doubts(probabilities, given).errors.tolist() == [2]
    assert doubts(probabilities, given).likely[2] == 1


def labelled_rows(seed: int, count: int = 400) -> tuple[list[dict[str, str]], set[int]]:
    """Texts whose words tell their label but for noise; one label in five is wrong (lines from 1)."""
    writer, chance = Writer(seed), random.Random(seed)
    words = {"good": ["lovely", "fine", "great", "splendid"], "bad": ["awful", "dull", "poor", "dreadful"]}
    rows, wrong = [], set()
    for line in range(1, count + 1):
        label = chance.choice(["good", "bad"])
        text = f"{writer.sentence()} It was {chance.choice(words[label])} and {chance.choice(words[label])}."
        if chance.random() < 0.2:
            wrong.add(line)
            label = "good" if label == "bad" else "bad"
        rows.append({"text": text, "label": label})
    return rows, wrong


def test_planted_wrong_labels_are_marked_or_dropped(run: Run) -> None:
    rows, wrong = labelled_rows(1)
    dropped = run(rows, LabelNoise(action="drop"))
    hits = len(wrong & dropped.dropped.keys())
    assert hits >= 0.8 * len(wrong)
    assert hits >= 0.8 * len(dropped.dropped)
    marked = run(rows, LabelNoise())
    assert marked.dropped == {}
    assert sum(marked.notes.values()) == len(dropped.dropped)
    assert set(marked.notes) == {
        "curate label-noise: its label 'good' is probably 'bad'",
        "curate label-noise: its label 'bad' is probably 'good'",
    }
    share = run(rows, LabelNoise(action="drop", share=0.1))
    assert len(share.dropped) == 40
    assert len(wrong & share.dropped.keys()) >= 38


def test_copies_of_a_text_share_a_fold() -> None:
    items = [
        item_of({"text": text, "label": "x"}, "labelled", number) for number, text in enumerate(["a b", "A  b", "c"])
    ]
    folds = LabelNoise().sketch(items)["fold"]
    assert folds[0] == folds[1]


def test_short_answers_count_as_labels_where_asked(run: Run) -> None:
    rows = [asked(row["text"], row["label"]) for row in labelled_rows(2, 200)[0]]
    with pytest.raises(UserError) as error:
        run(rows, LabelNoise())
    assert error.value.code == "no-labels"
    assert run(rows, LabelNoise(answer_words=1, action="drop")).dropped


def test_a_label_that_hardly_occurs_is_refused(run: Run) -> None:
    rows = [*labelled_rows(3, 50)[0], {"text": "once", "label": "rare"}]
    with pytest.raises(UserError, match="rare"):
        run(rows, LabelNoise())


def test_odd_rows_stand_apart(run: Run) -> None:
    writer = Writer(5)
    rows = [asked("Tell me", writer.text(3)) for _ in range(98)]
    rows += [asked("Qwxz", "zzyx qqwv jjkq vvbn pplm"), asked("∑∂ƒ", "λμν ξοπ ρστ υφχ ψω")]
    assert sorted(run(rows, Outliers(share=0.02)).dropped) == [99, 100]
    assert run(rows, Outliers(share=0.02, action="mark")).notes == {"curate outliers: it is unlike all other rows": 2}


def test_distances_are_those_of_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(0)
    vectors = chance.normal(size=(50, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = vectors @ vectors.T
    np.fill_diagonal(alike, -np.inf)
    wanted = 1.0 - np.sort(alike, axis=1)[:, -3:].mean(axis=1)
    monkeypatch.setattr("tunesmith.data.curate.outliers._BLOCK", 7)
    assert distances(vectors, 3, seed=0) == pytest.approx(wanted, abs=1e-6)
    monkeypatch.setattr("tunesmith.data.curate.outliers.SAMPLE", 20)
    assert np.corrcoef(distances(vectors, 3, seed=0), wanted)[0, 1] > 0.5
    assert distances(vectors[:1], 3, seed=0).tolist() == [0.0]


@pytest.mark.slow
def test_sst2_with_a_fifth_of_the_labels_wrong_by_words_alone(real_data: Path, run: Run) -> None:
    lines = (real_data / "classification" / "stsa.binary.train").read_text(encoding="latin-1").splitlines()
    chance = random.Random(0)
    wrong = set(chance.sample(range(1, len(lines) + 1), len(lines) // 5))
    rows = []
    for line, (label, text) in enumerate((one.split(" ", 1) for one in lines), start=1):
        rows.append({"text": text, "label": str(1 - int(label)) if line in wrong else label})
    found = run(rows, LabelNoise(action="drop", share=0.2)).dropped
    # measured: 0.52 by words (chance: 0.20); an encoder's vectors give 0.62 (benchmarks/curation.py --noise)
    assert len(wrong & found.keys()) >= 0.47 * len(found)
