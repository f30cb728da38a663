"""The training loop. It knows jobs, batches and terms; it knows no method, no objective and no data format.

    for each update: cut its examples into micro-batches -> forward, sum the terms, divide each by the update's count,
    backward -> add up over processes -> clip -> step -> publish -> report -> evaluate -> save

An update's loss is  Σ_terms weight · (Σ_units value) / count,  with the count known before any forward pass, so how
an update is cut into micro-batches or spread over processes changes nothing. Terms of weight 0 are only measured.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tunesmith.contracts.batch import Batch, Example, Feed
from tunesmith.contracts.method import Attached, Moment
from tunesmith.contracts.objective import Objective
from tunesmith.contracts.policy import Outputs
from tunesmith.engine import checkpoint, microbatch, noise, optimizers
from tunesmith.engine.checkpoint import Progress
from tunesmith.engine.interrupt import Interrupt
from tunesmith.engine.pieces import in_pieces
from tunesmith.engine.schedules import Schedule
from tunesmith.engine.stepping import Stepping
from tunesmith.engine.weights import Weights
from tunesmith.engine.workers import Workers
from tunesmith.errors import UserError
from tunesmith.events import Event, Sink, silent
from tunesmith.files import whole_folder
from tunesmith.recipe.schema import TrainConfig
from tunesmith.seed import derive

Evaluate = Callable[[int], Mapping[str, float]]
Beside = Callable[[Sequence[Example], Batch], Outputs]
"""A frozen model beside the trained one: examples and their batch -> what the objective wants of it there."""
Penalty = Callable[[], torch.Tensor | None]
"""A differentiable scalar that is added to the loss once an update; None where there is none."""


@dataclass
class Job:
    """Everything that is trained together: what, by which rule, on what, for how long, into which folder."""

    policy: nn.Module
    attached: Attached
    objective: Objective
    weights: Weights
    optimizer: optimizers.Optimizer
    schedule: Schedule
    feed: Feed
    config: TrainConfig
    folder: Path
    steps: int
    microbatch_tokens: int
    seed: int = 0
    rows_ahead: int = 0
    """Rows that the method puts in front of every example, which take room in a micro-batch as tokens do."""
    workers: Workers = field(default_factory=Workers)
    emit: Sink = silent
    evaluate: Evaluate | None = None
    relieve: Callable[[], bool] | None = None
    """Called when even the smallest micro-batch does not fit: frees memory another way, or says False."""
    beside: Mapping[str, Beside] = field(default_factory=dict)
    """The frozen models that the objective names."""
    penalties: Mapping[str, Penalty] = field(default_factory=dict)
    """Besides the method's own, by name."""
    stepping: Stepping | None = None
    """Steps in the backward pass; None steps after it."""


@dataclass(frozen=True)
class Update:
    """What one update was: ``loss`` divided as the objective says, ``norm`` before clipping, real ``tokens``."""

    loss: float
    norm: float
    rate: float
    tokens: int
    units: float
    seconds: float
    microbatches: int
    penalty: float = 0.0
    """what penalties added to the loss (of the first process)"""
    terms: Mapping[str, float] = field(default_factory=dict)
    """each term by name, divided; measurements too"""
    counts: Mapping[str, float] = field(default_factory=dict)
    """what each term was divided by"""
    noise: noise.Noise | None = None
    """how much of the gradient is noise, where that was measured"""


@dataclass
class Sums:
    """The loss of some micro-batches, and their terms by name, all divided by the update's counts."""

    loss: float = 0.0
    terms: dict[str, float] = field(default_factory=dict)
    squares: float = 0.0
    """Σ of the squared norms of the micro-batches' gradients, where they were watched"""
    weighted: str = ""
    """The first term that has a weight."""


