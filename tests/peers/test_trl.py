"""Ten updates of TRL's SFTTrainer and of this engine on equal batches: the same losses and gradient norms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tiny_base import make_base, make_rows
from tunesmith.engine.sinks.jsonl import read
from tunesmith.recipe import Recipe
from tunesmith.run import train

pytestmark = [pytest.mark.peer, pytest.mark.slow]
STEPS, BATCH, RATE = 10, 4, 1e-3


def trl_curve(base: Path, rows: Path, folder: Path) -> list[dict[str, Any]]:
    trl = pytest.importorskip("trl", reason="needs the `peers` extra")
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    trainer = trl.SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(base),
        args=trl.SFTConfig(
            output_dir=str(folder / "trl"),
            max_steps=STEPS,
            per_device_train_batch_size=BATCH,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            max_length=128,
            assistant_only_loss=True,
            bf16=False,
            gradient_checkpointing=False,
            train_sampling_strategy="sequential",
            use_cpu=True,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=load_dataset("json", data_files=str(rows), cache_dir=str(folder / "datasets"))["train"],
        processing_class=AutoTokenizer.from_pretrained(base),
    )
    trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def own_curve(base: Path, rows: Path, folder: Path) -> list[dict[str, Any]]:
    recipe = Recipe(
        model={"base": str(base), "dtype": "float32"},
        data={"train": [{"path": str(rows)}], "validation": 0.0, "max_tokens": 128, "workers": 1},
        method="full",
        train={
            "steps": STEPS,
            "batch_size": BATCH,
            "learning_rate": RATE,
            "schedule": "constant",
            "warmup": 0,
            "shuffle": False,
        },
        evaluate={"before": False, "prompts": 0},
        retention="none",
        proofs="off",
    )
    run = train(recipe, out=folder / "run")
    return [event for event in read(run.events) if event["kind"] == "step"]


def test_the_curve_is_that_of_trl(tmp_path: Path) -> None:
    """Both divide by all answer tokens of the update; the bounds are float32 rounding grown over ten updates."""
    base, rows = make_base(tmp_path / "base"), make_rows(tmp_path / "rows.jsonl")
    theirs, ours = trl_curve(base, rows, tmp_path), own_curve(base, rows, tmp_path)
    assert len(theirs) == len(ours) == STEPS
    for own, peer in zip(ours, theirs, strict=True):
        assert own["loss"] == pytest.approx(peer["loss"], rel=1e-5)
        assert own["norm"] == pytest.approx(peer["grad_norm"], rel=1e-4)
