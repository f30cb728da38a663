"""Running proofs: no trace is left, slow ones are remembered by content, time is kept, and bugs are not hidden."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.proof.conftest import TEMPLATE, make_case, tokenizer

from tunesmith.data.chat import ChatEncoder
from tunesmith.engine import optimizers
from tunesmith.engine.loop import one_update
from tunesmith.errors import UserError
from tunesmith.events import Event
from tunesmith.methods.full import Full
from tunesmith.methods.lora import Lora
from tunesmith.objectives.sft import Sft
from tunesmith.proof import TABLE
from tunesmith.proof import prove as module
from tunesmith.proof.base import Bounds, Case, Measured, Proof
from tunesmith.proof.prove import content_key, prove
from tunesmith.recipe.schema import TrainConfig


def snapshot(case: Case, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Everything a proof could disturb, as bytes and identities."""
    policy, weights = case.policy, case.weights
    tensors = {f"parameter {name}": value for name, value in policy.named_parameters()}
    tensors |= {f"buffer {name}": value for name, value in policy.named_buffers()}
    tensors |= {f"master {name}": value for name, value in weights.values.items()}
    tensors |= {f"optimizer {name}": value for name, value in optimizers.state_tensors(optimizer).items()}
    holders = {name: value for name, value in tensors.items() if not name.startswith("optimizer")}
    state: dict[str, Any] = {name: (id(value), bits(value)) for name, value in holders.items()}
    state |= {name: bits(value) for name, value in tensors.items()}
    state |= {
        f"gradient of {name}": None if value.grad is None else (id(value.grad), bits(value.grad))
        for name, value in holders.items()
    }
    state |= {f"asks {name}": value.requires_grad for name, value in holders.items()}
    state |= {f"mode {name}": child.training for name, child in policy.named_modules()}
    state |= {f"hooks {name}": len(child._forward_hooks) for name, child in policy.named_modules()}
    state["random"] = torch.get_rng_state().numpy().tobytes()
    state["driver"] = (policy.driver, policy.model.config._attn_implementation)
    return state


def bits(tensor: torch.Tensor) -> bytes:
    return (
        tensor.detach().contiguous().view(torch.uint8).numpy().tobytes() if tensor.ndim else bytes(str(tensor), "utf8")
    )


