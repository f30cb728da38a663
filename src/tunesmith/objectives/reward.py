"""Reward models: a score for an answer, learned from which of several answers is better, or from labelled steps.

Pairs (Bradley-Terry; Ouyang et al. 2022, eq. 1, all pairs of a question together; margins: Touvron et al. 2023, eq. 2):

    L = mean_(w,l) [ −log σ(r_w − r_l − m) + c (r_w + r_l)² ]

the second part holds scores around 0 (Eisenstein et al. 2023, eq. 2). Whole rankings (Plackett-Luce):

    L = − Σ_k log [ e^{r_k} / Σ_{j ≥ k} e^{r_j} ]

Steps (Lightman et al. 2023, section 2.6): each is scored at its last token, ``−y log σ(r) − (1−y) log σ(−r)``.
The score is read at an answer's last token, its end of turn.

Shape legend: ``U`` answers (each reads one row), ``E`` questions, ``P`` pairs, ``N`` rows read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import Encoder, Encoding, Record
from tunesmith.contracts.objective import TaskHead, Term
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.data.candidates import asked, branched, compared
from tunesmith.data.collate import labelled
from tunesmith.data.formats.base import BadRow
from tunesmith.errors import UserError
from tunesmith.objectives.base import ObjectiveConfig, by_example, by_sequence

if TYPE_CHECKING:
    import torch

CENTERING, STEPS, SCORES = "centering", "steps", "scores"
PAIRS = ("accuracy", "margin", "length_margin", "reward")


class Reward(ObjectiveConfig):
    """Score answers, from pairs or rankings of them or from labelled steps."""

    NAME: ClassVar[str] = "reward"
    paper: ClassVar[str] = "Ouyang et al. 2022, Training language models to follow instructions (arXiv 2203.02155)"
    formats: ClassVar[tuple[str, ...]] = ("preference", "ranked", "steps")
    want: ClassVar[Want] = Want(logprob=False, scores=True)
    unit: ClassVar[str] = "prompts"
    metrics: ClassVar[tuple[str, ...]] = PAIRS
    undirected: ClassVar[frozenset[str]] = frozenset({"length_margin", "reward"})

    form: Literal["pairs", "plackett-luce"] = "pairs"
    """What is learned of a question's answers: each pair of them, or their whole ranking."""
    steps: bool | None = None
    """Whether rows are answers in labelled steps; by default, where the training rows are."""
    margins: bool = False
    """Scores must differ by as much as those in the rows (column `margin`, or scores)."""
    centering: Annotated[float, Field(ge=0.0)] = 0.0
    """Weight of holding the scores of a pair around 0 (0.01 is usual)."""

    def head(self) -> TaskHead:
        """One score."""
        return TaskHead("reward", ("reward",))

    def learn(self, records: Iterable[Record], *, max_tokens: int) -> Mapping[str, Any]:
        """Whether rows are answers in steps."""
        if self.steps is not None:
            return {}
        return {"steps": any(bool(record.spans) and bool(record.candidates) for record in records)}

    def encode(self, record: Record, encoder: Encoder) -> list[Encoding]:
        """All answers of a question; or one in steps."""
        if encoder.reads_first:
            raise UserError(
                "a reward model reads an answer at its last token, and this model reads texts at their first",
                allowed="a decoder, such as model.base: embedded",
                hint="Texts with scores are learned by the objective regress.",
                code="no-such-task-model",
            )
        return [_stepped(record, encoder) if self.steps else _ranked(record, encoder)]

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A flat micro-batch; labels are ranks (int64 ``[N]``, 0 is best) or how good steps are (float32 ``[N]``)."""
        import numpy as np
        import torch

        if not self.steps:
            return labelled(examples)
        bits = np.concatenate([example.labels for example in examples if example.labels is not None])
        return labelled(examples, labels=torch.from_numpy(bits.astype(np.int32).view(np.float32)))

    def counts(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """Questions of the update; answers for their mean score; or steps."""
        if self.steps:
            return dict.fromkeys((STEPS, "accuracy"), float(sum(example.targets for example in examples)))
        answers = float(sum(example.sequences for example in examples))
        return {**dict.fromkeys((self.form, CENTERING, *PAIRS[:-1]), float(len(examples))), "reward": answers}

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        """The loss of each question's answers, and measurements."""
        assert outputs.scores is not None
        rewards = outputs.scores[:, 0]
        return _step_terms(rewards, batch) if self.steps else self._terms(rewards, batch)

    def _terms(self, rewards: torch.Tensor, batch: Batch) -> list[Term]:
        import torch
        from torch.nn.functional import logsigmoid

        better, worse = ordered_pairs(batch)
        own = batch.groups[better]
        pairs = torch.bincount(own, minlength=batch.examples).to(rewards.dtype)

        def averaged(values: torch.Tensor) -> torch.Tensor:
            return values.new_zeros(batch.examples).index_add(0, own, values) / pairs

        margin = rewards[better] - rewards[worse]
        if self.form == "pairs":
            scores = batch.extras[SCORES].to(rewards.dtype)
            least = scores[better] - scores[worse] if self.margins else 0.0
            values = averaged(-logsigmoid(margin - least))
        else:
            values = by_example(plackett_luce(rewards, batch), batch)
        terms = [Term(self.form, values)]
        if self.centering:
            terms.append(Term(CENTERING, averaged((rewards[better] + rewards[worse]).square()), self.centering))
        known = margin.detach()
        right = averaged((1.0 + torch.sign(known)) / 2.0)
        long = batch.main.positions[batch.readout.rows]  # positions count from the same beginning
        longer = averaged((long[better] - long[worse]).to(rewards.dtype))
        measured = (right, averaged(known), longer, by_example(rewards.detach(), batch))
        return [*terms, *(Term(name, value, weight=0.0) for name, value in zip(PAIRS, measured, strict=True))]


