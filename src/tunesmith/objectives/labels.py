"""Names of labels: found in the training rows, kept in the recipe and in the model, looked up in every row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from tunesmith.contracts.data import Record
from tunesmith.errors import UserError, did_you_mean

MANY = 1000
"""From here on labels are taken for numbers or free text."""


def counted(records: Iterable[Record]) -> Counter[str]:
    """How often each label occurs."""
    return Counter(label for record in records for label in record.labels or ())


def names_of(counts: Mapping[str, int]) -> list[str]:
    """Labels in order: as numbers where all are whole numbers, else by name. Fewer than two are a ``UserError``."""
    if len(counts) < 2:
        raise UserError(
            "there is nothing to tell apart: the training rows have "
            + (f"only the label '{next(iter(counts))}'" if counts else "no label"),
            allowed="rows with at least two labels",
            hint="Rows need a text and a label; `tunesmith formats labelled` shows the columns.",
            code="one-class",
        )
    if len(counts) > MANY:
        raise UserError(
            f"the training rows have {len(counts):,} different labels",
            allowed=f"at most {MANY:,} classes",
            hint="Numbers are learned by the objective regress, free text by sft.",
            code="too-many-labels",
        )
    return sorted(counts, key=lambda name: (0, int(name), name) if name.lstrip("-").isdecimal() else (1, 0, name))


def number_of(name: str, labels: Sequence[str], record: Record) -> int:
    """The class of a label; a name that training does not know is a ``UserError``, never a dropped row."""
    try:
        return labels.index(name)
    except ValueError:
        where = f"row {record.line} of source {record.source + 1}" if record.line else "a row"
        raise UserError(
            f"{where} has a label that is not among the labels to learn",
            got=f"'{name}'",
            allowed=list(labels[:20]) + ([f"and {len(labels) - 20} more"] if len(labels) > 20 else []),
            hint=did_you_mean(name, labels) or "Mend the row, or name all labels in objective.labels.",
            code="unknown-label",
        ) from None


def weights_of(labels: Sequence[str], counts: Mapping[str, int]) -> dict[str, float]:
    """Balanced weights: ``rows / (classes · rows of the class)``, so that every class weighs the same in total."""
    total = sum(counts[name] for name in labels)
    absent = [name for name in labels if not counts[name]]
    if absent:
        raise UserError(
            "class_weights: balanced needs rows of every label",
            got=f"no row has the label '{absent[0]}'",
            hint="Leave it out of objective.labels, or give the weights yourself.",
            code="label-without-rows",
        )
    return {name: total / (len(labels) * counts[name]) for name in labels}


def check_weights(weights: Mapping[str, float], labels: Sequence[str]) -> None:
    """A weight for every label and for nothing else, or a ``UserError``."""
    if set(weights) != set(labels):
        raise UserError(
            "class_weights and labels do not name the same classes",
            got=sorted(set(weights) ^ set(labels))[:5],
            allowed=list(labels),
            code="unknown-label",
        )
