"""A base packed while it is read: each weight of a block is read from its file, packed, and let go.

transformers reads one tensor at a time where a quantizer takes part, and renames and joins tensors as the family needs;
the quantizer here packs what ``quantize_model`` would pack afterwards, so that the host never holds a dense base. The
bytes are the same, and the model is left without a trace of transformers' own quantization, with what was done as its
attribute ``packed``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers.core_model_loading import ConversionOps
from transformers.quantizers import HfQuantizer, register_quantization_config, register_quantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from tunesmith.models.layers import resolve_targets
from tunesmith.models.quantized import KINDS
from tunesmith.models.quantized.model import Quantized, quantize_linear

METHOD = "tunesmith"


@register_quantization_config(METHOD)
class PackingConfig(QuantizationConfigMixin):
    """Asks ``from_pretrained`` for packing as ``kind``, a name of ``quantized.KINDS``."""

    def __init__(self, kind: str, **_: Any) -> None:
        self.quant_method: Any = METHOD
        self.kind = kind


@register_quantizer(METHOD)
class Packer(HfQuantizer):
    """Packs the linears of the blocks as their weights arrive."""

    def __init__(self, quantization_config: PackingConfig, **options: Any) -> None:
        super().__init__(quantization_config, **options)
        self.kind = quantization_config.kind
        self.paths: tuple[str, ...] = ()
        self.weights = self.before = self.after = 0

    def _process_model_before_weight_loading(self, model: nn.Module, **_: Any) -> None:
        KINDS.load(self.kind)
        self.paths = tuple(resolve_targets(model, "all-linear"))

    def param_needs_quantization(self, model: nn.Module, param_name: str, **_: Any) -> bool:
        """Whether it is the weight of a linear to pack."""
        path, leaf = param_name.rpartition(".")[::2]
        return leaf == "weight" and path in self.paths

    def get_quantize_ops(self) -> ConversionOps:
        """What transformers calls with each weight that it has read."""
        return _Pack(self)

    def pack(self, model: nn.Module, path: str, weight: torch.Tensor) -> None:
        """Put a packed layer with ``weight``, as it is stored, in the place of the empty one."""
        empty = model.get_submodule(path)
        empty.weight = nn.Parameter(weight, requires_grad=False)
        layer = quantize_linear(empty, self.kind)
        setattr(layer, "_is_hf_initialized", True)  # noqa: B010 - else it would be drawn anew
        self.weights += weight.numel()
        self.before += weight.nbytes
        self.after += layer.packed_bytes
        parent, _, leaf = path.rpartition(".")
        setattr(model.get_submodule(parent), leaf, layer)

    def _process_model_after_weight_loading(self, model: Any, **_: Any) -> Any:
        self.remove_quantization_config(model)
        for module in model.modules():
            if hasattr(module, "config") and hasattr(module.config, "_is_quantized"):
                del module.config._is_quantized
        model.packed = Quantized(self.kind, self.paths, self.weights, self.before, self.after)
        return model

    def is_serializable(self) -> bool:
        """Not by transformers."""
        return False

    @property
    def is_trainable(self) -> bool:
        """With an adapter."""
        return True


class _Pack(ConversionOps):
    def __init__(self, packer: Packer) -> None:
        self.packer = packer

    def convert(
        self,
        input_dict: Mapping[str, torch.Tensor | Sequence[torch.Tensor]],
        *,
        model: nn.Module,
        missing_keys: set[str],
        **_: Any,
    ) -> dict[str, torch.Tensor]:
        for name, found in input_dict.items():
            weight = found if isinstance(found, torch.Tensor) else found[0]
            self.packer.pack(model, name.removesuffix(".weight"), weight)
            missing_keys.discard(name)
        return {}
