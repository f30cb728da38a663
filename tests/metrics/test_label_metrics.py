"""Metrics of labels and numbers: by hand, at the edges, and against scikit-learn on random rows."""

from __future__ import annotations

import numpy as np
import pytest

from tunesmith.metrics import confusion, correlation, multi_label
from tunesmith.metrics.auroc import auroc_parts
from tunesmith.metrics.calibration import calibration_error
from tunesmith.metrics.intervals import resampled


def test_a_table_by_hand() -> None:
    """Wanted 0 0 0 1 1 2, said 0 0 1 1 2 2: F1 = 4/5, 1/2, 2/3; MCC = (36·… )."""
    table = confusion.confusion(np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 2, 2]), 3)
    assert table.tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert confusion.accuracy(table) == pytest.approx(4 / 6)
    assert confusion.macro_f1(table) == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3)
    # n tr = 24, wanted·said = 3·2 + 2·2 + 1·2 = 12, n² − s·s = 24, n² − w·w = 22
    assert confusion.matthews(table) == pytest.approx(12 / np.sqrt(24 * 22))


def test_classes_that_never_occur_do_not_count() -> None:
    table = confusion.confusion(np.array([0, 0]), np.array([0, 0]), 4)
    assert confusion.macro_f1(table) == 1.0
    assert confusion.matthews(table) == 0.0


def test_several_labels_by_hand() -> None:
    wanted = np.array([[1, 0, 0], [1, 1, 0]], dtype=bool)
    said = np.array([[1, 1, 0], [0, 1, 0]], dtype=bool)
    assert multi_label.micro_f1(wanted, said) == pytest.approx(2 * 2 / 6)
    assert multi_label.macro_f1(wanted, said) == pytest.approx((2 / 3 + 2 / 3) / 2)
    nothing = np.zeros((2, 3), dtype=bool)
    assert multi_label.micro_f1(nothing, nothing) == multi_label.macro_f1(nothing, nothing) == 1.0


def test_auroc_by_hand() -> None:
    """Positives 3 and 1, negatives 2, 1, 0: wins 3 and 1 + ½ of 3 each: 4.5 / 6."""
    scores = np.array([[0.0, 3.0], [0.0, 1.0], [0.0, 2.0], [0.0, 1.0], [0.0, 0.0]])
    assert auroc_parts(scores, np.array([1, 1, 0, 0, 0])).mean() == pytest.approx(0.75)
    assert np.isnan(auroc_parts(scores, np.zeros(5, dtype=np.int64))).all()


def test_calibration_by_hand() -> None:
    """Sure by 0.9 and right half of the time: 0.4; sure by 0.5 and right half of the time: 0; halves of each."""
    confidence = np.array([0.9, 0.9, 0.5, 0.5])
    assert calibration_error(confidence, np.array([True, False, True, False])) == pytest.approx(0.2)
    assert calibration_error(np.array([1.0, 1.0]), np.array([True, True])) == 0.0