def fit(job: Job, progress: Progress, *, until: int | None = None) -> Progress:
    """Train from ``progress`` to the end, or to update ``until`` (or to a stop); returns where the run stands.

    Checkpoints hold the rest.
    """
    end = job.steps if until is None else min(until, job.steps)
    with Interrupt(job.emit) as interrupt:
        while progress.step < end and not progress.stopped_early:
            update = one_update(job, progress.step)
            _note(job, progress, update)
            last = progress.step == end
            if job.evaluate is not None and (last or progress.step % job.config.evaluate_every == 0):
                _evaluate(job, progress)
            stop = job.workers.agree(interrupt.asked)
            if last or stop or progress.stopped_early or progress.step % job.config.save_every == 0:
                _save(job, progress)
            if stop:
                break
    return progress


def one_update(job: Job, step: int) -> Update:
    """One optimizer update; out-of-memory drops its gradients and replays it in smaller pieces."""
    started = time.perf_counter()
    examples = job.feed.update(step)
    counts = job.objective.counts(examples)
    rate = job.config.learning_rate * job.schedule(step)
    optimizers.set_rate(job.optimizer, rate)
    done = (_in_backward if job.stepping else _after_backward)(job, examples, counts, step)
    job.attached.after_step(Moment(step + 1, job.steps), job.weights.values)
    job.weights.drop_gradients()
    job.weights.publish()
    return Update(
        loss=done.sums.loss,
        norm=done.norm,
        rate=rate,
        tokens=sum(map(len, examples)),
        units=float(max(counts.values())),
        seconds=time.perf_counter() - started,
        microbatches=done.pieces,
        penalty=done.penalty,
        terms=done.sums.terms,
        counts=counts,
        noise=done.noise,
    )


@dataclass(frozen=True)
class _Stepped:
    """What came of forward, backward and the optimizer's step."""

    sums: Sums
    norm: float
    pieces: int
    penalty: float = 0.0
    noise: noise.Noise | None = None


def _after_backward(job: Job, examples: Sequence[Example], counts: Mapping[str, float], step: int) -> _Stepped:
    """Gradients of the whole update, clipped, then one step."""
    budget, parts = job.microbatch_tokens, job.objective.decomposes or job.objective.in_pieces
    while True:
        pieces = _cut(job, examples, budget, at_least=job.workers.world) if parts else [list(examples)]
        watch = parts and job.objective.decomposes and len(pieces) > 1 and step % noise.EVERY == 0
        try:
            sums = accumulate(job, pieces, counts, step, watch=watch)
            penalty = _penalize(job)
            break
        except torch.OutOfMemoryError:
            budget = _smaller(job, budget if parts else 0, examples, step)
    sums = _add_up(job, sums, counts)
    if not math.isfinite(sums.loss + penalty):
        raise _not_finite(step, sums.loss + penalty)
    norm = job.weights.clip(job.config.clip)
    if not math.isfinite(norm):
        raise _not_finite(step, norm)
    job.attached.before_step(Moment(step + 1, job.steps), job.weights.values)
    job.optimizer.step()
    found = _noise(job, sums, norm, pieces) if watch and not penalty else None
    return _Stepped(sums, norm, len(pieces), penalty, found)


def _in_backward(job: Job, examples: Sequence[Example], counts: Mapping[str, float], step: int) -> _Stepped:
    """Each parameter stepped as soon as its gradient is there: one micro-batch, which cannot be replayed."""
    assert job.stepping is not None
    pieces = _cut(job, examples, job.microbatch_tokens) if job.objective.decomposes else [list(examples)]
    if len(pieces) > 1:
        needed = sum(map(len, examples)) + job.rows_ahead * len(examples)
        raise UserError(
            "train.optimizer_in_backward steps with the gradients of one micro-batch, and an update has more",
            got=f"{needed} tokens in update {step + 1}, at most {job.microbatch_tokens} at once",
            hint=f"Lower train.batch_size, or set train.tokens_per_microbatch={2 ** math.ceil(math.log2(needed))}.",
            code="needs-one-microbatch",
        )
    with job.stepping.within():
        sums = accumulate(job, pieces, counts, step)
    if not math.isfinite(job.stepping.norm):
        raise _not_finite(step, job.stepping.norm)
    return _Stepped(sums, job.stepping.norm, 1)


