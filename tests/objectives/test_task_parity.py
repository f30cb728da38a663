"""Loss and gradient of task objectives against transformers' own on an equal, padded batch, in any pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from families import VOCABULARY
from tiny_task import tiny_task
from tunesmith.contracts.batch import Example
from tunesmith.models.policy import CausalPolicy
from tunesmith.objectives.classify import Classify
from tunesmith.objectives.regress import Regress
from tunesmith.objectives.span import CONTEXT, END, START, Span
from tunesmith.objectives.tokens import Tokens

LENGTHS = (17, 4, 11, 6, 9)
NAMES = ["a", "b", "c"]
OBJECTIVES: dict[str, Any] = {
    "class": Classify(labels=NAMES, multi_label=False),
    "classes": Classify(labels=NAMES, multi_label=True),
    "number": Regress(),
    "tokens": Tokens(labels=NAMES),
    "span": Span(),
}
WANTED = {
    "class": [[0], [2], [1], [1], [0]],
    "classes": [[0, 2], [], [1], [0, 1, 2], [2]],
    "number": [[0.5], [-2.0], [3.25], [0.0], [1.0]],
}


def examples_of(problem: str, *, first: bool) -> list[Example]:
    """Random rows; texts are read at their first token (encoders) or their last."""
    draw = np.random.default_rng(5)
    found = []
    for row, length in enumerate(LENGTHS):
        ids = draw.integers(4, VOCABULARY, length).astype(np.int32)
        trained = np.zeros(length, dtype=bool)
        if problem == "tokens":
            trained = draw.random(length) < 0.6
            trained[0] = True
            labels = draw.integers(0, 3, int(trained.sum())).astype(np.int32)
        elif problem == "span":
            trained[:] = True
            labels = np.where(np.arange(length) > 1, CONTEXT, 0).astype(np.int32)
            labels[length // 2] |= START
            labels[length - 1 - row % 2] |= END
        else:
            trained[0 if first else -1] = True
            numbers = np.array(WANTED[problem][row])
            labels = numbers.astype(np.float32).view(np.int32) if problem == "number" else numbers.astype(np.int32)
        found.append(Example(ids, trained, row, labels=labels))
    return found


def theirs(model: Any, problem: str, examples: list[Example]) -> torch.Tensor:
    """transformers' loss of the padded batch."""
    shape = (len(examples), max(map(len, examples)))
    ids, mask, labels = torch.zeros(shape).long(), torch.zeros(shape).long(), torch.full(shape, -100)
    for row, example in enumerate(examples):
        ids[row, : len(example)], mask[row, : len(example)] = torch.tensor(example.ids).long(), 1
        if problem == "tokens":
            labels[row, torch.tensor(np.flatnonzero(example.trained))] = torch.tensor(example.labels).long()
    given: dict[str, torch.Tensor] = {"labels": labels}
    if problem == "class":
        given = {"labels": torch.tensor(WANTED["class"])[:, 0]}
    if problem == "number":
        given = {"labels": torch.tensor(WANTED["number"])[:, 0]}
    if problem == "classes":
        given = {"labels": torch.zeros(len(examples), 3)}
        for row, numbers in enumerate(WANTED["classes"]):
            given["labels"][row, numbers] = 1.0
    if problem == "span":
        bits = [torch.tensor(example.labels) for example in examples]
        given = {
            "start_positions": torch.tensor([int((one & START).argmax()) for one in bits]),
            "end_positions": torch.tensor([int((one & END).argmax()) for one in bits]),
        }
        # transformers scores padding as well, which no padded position of ours exists to match: one row at a time
        losses = [
            model(
                input_ids=ids[row : row + 1, : len(one)],
                start_positions=given["start_positions"][row : row + 1],
                end_positions=given["end_positions"][row : row + 1],
            ).loss
            for row, one in enumerate(examples)
        ]
        return torch.stack(losses).mean()
    loss: torch.Tensor = model(input_ids=ids, attention_mask=mask, **given).loss
    return loss


