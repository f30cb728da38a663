"""Classification: one class a text, or any number of them (multi-label).

A new output layer scores the first token of an encoder (Devlin et al. 2019, section 4.1) or the last token of a decoder
(Radford et al. 2018, section 3.3). The loss is a weighted mean over texts:

    L = Σ_i w_{y_i} ℓ_i / Σ_i w_{y_i}

with ℓ as in ``class_loss``; multi-label texts weigh 1 each, there class weights belong to the present classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import Encoder, Encoding, Record
from tunesmith.contracts.objective import Judged, TaskHead, Term
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.data.collate import labelled
from tunesmith.data.formats.base import BadRow
from tunesmith.objectives.base import ObjectiveConfig
from tunesmith.objectives.class_loss import binary_cross_entropy, cross_entropy
from tunesmith.objectives.labels import check_weights, counted, names_of, number_of, weights_of
from tunesmith.objectives.reading import labels_in, numbers_in, read_whole, summed

if TYPE_CHECKING:
    import torch

NAME = "cross_entropy"


class Classify(ObjectiveConfig):
    """Tell classes of texts (or of pairs of texts) apart, one class a text or several."""

    NAME: ClassVar[str] = "classify"
    paper: ClassVar[str] = "Devlin et al. 2019, BERT, section 4.1 (arXiv 1810.04805)"
    formats: ClassVar[tuple[str, ...]] = ("labelled",)
    want: ClassVar[Want] = Want(logprob=False, scores=True)
    judged: ClassVar[Judged] = "labels"

    labels: list[str] = []
    """Names of the classes, in the order of the model's outputs; by default those of the training rows, sorted."""
    multi_label: bool | None = None
    """Whether a text may have any number of labels; by default, where a training row has several or none."""
    class_weights: Literal["none", "balanced"] | dict[str, Annotated[float, Field(ge=0.0)]] = "none"
    """How much a text weighs by its class: all the same, `balanced` (every class the same in total), `{name: weight}`.
    For several labels a text: how much a present label weighs (balanced: texts without it over texts with it)."""
    smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of each label that is spread evenly over all classes (label smoothing)."""

    def head(self) -> TaskHead:
        """A score for each label."""
        return TaskHead("classes" if self.multi_label else "class", tuple(self.labels))

    def learn(self, records: Iterable[Record], *, max_tokens: int) -> Mapping[str, Any]:
        """Label names, whether a text has several, and balanced weights, as far as the user left them open."""
        if self.labels and self.multi_label is not None and self.class_weights != "balanced":
            return {}
        rows = [record for record in records if record.labels is not None]
        counts = counted(rows)
        multi = self.multi_label if self.multi_label is not None else any(len(row.labels or ()) != 1 for row in rows)
        labels = self.labels or names_of(counts)
        found: dict[str, Any] = {"labels": labels, "multi_label": multi}
        if self.class_weights == "balanced":
            weights = weights_of(labels, counts)
            if multi:
                weights = {name: (len(rows) - counts[name]) / counts[name] for name in labels}
            found["class_weights"] = weights
        if isinstance(self.class_weights, dict):
            check_weights(self.class_weights, labels)
        return found

    def encode(self, record: Record, encoder: Encoder) -> list[Encoding]:
        """The text with its class, or with all its classes."""
        return [read_whole(record, encoder, self.numbers(labels_in(record), record))]

    def numbers(self, names: Sequence[str], record: Record) -> list[int]:
        """The classes of the labels ``names``, as an example holds them; ``record`` is their row, for messages."""
        if not self.multi_label and len(names) != 1:
            raise BadRow(f"the row has {len(names)} labels, and one is wanted (multi_label)")
        return sorted({number_of(name, self.labels, record) for name in names})

    def words(self, example: Example) -> str:
        """The names of its classes."""
        return ", ".join(self.labels[number] for number in numbers_in(example)) or "(none)"

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A flat micro-batch with the labels and weights of ``targets``."""
        return labelled(examples, *self.targets(examples))

    def targets(self, examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
        """Labels int64 ``[N]``, or 0 and 1 in float32 ``[N, C]`` for several a text; float32 weights ``[N]``."""
        import torch

        weights = torch.tensor(self._weights(examples))
        if not self.multi_label:
            return torch.tensor([numbers_in(example)[0] for example in examples]), weights
        present = torch.zeros(len(examples), len(self.labels))
        for row, example in enumerate(examples):
            present[row, numbers_in(example)] = 1.0
        return present, weights

    def counts(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """Texts of the update, by the weight of their class."""
        return {NAME: sum(self._weights(examples))}

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        """The weighted loss of each text."""
        assert outputs.scores is not None
        return summed(NAME, self.losses(outputs.scores, batch.readout.labels), batch)

    def losses(self, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss ``[N]`` of each text, not yet weighted: scores ``[N, C]``, labels as ``targets`` gives them."""
        if not self.multi_label:
            return cross_entropy(scores, labels, smoothing=self.smoothing)
        return binary_cross_entropy(scores, labels, weights=self._present_weights(scores), smoothing=self.smoothing)

    def _weights(self, examples: Sequence[Example]) -> list[float]:
        """The weight of each text by its class."""
        if self.multi_label or not isinstance(self.class_weights, dict):
            return [1.0] * len(examples)
        by_class = [self.class_weights[name] for name in self.labels]
        return [by_class[numbers_in(example)[0]] for example in examples]

    def _present_weights(self, scores: torch.Tensor) -> torch.Tensor | None:
        if not isinstance(self.class_weights, dict):
            return None
        return scores.new_tensor([self.class_weights[name] for name in self.labels])
