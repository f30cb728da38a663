"""Label noise: rows whose label is probably wrong, by cross-validated confident learning.

Northcutt, Jiang & Chuang 2021 (arXiv:1911.00068). A classifier (logistic regression on the rows' vectors) gives every
row x with label ỹ = i probabilities p̂(j; x), of folds it was not fitted on. With

    t_j = mean of p̂(j; x) over the rows labelled j                       (eq. 2)
    C_ij = rows labelled i whose most probable class among those with p̂(j; x) ≥ t_j is j        (eq. 1)

the rows counted off the diagonal of C are label errors ("confident joint"). They are ranked by the normalized margin
p̂(ỹ; x) − max_{j≠ỹ} p̂(j; x) (section 3.2), the least first.

The trap: what is hard, rare or ambiguous looks wrong as well. Read what is marked before you drop it, drop duplicates
first (copies of one text always share a fold here, near copies do not), and name an encoder where words are not enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tunesmith.data.curate.base import Arrays, Drop, Item, Mark, Part
from tunesmith.data.curate.exact_dedup import key_of
from tunesmith.data.curate.vectors import VectorStep, numbers_of, weighted, word_counts
from tunesmith.errors import UserError

Probabilities = NDArray[np.float64]
Classes = NDArray[np.int64]


class LabelNoise(VectorStep):
    """Marks or drops rows whose label a classifier, fitted on the other rows, holds for wrong (`curate` extra)."""

    NAME: ClassVar[str] = "label-noise"
    paper: ClassVar[str] = "https://arxiv.org/abs/1911.00068"

    of: Part = "prompt"
    """What the label is told by: the `prompt` (the text of labelled rows)."""
    action: Literal["mark", "drop"] = "mark"
    """`mark` notes the rows in the ledger, `drop` drops them."""
    share: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """How large a share of all labelled rows is taken, the most doubtful first; null for as many as are errors."""
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    """Parts of the rows, each judged by a classifier fitted on the others."""
    answer_words: Annotated[int, Field(ge=0)] = 0
    """Answers of conversations with at most so many words count as labels too; 0 for none."""

    def sketch(self, items: Sequence[Item]) -> Arrays:
        """Vectors or word counts, the fold and the label of rows with one label."""
        chosen = [item for item in items if item.of(self.of).strip() and self._label(item) is not None]
        folds = [int.from_bytes(key_of(item, self.of, "case") or b"", "little") % self.folds for item in chosen]
        labels = np.array([self._label(item) for item in chosen], dtype=np.str_)
        return {**self.seen(chosen), "fold": np.array(folds, dtype=np.int64), "label": labels}

    def pick(self, sketches: Sequence[Arrays], folder: Path) -> Mapping[int, Drop | Mark]:
        """The rows whose labels are doubted."""
        numbers = numbers_of(sketches)
        names, given = np.unique(
            np.concatenate([np.empty(0, np.str_), *(one["label"] for one in sketches)]), False, True
        )
        folds = np.concatenate([np.empty(0, np.int64), *(one["fold"] for one in sketches)])
        labels: list[str] = names.tolist()
        _check(labels, given, self.folds, len(numbers))
        features = weighted(word_counts(sketches)) if self.encoder is None else self.vectors(sketches)
        doubted = doubts(out_of_sample(features, given, folds), given)
        count = len(doubted.errors) if self.share is None else round(self.share * len(numbers))
        order = doubted.errors if self.share is None else doubted.order
        found = {}
        for row in order[:count].tolist():
            words = f"its label {labels[given[row]]!r} is probably {labels[doubted.likely[row]]!r}"
            number = int(numbers[row])
            found[number] = Mark(words) if self.action == "mark" else Drop(words, shown=f"{doubted.margin[row]:+.2f}")
        return found

    def _label(self, item: Item) -> str | None:
        labels = item.record.labels
        if labels is not None:
            return labels[0] if len(labels) == 1 and not item.record.spans else None
        answer = item.answer.strip()
        return answer if answer and len(answer.split()) <= self.answer_words else None


@dataclass(frozen=True)
class Doubts:
    """``errors``: rows off the diagonal of the confident joint, the most doubtful first; ``order``: all rows so;
    ``likely [n]``: the class each row would have; ``margin [n]``: its own label's lead over the best other one."""

    errors: Classes
    order: Classes
    likely: Classes
    margin: Probabilities


def doubts(probabilities: Probabilities, given: Classes) -> Doubts:
    """Confident learning of ``probabilities [n, k]`` out of sample and the ``given [n]`` labels."""
    rows = np.arange(len(given))
    classes = range(probabilities.shape[1])
    thresholds = np.array([probabilities[given == one, one].mean() for one in classes])
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    counted = (confident.max(axis=1) >= 0) & (confident.argmax(axis=1) != given)
    others = probabilities.copy()
    others[rows, given] = -1.0
    margin = probabilities[rows, given] - others.max(axis=1)
    order = np.argsort(margin, kind="stable")
    likely = np.where(counted, confident.argmax(axis=1), others.argmax(axis=1))
    return Doubts(order[counted[order]], order, likely, margin)


def out_of_sample(features: Any, given: Classes, folds: Classes) -> Probabilities:
    """``[n, k]``: probabilities of each row by a classifier that was fitted on the rows of other folds."""
    from sklearn.linear_model import LogisticRegression

    found = np.zeros((len(given), int(given.max()) + 1))
    for fold in np.unique(folds):
        inside = folds == fold
        # a weak penalty lets the classifier learn the wrong labels by heart
        model = LogisticRegression(C=1.0, max_iter=300).fit(features[~inside], given[~inside])
        found[np.ix_(inside, model.classes_)] = model.predict_proba(features[inside])
    return found


def _check(names: Sequence[str], given: Classes, folds: int, rows: int) -> None:
    """Raise ``UserError`` where there is nothing to learn from."""
    rare = [name for number, name in enumerate(names) if (given == number).sum() < folds]
    if len(names) < 2 or rare:
        raise UserError(
            "label-noise cannot tell right labels from wrong ones",
            got=f"{rows:,} labelled rows of {len(names)} labels" + (f"; rare: {rare[:5]}" if rare else ""),
            allowed=f"two labels and more, each of at least {folds} rows",
            hint="Answers of conversations count with answer_words; merge or drop rare labels first.",
            code="no-labels",
        )
