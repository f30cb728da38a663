"""AdaLoRA: updates in the form of a singular value decomposition, pruned while training where they matter least
(Zhang et al. 2023, arXiv:2303.10512).

    y = x Wᵀ + b + s · x Qᵀ Λ Pᵀ        s = alpha / rank        (eq. 3)
    R(P, Q) = ‖PᵀP - I‖² + ‖Q Qᵀ - I‖²                            (eq. 4), added to the loss as γ · mean over layers

``adalora_ranks`` has the budget and the importance. ``Λ`` starts at zero, ``P`` and ``Q`` as Gaussians of unit length,
so step 0 is the base, bit for bit, and ``R`` starts small. A pruned value is set to zero after the optimizer's step;
until the last choice its gradient may bring it back, from then on it stays zero.

The stored folder is PEFT's: ``lora_A`` is ``Q``, ``lora_E`` is ``Λ``, ``lora_B`` is ``P``, and pruned values that are
zero are left out, as ``rank_pattern`` says. The trap: their scaling stays that of the initial rank.

Shape legend: ``Q [rank, in]``, ``Λ [rank, 1]``, ``P [out, rank]``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from tunesmith.contracts.method import Group, Moment
from tunesmith.errors import UserError
from tunesmith.methods.adalora_folder import PEFT_OPTIONS, adapted, as_json, from_json, packed, stored, unpacked
from tunesmith.methods.adalora_layer import MATRICES, SvdLinear
from tunesmith.methods.adalora_ranks import MEAN, SPREAD, Budget, Importance, best, off_orthonormal, updates
from tunesmith.methods.attachment import AttachedLayers, InPlace, base_name, task_type
from tunesmith.methods.folder import read_adapter, write_adapter
from tunesmith.methods.insert import insert, refuse_adapted, refuse_rank
from tunesmith.models.layers import resolve_targets, shortest_endings
from tunesmith.recipe.base import PartConfig
from tunesmith.recipe.load import validated

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Length = Annotated[float, Field(ge=0.0)]
KEPT = "|kept"


class Adalora(PartConfig):
    """Trains low-rank updates whose ranks move to the layers that need them."""

    NAME: ClassVar[str] = "adalora"
    paper: ClassVar[str] = "https://arxiv.org/abs/2303.10512"
    use: ClassVar[str] = "LoRA under a tight parameter budget: rank goes to the layers whose gradients ask for it."
    usual_rate: ClassVar[float] = 1e-2
    PEFT_TYPE: ClassVar[str] = "ADALORA"

    target_rank: Annotated[int, Field(gt=0)] = 16
    """Mean rank in the end. LoRA of this rank has as many parameters."""
    rank: Annotated[int, Field(gt=0)] | None = None
    """Rank of every update in the beginning; unset: 1.5 times `target_rank`, as in the paper."""
    alpha: Annotated[float, Field(gt=0.0)] = 32.0
    """Numerator of the scaling `alpha / rank`."""
    targets: Literal["all-linear", "attention", "mlp"] | list[str] = "all-linear"
    """Adapted layers: every linear of the blocks, those of attention or of the MLP, or a list of names (`q_proj`),
    paths and patterns (`model.layers.[01].*`)."""
    dropout: Share = 0.0
    """Share of inputs of the update that are dropped while training."""
    orthogonality: Annotated[float, Field(ge=0.0)] = 0.5
    """Weight of the penalty that keeps singular vectors orthonormal."""
    t_init: Length = 0.1
    """Updates before anything is pruned: a share of all below 1, a number from 1 on."""
    t_final: Length = 0.5
    """Updates after the last pruning, with the ranks as they are then: a share of all below 1, a number from 1 on."""
    delta_t: Length = 0.002
    """Updates from one pruning to the next: a share of all below 1, a number from 1 on."""
    beta1: Share = 0.85
    """How much of the smoothed sensitivity an update keeps."""
    beta2: Share = 0.85
    """How much of the smoothed uncertainty an update keeps."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.initial_rank < self.target_rank:
            raise ValueError(f"rank ({self.rank}) must be at least target_rank ({self.target_rank})")
        if max(self.t_init, self.t_final) < 1 <= self.t_init + self.t_final:
            raise ValueError("the shares t_init and t_final leave no update for pruning: their sum must be below 1")
        return self

    @property
    def initial_rank(self) -> int:
        """The rank of every update before pruning."""
        return self.rank or math.ceil(1.5 * self.target_rank)

    @property
    def scaling(self) -> float:
        """The factor ``s`` of the update; with PEFT's 1e-5, so that a folder means the same to both."""
        return self.alpha / (self.initial_rank + 1e-5)

    def check_steps(self, steps: int) -> None:
        """A ``UserError`` (``no-pruning``) where ``t_init`` and ``t_final``, in updates, fill a run of ``steps``."""
        before, after = (updates(length, steps) for length in (self.t_init, self.t_final))
        if max(self.t_init, self.t_final) >= 1 and before + after >= steps:
            raise UserError(
                "method.t_init and method.t_final leave no update for pruning",
                got=f"{before} and {after} of {steps} updates",
                allowed=f"together fewer than {steps}",
                hint="Lower them, give shares of the run below 1, or train longer.",
                code="no-pruning",
            )

    @classmethod
    def stored(cls, folder: Path, config: Mapping[str, Any]) -> Self:
        """The method that wrote ``config`` into ``folder``; which layers it adapted is read from the tensors."""
        values = {ours: config[theirs] for ours, theirs in PEFT_OPTIONS.items() if theirs in config}
        return validated(cls, {**values, "targets": adapted(read_adapter(folder)[1])}, str(folder))

    def check_model(self, model: nn.Module) -> list[str]:
        """Paths of the target layers; a ``UserError`` where targets or ranks do not fit. Reads no weights."""
        refuse_adapted(model)
        paths = resolve_targets(model, self.targets)
        ranks = dict.fromkeys(paths, self.initial_rank)
        refuse_rank(model, ranks, hint="Lower method.rank, which is 1.5 times method.target_rank unless it is given.")
        return paths

    def attach(self, model: nn.Module, *, heads: Sequence[str] = ()) -> AttachedAdalora:
        """Freeze ``model`` and adapt its target layers; ``P`` and ``Q`` are drawn from torch's global generator.

        Raises ``UserError``: ``unknown-target``, ``unknown-family``, ``already-attached``, ``tied-target``,
        ``rank-too-large``.
        """
        paths = self.check_model(model)
        endings = shortest_endings(model, paths)
        layers = insert(model, paths, lambda base: SvdLinear(base, self))
        return AttachedAdalora(model, self, layers, heads=heads, endings=endings)


