"""Cells, gate and timings of the comparison with other libraries, without training anything."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import beside_trl
from sidebyside import child, gate, report
from sidebyside.cells import EVERY, FIXED, GPU_SIZES, ON_GPU, Cell, Side
from sidebyside.material import SIZES
from sidebyside.ours import RATES, Recorded, recipe, whole_lengths
from sidebyside.peer import SETTINGS, TRAINERS, counted
from sidebyside.report import clock_of, rate, share
from sidebyside.texts import ENCODER

KNOWN = {**EVERY, **ON_GPU}
each_cell = pytest.mark.parametrize("cell", KNOWN.values(), ids=KNOWN)


@each_cell
def test_a_name_says_what_is_trained(cell: Cell) -> None:
    objective, method, size, _ = cell.name.split("-")
    assert cell.asked["objective"] == objective
    assert cell.asked["method"] == ("lora" if method == "top" else method)
    assert ("layers" in cell.asked) == (method == "top")
    assert size in cell.maker
    assert cell.gpu == (size in GPU_SIZES)
    assert size in SIZES or size == ENCODER


@each_cell
def test_sides_can_be_run_and_ratios_are_of_sides(cell: Cell) -> None:
    for side in cell.sides.values():
        assert 0 < side.first < side.updates
        if side.module == "peer":
            library = side.options.get("library", "trl")
            assert (library, cell.objective) in TRAINERS
            assert (library, side.options["setting"]) in SETTINGS
    assert {"ours", "default"} <= cell.sides.keys()
    assert {side for pair in cell.ratios.values() for side in pair} <= cell.sides.keys()
    measured = {*cell.ratios, "useful_fraction", "memory_above_floor", "lean_memory"}
    assert cell.bars.keys() <= measured
    assert (cell.objective, cell.asked["method"]) in RATES


def test_what_is_asked_for_is_there() -> None:
    assert len(FIXED) == 6
    assert set(FIXED) <= EVERY.keys()
    kinds = {tuple(name.split("-")[:2]) for name in EVERY}
    assert {("sft", "top"), ("sft", "qlora"), ("classify", "full"), ("grpo", "lora")} <= kinds
    assert all("trainer" in EVERY[name].sides for name in FIXED if name.startswith("sft"))
    assert EVERY["sft-top-32m-alpaca"].bars["cached_vs_default"] == 12.0


@each_cell
def test_our_sides_are_recipes(cell: Cell) -> None:
    given = {"material": "m", "rows": "rows.jsonl", "steps": 2, "batch": 4}
    for side in (side for side in cell.sides.values() if side.module == "ours"):
        made = recipe({**given, **cell.asked, **side.options})
        assert made.objective.name == cell.objective
        assert made.model.quantize == ("nf4" if "qlora" in cell.name else "none")
        assert made.model.trunk_cache == side.options.get("trunk_cache", "off")
        assert made.model.checkpointing == side.options.get("checkpointing", "auto")
        assert made.method.fields.get("layers") == cell.asked.get("layers")
        assert made.train.batch_size == 4


class Children:
    """Stands in for the processes of a gate: the same losses on both sides, unless told otherwise."""

    def __init__(self, **wrong: Any) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.wrong = wrong

    def __call__(self, module: str, asked: str, **_: Any) -> dict[str, Any]:
        options = json.loads(asked)
        self.asked.append((module, options))
        steps = options["steps"]
        told = {"loss": [2.0] * steps, "norm": [1.0] * steps, "tokens": [100] * steps}
        if module == "peer" and self.wrong.get("setting") in (None, options.get("setting")):
            told |= {name: value * steps for name, value in self.wrong.items() if name != "setting"}
        return told


def gate_of(name: str, monkeypatch: pytest.MonkeyPatch, **wrong: Any) -> tuple[list[gate.Check], Children]:
    children = Children(**wrong)
    monkeypatch.setattr(gate, "run", children)
    return gate.checks(KNOWN[name], Path("material"), Path("work"), say=lambda _: None), children


ONE_A_KIND = ["sft-lora-32m-alpaca", "sft-top-15m-alpaca", "dpo-lora-15m-short", "grpo-lora-15m-prompts",
              "classify-full-minilm-sentences", "sft-lora-8b-full"]  # fmt: skip


@pytest.mark.parametrize("name", ONE_A_KIND)
def test_equal_sides_pass_and_unequal_ones_fail(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = gate_of(name, monkeypatch)
    assert found
    assert all(check.passed for check in found)
    for wrong in ({"loss": [2.0001]}, {"norm": [1.001]}, {"tokens": [101]}):
        found, _ = gate_of(name, monkeypatch, **wrong)
        assert not all(check.passed for check in found), wrong


def test_every_library_that_is_timed_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    _, children = gate_of("sft-lora-32m-alpaca", monkeypatch)
    curves = [options for module, options in children.asked if module == "peer" and options["steps"] > 1]
    assert [options["library"] for options in curves] == ["trl", "transformers"]
    assert {options["setting"] for _, options in children.asked if "setting" in options} == {
        "exact",
        "default",
        "expert",
    }


def test_a_wrong_setting_of_one_side_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = gate_of("sft-lora-32m-alpaca", monkeypatch, loss=[2.01], setting="expert")
    assert [check.name for check in found if not check.passed] == ["first loss, bf16, trl expert"]


def test_sampled_answers_are_the_other_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    _, children = gate_of("grpo-lora-15m-prompts", monkeypatch)
    assert [module for module, _ in children.asked] == ["peer", "ours"]  # who samples comes first
    assert len({options["recorded"] for _, options in children.asked}) == 1


def test_recorded_answers_are_given_in_their_order() -> None:
    from tunesmith.contracts.sampler import Ask

    sampler = Recorded([[1, 2], [3], [4], [5]])
    first = sampler.sample([Ask([9], seeds=(0, 1)), Ask([8], seeds=(0,))])
    assert [[answer.ids for answer in answers] for answers in first] == [[[1, 2], [3]], [[4]]]
    assert [answer.ids for answer in sampler.sample([Ask([7])])[0]] == [[5]]


def test_a_shared_prompt_counts_for_each_answer() -> None:
    class Example:
        branches = (4, 6)

        def __len__(self) -> int:
            return 9

    assert whole_lengths(Example()) == [6, 7]


def test_tokens_are_differences_of_a_running_count() -> None:
    running = [{"num_tokens": 10.0}, {}, {"num_tokens": 35.0}, {"num_tokens": 35.0}]
    assert counted(running) == [10, 10, 25, 25]


def side(seconds: list[float], tokens: list[int], *, cpu: float = 1.0) -> dict[str, Any]:
    return {
        "seconds": seconds, "cpu": [cpu * value for value in seconds], "tokens": tokens, "flops": [], "peak": 0,
    }  # fmt: skip


def test_only_timed_updates_count() -> None:
    one = side([9.0, 1.0, 2.0, 1.0], [5, 100, 200, 300])
    assert rate(one, "tokens", "wall", 1) == 150.0
    assert rate(one, "tokens", "cpu", 3) == 300.0
    assert share(side([9.0, 1.0], [1, 1], cpu=0.5), 1) == 0.5
    assert [clock_of(least) for least in (0.94, 0.95)] == ["cpu", "wall"]


def test_ratios_are_of_medians_from_the_first_timed_update_on(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell(
        "sft-lora-15m-alpaca", ("material",), "", 16, {"objective": "sft"},
        {"default": Side("peer", {}, 3), "ours": Side("ours", {}, 3), "ours_cached": Side("ours", {}, 3, first=2)},
        {"vs_default": ("ours", "default"), "cached_vs_default": ("ours_cached", "default")},
    )  # fmt: skip
    told = {"default": [side([1, 1, 1], [10, 10, 10])], "ours": [side([1, 1, 1], [10, 40, 60])],
            "ours_cached": [side([1, 1, 1], [10, 40, 90])]}  # fmt: skip
    found = beside_trl.by_clock(cell, told, [{"cube": {"wall": 1.0, "cpu": 1.0}}], "wall")
    assert found["ratios"] == {"vs_default": 5.0, "cached_vs_default": 9.0}
    peaks = {"default": [{"peak": 500}], "ours": [{"peak": 150}], "ours_cached": [{"peak": 150}]}
    assert beside_trl.memory(cell, peaks, {"ours": 50, "trl": 100})["memory_above_floor"] == 0.25


def test_cells_of_a_gpu_say_in_a_sentence_that_there_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(beside_trl, "begun", lambda _: (tmp_path, {"gpu": None, "not_compared": {}}))
    monkeypatch.setattr("sys.argv", ["beside_trl.py", "--gpu"])
    assert beside_trl.main() == 2
    assert capsys.readouterr().err == (
        "These cells need an NVIDIA GPU that torch can use; there is none here, so nothing was measured.\n"
    )


def test_only_who_asks_for_a_gpu_sees_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[bool] = []

    def run(*_: Any, env: dict[str, str], **__: Any) -> Any:
        seen.append("CUDA_VISIBLE_DEVICES" not in env)
        return SimpleNamespace(returncode=0, stdout="{}", stderr="")

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("sidebyside.child.subprocess.run", run)
    monkeypatch.setattr(report, "CACHE", tmp_path)
    report.begun("work")
    child.run("ours", work=tmp_path)
    child.run("ours", work=tmp_path, gpu=True)
    assert seen == [True, False, True]


def test_a_gate_that_passed_is_remembered_and_one_that_failed_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(report, "CACHE", tmp_path)
    asked = []

    def check(measured: float) -> Any:
        return lambda: asked.append(measured) or [gate.Check("loss", measured, 1.0)]

    for measured in (2.0, 0.5, 3.0):
        report.gated("cell", check(measured), again=False)
    assert asked == [2.0, 0.5]
