"""Defects that a training tool has had or could have: each is planted into a sound case, and its proof must see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.proof.conftest import TEMPLATE, make_case, tokenizer
from tests.proof.rated_cases import another_reference, leaking_answers

from tunesmith.contracts.batch import Batch, Example, Layout
from tunesmith.contracts.data import Encoder, Encoding, Record
from tunesmith.contracts.objective import Term
from tunesmith.contracts.policy import Outputs
from tunesmith.data.chat import ChatEncoder
from tunesmith.data.collate import flatten
from tunesmith.engine import checkpoint, optimizers
from tunesmith.methods.lora_layer import LoraLinear
from tunesmith.models import attention
from tunesmith.objectives.sft import Sft
from tunesmith.proof.base import Case

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Defect:
    """``plant`` makes a case with the defect; ``proof`` must fail and say ``words``."""

    proof: str
    name: str
    plant: Callable[[Patch], Case]
    words: str

    def __str__(self) -> str:
        return f"{self.proof}: {self.name}"


def merged_segments(patch: Patch) -> Case:
    case = make_case()
    sound = attention.segment_attention

    def leaking(query: Any, key: Any, value: Any, layout: Layout, *rest: Any) -> Any:
        return sound(query, key, value, replace(layout, lengths=(sum(layout.lengths),)), *rest)

    patch.setattr(attention, "segment_attention", leaking)
    return case


def shifted_padding(patch: Patch) -> Case:
    """Padded in front without positions that know of it."""
    case = make_case("gpt2")
    sound = case.policy.model.base_model.forward

    def forward(*args: Any, position_ids: torch.Tensor | None = None, **options: Any) -> Any:
        positions = None if position_ids is None else position_ids + position_ids.amax(1, keepdim=True)
        return sound(*args, position_ids=positions, **options)

    patch.setattr(case.policy.model.base_model, "forward", forward)
    return case


def small_leak(patch: Patch) -> Case:
    """A convolution's worth of neighbour: 1e-4 of the token before, whoever it belongs to, hidden by bfloat16."""
    case = make_case(dtype=torch.bfloat16)
    sound = attention.segment_attention

    def leaking(*args: Any) -> torch.Tensor:
        out = sound(*args)
        return out + 1e-4 * out.roll(1, dims=1)

    patch.setattr(attention, "segment_attention", leaking)
    return case


class MeanSft(Sft):
    """The classic: each micro-batch's mean, averaged over micro-batches."""

    def counts(self, examples: Sequence[Example]) -> dict[str, float]:
        return {"nll": 1.0}

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        return [replace(term, values=term.values / len(batch.readout.rows)) for term in super().loss(outputs, batch)]


class CountsMasked(Sft):
    """Reads every token, prompts too."""

    def collate(self, examples: Sequence[Example]) -> Batch:
        return flatten([replace(example, trained=np.ones_like(example.trained)) for example in examples])


class MasksById(Sft):
    """Takes the end of turn for padding and masks it in the loss."""

    def collate(self, examples: Sequence[Example]) -> Batch:
        return flatten([replace(example, trained=example.trained & (example.ids != 4)) for example in examples])


class OneLabel(Sft):
    """Loses the labels on the way."""

    def collate(self, examples: Sequence[Example]) -> Batch:
        batch = flatten(examples)
        return replace(batch, readout=replace(batch.readout, labels=torch.zeros_like(batch.readout.labels)))


class PromptWeighs(Sft):
    """Lets prompt tokens in through the weights."""

    def collate(self, examples: Sequence[Example]) -> Batch:
        batch = flatten(examples)
        weights = batch.readout.weights * float(sum(int(example.ids[~example.trained].sum()) for example in examples))
        return replace(batch, readout=replace(batch.readout, weights=weights))


class EndMasked(Sft):
    """Marks everything but the end of turn, because its id is also that of padding."""

    def encode(self, record: Record, encoder: Encoder) -> list[Encoding]:
        return [
            replace(one, trained=[flag and number != 4 for flag, number in zip(one.trained, one.ids, strict=True)])
            for one in super().encode(record, encoder)
        ]


class NoEnd(Sft):
    """Trains on rows without any end of turn."""

    def encode(self, record: Record, encoder: Encoder) -> list[Encoding]:
        found = super().encode(record, encoder)
        return [Encoding(one.ids[:-1], one.trained[:-1]) for one in found]


class ExtraBlank(Sft):
    """Renders a blank before answers while training, and none at inference."""

    def encode(self, record: Record, encoder: Encoder) -> list[Encoding]:
        blank = TEMPLATE.replace("message['role'] + '\n'", "message['role'] + '\n '").replace(
            "assistant\n'", "assistant\n '"
        )
        return super().encode(record, ChatEncoder.build(tokenizer(blank)))


class LateStart(Sft):
    """Leaves the first token of every answer out."""

    def encode(self, record: Record, encoder: Encoder) -> list[Encoding]:
        return [
            replace(one, trained=[now and before for before, now in zip([False, *one.trained], one.trained)])  # noqa: B905
            for one in super().encode(record, encoder)
        ]


def with_objective(objective: Sft) -> Callable[[Patch], Case]:
    return lambda _: make_case(objective=objective)


def stale_store(_: Patch) -> Case:
    case = make_case()
    first = case.examples[0]
    return replace(case, examples=[replace(first, trained=np.roll(first.trained, -1)), *case.examples[1:]])


def untrained_row(_: Patch) -> Case:
    case = make_case()
    first = case.examples[0]
    return replace(case, examples=[replace(first, trained=np.zeros_like(first.trained)), *case.examples[1:]])


