"""Terms that add-ons bring: divergence from the base, two dropout passes, losses by source; values and gradients."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from addon_setting import examples, gradients, job, put, setting, stir

from tunesmith.addons.kl import Close, Kl
from tunesmith.addons.r_drop import RDrop, Twice, disagreement
from tunesmith.addons.replay import Replay
from tunesmith.addons.reptile import Reptile
from tunesmith.contracts.policy import Outputs
from tunesmith.data.collate import flatten
from tunesmith.engine.loop import accumulate
from tunesmith.errors import UserError
from tunesmith.methods.lora import Lora
from tunesmith.objectives.classify import Classify
from tunesmith.objectives.sft import Sft


def test_disagreement_of_two_coins() -> None:
    """p₁ = (3/4, 1/4), p₂ = (1/2, 1/2): half of 3/4 ln 3/2 + 1/4 ln 1/2 and of 1/2 ln 2/3 + 1/2 ln 2."""
    one, other = torch.tensor([[math.log(3.0), 0.0]]), torch.zeros(1, 2)
    both = 0.75 * math.log(1.5) + 0.25 * math.log(0.5) + 0.5 * math.log(2 / 3) + 0.5 * math.log(2)
    assert float(disagreement(one, other)) == pytest.approx(both / 2, rel=1e-6)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_kl_and_its_gradient_against_float64(direction: Any, tmp_path: Path) -> None:
    """Every target's two distributions whole, in float64, through plain transformers forwards; the head is trained."""
    made, added = put(setting(tmp_path), Kl(weight=0.7, direction=direction))
    made_job = job(made, added, tmp_path)
    base = copy.deepcopy(made.policy.model).double()
    stir(made)
    tuned = copy.deepcopy(made.policy.model).double()
    for model in (base, tuned):
        model.set_attn_implementation("eager")
    tuned.zero_grad()
    rows = made.feed.update(0)
    sums = accumulate(made_job, [rows], made.objective.counts(rows), 0)
    found = gradients(made)
    total, nll, count = torch.zeros((), dtype=torch.float64), 0.0, 0
    for row in rows:
        ids = torch.from_numpy(row.ids).long()
        at = [place - 1 for place in range(1, len(row)) if row.trained[place]]
        z, z0 = tuned(ids[None]).logits[0], base(ids[None]).logits[0].detach()
        p, p0 = torch.softmax(z[at], -1), torch.softmax(z0[at], -1)
        left, right = (p0, p) if direction == "forward" else (p, p0)
        total = total + (left * (left.log() - right.log())).sum()
        nll = nll - p.log()[range(len(at)), ids[[place + 1 for place in at]]].sum()
        count += len(at)
    assert sums.terms["kl"] == pytest.approx(float(total.detach()) / count, rel=1e-4)
    ((nll + 0.7 * total) / count).backward()
    for name, value in tuned.named_parameters():
        assert value.grad is not None
        close = 1e-4 * float(value.grad.abs().max())
        assert torch.allclose(found[name].double(), value.grad, atol=close, rtol=0.0), name


def test_before_training_there_is_no_divergence(tmp_path: Path) -> None:
    made, added = put(setting(tmp_path, method=Lora(rank=4)), Kl(weight=1.0))
    rows = made.feed.update(0)
    sums = accumulate(job(made, added, tmp_path), [rows], made.objective.counts(rows), 0)
    assert abs(sums.terms["kl"]) < 1e-6
    plain = setting(tmp_path, method=Lora(rank=4))
    accumulate(job(plain, [], tmp_path), [rows], plain.objective.counts(rows), 0)
    wanted, found = gradients(plain), gradients(made)
    assert all(torch.allclose(found[name], wanted[name], atol=1e-6) for name in wanted)


