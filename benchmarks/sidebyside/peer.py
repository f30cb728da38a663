"""TRL's side: ``SFTTrainer`` or ``DPOTrainer`` on a PEFT model that starts from the same saved adapter.

    python -m sidebyside.peer '{"material": …, "rows": …, "steps": …, "batch": …, "setting": …, "order": …,
                                "objective": "sft" | "dpo", "method": "lora" | "full", "cached": false}'

Settings:
    default   float32 weights, bf16 autocast, activation checkpointing (what ``SFTConfig`` and ``DPOConfig`` give)
    expert    bf16 weights, bf16 autocast, no checkpointing (with ``order: group_by_length`` where that is said)
    exact     float32 throughout, no checkpointing (for the equality gate)

The reference of DPO is the base with its adapter switched off, asked in every update, or before the first one
(``cached``: ``precompute_ref_log_probs``). The adapter's values are set once the trainer stands: given a model that has
an adapter, TRL would take that as the reference.
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
from sidebyside.ours import method_of, objective_of, rate_of


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
    from transformers import TrainerCallback

    torch.set_num_threads(1)
    told = Steps()

    class Watch(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.wall, self.cpu = time.perf_counter(), time.process_time()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            told.seconds.append(time.perf_counter() - self.wall)
            told.cpu.append(time.process_time() - self.cpu)

    make = {"sft": sft_trainer, "dpo": dpo_trainer}[objective_of(options)]
    trainer = make(options, SETTINGS[options["setting"]])
    trainer.add_callback(Watch())
    trainer.train()
    seen = 0
    for entry in (entry for entry in trainer.state.log_history if "loss" in entry):
        told.loss.append(entry["loss"])
        told.norm.append(entry["grad_norm"])
        told.tokens.append(int(entry["num_tokens"]) - seen)
        seen = int(entry["num_tokens"])
    told.say()


def sft_trainer(options: dict[str, Any], setting: Setting) -> Any:
    """Of a PEFT model with the saved adapter, or of the base itself."""
    from peft import PeftModel
    from trl import SFTConfig, SFTTrainer

    model, tokenizer, rows = parts(options, setting)
    if method_of(options) == "lora":
        model = PeftModel.from_pretrained(model, Path(options["material"]) / "adapter", is_trainable=True)
    config = SFTConfig(assistant_only_loss=True, **common(options, setting))
    return SFTTrainer(model=model, args=config, train_dataset=rows, processing_class=tokenizer)


def dpo_trainer(options: dict[str, Any], setting: Setting) -> Any:
    """Of a base that the trainer puts a new adapter on, which is then given the saved values."""
    from peft import PeftConfig, set_peft_model_state_dict
    from safetensors.torch import load_file
    from trl import DPOConfig, DPOTrainer

    base, tokenizer, rows = parts(options, setting)
    adapter = Path(options["material"]) / "adapter"
    peft_config = PeftConfig.from_pretrained(adapter)
    peft_config.inference_mode = False
    cached = bool(options.get("cached"))
    if cached:  # no row is asked about that is not trained
        rows = rows.select(range(options["steps"] * options["batch"]))
    # lengths are a column of the rows; with the others it would be removed before the sampler reads it
    grouped = {"remove_unused_columns": False} if options["order"] == "group_by_length" else {}
    config = DPOConfig(precompute_ref_log_probs=cached, **grouped, **common(options, setting))
    trainer = DPOTrainer(
        model=base, args=config, train_dataset=rows, processing_class=tokenizer, peft_config=peft_config
    )
    set_peft_model_state_dict(trainer.model, load_file(adapter / "adapter_model.safetensors"))
    return trainer


def parts(options: dict[str, Any], setting: Setting) -> tuple[Any, Any, Any]:
    """The base, its tokenizer and the rows."""
    import torch
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    material = Path(options["material"])
    base = AutoModelForCausalLM.from_pretrained(material / "model", dtype=getattr(torch, setting.weights))
    rows = load_dataset("json", data_files=str(material / options["rows"]), cache_dir="datasets")["train"]
    return base, AutoTokenizer.from_pretrained(material / "model"), rows


def common(options: dict[str, Any], setting: Setting) -> dict[str, Any]:
    """The configuration; what is not named is TRL's default (AdamW fused, no weight decay, clipping at 1)."""
    return {
        "output_dir": "trl",
        "max_steps": options["steps"],
        "per_device_train_batch_size": options["batch"],
        "learning_rate": rate_of(options),
        "lr_scheduler_type": "constant",
        "max_length": MAX_TOKENS,
        "bf16": setting.autocast,
        "gradient_checkpointing": setting.checkpointing,
        "train_sampling_strategy": options["order"],
        "use_cpu": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
