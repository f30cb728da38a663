"""Is this model exact when driven flat? Asked once at load, never assumed.

Three segments (13, 1 and 9 tokens) are run together and alone. Flat is right when

* every segment's hidden states equal those of the segment alone, within the dtype's rounding;
* the gradient of one segment's output with respect to another's embeddings is exactly zero (a leak of 1e-4 would hide
  in bfloat16 rounding; a gradient of exactly zero cannot);
* a wrong layout gives other numbers (else the layout reached no attention).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from tunesmith.contracts.batch import Layout, Stream
from tunesmith.contracts.policy import Want
from tunesmith.errors import UserError
from tunesmith.models import drivers
from tunesmith.models.head import head_of
from tunesmith.models.task_head import has_task_head, is_body, own_scores, task_view

LENGTHS = (13, 1, 9)
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10, torch.bfloat16: 4e-2, torch.float16: 5e-3}
"""Largest hidden-state difference relative to the largest hidden value; rounding of the dtype over a deep stack."""


@dataclass(frozen=True)
class Finding:
    """What the probe saw: ``difference`` relative to the largest value, ``leak`` the largest foreign gradient."""

    exact: bool
    why: str
    difference: float = float("nan")
    leak: float = float("nan")


@dataclass(frozen=True)
class Choice:
    """The driver a model is run by; ``why`` says what forced it where that is not what is preferred, else ""."""

    driver: drivers.DriverName
    why: str = ""


def choose(model: Any, wanted: str) -> Choice:
    """``auto`` probes flat and falls back to padded; ``flat`` refuses an inexact model by name; ``padded`` is taken.

    Whatever the driver, a model whose logits ``head_of`` does not reproduce is refused.
    """
    head = head_agrees(model)
    if not head.exact:
        raise UserError(
            f"{type(model).__name__} makes its logits in a way that is not known here: {head.why}",
            allowed="a linear output projection with an optional scale and soft-cap, as its config names them",
            code="head-not-exact",
        )
    if wanted == "padded":
        return Choice("padded")
    finding = probe_flat(model)
    if finding.exact:
        return Choice("flat")
    if wanted == "flat":
        raise UserError(
            f"{type(model).__name__} is not exact when driven flat: {finding.why}",
            allowed="model.driver: auto or padded",
            code="driver-not-exact",
        )
    return Choice("padded", finding.why)


def probe_flat(model: Any) -> Finding:
    """Run the probe; the model is left in its former training mode with gradients off where they were off."""
    config = model.config.get_text_config()
    unknown = set(getattr(config, "layer_types", None) or []) - {"full_attention", "sliding_attention"}
    if unknown:
        return Finding(False, f"its layers of type {', '.join(sorted(unknown))} mix tokens outside attention")
    if not getattr(model, "_supports_attention_backend", False):
        return Finding(False, f"{type(model).__name__} does not route its attention through the registry")
    training = model.training
    model.eval()
    try:
        return _probe(model, int(config.vocab_size))
    except (RuntimeError, TypeError, KeyError, ValueError) as error:
        return Finding(False, f"it cannot be run flat ({error})")
    finally:
        model.train(training)


def _probe(model: Any, vocabulary: int) -> Finding:
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, vocabulary, (sum(LENGTHS),), generator=generator).to(device)
    with torch.no_grad():
        drivers.padded(model)
        reference = torch.cat([drivers.alone(model, part) for part in ids.split(LENGTHS)])
        run = drivers.flat(model)
        together = run(stream_of(ids, LENGTHS))
        wrong = run(stream_of(ids, (LENGTHS[0] + LENGTHS[1], LENGTHS[2]), positions=LENGTHS))
    scale = float(reference.float().abs().max())
    difference = float((together - reference).float().abs().max()) / scale
    bound = TOLERANCE[reference.dtype]
    if not difference <= bound:
        return Finding(False, f"packed and single runs differ by {difference:.1e} (bound {bound:.0e})", difference)
    if torch.equal(wrong, together):
        return Finding(False, "its attention ignores the layout", difference)
    leak = foreign_gradient(model, run, ids, LENGTHS)
    if leak != 0.0:
        return Finding(False, f"a segment's output depends on another segment (gradient {leak:.1e})", difference, leak)
    return Finding(True, "packed equals single", difference, leak)


def foreign_gradient(model: Any, run: drivers.Driver, ids: torch.Tensor, lengths: tuple[int, ...]) -> float:
    """Largest absolute gradient of a segment's output with respect to another segment's embeddings, over all pairs."""
    embedded: list[torch.Tensor] = []

    def keep(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[0]

    handle = model.get_input_embeddings().register_forward_hook(keep)
    try:
        with torch.enable_grad():
            hidden = run(stream_of(ids, lengths))
            found = [_reach(own, embedded[0]).split(lengths) for own in hidden.split(lengths)]
    finally:
        handle.remove()
    foreign = [part for own, parts in enumerate(found) for at, part in enumerate(parts) if at != own]
    return max(float(part.abs().max()) for part in foreign)


def _reach(own: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
    """``[T, d]``: the gradient of a weighted sum of ``own`` with respect to every embedding."""
    weights = torch.linspace(-1.0, 1.0, own.numel(), device=own.device, dtype=own.dtype).view_as(own)
    (gradient,) = torch.autograd.grad((own * weights).sum(), embedded, retain_graph=True)
    return gradient.reshape(-1, gradient.shape[-1])


def head_agrees(model: Any, bound: float | None = None) -> Finding:
    """Whether ``head_of`` (or ``task_view``) reproduces the model's logits, and log-probabilities, on a short input."""
    if is_body(model):
        return Finding(True, "it has no output layer", 0.0)
    if has_task_head(model):
        return _task_head_agrees(model, bound)
    device = next(model.parameters()).device
    ids = torch.arange(1, 9, device=device) % int(model.config.get_text_config().vocab_size)
    training = model.training
    model.eval()
    with torch.no_grad():
        drivers.padded(model)
        own = model(input_ids=ids[None]).logits[0].float()
        hidden = drivers.alone(model, ids)
        logits = head_of(model).logits(hidden)
        logprob = head_of(model).read(hidden, ids, torch.ones(len(ids), device=device), Want()).logprob
    assert logprob is not None
    model.train(training)
    own_logprob = torch.log_softmax(own, dim=-1).gather(1, ids[:, None])[:, 0]
    worst = max(float((own - logits).abs().max()), float((own_logprob - logprob).abs().max()))
    difference = worst / max(float(own.abs().max()), float(own_logprob.abs().max()))
    limit = TOLERANCE[next(model.parameters()).dtype] if bound is None else bound
    return Finding(difference <= limit, f"logits differ by {difference:.1e} (bound {limit:.0e})", difference)


