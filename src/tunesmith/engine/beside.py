"""Frozen models beside the trained one. First of all the reference: what the model said before training, for losses
that compare with it (Rafailov et al. 2023, eq. 7).

Of its log-probabilities nothing is computed twice: they are kept by content, 4 bytes a target, so from the second epoch
on (and in the next run on the same base and rows) the reference costs a lookup. Where the model as it was is still
there (an adapter switched off, a copy) it is asked when it is first needed; where it is not (the base itself is
trained) everything must be asked before the first update (``ask``).

Shape legend: ``N`` targets of a batch, ``n`` targets of one example.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.files import write_bytes
from tunesmith.generation.inference import inference

FLUSH = 512
"""New examples in memory before they are written."""


class LogprobStore:
    """Float32 ``[n]`` for each example, by content; in ``folder`` as files that are whole or not there."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._known: dict[bytes, NDArray[np.float32]] = {}
        self._new: dict[bytes, NDArray[np.float32]] = {}
        for path in sorted(folder.glob("part-*.npz")) if folder is not None and folder.is_dir() else []:
            with np.load(path) as part:
                edges = np.cumsum(part["lengths"])[:-1]
                keys = part["keys"].tobytes()
                values = np.split(part["values"], edges)
                self._known.update({keys[16 * at : 16 * at + 16]: one for at, one in enumerate(values)})

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: bytes) -> NDArray[np.float32] | None:
        """What is known of the example, or None."""
        return self._known.get(key)

    def put(self, key: bytes, values: NDArray[np.float32]) -> None:
        """Remember an example's."""
        self._known[key] = values
        self._new[key] = values
        if len(self._new) >= FLUSH:
            self.flush()

    def flush(self) -> None:
        """Write what is new."""
        if self.folder is None or not self._new:
            return
        import io

        self.folder.mkdir(parents=True, exist_ok=True)
        keys, values = b"".join(self._new), list(self._new.values())
        buffer = io.BytesIO()
        np.savez(
            buffer,
            keys=np.frombuffer(keys, dtype=np.uint8),
            values=np.concatenate(values),
            lengths=np.array([len(one) for one in values], dtype=np.int64),
        )
        # named by content: processes that share the folder never write different things under one name
        write_bytes(self.folder / f"part-{hashlib.blake2b(keys, digest_size=12).hexdigest()}.npz", buffer.getvalue())
        self._new.clear()


@dataclass(frozen=True)
class Reference:
    """Answers for ``Objective.beside["reference"]`` (log-probabilities only) out of ``store``, or of ``policy`` while
    ``original()`` makes it what it was; without ``original`` only what is in the store is known."""

    policy: nn.Module
    store: LogprobStore = field(default_factory=lambda: LogprobStore(None))
    original: Callable[[], AbstractContextManager[None]] | None = None

    def __call__(self, examples: Sequence[Example], batch: Batch) -> Outputs:
        """Log-probabilities float32 ``[N]`` of ``batch``, which was made of ``examples``."""
        keys = [digest(example) for example in examples]
        known = [self.store.get(key) for key in keys]
        if all(one is not None for one in known):
            self.store.flush()  # questions come again: an epoch, or an evaluation, is over
            found = np.concatenate([one for one in known if one is not None])
            return Outputs(logprob=torch.from_numpy(found).to(batch.readout.rows.device))
        if self.original is None:
            raise RuntimeError("the reference was not asked about this example before training began")
        with self.original():
            return self._ask(keys, batch)

    def ask(self, pieces: Iterable[tuple[Sequence[Example], Batch]]) -> int:
        """Ask ``policy``, as it is now, about micro-batches that are not all known; how many examples were new."""
        before = len(self.store)
        for examples, batch in pieces:
            keys = [digest(example) for example in examples]
            if any(self.store.get(key) is None for key in keys):
                self._ask(keys, batch)
        self.store.flush()
        return len(self.store) - before

    def _ask(self, keys: Sequence[bytes], batch: Batch) -> Outputs:
        with inference(self.policy):
            outputs: Outputs = self.policy(batch, Want(logprob=True))
        assert outputs.logprob is not None
        of_example = batch.groups[batch.readout.unit]
        sizes = torch.bincount(of_example, minlength=batch.examples).tolist()
        values = outputs.logprob.detach().float()
        for key, one in zip(keys, values.cpu().split(sizes), strict=True):
            self.store.put(key, one.numpy().copy())
        return Outputs(logprob=values)


def digest(example: Example) -> bytes:
    """16 bytes of what an example's log-probabilities depend on: its tokens, its targets, where its answers begin."""
    said = hashlib.blake2b(example.ids.astype(np.int32).tobytes(), digest_size=16)
    said.update(example.trained.astype(bool).tobytes() + np.array(example.branches, dtype=np.int64).tobytes())
    return said.digest()


@dataclass(frozen=True)
class Live:
    """Answers of ``policy`` while ``original()`` makes it the model that is wanted, computed every time anew."""

    policy: nn.Module
    want: Want
    original: Callable[[], AbstractContextManager[None]]

    def __call__(self, examples: Sequence[Example], batch: Batch) -> Outputs:
        """What is wanted of ``batch``, without gradients."""
        with self.original(), inference(self.policy):
            outputs: Outputs = self.policy(batch, self.want)
        return outputs if outputs.logits is None else replace(outputs, logits=self._logits(outputs.logits))

    def _logits(self, head: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
        def logits(hidden: torch.Tensor) -> torch.Tensor:
            with self.original(), inference(self.policy):
                return head(hidden)

        return logits
