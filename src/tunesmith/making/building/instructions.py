"""Labelled rows as instructions: the label becomes the answer to a question about the text (Wei et al. 2022, FLAN,
arXiv 2109.01652, section 2.1; its ten templates a task are the ``variants`` here).

    row                              kind          answer
    text, one label                  label         the label's name
    text, several labels             labels        the names, separated by commas
    text, a number                   number        the number
    two texts, a label or number     pair, pair-number
    a context and a question         question      the words of the context
    labelled words or places         places        a line for each: kind: words

The trap: the wording of the label is what the model learns to say. ``names`` gives labels words (`{0: bad, 1: good}`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from tunesmith.contracts.data import Record
from tunesmith.data.formats.base import BadRow
from tunesmith.data.formats.labelled import label_name
from tunesmith.data.formats.spans import write as write_places
from tunesmith.making.base import Count, Made, Parent
from tunesmith.making.building.base import RowBuilder
from tunesmith.making.texts import SHIPPED, filled, read_lists

KINDS = {
    "label": ("text",),
    "labels": ("text",),
    "number": ("text",),
    "pair": ("text", "pair"),
    "pair-number": ("text", "pair"),
    "question": ("text", "pair"),
    "places": ("text",),
}
"""Kinds of rows, and what stands in each of their templates."""


@dataclass(frozen=True)
class Ready:
    """Templates by kind, all names of labels in their order, and whether rows have numbers or several labels."""

    templates: Mapping[str, Sequence[str]]
    choices: Sequence[str]
    numeric: bool
    several: bool


def _as_names(given: Any) -> Any:
    """YAML reads 0 and true as they are; labels are names."""
    return {label_name(key): label_name(word) for key, word in given.items()} if isinstance(given, dict) else given


class Instructions(RowBuilder):
    """Make instructions of labelled texts: one label, several, a number, answers in a context, labelled words."""

    NAME: ClassVar[str] = "instructions"
    paper: ClassVar[str] = "Wei et al. 2022, FLAN (arXiv 2109.01652)"

    task: str = "the label"
    """What the label is, in words: `the sentiment`, `the topic`."""
    names: Annotated[dict[str, str], BeforeValidator(_as_names)] = {}
    """Words for labels: `{0: negative, 1: positive}`."""
    variants: Count = 1
    """Templates for each row, drawn from those of its kind."""
    most_choices: Annotated[int, Field(ge=0)] = 30
    """Labels are listed in the question up to so many; beyond that `{choices}` is `the known labels`."""
    no_answer: str = "The text does not say."
    """The answer to a question that the context does not answer; also where no word is labelled (`none`)."""
    templates: str = SHIPPED
    """A YAML file with the templates of each kind."""

    def prepared(self, parents: Sequence[Parent]) -> Ready:
        """The labels of all rows."""
        labels = Counter(name for parent in parents for name in _labels_in(parent.record))
        plain = [parent.record.labels for parent in parents if _is_labelled(parent.record)]
        numeric = bool(plain) and all(len(one or ()) == 1 and _is_number((one or ("",))[0]) for one in plain)
        # whole numbers that repeat are names of classes
        numeric = numeric and (len(labels) > len(plain) / 2 or any("." in label for label in labels))
        choices = sorted(self.names.get(label, label) for label in labels)
        several = any(len(one or ()) != 1 for one in plain)
        return Ready(read_lists(self.templates, "instructions.yaml", KINDS), choices, numeric, several)

    def build(self, parent: Parent, number: int, prepared: Ready) -> Made:
        """A conversation a template."""
        record = parent.record
        if record.labels is None or record.text is None or record.others:
            raise BadRow("the row has no label")
        kind = _kind(record, prepared)
        listed = 0 < len(prepared.choices) <= self.most_choices
        choices = ", ".join(prepared.choices) if listed else "the known labels"
        answer = self._answer(record, kind)
        templates = prepared.templates[kind]
        order = self.random(number).sample(range(len(templates)), min(self.variants, len(templates)))
        meta = {name: value for name, value in record.meta.items() if name not in ("made", "messages")}
        rows = []
        for template in order:
            values = {"text": record.text, "pair": record.pair or "", "task": self.task, "choices": choices}
            turns = [
                {"role": "user", "content": filled(templates[template], **values)},
                {"role": "assistant", "content": answer},
            ]
            made = {**parent.origin(self.NAME), "kind": kind, "template": template + 1}
            rows.append({"messages": turns, **meta, "made": made})
        return Made(rows)

    def _answer(self, record: Record, kind: str) -> str:
        text, labels = record.text or "", record.labels or ()
        if kind == "question":
            return text[slice(*record.spans[0])] if record.spans else self.no_answer
        if kind == "places":
            lines = [f"{self._name(one['label'])}: {text[one['start'] : one['end']]}" for one in _places(record)]
            return "\n".join(lines) or self.no_answer
        return ", ".join(map(self._name, labels)) or "none"

    def _name(self, label: str) -> str:
        return self.names.get(label, label)


def _kind(record: Record, ready: Ready) -> str:
    if record.spans or (record.labels == () and record.pair is not None):
        return "places" if record.labels else "question"
    if record.pair is not None:
        return "pair-number" if ready.numeric else "pair"
    return "number" if ready.numeric else "labels" if ready.several else "label"


def _is_labelled(record: Record) -> bool:
    return record.labels is not None and not record.spans and not (record.pair is not None and record.labels == ())


def _labels_in(record: Record) -> Sequence[str]:
    """The labels that a row can be asked to choose from."""
    if not record.spans:
        return record.labels or ()
    return sorted({one["label"] for one in _places(record)}) if record.labels else ()


def _places(record: Record) -> list[dict[str, Any]]:
    """Labelled places: spans by B- and I-, or words with a tag of their own."""
    try:
        places: list[dict[str, Any]] = write_places(record)["spans"]
    except BadRow:
        tagged = zip(record.spans, record.labels or (), strict=True)
        return [{"start": start, "end": end, "label": label} for (start, end), label in tagged]
    return places


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
