"""What is near an ailment and is none: the measures on the healthy side of their thresholds."""

from __future__ import annotations

from logs import STEPS, history

from tunesmith.diagnosis import collapse
from tunesmith.diagnosis.history import Point, Row
from tunesmith.diagnosis.labels import suspicious
from tunesmith.diagnosis.spikes import found


def test_entropy_that_only_halves_has_not_collapsed() -> None:
    for share, ill in ((0.5, False), (0.05, True)):
        run = history()
        run.events.extend(  # type: ignore[attr-defined]
            {"kind": "rollout", "step": step, "entropy": 2.0 * (1 - (1 - share) * step / STEPS)}
            for step in (0, STEPS // 2, STEPS)
        )
        assert (collapse.look(run) is not None) == ill


def test_a_row_within_the_spread_of_the_others_is_no_suspect() -> None:
    """Losses of 40 rows spread by a nat: four nats above the middle is far, but not six deviations; ten nats are."""
    rows = [Row(f"line {at}", "text", 2.0 + (at % 5 - 2), base=6.0) for at in range(40)]
    assert suspicious([*rows, Row("line 40", "text", 6.0, base=6.2)]) == []
    assert [one.where for one in suspicious([*rows, Row("line 41", "text", 12.0, base=12.2)])] == ["line 41"]


def test_a_small_bump_of_a_very_calm_loss_is_no_spike() -> None:
    calm = [Point(step, 1.0 + 0.001 * (step % 3), step) for step in range(100)]
    for height, spikes in ((1.3, 0), (2.0, 1)):
        bumped = [*calm[:60], Point(60, height, 60), *calm[61:]]
        assert len(found(bumped)) == spikes
