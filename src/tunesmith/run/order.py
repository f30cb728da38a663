"""The order of training as a recipe asks for it: sources mixed, rows from easy to hard."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.contracts.batch import Feed
from tunesmith.data.curriculum import Growing
from tunesmith.data.loader import SequenceFeed, TokenFeed
from tunesmith.data.mixing import SourceMix, mixed, statistics
from tunesmith.data.prepare import Prepared
from tunesmith.errors import UserError
from tunesmith.evaluation.loss import evaluate_loss
from tunesmith.events import Event, Sink
from tunesmith.files import write_bytes
from tunesmith.recipe import Recipe
from tunesmith.recipe.schema import OrderConfig
from tunesmith.run.folder import Run
from tunesmith.run.session import Session
from tunesmith.seed import derive

FILE = "difficulty.npy"


def weights_of(recipe: Recipe, prepared: Prepared) -> dict[int, float]:
    """How often a row of each training source is seen in an epoch."""
    asked = _asked(recipe)
    mixing = recipe.data.mixing
    if mixing is None:
        return asked
    found, sizes = np.unique(prepared.train.sources, return_counts=True)
    counts = dict(zip(found.tolist(), sizes.tolist(), strict=True))
    options: dict[str, Any] = {"temperature": mixing.temperature, "cap": mixing.cap}
    if mixing.repeats is None:
        return mixed(counts, asked, **options)
    epochs = _epochs(recipe, prepared, mixed(counts, asked, **options))
    bounded = mixed(counts, asked, **options, most=mixing.repeats / epochs)
    needed = _epochs(recipe, prepared, bounded) * max(bounded.values())
    if recipe.train.steps is not None and needed > mixing.repeats * (1.0 + 1e-9):
        raise UserError(
            "there are too few rows for so many steps",
            got=f"train.steps: {recipe.train.steps}, which sees rows {needed:.3g} times",
            allowed=f"data.mixing.repeats: {mixing.repeats:g}",
            hint="Lower train.steps, or raise data.mixing.repeats.",
            code="too-many-repeats",
        )
    return bounded


def mixture(recipe: Recipe, prepared: Prepared) -> list[SourceMix]:
    """What each training source brings, and how often its rows are seen."""
    seen = weights_of(recipe, prepared)
    paths = [source.path for source in prepared.ledger.sources]
    epochs = _epochs(recipe, prepared, seen)
    return statistics(prepared.train, paths, _asked(recipe), seen, epochs=epochs)


def _asked(recipe: Recipe) -> dict[int, float]:
    return {number: source.weight for number, source in enumerate(recipe.data.train)}


def _epochs(recipe: Recipe, prepared: Prepared, seen: Mapping[int, float]) -> float:
    """Passes over the mixture in the whole run."""
    train, store = recipe.train, prepared.train
    if train.steps is None:
        return train.epochs
    times = np.array([seen.get(number, 1.0) for number in range(len(recipe.data.train) or 1)])[store.sources]
    if train.batch_tokens is not None:
        return train.steps * train.batch_tokens / float((store.lengths * times).sum())
    return train.steps * train.batch_size / float(times.sum())


def plain_feed(recipe: Recipe, prepared: Prepared, *, difficulty: NDArray[np.float64] | None = None) -> Feed:
    """Epochs of all rows; with ``difficulty`` (float ``[n]``) the first one from easy to hard."""
    options: dict[str, Any] = {
        "seed": recipe.seed,
        "shuffle": recipe.train.shuffle,
        "weights": weights_of(recipe, prepared),
        "difficulty": difficulty,
    }
    if recipe.train.batch_tokens is not None:
        return TokenFeed(prepared.train, batch_tokens=recipe.train.batch_tokens, **options)
    return SequenceFeed(prepared.train, batch_size=recipe.train.batch_size, **options)


def ordered_feed(session: Session, prepared: Prepared, run: Run, *, steps: int, emit: Sink) -> Feed:
    """The feed of ``train.order``; the plain one without. What the base had to be asked is kept in the run folder."""
    recipe = session.recipe
    order = recipe.train.order
    if order is None:
        return plain_feed(recipe, prepared)
    difficulty = _difficulty(order, session, prepared, run, emit)
    difficulty = -difficulty if order.hard_first else difficulty
    if order.pace == "sorted":
        return plain_feed(recipe, prepared, difficulty=difficulty)
    if recipe.train.batch_tokens is not None:
        raise UserError(
            "a growing order counts rows",
            got="train.batch_tokens",
            allowed="train.batch_size, or train.order.pace: sorted",
            code="cannot-combine",
        )
    return Growing(
        plain_feed(recipe, prepared),
        prepared.train,
        difficulty,
        batch_size=recipe.train.batch_size,
        steps=max(1, round(order.share * steps)),
        start=order.start,
        seed=recipe.seed,
        weights=weights_of(recipe, prepared),
    )


def _difficulty(order: OrderConfig, session: Session, prepared: Prepared, run: Run, emit: Sink) -> NDArray[np.float64]:
    """Float64 ``[n]``: how hard each training row is, by the recipe's measure."""
    store = prepared.train
    if order.name == "length":
        return store.lengths.astype(np.float64)
    if order.name == "random":
        return np.random.default_rng(derive(session.recipe.seed, "difficulty")).random(len(store))
    if order.name == "column":
        return _column(order.column, prepared)
    path = run.folder / FILE
    if path.is_file():
        kept: NDArray[np.float64] = np.load(path)
        return kept
    emit(Event("phase", 0, {"text": f"the base reads {len(store):,} rows, to tell easy ones from hard ones"}))
    with session.attached.off():
        measured = _perplexity(session, prepared)
    buffer = io.BytesIO()
    np.save(buffer, measured)
    write_bytes(path, buffer.getvalue())
    return measured


def _perplexity(session: Session, prepared: Prepared) -> NDArray[np.float64]:
    """Nats a target of each row."""
    if session.parts.objective.judged != "tokens":
        raise UserError(
            "train.order: perplexity needs rows that are learned word by word",
            got=f"objective {session.recipe.objective.name}",
            allowed="train.order: length, column or random",
            code="cannot-combine",
        )
    tokens = int(session.recipe.train.tokens_per_microbatch)
    report = evaluate_loss(session.policy, session.parts.objective, list(prepared.train), tokens_per_microbatch=tokens)
    values: NDArray[np.float64] = report.sums.nll / np.maximum(report.sums.tokens, 1.0)
    return values


def _column(column: str | None, prepared: Prepared) -> NDArray[np.float64]:
    """The number in ``column`` of each training row."""
    records = prepared.records({int(row) for row in prepared.train.rows})
    values = []
    for row, line in zip(prepared.train.rows.tolist(), prepared.train.lines.tolist(), strict=True):
        value = records[row].meta.get(column or "")
        try:
            values.append(float(value))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise UserError(
                f"train.order.column: line {line} has no number in the column '{column}'",
                got=repr(value),
                allowed="a number in every row; small is easy",
                code="bad-difficulty",
            ) from None
    return np.array(values, dtype=np.float64)
