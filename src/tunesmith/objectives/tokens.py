"""Token labels: a class for every word (named entities, parts of speech).

A word is read at its first token (Devlin et al. 2019, section 5.3); its other tokens carry no loss. The loss is the
mean over all words of the update, ``L = Σ_i w_{y_i} ℓ_i / Σ_i w_{y_i}``, with ℓ as in ``class_loss``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import Encoder, Encoding, Record
from tunesmith.contracts.objective import Judged, TaskHead, Term
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.data.collate import labelled
from tunesmith.data.formats.base import BadRow
from tunesmith.objectives.base import ObjectiveConfig
from tunesmith.objectives.class_loss import cross_entropy
from tunesmith.objectives.labels import check_weights, counted, names_of, number_of, weights_of
from tunesmith.objectives.reading import labels_in, numbers_in, summed

NAME = "cross_entropy"


class Tokens(ObjectiveConfig):
    """Tell the class of every word of a text."""

    NAME: ClassVar[str] = "tokens"
    paper: ClassVar[str] = "Devlin et al. 2019, BERT, section 5.3 (arXiv 1810.04805)"
    formats: ClassVar[tuple[str, ...]] = ("tagged", "spans")
    want: ClassVar[Want] = Want(logprob=False, scores=True)
    judged: ClassVar[Judged] = "labels"

    labels: list[str] = []
    """Names of the classes, in the order of the model's outputs; by default those of the training rows, sorted."""
    class_weights: Literal["none", "balanced"] | dict[str, Annotated[float, Field(ge=0.0)]] = "none"
    """How much a word weighs by its class: all the same, `balanced`, or `{name: weight}`."""
    smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of each label that is spread evenly over all classes (label smoothing)."""

    def head(self) -> TaskHead:
        """A score for each label at every token."""
        return TaskHead("tokens", tuple(self.labels))

    def learn(self, records: Iterable[Record], *, max_tokens: int) -> Mapping[str, Any]:
        """Label names and balanced weights, as far as the user left them open."""
        if self.labels and self.class_weights != "balanced":
            return {}
        counts = counted(records)
        labels = self.labels or names_of(counts)
        if isinstance(self.class_weights, dict):
            check_weights(self.class_weights, labels)
        weights = {"class_weights": weights_of(labels, counts)} if self.class_weights == "balanced" else {}
        return {"labels": labels, **weights}

    def encode(self, record: Record, encoder: Encoder) -> list[Encoding]:
        """The text; the first token of every word is read and has the word's class."""
        names = labels_in(record)
        if record.text is None or len(names) != len(record.spans):
            raise BadRow("the row has no words with one label each")
        framed = encoder.framed(record.text)
        at = {place: framed.spans[place] for place in framed.of(0)}
        trained, labels = [False] * len(framed.ids), []
        places = iter(sorted(at))
        place = next(places, None)
        for (left, right), name in zip(record.spans, names, strict=True):
            while place is not None and at[place][1] <= left:
                place = next(places, None)
            if place is None or at[place][0] >= right:
                raise BadRow(f"the word '{record.text[left:right]}' has no token")
            trained[place] = True
            labels.append(number_of(name, self.labels, record))
            place = next(places, None)
        return [Encoding(framed.ids, trained, labels=labels, second=0, closing=framed.closing)]

    def words(self, example: Example) -> str:
        """The class of every word."""
        return " ".join(self.labels[number] for number in numbers_in(example))

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A flat micro-batch; labels int64 ``[N]``."""
        import torch

        return labelled(examples, weights=torch.tensor(self._weights(examples)))

    def counts(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """Words of the update, by the weight of their class."""
        return {NAME: sum(self._weights(examples))}

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        """The weighted loss of each text's words, summed."""
        assert outputs.scores is not None
        return summed(NAME, cross_entropy(outputs.scores, batch.readout.labels, smoothing=self.smoothing), batch)

    def _weights(self, examples: Sequence[Example]) -> list[float]:
        """The weight of each word by its class."""
        numbers = [number for example in examples for number in numbers_in(example)]
        if not isinstance(self.class_weights, dict):
            return [1.0] * len(numbers)
        by_class = [self.class_weights[name] for name in self.labels]
        return [by_class[number] for number in numbers]
