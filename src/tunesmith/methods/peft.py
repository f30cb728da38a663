"""Any method of PEFT in this trainer: ``{name: "peft:VERA", options: {r: 64}}``.

PEFT puts its own layers into the model and this class speaks for them: parameters by PEFT's stored names, PEFT's
folder, PEFT's merge. It is the way to methods that are not written here; the ones that are, are faster and stricter.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from tunesmith.contracts.method import Group
from tunesmith.errors import UserError, did_you_mean
from tunesmith.methods.attachment import Attachment, InPlace, task_type
from tunesmith.methods.folder import land, read_adapter, write_adapter
from tunesmith.methods.insert import refuse_adapted
from tunesmith.models.layers import resolve_targets, shortest_endings
from tunesmith.recipe.base import PartConfig

OURS = {
    "ADALORA": "adalora",
    "IA3": "ia3",
    "LN_TUNING": "norms",
    "PROMPT_TUNING": "prompt",
    "P_TUNING": "p-tuning",
    "PREFIX_TUNING": "prefix",
}
"""Kinds that need virtual tokens, more than two passes, or other layers than linears: they are methods here."""
BEYOND = (
    "ADAPTION_PROMPT",
    "CARTRIDGE",
    "CPT",
    "MULTITASK_PROMPT_TUNING",
    "OSF",
    "POLY",
    "PVERA",  # its folder leaves out tensors that its output depends on
    "SHADOW",
    "TRAINABLE_TOKENS",
    "XLORA",
)
"""Kinds that need inputs, a training loop or a folder that only PEFT's own wrapper gives them."""
INEXACT = ("DEFT", "FOURIERFT", "FROD", "HRA", "UNILORA")
"""Kinds whose step 0 is not the base bit for bit, whatever their options say (measured on a tiny Llama)."""


class Peft(PartConfig):
    """Trains an adapter of the PEFT library; `peft:KIND` names its kind, such as `peft:VERA` or `peft:OFT`."""

    NAME: ClassVar[str] = "peft"
    paper: ClassVar[str] = "https://github.com/huggingface/peft"
    use: ClassVar[str] = "A method that is not written here, or a comparison with PEFT's own layers."
    usual_rate: ClassVar[float] = 1e-3

    kind: str
    """PEFT's name of the method (`VERA`, `LOHA`, `LOKR`, `OFT` …); `peft:VERA` as the method's name says it too."""
    targets: str | list[str] = "all-linear"
    """Adapted layers, as for `lora`."""
    options: dict[str, Any] = {}
    """Options of PEFT's config for this kind, by PEFT's names (`r`, `init_weights` …)."""

    def attach(self, model: nn.Module, *, heads: Sequence[str] = ()) -> AttachedPeft:
        """Let PEFT put its layers into ``model`` in place.

        Raises ``UserError``: ``missing-extra``, ``unknown-peft-kind``, ``bad-peft-options``, ``unknown-target``.
        """
        refuse_adapted(model)
        config_class = _config_class(self.kind)
        fields = dict(self.options)
        if "target_modules" in getattr(config_class, "__dataclass_fields__", {}):
            paths = resolve_targets(model, self.targets)
            fields.setdefault("target_modules", shortest_endings(model, paths))
        model.requires_grad_(False)
        try:
            return AttachedPeft(model, config_class(**fields), heads)
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(
                f"PEFT refuses this {self.kind} adapter: {str(error).splitlines()[0][:300]}",
                got=fields,
                hint=f"The options are those of peft.{config_class.__name__}.",
                code="bad-peft-options",
            ) from error


