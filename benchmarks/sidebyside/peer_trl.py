"""TRL's trainers: ``SFTTrainer``, ``DPOTrainer`` and ``GRPOTrainer``.

The reference of DPO is the base with its adapter switched off, asked in every update, or before the first one
(``cached``: ``precompute_ref_log_probs``). Given a model that has an adapter, the trainers of DPO and GRPO would take
that as the reference: there the adapter's values are set once the trainer stands.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sidebyside import prompts
from sidebyside.material import MAX_TOKENS
from sidebyside.ours import MINI_EPOCHS, method_of
from sidebyside.peer import Setting, adapted, base, common, rows, tokenizer


def sft(options: dict[str, Any], setting: Setting) -> Any:
    """Of a PEFT model with the saved adapter, or of the base itself."""
    from trl import SFTConfig, SFTTrainer

    config = SFTConfig(assistant_only_loss=True, max_length=MAX_TOKENS, **common(options, setting))
    model = adapted(base(options, setting), options)
    trainer = SFTTrainer(model=model, args=config, train_dataset=rows(options), processing_class=tokenizer(options))
    if options["setting"] == "exact":  # on a 4-bit base the trainer has rounded the adapter to bf16
        for parameter in filter(lambda one: one.requires_grad, trainer.model.parameters()):
            parameter.data = parameter.data.float()
        return saved_values(trainer, options)
    return trainer


def dpo(options: dict[str, Any], setting: Setting) -> Any:
    """Of a base that the trainer puts a new adapter on, which is then given the saved values."""
    from trl import DPOConfig, DPOTrainer

    pairs, cached = rows(options), bool(options.get("cached"))
    if cached:  # no row is asked about that is not trained
        pairs = pairs.select(range(options["steps"] * options["batch"]))
    # lengths are a column of the rows; with the others it would be removed before the sampler reads it
    grouped = {"remove_unused_columns": False} if options["order"] == "group_by_length" else {}
    config = DPOConfig(precompute_ref_log_probs=cached, max_length=MAX_TOKENS, **grouped, **common(options, setting))
    trainer = DPOTrainer(
        model=base(options, setting), args=config, train_dataset=pairs, processing_class=tokenizer(options),
        **new_adapter(options),
    )  # fmt: skip
    return saved_values(trainer, options)


def grpo(options: dict[str, Any], setting: Setting) -> Any:
    """Groups of sampled answers, ``batch`` prompts an update; with ``recorded`` the answers are written down."""
    from trl import GRPOConfig, GRPOTrainer

    answers: list[list[int]] = []

    def reward(completions: list[Any], completion_ids: list[list[int]], **_: Any) -> list[float]:
        answers.extend(completion_ids)
        if "recorded" in options:
            Path(options["recorded"]).write_text(json.dumps(answers))
        return [prompts.reward(completion[0]["content"]) for completion in completions]

    values = common(options, setting) | {"per_device_train_batch_size": options["batch"] * prompts.ANSWERS}
    config = GRPOConfig(
        num_generations=prompts.ANSWERS, max_completion_length=prompts.NEW_TOKENS, shuffle_dataset=False,
        num_iterations=MINI_EPOCHS if "recorded" in options else 1, **values,
    )  # fmt: skip
    trainer = GRPOTrainer(
        model=base(options, setting), reward_funcs=reward, args=config, train_dataset=rows(options),
        processing_class=tokenizer(options), **new_adapter(options),
    )  # fmt: skip
    return saved_values(trainer, options)


def new_adapter(options: dict[str, Any]) -> dict[str, Any]:
    """What lets a trainer put an adapter of the saved shape on the base."""
    from peft import PeftConfig

    if method_of(options) == "full":
        return {}
    config = PeftConfig.from_pretrained(Path(options["material"]) / "adapter")
    config.inference_mode = False
    return {"peft_config": config}


def saved_values(trainer: Any, options: dict[str, Any]) -> Any:
    """``trainer`` with the saved values in its adapter."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    if method_of(options) != "full":
        file = Path(options["material"]) / "adapter" / "adapter_model.safetensors"
        set_peft_model_state_dict(trainer.model, load_file(file))
    return trainer
