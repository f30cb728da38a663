"""What rows pull at: gradients of how well a row is done, and losses of rows, whatever the objective.

    g(row) = ∂ log p(targets) / ∂θ, a mean over targets       language models that learn from answers
    g(row) = −∂ loss(row) / ∂θ                                task heads, and objectives of several answers

Both point where the row is done better. Rows that are only learned together (KTO, in-batch negatives), and prompts that
are answered while training, have none; they are refused in a sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.data.collate import flatten
from tunesmith.errors import UserError
from tunesmith.insight.subject import Subject
from tunesmith.models.policy import CausalPolicy

Gradients = tuple[torch.Tensor | None, ...]


def refuse_coupled(subject: Subject) -> None:
    """Raise ``UserError`` (``cannot-inspect``) where a row by itself has no gradient that says anything."""
    objective = subject.objective
    if objective.samples:
        raise UserError(
            "this run learned from answers that it sampled itself, so its rows hold no answer to look at",
            allowed="looks that need no gradient of a row, such as weights and activations",
            code="cannot-inspect",
        )
    if not objective.decomposes:
        raise UserError(
            "this run's objective learns from rows together, so one row has no gradient of its own",
            allowed="looks that need no gradient of a row, such as weights and activations",
            code="cannot-inspect",
        )


def row_gradient(subject: Subject, parameters: list[torch.nn.Parameter], example: Example) -> Gradients:
    """The gradient of how well ``example`` is done by the tuned model, one tensor a parameter."""
    subject.policy.eval()
    with torch.enable_grad():
        if own_words(subject, example):
            return _gradients(answer_logprob(subject.policy, example), parameters)
        return _gradients(-losses(subject, subject.policy, [example])[0], parameters)


def answer_gradient(subject: Subject, parameters: list[torch.nn.Parameter]) -> Gradients:
    """The same of the answer looked at: of its log-probability, or of the label that is asked about."""
    subject.policy.eval()
    with torch.enable_grad():
        if subject.writes:
            return _gradients(answer_logprob(subject.policy, subject.asked.example), parameters)
        return row_gradient(subject, parameters, subject.asked.example)


def answer_logprob(policy: CausalPolicy, example: Example) -> torch.Tensor:
    """The mean log-probability of an example's targets."""
    logprob = policy(flatten([example]).to(policy.device), Want(logprob=True)).logprob
    assert logprob is not None
    return logprob.mean()


def own_words(subject: Subject, example: Example) -> bool:
    """Whether a row teaches the model its own answer, and no more than that."""
    return subject.writes and not example.branches


def losses(subject: Subject, policy: CausalPolicy, examples: Sequence[Example]) -> torch.Tensor:
    """The objective's loss ``[E]`` of each example, as an update of it alone would have it."""
    objective = subject.objective
    batch = objective.collate(examples).to(policy.device)
    beside = {name: _beside(subject, name, want, batch) for name, want in objective.beside.items()}
    terms = objective.loss(policy(batch, objective.want), replace(batch, beside=beside))
    counts = [objective.counts([example]) for example in examples]
    total = torch.zeros(len(examples), device=policy.device)
    for term in terms:
        if term.weight:
            own = term.values.new_tensor([one[term.name] for one in counts])
            total = total + term.weight * term.values / own.clamp_min(1e-12)  # a sum over nothing is 0
    return total


def _beside(subject: Subject, name: str, want: Want, batch: Batch) -> Outputs:
    if name != "reference":
        raise UserError(
            f"rows of this run are learned beside a {name}, which is not at hand",
            allowed="looks that need no gradient of a row, such as weights and activations",
            code="cannot-inspect",
        )
    with subject.side("base") as policy:
        found: Outputs = policy(batch, want)
    return found


def _gradients(value: torch.Tensor, parameters: list[torch.nn.Parameter]) -> Gradients:
    return torch.autograd.grad(value, parameters, allow_unused=True)