def test_rows_of_their_own_carry_the_divergence_alone(tmp_path: Path) -> None:
    """Their loss is not learned and not counted: the rest of the update is as without them."""
    made, added = put(setting(tmp_path), Kl(weight=1.0, data="auto", share=0.25))
    plain, none = put(setting(tmp_path))
    for one in (made, plain):
        stir(one)
    rows, own = made.feed.update(0), plain.feed.update(0)
    assert [row.source for row in rows] == [0, 1, 0, 1, 0, 1, -1, -1]
    made_job = job(made, added, tmp_path)
    stir(made, seed=6)
    stir(plain, seed=6)
    sums = accumulate(made_job, [rows], made.objective.counts(rows), 0)
    wanted = accumulate(job(plain, none, tmp_path), [own], plain.objective.counts(own), 0)
    for name, value in wanted.terms.items():
        assert sums.terms[name] == pytest.approx(value, rel=1e-5)
    batch_kl = Kl(weight=1.0)
    both = Close(Sft(), batch_kl).objective
    alone = replace(made, objective=both, weights=made.weights)
    asked = accumulate(replace(made_job, objective=both), [rows[6:]], alone.objective.counts(rows[6:]), 0)
    assert sums.terms["kl"] == pytest.approx(asked.terms["kl"], rel=1e-4)


ADDONS: dict[str, list[Any]] = {
    "kl": [Kl(weight=1.0)],
    "kl on rows of its own": [Kl(weight=1.0, data="auto", share=0.3)],
    "replay": [Replay(share=0.3)],
    "all": [Replay(share=0.3), Kl(weight=1.0, data="auto", share=0.3)],
}


@pytest.mark.parametrize("name", ADDONS)
def test_one_micro_batch_is_many(name: str, tmp_path: Path) -> None:
    made, added = put(setting(tmp_path), *ADDONS[name])
    made_job = job(made, added, tmp_path)
    stir(made)
    rows = made.feed.update(0)
    counts = made.objective.counts(rows)
    whole = accumulate(made_job, [rows], counts, 0)
    first = gradients(made)
    cut = accumulate(made_job, [[row] for row in rows], counts, 0)
    second = gradients(made)
    assert whole.terms.keys() == cut.terms.keys() == counts.keys()
    assert all(cut.terms[one] == pytest.approx(value, rel=1e-4, abs=1e-6) for one, value in whole.terms.items())
    norm = max(float(value.abs().max()) for value in first.values())
    assert all(torch.allclose(first[one], second[one], atol=1e-5 * norm) for one in first)


def test_losses_by_source_make_up_the_whole(tmp_path: Path) -> None:
    """nll · count = Σ_k nll_k · count_k, also with rows that an add-on brings."""
    made, added = put(setting(tmp_path), Replay(share=0.3))
    rows = made.feed.update(1)
    counts = made.objective.counts(rows)
    assert {"nll", "nll/first", "nll/second"} <= counts.keys()
    terms = accumulate(job(made, added, tmp_path), [rows], counts, 0).terms
    parts = sum(terms[f"nll/{name}"] * counts[f"nll/{name}"] for name in ("first", "second"))
    old = [row for row in rows if row.source == 2]
    assert len(old) == 3
    alone = accumulate(job(made, added, tmp_path), [old], Sft().counts(old) | {"nll/first": 1.0}, 0).terms["nll"]
    assert parts + alone * Sft().counts(old)["nll"] == pytest.approx(terms["nll"] * counts["nll"], rel=1e-5)


