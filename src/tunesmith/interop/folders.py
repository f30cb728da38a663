"""Adapter folders of every kind: the method that wrote one is found by its ``peft_type`` and put on a model."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from tunesmith.contracts.method import Attached, Method
from tunesmith.errors import UserError
from tunesmith.interop.peft import load_adapter
from tunesmith.interop.peft_prompts import KINDS, load_prompt
from tunesmith.methods import TABLE
from tunesmith.methods.folder import read_adapter


def stored_method(folder: Path) -> Method | None:
    """The method that wrote ``folder``, where it says so itself; None for LoRA's and prompts' folders.

    Such a method carries ``PEFT_TYPE`` and ``stored(folder, config)``; what it gives needs no file outside ``folder``.
    """
    config, _ = read_adapter(folder)
    for method in map(TABLE.load, TABLE):
        if getattr(method, "PEFT_TYPE", None) == config.get("peft_type") and hasattr(method, "stored"):
            found: Method = method.stored(folder, config)
            return found
    return None


def attach_folder(model: nn.Module, folder: Path) -> Attached:
    """Attach the adapter in ``folder`` with its own settings and values.

    Raises ``UserError``: ``not-an-adapter``, ``corrupt-adapter``, ``unsupported-adapter``, ``adapter-mismatch``.
    """
    config, _ = read_adapter(folder)
    if config.get("peft_type") in KINDS:
        return load_prompt(model, folder)
    method = stored_method(folder)
    if method is None:
        return load_adapter(model, folder)
    heads = config.get("modules_to_save") or ()
    return filled(method.attach(model, heads=heads), folder)


def filled(attached: Attached, folder: Path) -> Attached:
    """``attached`` with the values in ``folder``; where they do not fit, it leaves the model again."""
    try:
        attached.load(folder)
    except UserError:
        if hasattr(attached, "remove"):
            attached.remove()
        raise
    return attached
