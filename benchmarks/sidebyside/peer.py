"""The other side: a trainer of TRL, or transformers' own, on the same model, saved adapter and rows.

    python -m sidebyside.peer '{"material": …, "rows": …, "steps": …, "batch": …, "setting": …, "order": …,
                                "objective": "sft" | "dpo" | "classify" | "grpo", "method": "lora" | "qlora" | "full",
                                "library": "trl" | "transformers", "cached": false}'

Settings:
    default   what the library gives: TRL float32 weights, bf16 autocast and activation checkpointing; transformers
              float32 throughout, no checkpointing
    expert    bf16 weights, bf16 autocast, no checkpointing (with ``order: group_by_length`` where that is said)
    exact     float32 throughout, no checkpointing (for the equality gate)
    double    the same in float64

With ``qlora`` the base is packed by bitsandbytes as NF4, its products computed in bf16 (``exact``: in float32).
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidebyside.child import Steps
from sidebyside.ours import method_of, objective_of, rate_of

TRAINERS = {
    ("trl", "sft"): "peer_trl:sft",
    ("trl", "dpo"): "peer_trl:dpo",
    ("trl", "grpo"): "peer_trl:grpo",
    ("transformers", "sft"): "peer_plain:sft",
    ("transformers", "classify"): "peer_plain:classify",
}
"""Library and objective -> what makes the trainer of options and a setting."""


@dataclass(frozen=True)
class Setting:
    """How the other side computes."""

    weights: str
    autocast: bool
    checkpointing: bool


SETTINGS = {
    ("trl", "default"): Setting("float32", autocast=True, checkpointing=True),
    ("transformers", "default"): Setting("float32", autocast=False, checkpointing=False),
    **{(name, "expert"): Setting("bfloat16", autocast=True, checkpointing=False) for name in ("trl", "transformers")},
    ("trl", "double"): Setting("float64", autocast=False, checkpointing=False),
    **{(name, "exact"): Setting("float32", autocast=False, checkpointing=False) for name in ("trl", "transformers")},
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

    library = options.get("library", "trl")
    module, _, name = TRAINERS[library, objective_of(options)].partition(":")
    make = getattr(importlib.import_module(f"sidebyside.{module}"), name)
    trainer = make(options, SETTINGS[library, options["setting"]])
    trainer.add_callback(Watch())
    trainer.train()
    entries = [entry for entry in trainer.state.log_history if "loss" in entry]
    told.loss = [entry["loss"] for entry in entries]
    told.norm = [entry["grad_norm"] for entry in entries]
    told.tokens = counted(entries) if library == "trl" else trainer.data_collator.tokens[: options["steps"]]
    told.say()


def counted(entries: Sequence[Mapping[str, Any]]) -> list[int]:
    """Real tokens of each update from TRL's running count, which stands still where answers are gone through again."""
    found: list[int] = []
    seen = 0
    for entry in entries:
        now = int(entry.get("num_tokens", seen))
        found.append(now - seen or found[-1])
        seen = now
    return found


def base(options: dict[str, Any], setting: Setting, auto: str = "AutoModelForCausalLM") -> Any:
    """The base, packed where that is asked for; transformers' class ``auto``."""
    import torch
    import transformers

    more = {}
    if method_of(options) == "qlora":
        computed = torch.float32 if options["setting"] == "exact" else torch.bfloat16
        more["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=computed
        )
    folder = Path(options["material"]) / "model"
    return getattr(transformers, auto).from_pretrained(folder, dtype=getattr(torch, setting.weights), **more)


def adapted(model: Any, options: dict[str, Any]) -> Any:
    """``model`` with the saved adapter, or itself."""
    from peft import PeftModel

    if method_of(options) == "full":
        return model
    return PeftModel.from_pretrained(model, Path(options["material"]) / "adapter", is_trainable=True)


def tokenizer(options: dict[str, Any]) -> Any:
    """The tokenizer of the material."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(Path(options["material"]) / "model")


def rows(options: dict[str, Any]) -> Any:
    """The rows, as a dataset."""
    from datasets import load_dataset

    file = Path(options["material"]) / options["rows"]
    return load_dataset("json", data_files=str(file), cache_dir="datasets")["train"]


def common(options: dict[str, Any], setting: Setting) -> dict[str, Any]:
    """The configuration; what is not named is the library's default (AdamW fused, no weight decay, clipping at 1)."""
    import torch

    return {
        "output_dir": "trained",
        "max_steps": options["steps"],
        "per_device_train_batch_size": options["batch"],
        "learning_rate": rate_of(options),
        "lr_scheduler_type": "constant",
        "bf16": setting.autocast,
        "gradient_checkpointing": setting.checkpointing,
        "train_sampling_strategy": options.get("order", "sequential"),
        "use_cpu": not torch.cuda.is_available(),
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
