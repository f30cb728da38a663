"""A frozen trunk that is run once: what enters the lowest trained layer is kept for every sequence (AutoFreeze, Liu et
al. 2021, arXiv:2102.01386, section 4.3, caches a whole epoch's so).

    h_k = f_{k-1}(… f_0(embed(ids)))        kept;        output = f_{L-1}(… f_k(h_k))        computed every time

Nothing that is trained lies below layer ``k``, so ``h_k`` depends on the sequence alone. It is found by what the
sequence says (ids, positions, token types, and those of the shared beginning it goes on from), so epochs, answers to
one prompt, held-out rows and a reference with its adapter switched off all share it.

Which layer that is, and whether the trunk gives the same twice, is measured on real rows (``find``), never concluded
from the names of methods: no gradient may reach what is kept, and dropout or noise shows as a difference.

Shape legend: ``T`` rows of a stream, ``n`` of a segment, ``d`` the model's width, ``k`` layers of the trunk.

The trap: rounding. A matrix product's last bit may depend on how many rows are multiplied at once, so what is kept
equals what would be computed bit for bit where a sequence meets the same neighbours, and otherwise as exactly as any
other cut into micro-batches does.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tunesmith.contracts.batch import Batch, Layout, Stream
from tunesmith.contracts.policy import Want
from tunesmith.errors import UserError
from tunesmith.models import drivers
from tunesmith.models.layers import block_lists
from tunesmith.models.trunk_store import MemoryStore, Store

if TYPE_CHECKING:
    from tunesmith.models.policy import CausalPolicy

Forward = Callable[..., Any]
_ABOUT = ("_name_or_path", "dtype", "torch_dtype", "transformers_version", "architectures")
"""What a config says besides what is computed."""


class Trunk:
    """The lowest ``layers`` of ``blocks`` and what they gave for the sequences in ``store``."""

    def __init__(self, blocks: Sequence[nn.Module], layers: int, store: Store, *, shares: bool, tupled: bool) -> None:
        self.blocks, self.layers, self.store = blocks, layers, store
        self.computed = 0
        """tokens whose trunk was run"""
        self.reused = 0
        """tokens whose trunk was not"""
        self._shares, self._tupled = shares, tupled

    def __call__(self, run: drivers.Driver, stream: Stream) -> torch.Tensor:
        """Hidden states ``[T, d]`` of ``stream`` as the driver ``run`` gives them."""
        if stream.layout.parents is not None and not self._shares:
            sequences, back = drivers.expanded(stream)
            return self(run, sequences).index_select(0, back)
        keys = digests(stream)
        found = [self.store.get(key) for key in keys]
        missing = [number for number, one in enumerate(found) if one is None]
        if missing:
            part, numbers = within(stream, missing)
            computed = dict(zip(numbers, self._below(run, part).split(part.layout.lengths), strict=True))
            for number in missing:
                found[number] = computed[number]
                self.store.put(keys[number], computed[number])
        new = sum(stream.layout.lengths[number] for number in missing)
        self.computed += new
        self.reused += sum(stream.layout.lengths) - new
        states = torch.cat([one.to(stream.ids.device) for one in found if one is not None])
        return self._above(run, stream, states)

    @property
    def share_run(self) -> float:
        """The share of tokens whose trunk was run."""
        return self.computed / max(1, self.computed + self.reused)

    def as_dict(self) -> dict[str, float]:
        """What a run reports."""
        return {"layers": self.layers, "share_run": round(self.share_run, 4), "bytes": self.store.held}

    def _below(self, run: drivers.Driver, stream: Stream) -> torch.Tensor:
        """What enters layer ``k``, ``[T, d]``."""
        seen: list[torch.Tensor] = []
        hook = self.blocks[self.layers - 1].register_forward_hook(lambda _, __, output: seen.append(_hidden(output)))
        try:
            with torch.no_grad(), _instead(self.blocks[self.layers :], self._pass):
                run(stream)
        finally:
            hook.remove()
        return seen[0][0, : len(stream.ids)]

    def _above(self, run: drivers.Driver, stream: Stream, states: torch.Tensor) -> torch.Tensor:
        """The layers from ``k`` on, given ``states [T, d]``."""

        def enter(*arguments: Any, **named: Any) -> Any:
            rows = _entering(arguments, named).shape[1]
            given = F.pad(states, (0, 0, 0, rows - len(states)))[None]
            return (given,) if self._tupled else given

        below, last = self.blocks[: self.layers - 1], self.blocks[self.layers - 1]
        with _instead(below, self._pass), _instead([last], enter):
            return run(stream)

    def _pass(self, *arguments: Any, **named: Any) -> Any:
        """A layer that is skipped."""
        hidden = _entering(arguments, named)
        return (hidden,) if self._tupled else hidden


def find(policy: CausalPolicy, batch: Batch, make_store: Callable[[int], Store]) -> Trunk:
    """The trunk of ``policy`` as it is set up for training, tried on ``batch``; ``make_store`` is told its layers.

    Raises ``UserError``: ``no-trunk`` where something is trained in the lowest layer or below it (or virtual tokens
    are), ``trunk-varies`` where dropout or noise is active in it, ``trunk-not-kept`` where the model cannot be run
    without its lower layers.
    """
    blocks = _blocks(policy)
    with torch.random.fork_rng(), _mode(policy, training=True):
        first, frozen = _look(policy, batch, blocks, seed=0)
        again, _ = _look(policy, batch, blocks, seed=1)
        policy.train(False)
        resting, _ = _look(policy, batch, blocks, seed=2)
    layers = next((number for number, one in enumerate(frozen) if not one), len(blocks))
    if layers == 0:
        raise UserError(
            "there is no frozen trunk to keep: something is trained in the lowest layer, or below it",
            allowed="a method that trains from a higher layer upward",
            hint="Train the upper layers only (method.layers of lora, top_layers of freeze), or set "
            "model.trunk_cache: off.",
            code="no-trunk",
        )
    kept = layers - 1
    if not (_same(first[kept], again[kept]) and _same(first[kept], resting[kept])):
        raise UserError(
            f"what the lowest {layers} layers give is not the same twice, so it cannot be kept",
            got=_dropout(policy.model) or "noise on what enters them",
            hint="Set model.trunk_cache: off, or leave out what makes it random (dropout of the base, neftune).",
            code="trunk-varies",
        )
    trunk = Trunk(
        blocks,
        layers,
        MemoryStore(sys.maxsize),  # what was cut otherwise than in training is not kept
        shares=drivers.shares(policy.model, policy.driver),
        tupled=isinstance(first[kept], tuple),
    )
    _check(policy, batch, trunk)
    trunk.store = make_store(layers)
    return trunk


@contextmanager
def keeping(policy: CausalPolicy, trunk: Trunk) -> Iterator[None]:
    """Within it ``policy`` runs its lower layers only for what ``trunk`` does not hold."""
    before, policy.trunk = policy.trunk, trunk
    try:
        yield
    finally:
        policy.trunk = before


def fingerprint(policy: CausalPolicy, layers: int) -> str:
    """32 hex digits of all that the lowest ``layers`` compute with: weights in their own format, config, kernels."""
    import transformers

    model = policy.model
    above = {id(value) for block in _blocks(policy)[layers:] for value in (*block.parameters(), *block.buffers())}
    config = {key: value for key, value in model.config.to_dict().items() if key not in _ABOUT}
    said = [layers, config, policy.driver, str(policy.device.type), torch.__version__, transformers.__version__]
    digest = hashlib.blake2b(json.dumps(said, sort_keys=True, default=str).encode(), digest_size=16)
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if id(value) not in above and not value.requires_grad:
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def digests(stream: Stream) -> list[bytes]:
    """16 bytes for each segment of what its rows depend on."""
    said = [stream.ids, stream.positions, *([] if stream.types is None else [stream.types])]
    columns = [values.to("cpu", torch.int32).numpy() for values in said]
    lengths, parents = stream.layout.lengths, stream.layout.parents or (-1,) * len(stream.layout.lengths)
    ends = list(accumulate(lengths))
    found = []
    for segment, parent in enumerate(parents):
        digest = hashlib.blake2b(np.int32(lengths[segment]).tobytes(), digest_size=16)
        for one in (segment, parent) if parent >= 0 else (segment,):
            for column in columns:
                digest.update(column[ends[one] - lengths[one] : ends[one]].tobytes())
        found.append(digest.digest())
    return found


def within(stream: Stream, wanted: Sequence[int]) -> tuple[Stream, list[int]]:
    """The segments ``wanted`` of ``stream`` and their parents as a stream of their own, and which they are."""
    layout = stream.layout
    parents = layout.parents or (-1,) * len(layout.lengths)
    numbers = sorted({*wanted, *(parents[one] for one in wanted if parents[one] >= 0)})
    if len(numbers) == len(layout.lengths):
        return stream, numbers
    ends = list(accumulate(layout.lengths))
    rows = torch.cat([torch.arange(ends[one] - layout.lengths[one], ends[one]) for one in numbers])
    rows = rows.to(stream.ids.device)
    lengths = tuple(layout.lengths[one] for one in numbers)
    place = {one: at for at, one in enumerate(numbers)}
    smaller = Layout(
        torch.tensor([0, *accumulate(lengths)], device=layout.starts.device),
        lengths,
        parents=None if layout.parents is None else tuple(place.get(parents[one], -1) for one in numbers),
    )
    types = None if stream.types is None else stream.types[rows]
    return Stream(stream.ids[rows], stream.positions[rows], smaller, types), numbers


def _blocks(policy: CausalPolicy) -> list[nn.Module]:
    if policy.driver != "flat":
        raise UserError(
            "a frozen trunk is kept only where the model is driven flat",
            got=f"model.driver: {policy.driver}",
            hint="Set model.trunk_cache: off.",
            code="trunk-not-kept",
        )
    found = block_lists(policy.model)
    if len(found) != 1:
        raise _not_kept(policy, f"it has {len(found)} lists of layers")
    return list(found[0].blocks)


def _look(
    policy: CausalPolicy, batch: Batch, blocks: Sequence[nn.Module], *, seed: int
) -> tuple[list[Any], list[bool]]:
    """The output of every layer for ``batch``, and whether no gradient would reach it."""
    outputs: list[Any] = []
    hooks = [block.register_forward_hook(lambda _, __, output: outputs.append(output)) for block in blocks]
    torch.manual_seed(seed)
    try:
        with torch.enable_grad():
            policy(batch, Want(logprob=False))
    finally:
        for hook in hooks:
            hook.remove()
    if len(outputs) != len(blocks):
        raise _not_kept(policy, f"{len(outputs)} layers ran where there are {len(blocks)}")
    return outputs, [not _hidden(one).requires_grad for one in outputs]


def _check(policy: CausalPolicy, batch: Batch, trunk: Trunk) -> None:
    """That the model gives the very same with what is kept: computed first, then looked up."""
    with torch.no_grad(), _mode(policy, training=False):
        wanted = policy.hidden(batch.main)
        with keeping(policy, trunk):
            found = [policy.hidden(batch.main) for _ in range(2)]
    trunk.computed = trunk.reused = 0
    if not all(torch.equal(wanted, one) for one in found):
        raise _not_kept(policy, "its upper layers need more of the lower ones than their output")


def _not_kept(policy: CausalPolicy, why: str) -> UserError:
    return UserError(
        f"{type(policy.model).__name__} cannot be run without its lower layers: {why}",
        hint="Set model.trunk_cache: off.",
        code="trunk-not-kept",
    )


def _hidden(output: Any) -> torch.Tensor:
    found: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return found


def _same(one: Any, other: Any) -> bool:
    return torch.equal(_hidden(one), _hidden(other))


def _entering(arguments: tuple[Any, ...], named: dict[str, Any]) -> torch.Tensor:
    found: torch.Tensor = arguments[0] if arguments else named["hidden_states"]
    return found


def _dropout(model: nn.Module) -> str:
    """Names of active dropout modules, as far as they are modules."""
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Dropout) and module.p > 0]
    return f"dropout: {', '.join(names[:2])}" if names else ""


@contextmanager
def _instead(modules: Sequence[nn.Module], forward: Forward) -> Iterator[None]:
    """Within it each of ``modules`` runs ``forward``."""
    before = [vars(module).get("forward") for module in modules]
    for module in modules:
        vars(module)["forward"] = forward
    try:
        yield
    finally:
        for module, own in zip(modules, before, strict=True):
            del vars(module)["forward"]
            if own is not None:
                vars(module)["forward"] = own


@contextmanager
def _mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Within it all of ``model`` is in training mode, or none of it; every module gets its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