def test_correlations_by_hand() -> None:
    wanted, said = np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])
    assert correlation.squared_error(wanted, said) == pytest.approx(2 / 3)
    assert correlation.pearson(wanted, said) == pytest.approx(0.5)
    assert correlation.spearman(wanted, np.array([10.0, 300.0, 20.0])) == pytest.approx(0.5)
    assert correlation.spearman(np.array([1.0, 2.0, 100.0]), np.array([3.0, 4.0, 5.0])) == pytest.approx(1.0)
    assert correlation.ranks(np.array([5.0, 1.0, 5.0])).tolist() == [2.5, 1.0, 2.5]
    assert correlation.pearson(wanted, np.ones(3)) == 0.0


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_scikit_learn_agrees(classes: int) -> None:
    reference = pytest.importorskip("sklearn.metrics")
    draw = np.random.default_rng(classes)
    wanted = draw.integers(0, classes, 400)
    scores = np.round(draw.normal(size=(400, classes)) + np.eye(classes)[wanted], 1)  # rounded, so that there are ties
    said = scores.argmax(axis=1)
    table = confusion.confusion(wanted, said, classes)
    assert confusion.accuracy(table) == pytest.approx(reference.accuracy_score(wanted, said))
    assert confusion.macro_f1(table) == pytest.approx(reference.f1_score(wanted, said, average="macro"))
    assert confusion.matthews(table) == pytest.approx(reference.matthews_corrcoef(wanted, said))
    options = {"average": "macro", "zero_division": 0.0}
    assert confusion.macro_precision(table) == pytest.approx(reference.precision_score(wanted, said, **options))
    assert confusion.macro_recall(table) == pytest.approx(reference.recall_score(wanted, said, **options))
    area = [
        reference.roc_auc_score(wanted == one, scores[:, one] - (scores[:, 0] if classes == 2 else 0.0))
        for one in (range(classes) if classes > 2 else [1])
    ]
    assert auroc_parts(scores, wanted).mean() == pytest.approx(np.mean(area))
    present = draw.random((400, classes)) < 0.3
    guessed = draw.random((400, classes)) < 0.4
    for average, ours in (("micro", multi_label.micro_f1), ("macro", multi_label.macro_f1)):
        assert ours(present, guessed) == pytest.approx(reference.f1_score(present, guessed, average=average))
    precision, recall = (
        score(present, guessed, average="micro") for score in (reference.precision_score, reference.recall_score)
    )
    assert multi_label.micro_precision(present, guessed) == pytest.approx(precision)
    assert multi_label.micro_recall(present, guessed) == pytest.approx(recall)


def test_precision_and_recall_by_hand() -> None:
    """Wanted 0 0 1 2, said 0 1 1 1, of four classes: precision 1, 1/3, 0; recall 1/2, 1, 0; the fourth never occurs."""
    table = confusion.confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1]), 4)
    assert confusion.macro_precision(table) == pytest.approx((1 + 1 / 3 + 0) / 3)
    assert confusion.macro_recall(table) == pytest.approx((1 / 2 + 1 + 0) / 3)
    wanted, said = np.array([[True, True, False]]), np.array([[True, False, False]])
    assert (multi_label.micro_precision(wanted, said), multi_label.micro_recall(wanted, said)) == (1.0, 0.5)
    assert multi_label.micro_precision(wanted, np.zeros((1, 3), dtype=bool)) == 1.0


def test_auroc_parts_give_delongs_spread() -> None:
    """The variance of the mean of the parts is DeLong's: S₁₀ / m + S₀₁ / n."""
    draw = np.random.default_rng(0)
    wanted = (draw.random(300) < 0.3).astype(np.int64)
    scores = np.stack([np.zeros(300), draw.normal(size=300) + wanted], axis=1)
    high, low = scores[wanted == 1, 1], scores[wanted == 0, 1]
    wins = (high[:, None] > low[None]).astype(float)
    delong = wins.mean(axis=1).var() / len(high) + wins.mean(axis=0).var() / len(low)
    assert auroc_parts(scores, wanted).var() / 300 == pytest.approx(delong)


def test_resampling_pairs_before_and_after() -> None:
    """A mean's interval is the normal one; a constant difference has no spread at all."""
    values = np.random.default_rng(1).normal(size=500)
    mean = lambda places: {"mean": float(values[places].mean())}  # noqa: E731
    shifted = lambda places: {"mean": float(values[places].mean()) - 0.25}  # noqa: E731
    found = resampled(mean, 500)["mean"]
    half = 1.96 * values.std() / np.sqrt(500)
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.012)
    change = resampled(mean, 500, before=shifted)["mean"]
    assert (change.value, change.low, change.high) == pytest.approx((0.25, 0.25, 0.25))


def test_what_is_no_number_is_left_out() -> None:
    assert resampled(lambda _: {"area": float("nan"), "one": 1.0}, 5).keys() == {"one"}
    with pytest.raises(ValueError, match="at least one"):
        resampled(lambda _: {}, 0)
