"""Embeddings: one vector a text, so that texts that belong together are close (Reimers and Gurevych 2019).

A text's vector is the mean of its hidden states, or its first or last one; anchors, positives and negatives of a row
are sequences of their own in one example. With ``dimensions`` the loss is the mean over vectors cut to each of them, so
that a cut vector is useful on its own (Matryoshka: Kusupati et al. 2022, equation 1).

The trap of in-batch negatives: the loss depends on who is in the batch. So an update is one micro-batch, whatever its
size (or its vectors are computed in pieces, twice: ``engine.pieces``), and a text that stands twice in it is not its
own negative.

Shape legend: ``N`` hidden states read, ``U`` texts, ``E`` rows (examples), ``d`` dimensions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import Encoder, Encoding, Framed, Record
from tunesmith.contracts.objective import Judged, TaskHead, Term
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.data.collate import labelled
from tunesmith.data.formats.base import BadRow
from tunesmith.errors import UserError
from tunesmith.objectives.base import ObjectiveConfig

if TYPE_CHECKING:
    import torch

    from tunesmith.objectives.embed_loss import Values

Pooling = Literal["auto", "mean", "first", "last"]
SCORED = ("cosent", "squared")


class Embed(ObjectiveConfig):
    """Bring texts that belong together close, and apart from others."""

    NAME: ClassVar[str] = "embed"
    paper: ClassVar[str] = "Reimers and Gurevych 2019, Sentence-BERT (arXiv 1908.10084)"
    formats: ClassVar[tuple[str, ...]] = ("embedding",)
    want: ClassVar[Want] = Want(logprob=False, hidden=True)
    unit: ClassVar[str] = "pairs"
    judged: ClassVar[Judged] = "labels"

    loss_function: Literal["auto", "contrastive", "cosent", "squared", "triplet"] = "auto"
    """`contrastive` tells the positive from every other text of the batch; `triplet` from the row's own negatives by a
    margin; `cosent` learns the order of scored pairs, `squared` their scores themselves (from -1 to 1). By default
    `cosent` where the training rows have scores, else `contrastive`."""
    views: Literal["pair", "dropout"] = "pair"
    """What a text is brought close to: its `pair`, or, for single texts, itself under another
    `dropout` mask (SimCSE)."""
    pooling: Pooling = "auto"
    """A text's vector: the mean of its hidden states, the first or the last; by default the mean for encoders and the
    last for decoders."""
    temperature: Annotated[float, Field(gt=0.0)] = 0.05
    """What cosines are divided by, for `contrastive` and `cosent`."""
    symmetric: bool = False
    """Whether positives also look for their anchor (`contrastive`)."""
    margin: Annotated[float, Field(gt=0.0)] = 0.5
    """How much farther than the positive a negative has to be (`triplet`)."""
    distance: Literal["cosine", "euclidean"] = "cosine"
    """What `triplet` measures: one minus the cosine, or the length of the difference of vectors as they are."""
    dimensions: list[Annotated[int, Field(ge=1)]] = []
    """Matryoshka: lengths at which the cut vector is trained too; name the whole length as well to train it."""

    cached: bool = False
    """Compute an update's vectors `train.tokens_per_microbatch` tokens at a time, and once more for their gradients, so
    that large batches need no more memory (GradCache): the same update in about a third more time."""

    @property
    def decomposes(self) -> bool:  # type: ignore[override]
        """Whether rows are scored one by one."""
        return self.loss_function in ("triplet", "squared")

    @property
    def in_pieces(self) -> bool:  # type: ignore[override]
        """Whether vectors are computed a micro-batch at a time though all rows are scored together."""
        return self.cached and not self.decomposes

    def head(self) -> TaskHead:
        """No output layer: hidden states are wanted."""
        return TaskHead("embedding", ())

    def learn(self, records: Iterable[Record], *, max_tokens: int) -> Mapping[str, Any]:
        """Which loss, where it was left open."""
        if self.loss_function != "auto":
            return {}
        scored = any(record.labels is not None for record in records)
        return {"loss_function": "cosent" if scored else "contrastive"}

    def encode(self, record: Record, encoder: Encoder) -> list[Encoding]:
        """All texts of a row in one example; the score, and a digest of each text, beside them."""
        texts = self._texts(record)
        extras: dict[str, Sequence[float]] = {"texts": [_digest(text) for text in texts]}
        if self.loss_function in SCORED:
            extras["score"] = [self._score(record)]
        return [self.together(texts, encoder, extras)]

    def together(self, texts: Sequence[str], encoder: Encoder, extras: Mapping[str, Sequence[float]]) -> Encoding:
        """``texts`` one after the other, each a sequence of its own whose pooled tokens are marked."""
        ids: list[int] = []
        trained: list[bool] = []
        branches = []
        closing = 0
        for text in texts:
            framed = encoder.framed(text)
            closing = framed.closing
            branches.append(len(ids))
            ids += framed.ids
            trained += self._pooled(framed, encoder)
        labels = [0] * trained.count(True)
        return Encoding(ids, trained, labels=labels, closing=closing, branches=tuple(branches), extras=extras)

    def pools(self, encoder: Encoder) -> Literal["mean", "first", "last"]:
        """How a text of a model with this encoder is pooled."""
        if self.pooling == "auto":
            return "mean" if encoder.reads_first else "last"
        return self.pooling

    def _pooled(self, framed: Framed, encoder: Encoder) -> list[bool]:
        count, pooling = len(framed.ids), self.pools(encoder)
        if pooling == "mean":
            return [True] * count
        marks = [False] * count
        marks[0 if pooling == "first" else -1] = True
        return marks

    def _texts(self, record: Record) -> tuple[str, ...]:
        if record.text is None:
            raise BadRow("the row is a conversation, and the objective needs texts that belong together")
        if self.views == "dropout":
            return (record.text, record.text)
        if record.pair is None:
            raise BadRow("the row has one text; objective.views: dropout learns from single texts")
        if self.loss_function == "triplet" and not record.others:
            raise BadRow("the row has no negative, and triplet needs one")
        return (record.text, record.pair, *record.others)

    def _score(self, record: Record) -> float:
        if not record.labels or len(record.labels) != 1:
            raise BadRow(f"the row has no score, and {self.loss_function} needs one")
        try:
            score = float(record.labels[0])
        except ValueError:
            raise BadRow(f"the score '{record.labels[0]}' is no number") from None
        if self.loss_function == "squared" and not -1.0 <= score <= 1.0:
            raise BadRow(f"the score {score} is outside -1 to 1, where cosines are; cosent takes any")
        return score

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A flat micro-batch that reads the pooled tokens."""
        return labelled(examples)

    def counts(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """Rows of the update; `cosent` is one number for all of them."""
        count = 1.0 if self.loss_function == "cosent" else float(len(examples))
        return {self._term: count} if self.loss_function in SCORED else {self._term: count, "accuracy": count}

    @property
    def _term(self) -> str:
        return "contrastive" if self.loss_function == "auto" else self.loss_function

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        """The chosen loss, and how often the positive is the closest."""
        assert outputs.hidden is not None
        return self.terms(pool(outputs.hidden, batch), batch)

    def terms(self, vectors: torch.Tensor, batch: Batch) -> list[Term]:
        """The same from vectors ``[U, d]``."""
        import torch

        places = Places.of(batch)
        found = [self._values(cut, places, batch) for cut in self._cuts(vectors)]
        loss = Term(self._term, torch.stack([one.values for one in found]).mean(dim=0))
        hits = found[0].hits
        return [loss] if hits is None else [loss, Term("accuracy", hits, weight=0.0)]

    def _cuts(self, vectors: torch.Tensor) -> list[torch.Tensor]:
        size = vectors.shape[1]
        if any(length > size for length in self.dimensions):
            raise UserError(
                "objective.dimensions asks for longer vectors than the model has",
                got=self.dimensions,
                allowed=f"lengths up to {size}",
                code="dimensions-too-large",
            )
        return [vectors[:, :length] for length in sorted(self.dimensions or [size], reverse=True)]

    def _values(self, vectors: torch.Tensor, places: Places, batch: Batch) -> Values:
        """The chosen loss of vectors of one length."""
        import torch.nn.functional as F

        from tunesmith.objectives import embed_loss

        unit = F.normalize(vectors, dim=-1)
        anchors, positives = unit[places.anchors], unit[places.positives]
        if self.loss_function == "triplet":
            used = unit if self.distance == "cosine" else vectors
            near = self._distance(used[places.anchors], used[places.positives])
            far = self._distance(used[places.anchors[places.owner]], used[places.negatives])
            return embed_loss.triplet(near, far, places.owner, margin=self.margin)
        if self.loss_function in SCORED:
            cosines, scores = (anchors * positives).sum(dim=-1), batch.extras["score"]
            if self.loss_function == "squared":
                return embed_loss.Values(embed_loss.squared(cosines, scores))
            whole = embed_loss.cosent(cosines, scores, temperature=self.temperature)
            return embed_loss.Values((whole / len(cosines)).expand(len(cosines)))
        cosines = anchors @ unit[places.candidates].T
        hidden = places.same_as_positive(batch.extras["texts"])
        return embed_loss.contrastive(cosines, temperature=self.temperature, hidden=hidden, symmetric=self.symmetric)

    def _distance(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        if self.distance == "cosine":
            return 1.0 - (left * right).sum(dim=-1)
        import torch

        distances: torch.Tensor = torch.nn.functional.pairwise_distance(left, right)
        return distances


def pool(hidden: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The mean, in float32 ``[U, d]``, of the hidden states ``[N, d]`` read of each text."""
    unit, texts = batch.readout.unit, len(batch.unit_ids)
    sums = hidden.float().new_zeros(texts, hidden.shape[1]).index_add(0, unit, hidden.float())
    counts = sums.new_zeros(texts).index_add(0, unit, batch.readout.weights.to(sums.dtype))
    return sums / counts[:, None]


@dataclass(frozen=True)
class Places:
    """Which of the ``U`` texts are what: of each row first the anchor, then the positive, then its negatives.

    ``anchors``, ``positives`` int64 ``[E]``; ``negatives``, ``owner`` (their row) int64 ``[M]``.
    """

    anchors: torch.Tensor
    positives: torch.Tensor
    negatives: torch.Tensor
    owner: torch.Tensor

    @classmethod
    def of(cls, batch: Batch) -> Places:
        """The places of a batch, whose texts stand row by row."""
        import torch

        groups = batch.groups.contiguous()
        anchors = torch.searchsorted(groups, torch.arange(batch.examples, device=groups.device))
        within = torch.arange(len(groups), device=groups.device) - anchors[groups]
        negatives = (within >= 2).nonzero()[:, 0]
        return cls(anchors, anchors + 1, negatives, groups[negatives])

    @property
    def candidates(self) -> torch.Tensor:
        """All positives in the order of rows, then all negatives."""
        import torch

        return torch.cat([self.positives, self.negatives])

    def same_as_positive(self, digests: torch.Tensor) -> torch.Tensor:
        """bool ``[E, C]``: candidates that are the text of a row's positive and not that positive itself."""
        import torch

        texts = digests[self.candidates]
        same = texts[None, :] == digests[self.positives][:, None]
        own = torch.arange(len(same), device=same.device)
        same[own, own] = False
        return same


def _digest(text: str) -> float:
    """24 bits of a text, which float32 holds exactly; two texts of a batch of 500 meet once in 130 batches."""
    return float(int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=3).digest(), "big"))
