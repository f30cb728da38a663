"""Distillation: a student learns the distributions of a teacher, token by token (Hinton et al. 2015, section 2).

    L = (1 − h) · T² Σ_i w_i D(p_i, q_i) / Σ_i w_i  +  h · (−Σ_i w_i log q_i(y_i)) / Σ_i w_i

with ``p, q`` the softmax of the logits over the temperature T, D as in ``divergence``, and ``h`` the share of the hard
loss. T² keeps the size of the gradient as T rises (ibid., section 2.1).

The teacher is a model beside the student, whose logits exist a chunk at a time; or its most likely tokens stand in the
rows (``stored_teacher``). With ``on_policy`` a share of the answers is the student's own (Agarwal et al. 2024, GKD,
algorithm 1): there is nothing to imitate there, so they carry D alone.

Shape legend: ``n`` rows of a chunk, ``V`` vocabulary, ``E`` examples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import Encoder, Encoding, Record, TrainOn
from tunesmith.contracts.objective import Judged, Term
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.data.formats.base import BadRow
from tunesmith.errors import UserError
from tunesmith.objectives import stored_teacher
from tunesmith.objectives.base import ObjectiveConfig, by_example, by_sequence
from tunesmith.objectives.divergence import Divergence, divergence
from tunesmith.objectives.sft import Sft

if TYPE_CHECKING:
    import torch

LOOKED_AT = 1000
"""Training rows that say how many tokens are stored of each target."""
TEACHER = "teacher"
OWN = "own"
"""The extra that says whether an example's answer is the student's own, float32 ``[1]``: 0 or 1."""


class Distill(ObjectiveConfig):
    """Learn from a teacher's distributions, not only from its texts."""

    NAME: ClassVar[str] = "distill"
    paper: ClassVar[str] = "Hinton et al. 2015, Distilling the knowledge in a neural network (arXiv 1503.02531)"
    judged: ClassVar[Judged] = "tokens"

    teacher: str | None = None
    """The model to learn from: a run folder, a model folder, a hub id or `embedded`; it needs the student's
    vocabulary. Without it the rows hold what the teacher said, in a column `teacher_logprobs`."""
    divergence: Divergence = "forward"
    """`forward` covers everything the teacher says, `reverse` keeps to what it says most, `js` is between them (by
    `beta`), `skew` and `skew-reverse` mix a little of the own side into the other (by `skew`) and are calmer."""
    beta: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """Share of the teacher in the middle distribution of `js`."""
    skew: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """Share of the own side in the mixture of `skew` and `skew-reverse`."""
    temperature: Annotated[float, Field(gt=0.0)] = 1.0
    """What the logits of both are divided by: above 1, unlikely tokens count more."""
    hard: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of the loss that imitates the answer in the row itself."""
    stored: Annotated[int, Field(ge=1)] | None = None
    """How many stored tokens of each target are used; by default as many as every training row has."""
    tail: stored_teacher.Tail = "joined"
    """What the teacher gave to tokens that are not stored: `joined` as one event, or left out (`renormalise`)."""
    on_policy: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Share of the answers that the student itself samples, as it is then, for the teacher to judge."""
    sampling_temperature: Annotated[float, Field(gt=0.0)] = 1.0
    """Temperature that those are sampled at."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 128
    """Their longest length, in tokens."""
    train_on: TrainOn = "answers"
    """Which tokens are learned: every answer, the last answer only, or everything."""
    response_marker: str | None = None
    """For plain-text rows: what follows the last occurrence of this text is the answer (such as `### Response:`)."""

    @model_validator(mode="after")
    def _temperature_needs_logits(self) -> Self:
        if self.teacher is None and self.tail == "joined" and self.temperature != 1.0:
            raise ValueError(
                "stored log-probabilities are at temperature 1, and what is left of them has none: use tail: "
                "renormalise, or a teacher"
            )
        if self.teacher is None and self.on_policy:
            raise ValueError("nothing is stored for answers that are yet to be sampled: on_policy needs a teacher")
        return self

    @property
    def beside(self) -> Mapping[str, Want]:  # type: ignore[override]  # depends on the options
        """The teacher, where it is a model."""
        return {} if self.teacher is None else {TEACHER: Want(logprob=False, hidden=True)}

    @property
    def want(self) -> Want:  # type: ignore[override]  # a function of the options
        """Log-probabilities of the row's own tokens, and the divergence."""
        return Want(logprob=True, token_fn=self.divergences)

    def learn(self, records: Iterable[Record], *, max_tokens: int) -> Mapping[str, Any]:
        """How many stored tokens every row has, where the rows are the teacher."""
        if self.teacher is not None or self.stored is not None:
            return {}
        fewest = stored_teacher.fewest(islice(records, LOOKED_AT))
        if fewest == 0:
            raise UserError(
                "distill has no teacher: neither a model nor what one said in the rows",
                allowed=f"objective.teacher: a run or model folder; or rows with a column '{stored_teacher.COLUMN}'",
                hint="Where the rows are a teacher's texts alone, the objective sft learns them.",
                code="no-teacher",
            )
        return {"stored": fewest}

    def encode(self, record: Record, encoder: Encoder) -> list[Encoding]:
        """Tokens with answers as targets, and what is stored of them."""
        encodings = Sft(train_on=self.train_on, response_marker=self.response_marker).encode(record, encoder)
        if self.teacher is not None:
            return encodings
        if len(encodings) != 1:
            raise BadRow("the template makes several sequences of the row, and what is stored belongs to one")
        (one,) = encodings
        extras = stored_teacher.extras_of(record, one, self.stored or 1)
        return [Encoding(one.ids, one.trained, one.note, extras=extras)]

    def counts(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """Trained tokens of the update; for the hard loss those of the rows' own answers."""
        given = sum(example.targets for example in examples if not float(example.extras.get(OWN, (0.0,))[0]))
        return {"divergence": float(sum(example.targets for example in examples)), "nll": float(max(given, 1))}

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        """The divergence, and the hard loss, which is measured where it has no share."""
        assert outputs.values is not None
        assert outputs.logprob is not None
        apart = by_example(by_sequence(outputs.values[:, 0], batch), batch)
        nll = by_example(by_sequence(-outputs.logprob, batch), batch)
        if OWN in batch.extras:
            nll = nll * (1.0 - batch.extras[OWN])
        return [Term("divergence", apart, 1.0 - self.hard), Term("nll", nll, self.hard)]

    def divergences(self, logits: torch.Tensor, rows: slice, batch: Batch) -> torch.Tensor:
        """``T² D`` of a chunk: the student's ``logits [n, V]`` -> ``[n, 1]``."""
        if self.teacher is None:
            both = stored_teacher.events(logits, rows, batch, tail=self.tail, temperature=self.temperature)
            log_p, log_q = both.log_p, both.log_q
        else:
            theirs = self._teacher_logits(rows, batch)
            # embeddings are often padded to a round number of rows; only words that both have are compared
            words = min(theirs.shape[1], logits.shape[1])
            log_p = (theirs[:, :words] / self.temperature).log_softmax(dim=-1)
            log_q = (logits[:, :words] / self.temperature).log_softmax(dim=-1)
        apart = divergence(log_p, log_q, kind=self.divergence, beta=self.beta, skew=self.skew)
        return (apart * self.temperature**2)[:, None]

    def _teacher_logits(self, rows: slice, batch: Batch) -> torch.Tensor:
        import torch

        teacher = batch.beside[TEACHER]
        assert teacher.hidden is not None
        assert teacher.logits is not None
        with torch.no_grad():
            return teacher.logits(teacher.hidden[rows])
