"""Effects of the order of rows: updates of one place in the epoch are alike, or one source is forgotten for another.

With shuffled rows the noise of an update has nothing to do with that of the same place one epoch later. So the
correlation of the two, after the trend of each epoch is taken away, is the evidence. Where losses are told by source, a
source that fills updates, is away, and comes back with a higher loss was unlearned meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, pstdev

from tunesmith.diagnosis.history import Evidence, Finding, History, Point
from tunesmith.diagnosis.sources import Seen, by_source, mean

FEWEST = 16
"""Updates in an epoch below which a correlation says nothing."""
ALIKE = 0.5
NOISE = 0.03
"""Share of the loss that its noise must have; without noise a common trend is all there is."""
SURE = 3.5
"""Standard errors (``1/√n``) by which the correlation lies above zero."""
ROSE, SHARE = 0.1, 0.1
"""A source's held-out loss ended above its lowest, or its training loss came back higher, by more than both."""
AWAY, APART = 5, 0.05
"""Updates, and share of all, that a source is away for at least."""
NEAR, LEAST = 8, 3
"""Updates before and after that are looked at, at most and at least."""
FILLS = 0.5
"""Share of their units that is the source's."""


def look(history: History) -> Finding | None:
    """Correlated epochs, or a source that got worse while others got better, or came back worse than it left."""
    evidence = [*_epochs(history), *_sources(history), *_returns(history)]
    if not evidence:
        return None
    shuffled = history.option("train", "shuffle") is not False
    advice = (
        "Set train.shuffle to true."
        if not shuffled
        else "Raise data.mixing.temperature or the source's weight, so that every update holds some of each source."
    )
    what = "What the model learned depends on the order of the rows: "
    seen = "rows of one kind stand together" if not shuffled else "one source was unlearned while another was learned"
    return Finding("order-effects", "warn", f"{what}{seen}.", advice, evidence)


def _epochs(history: History) -> list[Evidence]:
    epochs = {point.step: point.value for point in history.points("step", "epoch")}
    losses = history.losses
    size = sum(1 for point in losses if epochs.get(point.step, 2.0) <= 1.0)
    if size < FEWEST or len(losses) < 2 * size:
        return []
    last = len(losses) // size * size
    first, second = (_noise(losses[start : start + size]) for start in (last - 2 * size, last - size))
    level = fmean(point.value for point in losses[last - size : last])
    if min(pstdev(first), pstdev(second)) < NOISE * level:
        return []
    alike = _correlation(first, second)
    if alike < ALIKE or alike * sqrt(size) < SURE:
        return []
    text = f"the noise of the loss repeats from epoch to epoch (correlation {alike:.2f} over {size} updates)"
    return [Evidence(text, losses[last - size].source("loss"))]


def _noise(points: Sequence[Point]) -> list[float]:
    """Each loss minus the mean of its neighbours on both sides: slow trends are gone, and so is most of a drift."""
    values = [point.value for point in points]
    reach = max(3, len(values) // 8)
    found = []
    for place, value in enumerate(values):
        side = min(reach, place, len(values) - 1 - place)
        found.append(value - fmean(values[place - side : place + side + 1]))
    return found


def _correlation(one: Sequence[float], other: Sequence[float]) -> float:
    first, second = fmean(one), fmean(other)
    pairs = [(x - first, y - second) for x, y in zip(one, other, strict=True)]
    across = sqrt(sum(x * x for x, _ in pairs) * sum(y * y for _, y in pairs))
    return sum(x * y for x, y in pairs) / across if across else 0.0


def _sources(history: History) -> list[Evidence]:
    prefix = "validation_loss/"
    names = dict.fromkeys(key for event in history.events for key in event if key.startswith(prefix))
    series = {name: history.points("evaluation", name) for name in names}
    fell = any(points[-1].value < points[0].value for points in series.values() if len(points) > 1)
    found = []
    for name, points in series.items():
        if len(points) < 3 or not fell:
            continue
        best, last = min(points, key=lambda point: point.value), points[-1]
        if last.value - best.value > max(ROSE, SHARE * best.value):
            source = name.removeprefix(prefix)
            text = f"held-out rows of {source} went from {best.value:.3g} (update {best.step:,}) to {last.value:.3g}"
            found.append(Evidence(text, last.source(name)))
    return found if len(found) < len(series) else []


def _returns(history: History) -> list[Evidence]:
    """The largest rise of each source that was away."""
    found = []
    for name, seen in by_source(history.events).items():
        away = max(AWAY, APART * len(history.losses))
        rises = [
            rise
            for place in range(1, len(seen))
            if seen[place].step - seen[place - 1].step > away
            and (rise := _rise(seen[max(0, place - NEAR) : place], seen[place : place + NEAR])) is not None
        ]
        if rises:
            then, now, before, after = max(rises, key=lambda rise: rise[1] - rise[0])
            text = f"the training loss on {name} was {then:.3g} until update {before.step:,} and {now:.3g} when its "
            found.append(Evidence(f"{text}rows came again in update {after.step:,}", after.source))
    return found


def _rise(before: Sequence[Seen], after: Sequence[Seen]) -> tuple[float, float, Seen, Seen] | None:
    """Loss before and after with the updates between, where it rose beyond chance and the source fills both sides.

    It is learned again within a few updates, so the first one after counts alone.
    """
    if min(len(before), len(after)) < LEAST or fmean(one.share for one in (*before, *after)) < FILLS:
        return None
    then, now = mean(before[-LEAST:]), after[0].loss
    if now - then <= max(ROSE, SHARE * then, SURE * max(_spread(before), _spread(after)) * sqrt(1 + 1 / LEAST)):
        return None
    return then, now, before[-1], after[0]


def _spread(seen: Sequence[Seen]) -> float:
    """Standard deviation of the losses around a straight line through their neighbours."""
    losses = [one.loss for one in seen]
    bends = [losses[place] - (losses[place - 1] + losses[place + 1]) / 2 for place in range(1, len(losses) - 1)]
    return sqrt(fmean(bend**2 for bend in bends) / 1.5)