class AttachedAdalora(AttachedLayers):
    """AdaLoRA on a model. ``kept`` masks, by path, the singular values that the last choice kept (empty before it)."""

    AGREE = ("init_r", "lora_alpha")

    def __init__(
        self,
        model: nn.Module,
        config: Adalora,
        layers: Mapping[str, SvdLinear],
        *,
        heads: Sequence[str],
        endings: list[str],
    ) -> None:
        matrices = {
            name: getattr(layer, matrix)
            for path, layer in layers.items()
            for name, matrix in zip(stored(path), MATRICES, strict=True)
        }
        super().__init__(model, layers, matrices, InPlace.of_modules(model, heads))
        self.config, self.heads, self.endings = config, list(heads), endings
        self.svd = dict(layers)
        self.importance = Importance({})
        self.kept: dict[str, torch.Tensor] = {}
        self.steps: int | None = None

    def groups(self) -> list[Group]:
        """Singular values; their vectors, which the penalty keeps at unit length, without weight decay; heads."""
        named = self.parameters.items()
        values = {name: parameter for name, parameter in named if name.endswith("lora_E")}
        vectors = {name: parameter for name, parameter in named if name not in values}
        return [Group(values), Group(vectors, decay=False), *self.in_place.groups()]

    def penalty(self) -> torch.Tensor | None:
        """``γ · mean_k R(P_k, Q_k)``: the mean, so that γ means the same for a deep model as for a shallow one."""
        if not self.config.orthogonality:
            return None
        terms = [off_orthonormal(layer.lora_B, layer.lora_A) for layer in self.svd.values()]
        return self.config.orthogonality * torch.stack([term.to(terms[0].device) for term in terms]).mean()

    def budget(self, steps: int) -> Budget:
        """The budget of a run of ``steps`` updates."""
        first, last = (len(self.svd) * rank for rank in (self.config.initial_rank, self.config.target_rank))
        lengths = {name: getattr(self.config, name) for name in ("t_init", "t_final", "delta_t")}
        return Budget.of(first, last, **lengths, steps=steps)

    def before_step(self, moment: Moment, values: Mapping[str, torch.Tensor]) -> None:
        """Follow the importance of every entry until the last choice is made."""
        if moment.step <= self.budget(moment.steps).end:
            for name in self.parameters:
                self.importance.see(name, values[name], beta1=self.config.beta1, beta2=self.config.beta2)

    @torch.no_grad()
    def after_step(self, moment: Moment, values: Mapping[str, torch.Tensor]) -> None:
        """Choose what is kept where the budget says so, and set the rest to zero (eq. 6)."""
        self.steps = moment.steps
        budget = self.budget(moment.steps)
        if budget.allocates(moment.step):
            scores = {path: self.importance.of_triplets(*stored(path)) for path in self.svd}
            self.kept = best(scores, budget.at(moment.step))
        elif moment.step < budget.end:
            return
        for path, mask in self.kept.items():
            value = values[stored(path)[1]]
            value.masked_fill_(~mask[:, None].to(value.device), 0.0)
        if moment.step == budget.end:
            self.importance = Importance({})

    def state(self) -> dict[str, torch.Tensor]:
        """The importance so far and what is kept."""
        return {**self.importance.averages, **{path + KEPT: mask for path, mask in self.kept.items()}}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take both back."""
        self.kept = {name.removesuffix(KEPT): mask.cpu() for name, mask in state.items() if name.endswith(KEPT)}
        averages = {name: value for name, value in state.items() if name.endswith((MEAN, SPREAD))}
        homes = {name: self.parameters[name.rpartition("|")[0]].device for name in averages}
        self.importance = Importance({name: value.to(homes[name], copy=True) for name, value in averages.items()})

    def save(self, folder: Path, values: Mapping[str, torch.Tensor]) -> None:
        """Write PEFT's two files, without singular values that were pruned and are zero."""
        tensors = {name: values[name] for name in (*self.parameters, *self.in_place.parameters)}
        pattern = {path: mask | (tensors[stored(path)[1]] != 0).squeeze(1).cpu() for path, mask in self.kept.items()}
        config = {**self.file_config(), "rank_pattern": as_json(pattern)}
        write_adapter(folder, config, packed(tensors, pattern))

    def unpacked(self, config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """``tensors`` at the places that ``config`` gives them; vectors of what was pruned stay as they are here."""
        self.kept = {path: mask for path, mask in from_json(config.get("rank_pattern")).items() if path in self.svd}
        return unpacked(tensors, self.kept, self.parameters)

    def file_config(self) -> dict[str, Any]:
        """PEFT's config of this adapter, with the schedule in updates (of the shortest run before there is one)."""
        config, alpha = self.config, self.config.alpha
        budget = self.budget(self.steps or 1)
        return {
            "peft_type": Adalora.PEFT_TYPE,
            "task_type": task_type(self.model),
            "base_model_name_or_path": base_name(self.model),
            "inference_mode": True,
            "init_r": config.initial_rank,
            "target_r": config.target_rank,
            "tinit": budget.begin,
            "tfinal": (self.steps or 1) - budget.end,
            "deltaT": budget.every,
            "total_step": self.steps or 1,
            "beta1": config.beta1,
            "beta2": config.beta2,
            "orth_reg_weight": config.orthogonality,
            "lora_alpha": int(alpha) if alpha.is_integer() else alpha,
            "lora_dropout": config.dropout,
            "bias": "none",
            "target_modules": self.endings,
            "modules_to_save": self.heads or None,
            "fan_in_fan_out": all(layer.base.transposed for layer in self.svd.values()),
            "init_lora_weights": True,
        }