@pytest.mark.parametrize("method", [Lora(rank=4, dropout=0.1), Full()], ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_nothing_is_left_changed(method: Any, dtype: torch.dtype, tmp_path: Path) -> None:
    """In the middle of a run, with gradients, moments and mixed modes."""
    case = make_case(method=method, dtype=dtype)
    job = case.job(tmp_path)
    one_update(job, 0)
    first = next(iter(case.weights.values.values()))
    first.grad = torch.ones_like(first)
    case.policy.train()
    case.policy.model.model.norm.eval()
    torch.manual_seed(5)
    before = snapshot(case, job.optimizer)
    assert len(prove(case)) >= len(TABLE.entries) - 4
    after = snapshot(case, job.optimizer)
    assert {name for name in before if before[name] != after.get(name)} == set()


@pytest.mark.parametrize("call", [1, 2, 4])
@pytest.mark.parametrize("name", [name for name in TABLE.entries if TABLE.load(name).passes])
def test_nothing_is_left_changed_by_a_proof_that_breaks_off(name: str, call: int, case: Case, tmp_path: Path) -> None:
    """A bug in the middle of a proof keeps its traceback, and the model is still as it was."""
    job, calls = case.job(tmp_path), 0

    def breaks(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise ZeroDivisionError

    case.policy.model.get_input_embeddings().register_forward_pre_hook(breaks)
    before = snapshot(case, job.optimizer)
    try:
        prove(case, names=[name])
    except ZeroDivisionError:
        assert calls == call
    else:
        assert calls < call
    assert snapshot(case, job.optimizer) == before


def test_slow_proofs_are_remembered_by_content(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = prove(case, cache=tmp_path)
    assert not any(outcome.cached for outcome in quick)
    assert not any(outcome.cached for outcome in prove(case, cache=tmp_path)), "all took less than three seconds"
    monkeypatch.setattr(module, "QUICK_SECONDS", 0.0)
    assert not any(outcome.cached for outcome in prove(case, cache=tmp_path))
    again = prove(case, cache=tmp_path)
    of_rows = {name for name in TABLE.entries if TABLE.load(name).of_rows}
    assert {outcome.name for outcome in again if not outcome.cached} == of_rows
    assert of_rows == {"targets", "end-of-turn", "rendering", "mask"}
    assert [(one.name, one.passed, one.measured, one.bound, one.why) for one in again] == [
        (one.name, one.passed, one.measured, one.bound, one.why) for one in quick
    ]
    assert not any(outcome.cached for outcome in prove(make_case("gpt2"), cache=tmp_path))


def test_the_content_is_only_looked_at_where_something_may_be_stored(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading every weight of a base costs, and most starts have nothing to look up."""
    looked: list[Case] = []
    monkeypatch.setattr(module, "content_key", lambda one: looked.append(one) or "key")
    prove(case, names=["identity"], cache=tmp_path / "none")
    assert not looked
    monkeypatch.setattr(module, "QUICK_SECONDS", 0.0)
    prove(case, names=["identity"], cache=tmp_path)
    assert len(looked) == 1
    assert prove(case, names=["identity"], cache=tmp_path)[0].cached
    assert len(looked) == 2


def test_failures_are_not_remembered_and_a_broken_cache_is_no_cache(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUICK_SECONDS", 0.0)
    monkeypatch.setattr("tunesmith.proof.packing.BOUNDS", Bounds(-1.0, -1.0, "nothing is below"))
    assert [one.passed for one in prove(case, names=["packing", "identity"], cache=tmp_path)] == [False, True]
    (file,) = tmp_path.glob("*.json")
    assert list(json.loads(file.read_text())) == ["identity"]
    file.write_text('{"identity": {"passed":')
    assert not prove(case, names=["identity"], cache=tmp_path)[0].cached


def test_the_key_is_everything_a_proof_depends_on_and_not_what_a_seed_draws() -> None:
    same = content_key(make_case())
    assert content_key(make_case()) == same
    other_draw = make_case()
    with torch.no_grad():
        next(iter(other_draw.weights.values.values())).add_(1.0)
    assert content_key(other_draw) == same
    other_base = make_case()
    with torch.no_grad():
        other_base.policy.model.model.norm.weight[3] += 1e-7
    base = make_case()
    different = [
        make_case("mistral"),
        other_base,
        make_case(method=Lora(rank=4)),
        make_case(method=Full()),
        make_case(dtype=torch.bfloat16),
        make_case(driver="padded"),
        replace(base, objective=Sft(train_on="everything")),
        replace(base, config=TrainConfig(optimizer="sgd")),
        replace(base, encoder=ChatEncoder.build(tokenizer(TEMPLATE.replace("\n", " ")))),
    ]
    assert len({same, *map(content_key, different)}) == 1 + len(different)


def test_what_does_not_fit_into_the_time_is_said(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(clock)))
    events: list[Event] = []
    outcomes = prove(case, names=["targets", "identity", "resume"], budget_seconds=60.0, emit=events.append)
    assert [outcome.name for outcome in outcomes if outcome.passed] == ["targets", "identity"]
    assert outcomes[2].as_dict().items() >= {"name": "resume", "passed": None, "skipped": outcomes[2].why}.items()
    assert "60 s" in outcomes[2].why
    assert "skipped" not in outcomes[0].as_dict()
    assert [event.values["text"] for event in events if event.kind == "note"] == ["not proven within 60 s: resume"]
    whole = prove(case, names=["targets", "identity", "resume"], budget_seconds=None)
    assert [outcome.passed for outcome in whole] == [True] * 3


@pytest.mark.parametrize("error", [UserError("the disk is full"), ZeroDivisionError("a bug"), KeyboardInterrupt()])
def test_what_is_raised_inside_a_proof_is_no_failure_of_it(
    error: BaseException, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes to the caller as it is, and what was slow and proven before it is remembered."""
    monkeypatch.setattr(module, "QUICK_SECONDS", 0.0)

    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr("tunesmith.proof.save_load.values_of", broken)
    with pytest.raises(type(error)) as raised:
        prove(case, names=["identity", "save-load", "packing"], cache=tmp_path)
    assert raised.value is error
    assert [one.cached for one in prove(case, names=["identity", "packing"], cache=tmp_path)] == [True, False]


def test_what_is_measured_fits_into_json() -> None:
    proof = Proof(means="fine", mend="Mend it", measure=lambda _: Measured.below(float("nan"), 1.0, "no number"))
    outcome = proof.outcome("x", Measured.below(float("nan"), 1.0, "no number"), 0.25)
    assert (outcome.passed, outcome.measured, outcome.why) == (False, "nan", "no number. Mend it")
    assert json.loads(json.dumps(outcome.as_dict(), allow_nan=False))["seconds"] == 0.25
    assert proof.outcome("x", Measured.below(0.5, 1.0), 0.0).why == "fine"


def test_windows_are_short_unequal_and_hold_targets(case: Case) -> None:
    from tunesmith.proof.base import WINDOWS

    windows = case.windows
    assert [len(window) for window in windows] == list(WINDOWS)
    assert all(window.trained[1:].any() and not window.trained.all() for window in windows)
    for window in windows:
        (row,) = [one for one in case.examples if one.row == window.row]
        pieces = [row.ids[at : at + len(window)].tolist() for at in range(len(row) - len(window) + 1)]
        assert window.ids.tolist() in pieces
    assert len(replace(case, examples=case.examples[:1]).windows) == len(WINDOWS)
