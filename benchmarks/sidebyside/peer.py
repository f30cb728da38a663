"""TRL's side: ``SFTTrainer`` on a PEFT model that starts from the same saved adapter.

    python -m sidebyside.peer '{"material": …, "rows": …, "steps": …, "batch": …, "setting": …, "order": …}'

Settings:
    default   float32 weights, bf16 autocast, activation checkpointing (what ``SFTConfig`` gives)
    expert    bf16 weights, bf16 autocast, no checkpointing (with ``order: group_by_length``)
    exact     float32 throughout, no checkpointing (for the equality gate)
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidebyside.child import Steps
from sidebyside.material import MAX_TOKENS


@dataclass(frozen=True)
class Setting:
    """How TRL computes."""

    weights: str
    autocast: bool
    checkpointing: bool


SETTINGS = {
    "default": Setting("float32", autocast=True, checkpointing=True),
    "expert": Setting("bfloat16", autocast=True, checkpointing=False),
    "exact": Setting("float32", autocast=False, checkpointing=False),
}


def main(options: dict[str, Any]) -> None:
    """Train ``steps`` updates and say what each was."""
    import torch
    from datasets import load_dataset
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTTrainer

    torch.set_num_threads(1)
    setting, material, told = SETTINGS[options["setting"]], Path(options["material"]), Steps()

    class Watch(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.wall, self.cpu = time.perf_counter(), time.process_time()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            told.seconds.append(time.perf_counter() - self.wall)
            told.cpu.append(time.process_time() - self.cpu)

    base = AutoModelForCausalLM.from_pretrained(material / "model", dtype=getattr(torch, setting.weights))
    model = PeftModel.from_pretrained(base, material / "adapter", is_trainable=True)
    rows = load_dataset("json", data_files=str(material / options["rows"]), cache_dir="datasets")["train"]
    trainer = SFTTrainer(
        model=model,
        args=configuration(options, setting),
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(material / "model"),
        callbacks=[Watch()],
    )
    trainer.train()
    seen = 0
    for entry in (entry for entry in trainer.state.log_history if "loss" in entry):
        told.loss.append(entry["loss"])
        told.norm.append(entry["grad_norm"])
        told.tokens.append(int(entry["num_tokens"]) - seen)
        seen = int(entry["num_tokens"])
    told.say()


def configuration(options: dict[str, Any], setting: Setting) -> Any:
    """``SFTConfig``; what is not named here is TRL's default (AdamW fused, no weight decay, clipping at 1)."""
    from trl import SFTConfig

    return SFTConfig(
        output_dir="trl",
        max_steps=options["steps"],
        per_device_train_batch_size=options["batch"],
        learning_rate=2e-4,
        lr_scheduler_type="constant",
        max_length=MAX_TOKENS,
        assistant_only_loss=True,
        bf16=setting.autocast,
        gradient_checkpointing=setting.checkpointing,
        train_sampling_strategy=options["order"],
        use_cpu=True,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
