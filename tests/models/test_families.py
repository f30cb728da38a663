"""Every family driven flat and padded equals the untouched transformers model, one sequence at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from families import VOCABULARY, configs, tiny
from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.policy import Want
from tunesmith.data.collate import flatten
from tunesmith.models import probe
from tunesmith.models.policy import CausalPolicy

LENGTHS = (13, 1, 9, 2)
"""Longer than the sliding window of 6 where a family has one."""
FAMILIES = sorted(configs())
DRIVERS = ("flat", "padded")
CLOSE = 1e-5
"""Relative to the largest value: float32 sums in another order over two layers, measured at most 2e-6."""


def examples(lengths: tuple[int, ...] = LENGTHS) -> list[Example]:
    generator = np.random.default_rng(0)
    return [
        Example(generator.integers(0, VOCABULARY, length).astype(np.int32), generator.random(length) < 0.7, row)
        for row, length in enumerate(lengths)
    ]


def relative(ours: torch.Tensor, wanted: torch.Tensor) -> float:
    return float(((ours - wanted).abs().max() / wanted.abs().max()).detach())


def alone(model: Any, rows: list[Example] | None = None) -> list[torch.Tensor]:
    """Logits of each sequence by itself, by transformers' own explicit attention."""
    model.set_attn_implementation("eager")
    return [model(input_ids=torch.tensor(row.ids).long()[None]).logits[0] for row in rows or examples()]


def targets(batch: Batch) -> torch.Tensor:
    return batch.main.ids[batch.readout.rows + 1]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_the_untouched_models(family: str, driver: Any) -> None:
    wanted = torch.cat(alone(tiny(family)))
    policy = CausalPolicy(tiny(family), driver)
    with torch.no_grad():
        logits = policy.logits(policy.hidden(flatten(examples()).main))
    assert logits.shape == (sum(LENGTHS), VOCABULARY)
    assert relative(logits, wanted) < CLOSE


@pytest.mark.parametrize("family", FAMILIES)
def test_a_long_stream_too(family: str) -> None:
    """Long enough to be rounded up in length, with many segments of one length and of none other's."""
    rows = examples((130, 1, 77, 33, 33, 33, 41))
    policy = CausalPolicy(tiny(family))
    with torch.no_grad():
        wanted = torch.cat(alone(tiny(family), rows))
        logits = policy.logits(policy.hidden(flatten(rows).main))
    assert logits.shape == (348, VOCABULARY)
    assert relative(logits, wanted) < CLOSE


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_every_gradient_are_the_untouched_models(family: str, driver: Any) -> None:
    """Summed negative log-likelihood of trained tokens by cross-entropy on transformers' logits; the gradient of each
    parameter relative to that gradient's largest entry, or to a thousandth of the largest of all where it is noise."""
    untouched = tiny(family).requires_grad_(True)
    batch = flatten(examples())
    logits = torch.cat(alone(untouched))
    wanted = F.cross_entropy(logits[batch.readout.rows], targets(batch), reduction="sum")
    wanted.backward()
    policy = CausalPolicy(tiny(family).requires_grad_(True), driver)
    logprob = policy(batch, Want()).logprob
    assert logprob is not None
    loss = -logprob.sum()
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-6)
    gradients = {name: parameter.grad for name, parameter in untouched.named_parameters() if parameter.grad is not None}
    floor = 1e-3 * max(float(gradient.abs().max()) for gradient in gradients.values())
    for name, parameter in policy.model.named_parameters():
        if name in gradients:
            worst = float((parameter.grad - gradients[name]).abs().max())
            assert worst / max(floor, float(gradients[name].abs().max())) < 5e-5, name


@pytest.mark.parametrize("family", FAMILIES)
def test_no_segment_reaches_another(family: str) -> None:
    model = tiny(family)
    policy = CausalPolicy(model)
    ids = flatten(examples()).main.ids
    assert probe.foreign_gradient(model, policy.hidden, ids, LENGTHS) == 0.0


@pytest.mark.parametrize("family", FAMILIES)
def test_the_probe_finds_the_family_exact(family: str) -> None:
    finding = probe.probe_flat(tiny(family))
    assert finding.exact, finding
    assert finding.difference < CLOSE
    assert probe.choose(tiny(family), "flat").driver == "flat"


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "bert"])
def test_dropout_acts_in_training_only(family: str) -> None:
    policy = CausalPolicy(tiny(family, dropout=True))
    if family in ("llama", "gemma2"):
        for module in policy.model.modules():
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = 0.3
    batch = flatten(examples())

    def logprob(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        with torch.no_grad():
            found = policy(batch, Want()).logprob
        assert found is not None
        return found

    assert torch.equal(logprob(0), logprob(1))
    policy.train()
    assert torch.equal(logprob(0), logprob(0))
    assert not torch.equal(logprob(0), logprob(1))
    policy.model.activation_checkpointing_enable({"use_reentrant": False})
    assert torch.equal(logprob(0), logprob(0))


@pytest.mark.parametrize("family", FAMILIES)
def test_hits_are_the_labels_ranked_first(family: str) -> None:
    batch = flatten(examples())
    with torch.no_grad():
        logits = torch.cat(alone(tiny(family)))[batch.readout.rows]
        labels = logits.argmax(-1)
        labels[::2] = batch.readout.labels[::2]
        readout = type(batch.readout)(batch.readout.rows, labels, batch.readout.weights, batch.readout.unit)
        outputs = CausalPolicy(tiny(family))(replace(batch, readout=readout), Want(hit=True))
    assert outputs.hit is not None
    assert torch.equal(outputs.hit, logits.argmax(-1) == labels)
    assert outputs.hit[1::2].all()
