"""The reference: the same numbers whether the adapter is switched off, looked up, or asked before training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from training import examples, job

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.objective import Term
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.engine.beside import Live, LogprobStore, Reference, digest
from tunesmith.engine.loop import one_update
from tunesmith.methods.lora import Lora
from tunesmith.objectives.base import by_example, by_sequence
from tunesmith.objectives.sft import Sft


class Away(Sft):
    """How far the model has moved from its reference, besides the loss."""

    NAME: ClassVar[str] = "away"
    beside: ClassVar[dict[str, Want]] = {"reference": Want(logprob=True)}

    def counts(self, examples: Sequence[Example]) -> dict[str, float]:
        tokens = float(sum(example.targets for example in examples))
        return {"nll": tokens, "moved": tokens}

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        reference = batch.beside["reference"].logprob
        assert outputs.logprob is not None
        assert reference is not None
        moved = by_example(by_sequence((outputs.logprob - reference).detach().abs(), batch), batch)
        return [*super().loss(outputs, batch), Term("moved", moved, 0.0)]


def away(folder: Path, reference: Any = None, **options: Any) -> Any:
    made = job(folder, steps=20, method=Lora(rank=4), objective=Away(), config={"learning_rate": 1e-2}, **options)
    made.beside = {"reference": reference or Reference(made.policy, original=made.attached.off)}
    return made


def test_nothing_has_moved_at_the_start_and_something_has_later(tmp_path: Path) -> None:
    made = away(tmp_path)
    assert one_update(made, 0).terms["moved"] == pytest.approx(0.0, abs=1e-6)
    assert one_update(made, 5).terms["moved"] > 1e-3  # update 5 asks about the rows of update 0 again


def test_a_measurement_changes_no_gradient(tmp_path: Path) -> None:
    made, plain = away(tmp_path), job(tmp_path, steps=20, method=Lora(rank=4), config={"learning_rate": 1e-2})
    for step in range(3):
        assert one_update(made, step).loss == one_update(plain, step).loss
    for name, value in made.weights.values.items():
        assert torch.equal(value, plain.weights.values[name])


def test_what_is_stored_is_what_the_untouched_model_says(tmp_path: Path) -> None:
    made = away(tmp_path)
    rows = examples(6, seed=3)
    for step in range(3):
        one_update(made, step)
    batch = made.objective.collate(rows)
    with made.attached.off(), torch.no_grad():
        made.policy.eval()
        wanted = made.policy(batch, Want(logprob=True)).logprob
    reference = Reference(made.policy, LogprobStore(tmp_path / "kept"), made.attached.off)
    first = reference(rows, batch).logprob
    assert torch.equal(first, wanted)
    reference.store.flush()
    again = Reference(made.policy, LogprobStore(tmp_path / "kept"))  # nobody to ask: everything must be known
    shuffled = [rows[at] for at in (3, 0, 5, 1, 4, 2)]
    found = again(shuffled, made.objective.collate(shuffled)).logprob
    sizes = [example.targets for example in rows]
    pieces = wanted.split(sizes)
    assert torch.equal(found, torch.cat([pieces[at] for at in (3, 0, 5, 1, 4, 2)]))


def test_few_rows_are_written_as_soon_as_they_are_asked_about_again(tmp_path: Path) -> None:
    made = away(tmp_path)
    rows = examples(4)
    batch = made.objective.collate(rows)
    reference = Reference(made.policy, LogprobStore(tmp_path / "kept"), made.attached.off)
    reference(rows, batch)
    assert len(LogprobStore(tmp_path / "kept")) == 0
    reference(rows, batch)
    assert len(LogprobStore(tmp_path / "kept")) == 4


def test_an_unknown_row_is_refused_where_nobody_can_be_asked(tmp_path: Path) -> None:
    made = away(tmp_path)
    rows = examples(2)
    with pytest.raises(RuntimeError, match="not asked about"):
        Reference(made.policy)(rows, made.objective.collate(rows))


def test_asking_beforehand_asks_only_what_is_new(tmp_path: Path) -> None:
    made = away(tmp_path)
    rows = examples(5)
    reference = Reference(made.policy, LogprobStore(tmp_path / "kept"))
    assert reference.ask([(rows[:3], made.objective.collate(rows[:3]))]) == 3
    later = Reference(made.policy, LogprobStore(tmp_path / "kept"))
    assert later.ask([(rows, made.objective.collate(rows))]) == 2


def test_the_digest_tells_tokens_targets_and_branches_apart() -> None:
    ids, trained = np.arange(6, dtype=np.int32), np.array([False, False, True, True, True, True])
    one = Example(ids, trained, 0)
    others = [
        Example(ids + 1, trained, 0),
        Example(ids, ~trained, 0),
        Example(ids, trained, 0, branches=(2, 4)),
        Example(ids, trained, 0, branches=(2, 5)),
    ]
    assert len({digest(example) for example in [one, *others]}) == 5
    assert digest(one) == digest(Example(ids.copy(), trained.copy(), 9))


def test_a_live_reference_gives_hidden_states_and_its_own_logits(tmp_path: Path) -> None:
    made = away(tmp_path)
    one_update(made, 0)
    rows = examples(3)
    batch = made.objective.collate(rows)
    live = Live(made.policy, Want(logprob=True, hidden=True), made.attached.off)
    outputs = live(rows, batch)
    assert outputs.hidden is not None
    assert outputs.logits is not None
    logits = outputs.logits(outputs.hidden)
    said = torch.log_softmax(logits, -1).gather(1, batch.readout.labels[:, None])[:, 0]
    assert torch.allclose(said, outputs.logprob, atol=1e-5)
    assert not logits.requires_grad


def test_coupled_rows_are_one_micro_batch(tmp_path: Path) -> None:
    class Coupled(Sft):
        decomposes: ClassVar[bool] = False

    made = job(tmp_path, steps=4, objective=Coupled(), microbatch_tokens=8)
    assert one_update(made, 0).microbatches == 1
    assert one_update(job(tmp_path, steps=4, microbatch_tokens=8), 0).microbatches > 1


def test_a_penalty_is_added_once_an_update(tmp_path: Path) -> None:
    made = job(tmp_path, steps=4, microbatch_tokens=8)
    weight = made.weights.parameters["model.norm.weight"]
    wanted = 0.5 * float(weight.detach().square().sum())
    calls = []

    def pull() -> torch.Tensor:
        calls.append(1)
        return 0.5 * weight.square().sum()

    plain = job(tmp_path, steps=4, microbatch_tokens=8)
    made.penalties = {"pull": pull}
    update = one_update(made, 0)
    other = one_update(plain, 0)
    assert len(calls) == 1
    assert update.penalty == pytest.approx(wanted, rel=1e-5)
    assert update.loss == other.loss
    assert update.norm > other.norm