def ordered_pairs(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Places ``[P]`` of the better and of the worse answer of every pair of one question that is not a tie."""
    groups, ranks = batch.groups, batch.readout.labels
    pairs = (groups[:, None] == groups) & (ranks[:, None] < ranks)
    better, worse = pairs.nonzero(as_tuple=True)
    return better, worse


def plackett_luce(rewards: torch.Tensor, batch: Batch) -> torch.Tensor:
    """``[U]``: for each answer the negative log-probability that it is chosen among those not better than it."""
    import torch

    groups, ranks = batch.groups, batch.readout.labels
    rivals = (groups[:, None] == groups) & (ranks[:, None] <= ranks)
    return torch.logsumexp(rewards.masked_fill(~rivals, -torch.inf), dim=1) - rewards


def _step_terms(rewards: torch.Tensor, batch: Batch) -> list[Term]:
    from torch.nn.functional import logsigmoid

    good = batch.readout.labels.to(rewards.dtype)
    values = -good * logsigmoid(rewards) - (1.0 - good) * logsigmoid(-rewards)
    right = ((rewards.detach() > 0.0) == (good > 0.5)).to(rewards.dtype)
    named = ((STEPS, values, 1.0), ("accuracy", right, 0.0))
    return [Term(name, by_example(by_sequence(value, batch), batch), weight) for name, value, weight in named]


def _ranked(record: Record, encoder: Encoder) -> Encoding:
    """The row's answers, best first; labels are ranks (equal scores share one), extras the scores."""
    compared(record)
    scores = [one.score for one in record.candidates]
    known = [score for score in scores if score is not None]
    if known and (len(known) < len(scores) or known != sorted(known, reverse=True)):
        raise BadRow("an answer has no score, or a better answer has the lower one")
    ranks = [sum(other > score for other in set(known)) for score in known] or list(range(len(scores)))
    if len(set(ranks)) < 2:
        raise BadRow("no answer of the row has a higher score than another")
    answers = [_read_last(one, rank) for one, rank in zip(encoder.candidates(record), ranks, strict=True)]
    return branched(answers, extras={SCORES: known or [0.0] * len(scores)})


def _read_last(answer: Encoding, label: int) -> Encoding:
    """An answer that is read at the last token it was trained on."""
    end = len(answer.trained) - answer.trained[::-1].index(True)
    return replace(answer, ids=answer.ids[:end], trained=[False] * (end - 1) + [True], labels=[label])


def _stepped(record: Record, encoder: Encoder) -> Encoding:
    """One answer, read at the last token of each step; labels are the bits of float32 numbers."""
    import numpy as np

    if not record.spans or len(record.candidates) != 1 or not asked(record):
        raise BadRow("the row is no answer in labelled steps")
    encoding = encoder.stepped(record)
    numbers = np.array([float(label) for label in record.labels or ()], dtype=np.float32)
    if encoding.trained.count(True) != len(numbers):
        raise BadRow("a step has no token")
    return replace(encoding, labels=numbers.view(np.int32).tolist())
