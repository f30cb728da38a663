"""Vectors of rows, for steps that ask what rows mean: from a text encoder, or from their words.

    encoder given   the encoder's vector of the text, length 1
    none            TF-IDF of words and word pairs, folded to ``SIZE`` numbers by a truncated SVD (latent semantic
                    analysis, Deerwester et al. 1990), length 1

The trap: word vectors know no synonyms. They find rows of an odd vocabulary and labels that words give away; for what
is meant by a text name an encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.curate.base import Arrays, Item, Part, SketchStep
from tunesmith.data.curate.models import Embed
from tunesmith.data.curate.needs import model_digest, needed, version_of

Vectors = NDArray[np.float32]
SIZE = 128
"""Numbers of a word vector."""
BUCKETS = 1 << 18
"""Words and word pairs are told apart by a hash of so many values."""


class VectorStep(SketchStep):
    """Base of steps that compare rows by their vectors."""

    paper: ClassVar[str] = ""

    of: Part = "row"
    """What is compared: the whole `row`, its `prompt`, or its `answer`."""
    encoder: str | None = None
    """A text encoder: a run of the objective embed, a sentence-transformers folder, or another; null for words."""

    @property
    def asks_model(self) -> bool:
        """With an encoder."""
        return self.encoder is not None

    def ready(self) -> None:
        """Needs scikit-learn."""
        needed("sklearn", f"the step {self.NAME}")

    def fingerprint(self) -> bytes:
        """The version of scikit-learn and the encoder's files."""
        return version_of("scikit-learn") + (model_digest(self.encoder) if self.encoder else b"")

    @cached_property
    def _embed(self) -> Embed:
        assert self.encoder is not None
        return self.models.encoder(self.encoder)

    def seen(self, items: Sequence[Item]) -> Arrays:
        """Item numbers, and vectors or word counts of the items that say something."""
        filled = [(item.number, text) for item in items if (text := item.of(self.of)).strip()]
        texts = [text for _, text in filled]
        numbers = {"number": np.array([number for number, _ in filled], dtype=np.int64)}
        if self.encoder is None:
            return {**numbers, **counted(texts)}
        vectors = self._embed(texts) if texts else np.zeros((0, 1), dtype=np.float32)
        return {**numbers, "vectors": vectors.astype(np.float32)}

    def vectors(self, sketches: Sequence[Arrays]) -> Vectors:
        """Vectors ``[n, d]`` of length 1 of all items that were seen, in their order."""
        if self.encoder is None:
            return folded(word_counts(sketches))
        found = [one["vectors"] for one in sketches if len(one["number"])]
        return np.concatenate(found) if found else np.zeros((0, 1), dtype=np.float32)


def numbers_of(sketches: Sequence[Arrays]) -> NDArray[np.int64]:
    """Item numbers ``[n]``."""
    return np.concatenate([np.empty(0, dtype=np.int64), *(one["number"] for one in sketches)])


def counted(texts: Sequence[str]) -> Arrays:
    """Counts of words and pairs ``[n, BUCKETS]`` of texts, as the three arrays of a sparse matrix."""
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(n_features=BUCKETS, ngram_range=(1, 2), alternate_sign=False, norm=None)
    counts = hashing.transform(texts) if texts else hashing.transform([""])[:0]
    return {
        "counts": counts.data.astype(np.float32),
        "columns": counts.indices.astype(np.int32),
        "ends": np.diff(counts.indptr).astype(np.int32),
    }


def word_counts(sketches: Sequence[Arrays]) -> Any:
    """Counts of words and pairs, a sparse matrix ``[n, BUCKETS]``."""
    from scipy.sparse import csr_array

    parts = [(one["counts"], one["columns"], one["ends"]) for one in sketches]
    lengths = np.concatenate([np.zeros(1, dtype=np.int64), *(ends for *_, ends in parts)])
    values = np.concatenate([np.empty(0, dtype=np.float32), *(counts for counts, *_ in parts)])
    columns = np.concatenate([np.empty(0, dtype=np.int32), *(columns for _, columns, _ in parts)])
    return csr_array((values, columns, np.cumsum(lengths)), shape=(len(lengths) - 1, BUCKETS))


def weighted(counts: Any) -> Any:
    """TF-IDF of ``counts``, rows of length 1, sparse."""
    from sklearn.feature_extraction.text import TfidfTransformer

    return TfidfTransformer(sublinear_tf=True).fit_transform(counts)


def folded(counts: Any) -> Vectors:
    """``counts`` as dense vectors of length 1."""
    from sklearn.decomposition import TruncatedSVD

    if min(counts.shape) == 0:
        return np.zeros((counts.shape[0], 1), dtype=np.float32)
    size = max(1, min(SIZE, counts.shape[0] - 1))
    if size < 2:
        return np.ones((counts.shape[0], 1), dtype=np.float32)
    dense = TruncatedSVD(size, random_state=0).fit_transform(weighted(counts)).astype(np.float32)
    lengths = np.linalg.norm(dense, axis=1, keepdims=True)
    return np.asarray(dense / np.maximum(lengths, 1e-12), dtype=np.float32)