def untrained_row_elsewhere(_: Patch) -> Case:
    return replace(make_case(), targets=np.array([6, 20, 0, 51]))


@torch.no_grad()
def started_elsewhere(_: Patch) -> Case:
    case = make_case()
    for name, value in case.weights.values.items():
        if "lora_B" in name:
            value.add_(1e-3)
    return case


def base_learns(_: Patch) -> Case:
    case = make_case()
    case.policy.model.model.norm.weight.requires_grad_(True)
    return case


def adapter_left_out(_: Patch) -> Case:
    case = make_case()
    next(layer for layer in case.policy.model.modules() if isinstance(layer, LoraLinear)).enabled = False
    return case


def base_changes(patch: Patch) -> Case:
    """Decay reaches a parameter that nobody trains."""
    case = make_case()
    sound = torch.optim.AdamW.step

    def step(self: Any, *args: Any) -> Any:
        case.policy.model.model.norm.weight.data.mul_(1 - 1e-6)
        return sound(self, *args)

    patch.setattr(torch.optim.AdamW, "step", step)
    return case


def forgetful_save(patch: Patch) -> Case:
    case = make_case()
    sound = case.attached.save

    def save(folder: Path, values: Any) -> None:
        sound(folder, values)
        (file,) = folder.glob("*.safetensors")
        save_file(dict(list(load_file(file).items())[1:]), file)

    patch.setattr(case.attached, "save", save)
    return case


def rounding_save(patch: Patch) -> Case:
    case = make_case()
    sound = case.attached.save
    patch.setattr(
        case.attached,
        "save",
        lambda folder, values: sound(folder, {name: value.bfloat16() for name, value in values.items()}),
    )
    return case


def half_a_checkpoint(patch: Patch) -> Case:
    sound = checkpoint.save

    def save(*args: Any, **options: Any) -> Path:
        path = sound(*args, **options)
        (path / checkpoint.TENSOR_FILES[1]).unlink()
        return path

    patch.setattr(checkpoint, "save", save)
    return make_case()


def no_optimizer_state(patch: Patch) -> Case:
    patch.setattr(optimizers, "state_tensors", lambda _: {})
    return make_case()


def no_step_count(patch: Patch) -> Case:
    sound = optimizers.state_tensors

    def without(optimizer: Any) -> dict[str, torch.Tensor]:
        return {
            name: torch.zeros_like(value) if name.endswith("|step") else value
            for name, value in sound(optimizer).items()
        }

    patch.setattr(optimizers, "state_tensors", without)
    return make_case()


def unscaled_merge(patch: Patch) -> Case:
    sound = LoraLinear.delta
    patch.setattr(LoraLinear, "delta", lambda self: sound(self) / self.scaling)
    return make_case()


def unscaled_merge_bfloat16(patch: Patch) -> Case:
    unscaled_merge(patch)
    return make_case(dtype=torch.bfloat16)


DEFECTS = (
    Defect("packing", "segments see each other", merged_segments, "packed rows give other numbers"),
    Defect("packing", "positions of padding are counted", shifted_padding, "give other numbers"),
    Defect("isolation", "segments see each other", merged_segments, "depends on the tokens of another row"),
    Defect("isolation", "a leak that bfloat16 hides", small_leak, "depends on the tokens of another row"),
    Defect("micro-batches", "a mean of means", with_objective(MeanSft()), "how the update is cut"),
    Defect("mask", "prompts are in the loss", with_objective(CountsMasked()), "tokens are in the loss but not marked"),
    Defect("mask", "a token is masked by its id", with_objective(MasksById()), "marked tokens are not in the loss"),
    Defect("mask", "labels are lost", with_objective(OneLabel()), "whatever their label is"),
    Defect("mask", "labels of prompts count", with_objective(PromptWeighs()), "labels of unmarked tokens"),
    Defect("mask", "the store is of another template", stale_store, "stored with other tokens or marks"),
    Defect("targets", "a row without a target", untrained_row, "1 of 3 sequences"),
    Defect("targets", "a row of the store without a target", untrained_row_elsewhere, "1 of 4 sequences"),
    Defect("end-of-turn", "masked by id", with_objective(EndMasked()), "is not trained"),
    Defect("end-of-turn", "absent", with_objective(NoEnd()), "ends without a token"),
    Defect("rendering", "a blank at training only", with_objective(ExtraBlank()), "part at token"),
    Defect("rendering", "the answer's first token is not learned", with_objective(LateStart()), "is not trained"),
    Defect("identity", "the adapter does not start at zero", started_elsewhere, "before it is trained"),
    Defect("margin", "a reference of another run", another_reference, "differ before anything is trained"),
    Defect("sharing", "answers see each other", leaking_answers, "answers to a shared question"),
    Defect("gradients", "a base parameter learns", base_learns, "model.norm.weight is not among the method's"),
    Defect("gradients", "an adapter is not reached", adapter_left_out, "gets no gradient"),
    Defect("gradients", "a frozen parameter changes", base_changes, "model.norm.weight is frozen and changed"),
    Defect("save-load", "a tensor is not saved", forgetful_save, "is not in the file"),
    Defect("save-load", "the saved tensors are rounded", rounding_save, "gives other numbers"),
    Defect("resume", "no optimizer state", no_optimizer_state, "parameters differ"),
    Defect("resume", "the optimizer's count starts again", no_step_count, "parameters differ"),
    Defect("resume", "a file of the checkpoint is missing", half_a_checkpoint, "is damaged"),
    Defect("merge", "the scaling is forgotten", unscaled_merge, "gives other numbers once merged"),
    Defect("merge", "the scaling is forgotten, in bfloat16", unscaled_merge_bfloat16, "once merged"),
)
