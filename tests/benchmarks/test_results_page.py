"""The page of results is what the results say, exponents are slopes, and the committed page is up to date."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import page
import scaling
from sidebyside.curves import TITLES, curves_of, exponent

pytest.importorskip("matplotlib", reason="needs the `report` extra")


def spread(median: float, width: float = 0.0) -> dict[str, float]:
    return {"median": median, "least": median - width, "most": median + width}


def report(**more: Any) -> dict[str, Any]:
    speeds = {"default": spread(100.0, 10.0), "expert": spread(300.0), "ours": spread(800.0, 20.0)}
    return {
        "cell": "sft-lora-32m-alpaca", "gate": True, "clock": "cpu", "rounds": 2, "commit": "abc",
        "vs_default": 8.0, "vs_expert": 8 / 3, "useful_fraction": 0.45, "memory_above_floor": 0.4,
        "cpu": {"tokens_per_second": speeds}, "peak_bytes": {"default": 4e9, "expert": 5e9, "ours": 2e9},
        "processor": "a processor", "threads": 1, "versions": {"torch": "2.13.0"}, **more,
    }  # fmt: skip


def curves() -> dict[str, list[dict[str, float]]]:
    """Time as x^1.5 where operations are x, memory as x above a floor of 50."""
    points = [{"x": x, "cpu": 3 * x**1.5, "peak": 50 + 7 * x, "flops": 2.0 * x} for x in (10, 40, 160)]
    return {"length": points, "rank": points[:2]}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "beside_trl").mkdir()
    (tmp_path / "beside_trl" / "sft-lora-32m-alpaca.json").write_text(json.dumps(report()))
    (tmp_path / "beside_trl" / "sft-full-32m-alpaca.json").write_text(json.dumps({"cell": "not timed", "gate": False}))
    scaled = {"floor_bytes": 50, "curves": curves(), "processor": "a processor", "commit": "abc"}
    (tmp_path / "scaling.json").write_text(json.dumps(scaled))
    loaded = {"weights": 3e8, "result_bytes": 2e8}
    started = {
        "first_step_seconds": 9.5, "store_seconds": 0.2, "load_share": 1.05, "dense_load_share": 3.0, "clock": "cpu",
        "rounds": 3, "commit": "abc", "load": {"streamed": loaded},
    }  # fmt: skip
    (tmp_path / "startup.json").write_text(json.dumps(started))
    return tmp_path


def test_every_number_is_from_the_results(results: Path) -> None:
    text = page.written(results)[page.PAGE]
    cell = "| `sft-lora-32m-alpaca` (fixed) | 8.0× (7.1 to 9.1) | 2.7× (2.6 to 2.7) | 0.40 | 0.45 | cpu | 2 | `abc` |"
    assert cell in text.splitlines()
    assert "On a processor (1 thread); torch 2.13.0." in text
    assert "sft-full" not in text


def test_bars_are_told_as_met_or_missed(results: Path) -> None:
    lines = page.written(results)[page.PAGE].splitlines()
    assert "| `sft-lora-32m-alpaca` | vs default | 8.00 | ≥ 7 | met |" in lines
    assert "| `sft-lora-32m-alpaca` | useful fraction | 0.45 | ≥ 0.5 | **missed** |" in lines
    assert "| `sft-lora-32m-alpaca` | memory above floor | 0.40 | ≤ 0.5 | met |" in lines
    assert "| from the command to the first update on Seedling, seconds | 9.50 | ≤ 8 | **missed** |" in lines


def test_exponents_stand_beside_theory(results: Path) -> None:
    lines = page.written(results)[page.PAGE].splitlines()
    assert "| length of a sequence | 10 | 160 | 1.50 | 1.00 | 1.00 | 1: no matrix of scores |" in lines
    assert not any(line.startswith("| rank of LoRA") for line in lines)  # two points are no curve


def test_pictures_stand_alone(results: Path) -> None:
    files = page.written(results)
    names = {path.name for path in files}
    assert names == {
        "performance-results.md", "performance-speed.svg", "performance-memory.svg", "performance-scaling-length.svg",
    }  # fmt: skip
    for path, text in files.items():
        if path.suffix == ".svg":
            assert text.startswith('<svg xmlns="http://www.w3.org/2000/svg"')
            assert "--s1:" in text
            assert path.name in files[page.PAGE]
    assert "sft-lora-32m-alpaca" in files[page.IMAGES / "performance-speed.svg"]


def test_without_results_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert page.written(tmp_path) == {page.PAGE: page.HEAD}


def test_the_committed_page_is_what_the_results_say() -> None:
    assert page.stale(page.written(page.RESULTS)) == [], "run: python benchmarks/page.py"


@pytest.mark.parametrize("power", [0.0, 1.0, 1.7])
def test_an_exponent_is_the_slope_of_the_logarithms(power: float) -> None:
    x = [1.0, 3.0, 10.0, 70.0]
    assert exponent(x, [5 * value**power for value in x]) == pytest.approx(power, abs=1e-12)


def test_noise_is_fitted_by_least_squares() -> None:
    """The slope through (0, 0), (1, 2), (2, 2) in logarithms to base 10 is 1."""
    assert exponent([1, 10, 100], [1, 100, 100]) == pytest.approx(1.0)


def test_memory_is_above_the_floor() -> None:
    (curve,) = curves_of({"curves": curves(), "floor_bytes": 50})
    assert list(curve.bytes) == [70, 280, 1120]


def test_points_cover_what_was_asked() -> None:
    every = scaling.points()
    assert every.keys() == TITLES.keys()
    assert max(every["length"]) == 32_768
    assert max(every["vocabulary"]) == 256_000
    for curve in every.values():
        assert len(curve) > 2
        assert list(curve) == sorted(curve)


def test_points_of_other_code_are_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "RESULT", tmp_path / "scaling.json")
    scaling.RESULT.write_text(json.dumps({"code": "one", "curves": {"rank": [{"x": 4}]}}))
    assert scaling.found_before("one", again=False)["curves"] == {"rank": [{"x": 4}]}
    assert scaling.found_before("two", again=False)["curves"] == {}
    assert scaling.found_before("one", again=True)["curves"] == {}