def _task_head_agrees(model: Any, bound: float | None) -> Finding:
    device = next(model.parameters()).device
    ids = torch.arange(1, 9, device=device) % int(model.config.get_text_config().vocab_size)
    training = model.training
    model.eval()
    with torch.no_grad():
        drivers.padded(model)
        own = own_scores(model, ids)
        hidden, view = drivers.alone(model, ids), task_view(model)
        rows = {"first": hidden[:1], "last": hidden[-1:], "each": hidden}[view.reads]
        scores = view.scores(rows)
        # a single score may be near 0 by chance; what the head says of all tokens tells how large scores are
        usual = float(view.scores(hidden).abs().max())
    model.train(training)
    difference = float((own - scores).abs().max()) / max(float(own.abs().max()), usual, 1e-6)
    limit = TOLERANCE[next(model.parameters()).dtype] if bound is None else bound
    return Finding(difference <= limit, f"scores differ by {difference:.1e} (bound {limit:.0e})", difference)


def stream_of(ids: torch.Tensor, lengths: tuple[int, ...], *, positions: tuple[int, ...] | None = None) -> Stream:
    """A stream of ``ids [T]`` cut into ``lengths``; ``positions`` may count within others (to make a wrong layout)."""
    starts = torch.tensor([0, *lengths], device=ids.device).cumsum(0)
    counted = torch.cat([torch.arange(length, device=ids.device) for length in (positions or lengths)])
    return Stream(ids, counted, Layout(starts, tuple(lengths)))
