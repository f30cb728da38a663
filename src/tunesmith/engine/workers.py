"""Several processes training one job: each takes its share of an update's micro-batches, gradients are summed once.

Because losses are sums divided by counts that every process knows beforehand, one all-reduce of float32 gradients per
update gives the numbers of a single process. Start with ``torchrun --nproc-per-node N -m tunesmith train …``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

Result = TypeVar("Result")
BUCKET = 2**25
"""Elements reduced at once (128 MiB)."""


@dataclass(frozen=True)
class Workers:
    """This process among ``world``; ``rank`` 0 writes files and speaks."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def share(self, items: Sequence[Result]) -> list[Result]:
        """This process's part of ``items``, which all processes hold in the same order."""
        return list(items[self.rank :: self.world])

    def add(self, tensors: Sequence[torch.Tensor]) -> None:
        """Sum each tensor over all processes, in place, in buckets of one message each."""
        if self.world == 1:
            return
        bucket: list[torch.Tensor] = []
        size = 0
        for tensor in tensors:
            bucket.append(tensor)
            size += tensor.numel()
            if size >= BUCKET:
                _reduce(bucket)
                bucket, size = [], 0
        if bucket:
            _reduce(bucket)

    def one_after_first(self, work: Callable[[], Result]) -> Result:
        """Run ``work`` on the first process, then on the others (which find its cached result)."""
        if self.world == 1:
            return work()
        if self.first:
            result = work()
            self.wait()
            return result
        self.wait()
        return work()

    def from_first(self, work: Callable[[], Result]) -> Result:
        """What ``work`` gives in the first process, in all of them; what it raises there is raised in all."""
        if self.world == 1:
            return work()
        held: list[Any] = [None, None]
        if self.first:
            try:
                held[0] = work()
            except Exception as error:  # the others wait: they must hear of it
                held[1] = error
        dist.broadcast_object_list(held, src=0)
        if held[1] is not None:
            raise held[1]
        result: Result = held[0]
        return result

    def wait(self) -> None:
        """Return when all processes have come here: what the first wrote before is then there for all."""
        if self.world > 1:
            dist.barrier()

    def agree(self, flag: bool) -> bool:
        """Whether any process raised ``flag``."""
        if self.world == 1:
            return flag
        tensor = torch.tensor([float(flag)])
        dist.all_reduce(tensor)
        return bool(tensor.item())

    def close(self) -> None:
        """Leave the group."""
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()


def join() -> Workers:
    """The group that ``torchrun`` started, or a single worker."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Workers()
    if not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return Workers(dist.get_rank(), world)


def _reduce(tensors: list[torch.Tensor]) -> None:
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))
