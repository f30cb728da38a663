"""Defects put into a method on purpose: each must make the contract fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import test_contract as contract
import torch

from families import tiny
from tunesmith.methods import attachment
from tunesmith.methods.adapter_layers import AdapterLayer, Bottleneck
from tunesmith.methods.lora import Lora
from tunesmith.recipe.schema import Part

FAMILY = "llama"
LORA = Part(name="lora", rank=4, dropout=0.2)
ADAPTER = Part(name="adapter", kind="houlsby", reduction=4, dropout=0.2)
Patch = pytest.MonkeyPatch


def lora_layer() -> Any:
    """The class of LoRA's layers."""
    return type(next(iter(Lora(rank=4).attach(tiny(FAMILY)).layers.values())))


def changed(patch: Patch, owner: Any, name: str, wrong: Callable[..., Any]) -> None:
    """Replace ``owner.name`` by ``wrong(right, *arguments)``."""
    right = getattr(owner, name)
    patch.setattr(owner, name, lambda *arguments, **options: wrong(right, *arguments, **options))


def wrong_scaling_in_merge(patch: Patch) -> None:
    changed(patch, lora_layer(), "delta", lambda right, layer: right(layer) * 1.01)


def wrong_scaling_when_trained(patch: Patch) -> None:
    """The layer computes with one scaling and merges with another."""

    def forward(right: Any, layer: Any, x: torch.Tensor) -> torch.Tensor:
        layer.scaling *= 2
        try:
            return right(layer, x)
        finally:
            layer.scaling /= 2

    changed(patch, lora_layer(), "forward", forward)


def dropout_in_eval_mode_of_lora(patch: Patch) -> None:
    def forward(right: Any, layer: Any, x: torch.Tensor) -> torch.Tensor:
        layer.training = True
        return right(layer, x)

    changed(patch, lora_layer(), "forward", forward)


def dropout_in_eval_mode_of_an_adapter(patch: Patch) -> None:
    def inner(right: Any, layer: Any, x: torch.Tensor) -> torch.Tensor:
        layer.training = True
        return right(layer, x)

    changed(patch, Bottleneck, "_inner", inner)


def base_touched(owner: Callable[[], Any]) -> Callable[[Patch], None]:
    """A forward pass while training that changes the base's weight a little."""

    def plant(patch: Patch) -> None:
        def forward(right: Any, layer: Any, x: torch.Tensor) -> torch.Tensor:
            if layer.training:
                layer.base_layer.weight.data.mul_(1 + 1e-6)
            return right(layer, x)

        changed(patch, owner(), "forward", forward)

    return plant


def base_trained(patch: Patch) -> None:
    """A weight of the base is left trainable."""

    def attach(right: Any, method: Any, model: Any, **options: Any) -> Any:
        attached = right(method, model, **options)
        model.model.norm.weight.requires_grad_(True)
        return attached

    changed(patch, Lora, "attach", attach)


def base_in_a_group(patch: Patch) -> None:
    """A weight of the base is handed to the optimizer as if it were the method's."""

    def start(right: Any, attached: Any, model: Any, layers: Any, parameters: Any, *rest: Any) -> None:
        weight = model.model.norm.weight.requires_grad_(True)
        right(attached, model, layers, {**parameters, "base_model.model.model.norm.weight": weight}, *rest)

    changed(patch, attachment.AttachedLayers, "__init__", start)


def not_zero_at_first(patch: Patch) -> None:
    def start(right: Any, layer: Any, *arguments: Any) -> None:
        right(layer, *arguments)
        layer.up.data.add_(1e-3)

    changed(patch, Bottleneck, "__init__", start)


def never_off(patch: Patch) -> None:
    @contextmanager
    def nothing(_: Any) -> Iterator[None]:
        yield

    patch.setattr(attachment, "disabled", nothing)


def frozen_by_mistake(patch: Patch) -> None:
    def start(right: Any, layer: Any, *arguments: Any) -> None:
        right(layer, *arguments)
        layer.down_bias.requires_grad_(False)

    changed(patch, Bottleneck, "__init__", start)


def saved_in_half_precision(patch: Patch) -> None:
    def write(right: Any, folder: Path, config: Any, tensors: Mapping[str, torch.Tensor]) -> None:
        right(folder, config, {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()})

    changed(patch, attachment, "write_adapter", write)


def one_tensor_not_read(patch: Patch) -> None:
    def land(right: Any, tensors: Any, parameters: Any, aliases: Any, where: str) -> None:
        name = next(iter(parameters))
        kept = parameters[name].detach().clone()
        right(tensors, parameters, aliases, where)
        parameters[name].data.copy_(kept)

    changed(patch, attachment, "land", land)


def layers_left_in_when_merged(patch: Patch) -> None:
    changed(patch, attachment, "merged_base", lambda right, layer: (right(layer), layer)[1])


def always_float32(patch: Patch) -> None:
    def start(right: Any, layer: Any, *arguments: Any) -> None:
        right(layer, *arguments)
        layer.up.data = layer.up.data.float()

    changed(patch, Bottleneck, "__init__", start)


STEP_ZERO = contract.test_step_zero_is_the_base_bit_for_bit
MOVES = contract.test_only_its_parameters_have_gradients_and_move
OFF = contract.test_off_is_the_base_bit_for_bit
MERGED = contract.test_merged_is_the_adapted_model
SAVED = contract.test_saved_and_loaded_is_exact
HALF = contract.test_bfloat16_trains_and_stays_finite
EVALUATION = contract.test_evaluation_is_deterministic
PLANTED: dict[str, tuple[Part, Callable[[Patch], None], Callable[..., None]]] = {
    "wrong scaling in merge": (LORA, wrong_scaling_in_merge, MERGED),
    "wrong scaling when trained": (LORA, wrong_scaling_when_trained, MERGED),
    "dropout in eval mode (lora)": (LORA, dropout_in_eval_mode_of_lora, EVALUATION),
    "dropout in eval mode (adapter)": (ADAPTER, dropout_in_eval_mode_of_an_adapter, EVALUATION),
    "base touched (lora)": (LORA, base_touched(lora_layer), MOVES),
    "base touched (adapter)": (ADAPTER, base_touched(lambda: AdapterLayer), MOVES),
    "base touched, seen by off": (ADAPTER, base_touched(lambda: AdapterLayer), OFF),
    "base trained (lora)": (LORA, base_trained, MOVES),
    "base trained (adapter)": (ADAPTER, base_in_a_group, OFF),
    "not zero at first": (ADAPTER, not_zero_at_first, STEP_ZERO),
    "never off": (LORA, never_off, OFF),
    "frozen by mistake": (ADAPTER, frozen_by_mistake, MOVES),
    "saved in half precision": (ADAPTER, saved_in_half_precision, SAVED),
    "one tensor not read": (ADAPTER, one_tensor_not_read, SAVED),
    "layers left in when merged": (LORA, layers_left_in_when_merged, MERGED),
    "always float32": (ADAPTER, always_float32, HALF),
}


def kept(check: Callable[..., None], part: Part, folder: Path) -> None:
    """Run one rule of the contract."""
    given = {"part": part, "family": FAMILY, "tmp_path": folder}
    wanted = check.__code__.co_varnames[: check.__code__.co_argcount]
    check(**{name: value for name, value in given.items() if name in wanted})


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_defect_breaks_the_contract(name: str, monkeypatch: Patch, tmp_path: Path) -> None:
    part, plant, check = PLANTED[name]
    kept(check, part, tmp_path / "sound")
    plant(monkeypatch)
    with pytest.raises((AssertionError, RuntimeError)):
        kept(check, part, tmp_path / "planted")
