"""Run by ``test_sharded`` in two processes: a method on a base whose layers are sharded (FSDP2) against one process."""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from families import tiny
from tunesmith.methods import TABLE
from tunesmith.recipe.parts import build
from tunesmith.recipe.schema import Part


def made(part: Part) -> Any:
    """A tiny Llama with the method, its values moved off their start."""
    model = tiny("llama")
    torch.manual_seed(0)
    attached = build(TABLE, part).attach(model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for group in attached.groups():
            for value in group.parameters.values():
                value.add_(torch.randn(value.shape, generator=generator) * 0.05)
    return model


def difference(part: Part) -> dict[str, float]:
    """Largest difference of loss and gradients, sharded against whole, and how many gradients there are."""
    ids = torch.randint(3, 320, (2, 9), generator=torch.Generator().manual_seed(4))
    whole, sharded = made(part), made(part)
    expected = whole(input_ids=ids, labels=ids).loss
    expected.backward()
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in sharded.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    loss = sharded(input_ids=ids, labels=ids).loss
    loss.backward()
    base = dict(whole.named_parameters())
    worst, count = 0.0, 0
    for name, value in sharded.named_parameters():
        if value.grad is not None:
            count += 1
            worst = max(worst, float((value.grad.full_tensor() - base[name].grad).abs().max()))
    wanted = sum(value.grad is not None for value in base.values())
    return {"loss": abs(float(loss.detach() - expected.detach())), "worst": worst, "missing": wanted - count}


def main() -> None:
    """One line of JSON: the differences of each part named on the command line."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    found = [difference(Part.model_validate(fields)) for fields in json.loads(sys.argv[1])]
    if dist.get_rank() == 0:
        print("found " + json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