def _cut(job: Job, examples: Sequence[Example], budget: int, *, at_least: int = 1) -> list[list[Example]]:
    return microbatch.cut(examples, budget, at_least=at_least, rows_ahead=job.rows_ahead)


def accumulate(
    job: Job,
    pieces: Sequence[Sequence[Example]],
    counts: Mapping[str, float],
    step: int,
    *,
    watch: bool = False,
) -> Sums:
    """Forward and backward of this process's pieces; returns its share of the update.

    With ``watch`` the gradient of each piece is squared on its way.
    """
    torch.manual_seed(derive(job.seed, "update", step, job.workers.rank))
    job.policy.train()
    sums = Sums()
    with noise.watched(job.weights.parameters.values()) if watch else nullcontext() as squares:
        _accumulate(job, pieces, counts, step, sums)
    sums.squares = squares.total if squares else 0.0
    return sums


def _accumulate(
    job: Job, pieces: Sequence[Sequence[Example]], counts: Mapping[str, float], step: int, sums: Sums
) -> None:
    device = next(job.policy.parameters()).device
    wholes = [[piece] for piece in pieces] if job.objective.decomposes else [pieces]
    for whole in job.workers.share(wholes):
        batch, outputs = _computed(job, whole, device)
        loss = torch.zeros((), device=device)
        for term in job.objective.loss(outputs, batch):
            value = term.values.sum() / counts[term.name]
            if term.weight:
                loss = loss + term.weight * value
                sums.weighted = sums.weighted or term.name
            sums.terms[term.name] = sums.terms.get(term.name, 0.0) + float(value.detach())
        if job.stepping is not None and not math.isfinite(float(loss.detach())):
            raise _not_finite(step, float(loss.detach()))
        loss.backward()
        sums.loss += float(loss.detach())


def _computed(job: Job, pieces: Sequence[Sequence[Example]], device: torch.device) -> tuple[Batch, Outputs]:
    """The batch of all ``pieces``, and what the policy gives for it: a piece at a time where there are several."""
    examples, want = [example for piece in pieces for example in piece], job.objective.want
    batch = job.objective.collate(examples).to(device)
    batch = replace(batch, beside={name: job.beside[name](examples, batch) for name in job.objective.beside})
    if len(pieces) == 1:
        return batch, job.policy(batch, want)
    batches = [job.objective.collate(piece).to(device) for piece in pieces]
    return batch, in_pieces(lambda part: job.policy(part, want), batches)


def _penalize(job: Job) -> float:
    """Backward of all penalties, once an update: in the first process, whose gradients are summed with all."""
    total = 0.0
    for penalty in (job.attached.penalty, *job.penalties.values()):
        value = penalty() if job.workers.first else None
        if value is not None:
            value.backward()
            total += float(value.detach())
    return total


def _add_up(job: Job, sums: Sums, counts: Mapping[str, float]) -> Sums:
    """Sum losses and gradients over processes; afterwards all hold the update's own."""
    job.weights.collect()
    if job.workers.world == 1:
        return sums
    own = [sums.loss, sums.squares, *(sums.terms.get(name, 0.0) for name in counts)]
    shared = torch.tensor(own, dtype=torch.float64)
    job.workers.add([shared])
    # a process without a micro-batch has no gradients, and must take part in every sum
    existing = job.weights.existing()
    job.workers.add([existing])
    job.weights.fill(existing)
    job.workers.add(list(job.weights.gradients()))
    loss, squares, *terms = shared.tolist()
    return Sums(loss, dict(zip(counts, terms, strict=True)), squares, sums.weighted)


def _noise(job: Job, sums: Sums, norm: float, pieces: Sequence[Sequence[Example]]) -> noise.Noise | None:
    """How much of an update's gradient is noise; a process that had no piece does not know."""
    if not sums.weighted:
        return None
    units = [job.objective.counts(piece)[sums.weighted] for piece in pieces]
    return noise.estimate(norm, sums.squares, units, examples=sum(map(len, pieces)))