@pytest.mark.parametrize("pieces", [1, 2, 5])
@pytest.mark.parametrize("problem", list(OBJECTIVES))
@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
def test_loss_and_gradient_are_transformers_own(family: str, problem: str, pieces: int) -> None:
    """float32 sums in another order: 1e-6 of the loss, 1e-5 of the gradient's norm."""
    objective = OBJECTIVES[problem]
    examples = examples_of(problem, first=family == "bert")
    model = tiny_task(family, objective.head()).requires_grad_(True)
    wanted = theirs(model, problem, examples)
    wanted.backward()
    policy = CausalPolicy(tiny_task(family, objective.head()).requires_grad_(True))
    counts = objective.counts(examples)
    total = 0.0
    for piece in [examples[start::pieces] for start in range(pieces)]:
        batch = objective.collate(piece)
        for term in objective.loss(policy(batch, objective.want), batch):
            part = term.weight * term.values.sum() / counts[term.name]
            part.backward()
            total += float(part.detach())
    assert total == pytest.approx(float(wanted.detach()), rel=1e-6)
    ours, other = (
        torch.cat([value.grad.flatten() for value in one.parameters() if value.grad is not None])
        for one in (policy.model, model)
    )
    assert ours.shape == other.shape
    assert float((ours - other).norm()) <= 1e-5 * float(other.norm())


def test_token_types_reach_the_model() -> None:
    """A pair gives what transformers gives with token types, and something else without them."""
    objective = OBJECTIVES["class"]
    model = tiny_task("bert", objective.head())
    with torch.no_grad():
        model.bert.embeddings.token_type_embeddings.weight.mul_(30.0)
    pair, plain = (
        Example(np.arange(5, 14, dtype=np.int32), _first(9), 0, labels=np.array([1], np.int32), second=at)
        for at in (4, 0)
    )
    types = torch.tensor([[0] * 4 + [1] * 5])
    ids = torch.arange(5, 14)[None]
    with torch.no_grad():
        wanted, without = model(input_ids=ids, token_type_ids=types).logits, model(input_ids=ids).logits
        for driver in ("flat", "padded"):
            policy = CausalPolicy(model, driver)  # type: ignore[arg-type]
            scores = policy(objective.collate([pair, plain]), objective.want).scores
            assert torch.allclose(scores, torch.cat([wanted, without]), atol=1e-5)
    assert not torch.allclose(wanted, without, atol=1e-3)


def _first(length: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    marks = np.zeros(length, dtype=bool)
    marks[0] = True
    return marks


def test_class_weights_are_a_weighted_mean() -> None:
    """Σ w ℓ / Σ w, which is torch's weighted cross-entropy, however the update is cut."""
    weights = {"a": 2.0, "b": 0.5, "c": 3.0}
    objective = Classify(labels=NAMES, multi_label=False, class_weights=weights)
    examples = examples_of("class", first=True)
    policy = CausalPolicy(tiny_task("bert", objective.head()))
    batch = objective.collate(examples)
    outputs = policy(batch, objective.want)
    (term,) = objective.loss(outputs, batch)
    wanted = torch.nn.functional.cross_entropy(
        outputs.scores, torch.tensor([0, 2, 1, 1, 0]), weight=torch.tensor([2.0, 0.5, 3.0])
    )
    counts = objective.counts(examples)
    assert counts[term.name] == 2.0 + 3.0 + 0.5 + 0.5 + 2.0
    mean = term.values.detach().sum() / counts[term.name]
    assert float(mean) == pytest.approx(float(wanted.detach()), rel=1e-6)
    words = Tokens(labels=NAMES, class_weights=weights)
    tagged = examples_of("tokens", first=True)
    assert words.counts(tagged) == {"cross_entropy": sum([2.0, 0.5, 3.0][n] for one in tagged for n in one.labels)}


def test_span_loss_by_hand() -> None:
    """Two sequences; starts scored (0, log 3): log 4 − log 3; ends scored (0, 0, 0): log 3; halves of each."""
    import math

    objective = Span()
    one = Example(np.array([1, 2], np.int32), np.ones(2, bool), 0, labels=np.array([END, START | CONTEXT], np.int32))
    two = Example(np.array([1, 2, 3], np.int32), np.ones(3, bool), 1, labels=np.array([START | END, 0, 0], np.int32))
    batch = objective.collate([one, two])
    scores = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    from tunesmith.contracts.policy import Outputs

    (term,) = objective.loss(Outputs(scores=scores.requires_grad_()), batch)
    wanted = [0.5 * math.log(4 / 3) + 0.5 * math.log(2), math.log(3)]
    assert term.values.tolist() == pytest.approx(wanted, rel=1e-6)
    term.values.sum().backward()
    assert scores.grad is not None
    assert scores.grad[:, 0].tolist() == pytest.approx([0.125, -0.125, -1 / 3, 1 / 6, 1 / 6])