class Fixed:
    """Two hidden states for every target, and a head."""

    def __init__(self, rows: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.hidden = torch.randn(2 * rows, 8, generator=generator, dtype=torch.float64).requires_grad_()
        self.head = torch.randn(8, 30, generator=generator, dtype=torch.float64).requires_grad_()

    def outputs(self) -> Outputs:
        logits = self.hidden @ self.head
        return Outputs(
            logprob=torch.log_softmax(logits, -1)[:, 0].float(),
            hidden=self.hidden,
            logits=lambda hidden: hidden @ self.head,
        )


def test_r_drop_by_the_definition(tmp_path: Path) -> None:
    """Targets one by one with both distributions held, and the gradients of states and head, in float64."""
    rows = examples(4)
    objective = Twice(Sft(), 1.5)
    batch = objective.collate(rows)
    count = int(sum(row.targets for row in rows))
    fixed = Fixed(count)
    terms = {term.name: term for term in objective.loss(fixed.outputs(), batch)}
    assert objective.counts(rows) == {"nll": count, "r_drop": count}
    plain = Fixed(count)
    p = torch.softmax(plain.hidden @ plain.head, -1)
    wanted, at = [], 0
    for row in rows:
        both = [p[at : at + row.targets], p[count + at : count + at + row.targets]]
        kl = [(one * (one.log() - other.log())).sum() for one, other in (both, both[::-1])]
        wanted.append(0.5 * (kl[0] + kl[1]))
        at += row.targets
    assert torch.allclose(terms["r_drop"].values, torch.stack(wanted))
    nll = flatten(rows).readout.unit
    halves = -p.log()[:, 0].float().view(2, count).mean(0)
    assert torch.allclose(terms["nll"].values, torch.zeros(4).index_add(0, nll, halves), rtol=1e-5)
    terms["r_drop"].values.sum().backward()
    torch.stack(wanted).sum().backward()
    assert torch.allclose(fixed.hidden.grad, plain.hidden.grad)
    assert torch.allclose(fixed.head.grad, plain.head.grad)


def test_r_drop_of_classes(tmp_path: Path) -> None:
    """Scores of both passes; weighted losses are their mean; both passes have a gradient."""
    rows = [replace(row, trained=np.arange(len(row)) == 0, labels=np.array([row.row % 3])) for row in examples(4)]
    objective = Twice(Classify(labels=("a", "b", "c")), 1.0)
    batch = objective.collate(rows)
    scores = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    terms = {term.name: term.values for term in objective.loss(Outputs(scores=scores), batch)}
    log_p = torch.log_softmax(scores, -1)
    for number in range(4):
        one, other = log_p[number], log_p[number + 4]
        kl = [(left.exp() * (left - right)).sum() for left, right in ((one, other), (other, one))]
        apart = torch.stack(kl).sum() / 2
        assert float(terms["r_drop"][number].detach()) == pytest.approx(float(apart.detach()), rel=1e-5)
        slopes = [torch.autograd.grad(each, scores, retain_graph=True)[0] for each in (terms["r_drop"][number], apart)]
        assert torch.allclose(*slopes, atol=1e-6)
        assert bool((slopes[0].abs().sum(dim=1)[[number, number + 4]] > 1e-3).all())
        mean = -(one + other)[number % 3].detach() / 2
        assert float(terms[next(iter(terms))][number].detach()) == pytest.approx(float(mean), rel=1e-5)


def test_two_passes_without_dropout_are_one(tmp_path: Path) -> None:
    made = setting(tmp_path)
    rows = made.feed.update(0)
    plain = accumulate(job(made, [], tmp_path), [rows], made.objective.counts(rows), 0)
    wanted = gradients(made)
    twice = replace(made, objective=Twice(made.objective, 1.0).objective)
    found = accumulate(job(twice, [], tmp_path), [rows], twice.objective.counts(rows), 0)
    assert found.terms["r_drop"] == pytest.approx(0.0, abs=1e-6)
    assert found.terms["nll"] == pytest.approx(plain.terms["nll"], rel=1e-5)
    assert found.terms["nll/first"] == pytest.approx(plain.terms["nll/first"], rel=1e-5)
    slopes = gradients(made)
    assert all(torch.allclose(slopes[name], wanted[name], atol=1e-5) for name in wanted)


def test_with_dropout_both_passes_differ_and_draw_together(tmp_path: Path) -> None:
    made, added = put(setting(tmp_path, dropout=True), RDrop(weight=1.0))
    rows = made.feed.update(0)
    counts = made.objective.counts(rows)
    first = accumulate(job(made, added, tmp_path), [rows], counts, 0).terms["r_drop"]
    made.weights.drop_gradients()
    again = accumulate(job(made, added, tmp_path), [rows], counts, 0).terms["r_drop"]
    assert first == again > 1e-4
    assert added[0].tokens == 5_000


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    made = setting(tmp_path)
    labels = replace(made, objective=Classify(labels=("a", "b")))
    close, _ = put(made, Kl())
    refused = [(RDrop(), made), (Kl(), labels), (RDrop(), replace(close, policy=made.policy)), (Replay(), labels)]
    codes = []
    for addon, here in refused:
        with pytest.raises(UserError) as raised:
            addon.put(here)
        codes.append(raised.value.code)
    assert codes == ["no-dropout", "cannot-combine", "cannot-combine", "cannot-combine"]


class Sampling(Sft):
    samples: ClassVar[bool] = True


@pytest.mark.parametrize("addon", [Kl(), RDrop(), Replay(), Reptile()], ids=lambda addon: addon.NAME)
def test_what_changes_rows_does_not_go_with_sampled_answers(addon: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        addon.put(setting(tmp_path, objective=Sampling()))
    assert raised.value.code == "cannot-combine"