def _smaller(job: Job, budget: int, examples: Sequence[Example], step: int) -> int:
    longest = max(map(len, examples))
    smallest = budget <= longest
    if job.workers.world > 1 or (smallest and not (job.relieve is not None and job.relieve())):
        raise UserError(
            f"out of memory in update {step + 1}, even with {budget or sum(map(len, examples))} tokens at once",
            hint=f"Lower {'train.tokens_per_microbatch' if budget else 'train.batch_size'} or data.max_tokens, or set "
            "model.checkpointing: on. The last checkpoint is whole; continue with --resume.",
            code="out-of-memory",
        )
    job.weights.drop_gradients()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    smaller = max(longest, budget // 2)
    how = "recomputing activations" if smallest else f"{smaller} tokens at once"
    job.emit(Event("note", step, {"text": f"out of memory at {budget} tokens; replaying the update with {how}"}))
    job.microbatch_tokens = smaller
    return smaller


def _note(job: Job, progress: Progress, update: Update) -> None:
    progress.step += 1
    progress.tokens += update.tokens
    progress.loss_tokens += update.units
    progress.seconds += update.seconds
    progress.last["train_loss"] = update.loss
    values: dict[str, Any] = {
        "loss": update.loss,
        "norm": update.norm,
        "rate": update.rate,
        "tokens": update.tokens,
        "units": update.units,
        "seconds": round(update.seconds, 4),
        "epoch": round(job.feed.epoch_of(progress.step), 4),
    }
    if update.penalty:
        values["penalty"] = update.penalty
    if len(update.terms) > 1:
        values["counts"] = {name: count for name, count in update.counts.items() if name in update.terms}
        values["terms"] = {name: update.terms[name] for name in values["counts"]}
    if update.noise is not None:
        values["gradient"] = asdict(update.noise)
    job.emit(Event("step", progress.step, values))


def _evaluate(job: Job, progress: Progress) -> None:
    assert job.evaluate is not None
    metrics = dict(job.evaluate(progress.step))
    progress.last.update({name: value for name, value in metrics.items() if math.isfinite(value)})
    stopping = job.config.early_stopping
    watched = stopping.metric if stopping else "validation_loss"
    if watched not in metrics:
        raise UserError(
            "unknown metric in train.early_stopping.metric",
            got=watched,
            allowed=sorted(metrics),
            code="unknown-metric",
        )
    value = metrics[watched]
    sign = 1.0 if stopping is not None and stopping.higher_is_better else -1.0
    better = math.isfinite(value) and (progress.best is None or sign * value > sign * progress.best)
    if better:
        progress.best, progress.best_step, progress.stale = value, progress.step, 0
        save_best(job)
    else:
        progress.stale += 1
    progress.stopped_early = stopping is not None and progress.stale >= stopping.patience
    job.emit(Event("evaluation", progress.step, {**metrics, "best": better, "stopped_early": progress.stopped_early}))


def save_best(job: Job) -> None:
    """Write what is trained now as the run's result (``adapter/`` or ``model/``)."""
    if job.workers.first:
        with whole_folder(job.folder / job.attached.artifact) as folder:
            job.attached.save(folder, checkpoint.values_of(job.weights))


def _save(job: Job, progress: Progress) -> None:
    if job.workers.first:
        folder = job.folder / "checkpoints"
        states = {"method": job.attached.state(), "feed": job.feed.state()}
        path = checkpoint.save(folder, progress, job.weights, job.optimizer, **states)
        checkpoint.prune(folder, job.config.keep)
        job.emit(Event("saved", progress.step, {"path": str(path)}))


def _not_finite(step: int, value: float) -> UserError:
    return UserError(
        f"the loss or gradient of update {step + 1} is not a number",
        got=value,
        hint="The last checkpoint is from before. A lower train.learning_rate or a longer train.warmup usually helps; "
        "then start again or continue with --resume.",
        code="loss-not-finite",
    )