class AttachedPeft(Attachment):
    """A PEFT adapter on a model; ``wrapper`` is PEFT's own, around the same modules."""

    def __init__(self, model: nn.Module, config: Any, heads: Sequence[str]) -> None:
        self.model, self.heads = model, list(heads)
        with _quietly():
            from peft import get_peft_model

            self.wrapper: Any = get_peft_model(model, config, autocast_adapter_dtype=False)
        starts = getattr(config, "init_weights", getattr(config, "init_lora_weights", False))
        self.identity = starts is True and str(config.peft_type.value) not in INEXACT
        self.in_place = InPlace.of_modules(model, heads)
        stored = self._stored(self.wrapper.state_dict())
        names = {tensor.data_ptr(): name for name, tensor in stored.items()}
        mine = [value for value in model.parameters() if value.requires_grad]
        beside = {id(value) for value in self.in_place.parameters.values()}
        self.parameters = {names[value.data_ptr()]: value for value in mine if id(value) not in beside}

    def groups(self) -> list[Group]:
        """PEFT's trainable parameters, and new heads without weight decay."""
        return [Group(self.parameters), *self.in_place.groups()]

    @contextmanager
    def off(self) -> Iterator[None]:
        """Within it the model answers as the untouched base."""
        with self.in_place.off(), self.wrapper.disable_adapter():
            yield

    def save(self, folder: Path, values: Mapping[str, torch.Tensor]) -> None:
        """Write PEFT's folder."""
        fresh = {id(value): values[name] for name, value in self.parameters.items()}
        state = dict(self.wrapper.state_dict())
        state |= {name: fresh[id(value)] for name, value in self.wrapper.named_parameters() if id(value) in fresh}
        tensors = self._stored(state) | {name: values[name] for name in self.in_place.parameters}
        config = {key: _plain(value) for key, value in self.wrapper.peft_config["default"].to_dict().items()}
        config |= {"inference_mode": True, "task_type": task_type(self.model), "modules_to_save": self.heads or None}
        write_adapter(folder, config, tensors)

    def load(self, folder: Path) -> None:
        """Read such a folder: every tensor lands, or none (``adapter-mismatch``)."""
        _, tensors = read_adapter(folder)
        here: Mapping[str, Any] = self._stored(self.wrapper.state_dict()) | self.in_place.parameters
        land(tensors, here, {}, str(folder))

    def merge(self) -> nn.Module:
        """PEFT's own merge; a ``UserError`` (``cannot-merge``) where it has none for this kind."""
        try:
            merged: nn.Module = self.wrapper.merge_and_unload()
        except (AttributeError, NotImplementedError) as error:
            raise UserError(
                f"PEFT cannot merge this adapter: {error}",
                hint="Ship the adapter folder beside the base.",
                code="cannot-merge",
            ) from error
        return merged

    def _stored(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        from peft import get_peft_model_state_dict

        # never "auto": that looks for the base's config on a hub
        found: dict[str, torch.Tensor] = get_peft_model_state_dict(
            self.wrapper, state_dict=dict(state), save_embedding_layers=False
        )
        return found


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what PEFT's imports say of kernels and names that nobody here uses; afterwards all is told as before."""
    kernels = logging.getLogger("bitsandbytes.backends.cpu.ops")
    before = kernels.disabled
    kernels.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            yield
    finally:
        kernels.disabled = before


def _config_class(kind: str) -> Any:
    try:
        with _quietly():
            from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
    except ImportError:
        raise UserError(
            f"the method peft:{kind} needs the PEFT library",
            hint="Install it with `pip install 'tunesmith[peft]'`.",
            code="missing-extra",
        ) from None
    known = {str(name.value): config for name, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    allowed = sorted(set(known) - set(OURS) - set(BEYOND))
    if kind.upper() in OURS:
        raise UserError(
            f"PEFT's {kind.upper()} cannot be trained through its layers alone",
            hint=f"Use the method {OURS[kind.upper()]}, whose adapters PEFT reads.",
            code="unknown-peft-kind",
        )
    if kind.upper() not in allowed:
        raise UserError(
            "unknown kind of PEFT adapter",
            got=f"'{kind}'",
            allowed=allowed,
            hint=did_you_mean(kind.upper(), allowed),
            code="unknown-peft-kind",
        )
    return known[kind.upper()]


def _plain(value: Any) -> Any:
    """``value`` as JSON holds it: PEFT's configs contain sets and enums."""
    if isinstance(value, set | frozenset | tuple):
        return sorted(value) if isinstance(value, set | frozenset) else list(value)
    return getattr(value, "value", value)
