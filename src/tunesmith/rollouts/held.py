"""What is left of a rollout between updates, as tensors that a checkpoint holds: a resumed run goes on with the very
same answers, in the middle of a mini-epoch too.

    number, cursor, alike int64; kl float64; told bool [signs]; history float64 [rollouts, measurements]
    ids, trained, branches: of all examples one after the other, with their counts; rows, sources [E]
    extra.<name>: float32 [N]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass

import numpy as np
import torch

from tunesmith.contracts.batch import Example
from tunesmith.rollouts.watch import NAMES, SIGNS, Measurements

EXTRA = "extra."


@dataclass(frozen=True)
class Held:
    """The rollout under way, and what the next one begins with."""

    kl: float
    """Weight of the divergence in the reward."""
    number: int = -1
    """Which rollout the examples are of; -1 before the first."""
    cursor: int = 0
    """Prompts taken so far, over all epochs."""
    alike: int = 0
    """Rollouts in which no reward differed, while none ever has; -1 once one has."""
    examples: tuple[Example, ...] = ()
    history: tuple[Measurements, ...] = ()
    told: frozenset[str] = frozenset()
    """Signs that were warned of."""

    def state(self) -> dict[str, torch.Tensor]:
        """As tensors."""
        found = {
            "number": torch.tensor(self.number),
            "cursor": torch.tensor(self.cursor),
            "alike": torch.tensor(self.alike),
            "kl": torch.tensor(self.kl, dtype=torch.float64),
            "told": torch.tensor([sign in self.told for sign in SIGNS]),
            "history": torch.tensor([astuple(row) for row in self.history], dtype=torch.float64).reshape(
                len(self.history), len(NAMES)
            ),
        }
        return found | _packed(self.examples)

    @classmethod
    def of(cls, state: Mapping[str, torch.Tensor]) -> Held:
        """The inverse of :meth:`state`."""
        return cls(
            kl=float(state["kl"]),
            number=int(state["number"]),
            cursor=int(state["cursor"]),
            alike=int(state["alike"]),
            examples=_unpacked(state),
            told=frozenset(sign for sign, said in zip(SIGNS, state["told"].tolist(), strict=True) if said),
            history=tuple(Measurements(*row) for row in state["history"].tolist()),
        )


def _packed(examples: tuple[Example, ...]) -> dict[str, torch.Tensor]:
    if not examples:
        return {}
    arrays = {
        "ids": np.concatenate([example.ids for example in examples]).astype(np.int32),
        "trained": np.concatenate([example.trained for example in examples]),
        "branches": np.concatenate([example.branches for example in examples]).astype(np.int64),
        "lengths": np.array([len(example) for example in examples]),
        "answers": np.array([len(example.branches) for example in examples]),
        "rows": np.array([example.row for example in examples]),
        "sources": np.array([example.source for example in examples]),
    }
    for name in examples[0].extras:
        arrays[EXTRA + name] = np.concatenate([example.extras[name] for example in examples])
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _unpacked(state: Mapping[str, torch.Tensor]) -> tuple[Example, ...]:
    if "ids" not in state:
        return ()
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    ids = np.split(arrays["ids"], np.cumsum(arrays["lengths"])[:-1])
    trained = np.split(arrays["trained"], np.cumsum(arrays["lengths"])[:-1])
    branches = np.split(arrays["branches"], np.cumsum(arrays["answers"])[:-1])
    edges = np.cumsum([int(part.sum()) for part in trained])[:-1]
    extras = {
        name.removeprefix(EXTRA): np.split(values, edges) for name, values in arrays.items() if name.startswith(EXTRA)
    }
    return tuple(
        Example(
            ids=ids[at],
            trained=trained[at],
            row=int(arrays["rows"][at]),
            source=int(arrays["sources"][at]),
            branches=tuple(branches[at].tolist()),
            extras={name: parts[at] for name, parts in extras.items()},
        )
        for at in range(len(ids))
    )
