"""Loading a base model and its tokenizer: the only importer of transformers' model classes.

A base is ``embedded`` (Seedling), a local transformers folder, or a hub id. Nothing is fetched unless the recipe names
a hub id.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunesmith.errors import UserError, did_you_mean

EMBEDDED = "embedded"


def folder_of(base: str) -> str:
    """``embedded`` -> the shipped folder; a path is checked; anything shaped like ``owner/name`` stays a hub id."""
    if base == EMBEDDED:
        from tunesmith.models.seedling import folder

        return str(folder())
    path = Path(base).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UserError(
                f"the model folder {base} has no config.json",
                allowed="a transformers model folder, a hub id, or 'embedded'",
                hint="A folder with adapter_config.json is an adapter: name its base as model.base.",
                code="not-a-model-folder",
            )
        return str(path)
    local = path.is_absolute() or base.startswith((".", "~")) or path.parent.is_dir()
    if local or base.count("/") != 1:
        raise UserError(
            f"no model folder at {base}",
            allowed="a transformers model folder, a hub id such as owner/name, or 'embedded'",
            hint=did_you_mean(base, [EMBEDDED, *_neighbours(path)]),
            code="model-not-found",
        )
    return base


def load_model(base: str, *, dtype: Any = None, trust_remote_code: bool = False) -> Any:
    """The causal (or masked) language model of ``base`` in its stored dtype, or in ``dtype``; eval mode, on the CPU."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM
    from transformers.utils import logging

    folder = folder_of(base)
    with _Told(base):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        masked = any(name.endswith("ForMaskedLM") for name in config.architectures or [])
        auto = AutoModelForMaskedLM if masked else AutoModelForCausalLM
        logging.disable_progress_bar()
        model = auto.from_pretrained(folder, dtype=dtype or "auto", trust_remote_code=trust_remote_code)
    return model.eval()


def load_tokenizer(base: str) -> Any:
    """The tokenizer of ``base``."""
    from transformers import AutoTokenizer

    with _Told(base):
        return AutoTokenizer.from_pretrained(folder_of(base))


class _Told:
    """Turn what transformers and the hub raise about a base into a sentence."""

    def __init__(self, base: str) -> None:
        self.base = base

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        from safetensors import SafetensorError

        if isinstance(error, OSError | ValueError | SafetensorError | KeyError):
            raise UserError(
                f"cannot load the model {self.base}: {str(error).splitlines()[0][:300]}",
                allowed="a transformers model folder, a hub id, or 'embedded'",
                hint="Is the folder whole, and is this machine online if it is a hub id?",
                code="model-not-loaded",
            ) from error


def _neighbours(path: Path) -> list[str]:
    try:
        return [str(item) for item in path.parent.iterdir() if item.is_dir()]
    except OSError:
        return []
