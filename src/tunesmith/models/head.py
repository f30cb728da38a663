"""The language-model head: from hidden states to log-probabilities of labels, one pass, in chunks.

Nobody ever holds ``[tokens, vocabulary]``. For a chunk of ``n`` rows the logits ``z [n, V]`` exist once; from them come
``log p(label)``, its gradient with respect to the hidden state

    d log p_y / d h = (onehot_y − softmax(z)) W

and, where the head is trained, the weight gradient. Backward then only scales rows by the incoming gradient. For a
trained head that needs the coefficients beforehand: ``share`` (the readout weights), to which the incoming gradient of
a summed loss is proportional; where it is not, backward recomputes the chunks.

A function of the logits (``Want.token_fn``), and a head that is no plain linear layer, run chunk by chunk under
autograd with recomputation: logits of one chunk exist in forward, and again in backward.

Shape legend: ``N`` rows read out, ``d`` hidden size, ``V`` vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from tunesmith.contracts.policy import Outputs, Want
from tunesmith.errors import UserError

if TYPE_CHECKING:
    from tunesmith.contracts.batch import Batch

CHUNK_ELEMENTS = 2**22
"""Logits held at once (16 MiB in float32, so that a chunk stays in the last-level cache and in the allocator)."""
LEAST_ROWS = 256
LEAST_ROWS_READ = 64
"""Fewest rows of a chunk; the second on a CPU where the head learns nothing: pages touched anew cost more there than a
wider product saves, while a head that learns adds up its whole gradient once a chunk."""
ROUNDED = 64
"""Rows are rounded up to this on a CPU, so that few product shapes exist (see ``segments``)."""


@dataclass(frozen=True)
class Head:
    """Where a family keeps its output projection and what it does to logits.

    ``linear`` maps ``[N, d] -> [N, V]``; logits are multiplied by ``scale``, then soft-capped: ``c·tanh(z/c)``.
    ``transform`` comes before (BERT's dense + norm).
    """

    linear: nn.Module
    scale: float = 1.0
    softcap: float | None = None
    transform: nn.Module | None = None

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """``[N, d] -> [N, V]`` in float32, differentiable; for few rows (decoding, proofs)."""
        hidden = hidden if self.transform is None else self.transform(hidden)
        z = self.linear(hidden).float() * self.scale
        return z if self.softcap is None else self.softcap * torch.tanh(z / self.softcap)

    def read(
        self, hidden: torch.Tensor, labels: torch.Tensor, share: torch.Tensor, want: Want, *, batch: Batch | None = None
    ) -> Outputs:
        """What ``want`` names of the distributions at ``hidden [N, d]``, whose labels are ``labels [N]``.

        ``share [N]`` are the readout weights; ``batch`` is what ``want.token_fn`` is given.
        """
        if self.transform is not None:
            hidden = self.transform(hidden)
        rows = self._rows_at_once(hidden)
        if want.token_fn is not None or not isinstance(self.linear, nn.Linear):
            return self._read_chunks(hidden, labels, want, rows, batch)
        count = len(labels)
        more = -count % ROUNDED if count > 4 * ROUNDED and hidden.device.type == "cpu" else 0
        if more:
            hidden, labels, share = F.pad(hidden, (0, 0, 0, more)), F.pad(labels, (0, more)), F.pad(share, (0, more))
        gradients = want.logprob and torch.is_grad_enabled()
        options = _Options(self.scale, self.softcap, want.hit, want.entropy, rows, gradients)
        logprob, hit, entropy = _LinearLogprob.apply(
            hidden, self.linear.weight, self.linear.bias, labels, share, options
        )
        return Outputs(
            logprob=logprob[:count] if want.logprob else None,
            hit=hit[:count] if want.hit else None,
            entropy=entropy[:count] if want.entropy else None,
        )

    def _rows_at_once(self, hidden: torch.Tensor) -> int:
        learns = torch.is_grad_enabled() and any(weight.requires_grad for weight in self.linear.parameters())
        least = LEAST_ROWS if learns or hidden.device.type != "cpu" else LEAST_ROWS_READ
        return max(least, CHUNK_ELEMENTS // _vocabulary(self.linear))

    def _read_chunks(
        self, hidden: torch.Tensor, labels: torch.Tensor, want: Want, rows: int, batch: Batch | None
    ) -> Outputs:
        """Chunks under recomputation: any head module (an adapter on the head), any function of the logits."""
        from torch.utils.checkpoint import checkpoint

        plain = Head(self.linear, self.scale, self.softcap)
        parts = []
        for start in range(0, max(len(labels), 1), rows):
            where = slice(start, min(start + rows, len(labels)))
            read = partial(_read_chunk, plain, want, where, batch)
            parts.append(checkpoint(read, hidden[where], labels[where], use_reentrant=False))
        together = [None if one[0] is None else torch.cat(one) for one in zip(*parts, strict=True)]
        logprob, values, hit, entropy = together
        return Outputs(logprob=logprob, values=values, hit=hit, entropy=entropy)


_Parts = tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]


def _read_chunk(
    head: Head, want: Want, rows: slice, batch: Batch | None, hidden: torch.Tensor, labels: torch.Tensor
) -> _Parts:
    """Log-probabilities, values, hits and entropies of one chunk; None where they are not wanted."""
    z = head.logits(hidden)
    values = None
    if want.token_fn is not None:
        assert batch is not None
        values = want.token_fn(z, rows, batch)
    log_p = torch.log_softmax(z, dim=-1) if want.logprob or want.entropy else None
    logprob = log_p.gather(1, labels[:, None])[:, 0] if want.logprob and log_p is not None else None
    hit = z.argmax(-1) == labels if want.hit else None
    entropy = torch.special.entr(log_p.detach().exp()).sum(-1) if want.entropy and log_p is not None else None
    return logprob, values, hit, entropy


@dataclass(frozen=True)
class _Options:
    scale: float
    softcap: float | None
    hit: bool
    entropy: bool
    rows: int
    gradients: bool
    """whether autograd is on (inside a Function it never is)"""


class _LinearLogprob(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        labels: torch.Tensor,
        share: torch.Tensor,
        options: _Options,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        wanted = [options.gradients and needed for needed in ctx.needs_input_grad[:3]]
        needs = (wanted[0], wanted[1], wanted[2])
        result = _pass(hidden, weight, bias, labels, share, options, needs)
        ctx.options, ctx.needs = options, needs
        recompute = (hidden, weight, bias, labels) if needs[1] or needs[2] else (None, None, None, None)
        ctx.save_for_backward(result.grad_hidden, result.grad_weight, result.grad_bias, share, *recompute)
        ctx.mark_non_differentiable(result.hit, result.entropy)
        return result.logprob, result.hit, result.entropy

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, *_: torch.Tensor) -> tuple[Any, ...]:
        grad_hidden, grad_weight, grad_bias, share, hidden, weight, bias, labels = ctx.saved_tensors
        if grad_hidden is not None:
            grad_hidden = grad_hidden * grad[:, None].to(grad_hidden.dtype)
        if grad_weight is not None or grad_bias is not None:
            factor = _proportion(grad, share)
            if factor is None:
                options = replace(ctx.options, hit=False, entropy=False)
                again = _pass(hidden, weight, bias, labels, grad, options, (False, *ctx.needs[1:]))
                grad_weight, grad_bias = again.grad_weight, again.grad_bias
            else:
                grad_weight = None if grad_weight is None else grad_weight * factor
                grad_bias = None if grad_bias is None else grad_bias * factor
        return grad_hidden, grad_weight, grad_bias, None, None, None


@dataclass
class _Pass:
    logprob: torch.Tensor
    hit: torch.Tensor
    entropy: torch.Tensor
    grad_hidden: torch.Tensor | None
    grad_weight: torch.Tensor | None
    grad_bias: torch.Tensor | None

    @property
    def learns(self) -> bool:
        return any(grad is not None for grad in (self.grad_hidden, self.grad_weight, self.grad_bias))

    def add(
        self, rows: slice, slope: torch.Tensor, hidden: torch.Tensor, weight: torch.Tensor, share: torch.Tensor
    ) -> None:
        """The gradients of one chunk, whose d log p / d z is ``slope [n, V]``."""
        if self.grad_bias is not None:
            self.grad_bias += share @ slope
        low = slope.to(weight.dtype)
        if self.grad_hidden is not None:
            torch.mm(low, weight, out=self.grad_hidden[rows])
        if self.grad_weight is not None:
            self.grad_weight += low.t() @ (hidden * share[:, None].to(hidden.dtype))


def _pass(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    labels: torch.Tensor,
    share: torch.Tensor,
    options: _Options,
    needs: tuple[bool, bool, bool],
) -> _Pass:
    """One sweep over the chunks: log-probabilities and the needed gradients (the weight's summed by ``share``)."""
    count = len(labels)
    result = _Pass(
        logprob=torch.empty(count, dtype=torch.float32, device=hidden.device),
        hit=torch.empty(count if options.hit else 0, dtype=torch.bool, device=hidden.device),
        entropy=torch.empty(count if options.entropy else 0, dtype=torch.float32, device=hidden.device),
        grad_hidden=torch.empty_like(hidden) if needs[0] else None,
        grad_weight=torch.zeros_like(weight, dtype=torch.float32) if needs[1] else None,
        grad_bias=torch.zeros_like(bias, dtype=torch.float32) if needs[2] and bias is not None else None,
    )
    for start in range(0, count, options.rows):
        rows = slice(start, min(start + options.rows, count))
        _chunk(result, rows, hidden[rows], weight, bias, labels[rows], share[rows], options)
    if result.grad_weight is not None:
        result.grad_weight = result.grad_weight.to(weight.dtype)
    if result.grad_bias is not None and bias is not None:
        result.grad_bias = result.grad_bias.to(bias.dtype)
    return result


def _chunk(
    result: _Pass,
    rows: slice,
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    labels: torch.Tensor,
    share: torch.Tensor,
    options: _Options,
) -> None:
    z = F.linear(hidden, weight, bias)
    bent = None
    if options.scale != 1.0 or options.softcap is not None:
        z = z.float() * options.scale
    if options.softcap is not None:
        bent = torch.tanh(z / options.softcap)
        z = bent * options.softcap
    log_p = torch.log_softmax(z, dim=-1, dtype=torch.float32)
    picked = labels[:, None]
    result.logprob[rows] = log_p.gather(1, picked)[:, 0]
    if options.hit:
        result.hit[rows] = log_p.argmax(-1) == labels
    if not options.entropy and not result.learns:
        return
    p = log_p.exp_()
    if options.entropy:
        result.entropy[rows] = torch.special.entr(p).sum(-1)
    if not result.learns:
        return
    slope = p.neg_()
    slope.scatter_add_(1, picked, torch.ones_like(picked, dtype=slope.dtype))
    if bent is not None:
        slope *= 1.0 - bent.square_()
    if options.scale != 1.0:
        slope *= options.scale
    result.add(rows, slope, hidden, weight, share)


def _proportion(grad: torch.Tensor, share: torch.Tensor) -> float | None:
    """The factor c with ``grad = c·share``, or None where there is none."""
    if len(grad) == 0:
        return 1.0
    index = int(share.abs().argmax())
    factor = float(grad[index] / share[index]) if share[index] != 0 else 0.0
    return factor if torch.allclose(grad, share * factor, rtol=1e-6, atol=0.0) else None


def _vocabulary(linear: nn.Module) -> int:
    weight = getattr(linear, "weight", None)
    return int(weight.shape[0]) if isinstance(weight, torch.Tensor) else 32_768


def head_of(model: Any) -> Head:
    """The head of a transformers model with a vocabulary output; scale and soft-cap as its config names them.

    The names are read from the config and *verified* against the model's own logits by ``probe.head_agrees``.
    """
    linear = model.get_output_embeddings()
    if linear is None:
        raise UserError(
            f"{type(model).__name__} has no language-model head",
            allowed="a causal or masked language model",
            code="no-language-head",
        )
    config = model.config.get_text_config()
    scale = 1.0
    if getattr(config, "logit_scale", None):  # Cohere multiplies
        scale = float(config.logit_scale)
    elif getattr(config, "logits_scaling", None):  # Granite divides
        scale = 1.0 / float(config.logits_scaling)
    softcap = getattr(config, "final_logit_softcapping", None)
    transform = getattr(getattr(getattr(model, "cls", None), "predictions", None), "transform", None)
    return Head(linear, scale, None if softcap is None else float(softcap), transform)
