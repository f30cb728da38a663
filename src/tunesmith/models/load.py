"""Loading a base model and its tokenizer: the only importer of transformers' model classes.

A base is ``embedded`` (Seedling), a local transformers folder, or a hub id. Nothing is fetched unless the recipe names
a hub id.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.contracts.objective import TaskHead
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


def load_model(base: str, *, dtype: Any = None, trust_remote_code: bool = False, pack: str | None = None) -> Any:
    """The causal (or masked) language model of ``base`` in its stored dtype, or in ``dtype``; eval mode, on the CPU.

    With ``pack``, a name of ``quantized.KINDS``, its blocks are packed while they are read (``quantized.streamed``),
    which only a base that is ``streamable`` allows.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

    folder = folder_of(base)
    with _Told(base), _quietly():
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        masked = any(name.endswith("ForMaskedLM") for name in config.architectures or [])
        auto = AutoModelForMaskedLM if masked else AutoModelForCausalLM
        options = {"dtype": dtype or "auto", "output_loading_info": True}
        if pack is None:
            model, found = auto.from_pretrained(folder, trust_remote_code=trust_remote_code, **options)
        else:
            model, found = _packed(auto._model_mapping[type(config)], folder, config, pack, **options)
    _refuse_headless(model, set(found["missing_keys"]), base)
    return model.eval()


def streamable(base: str) -> bool:
    """Whether ``base`` can be packed while it is read: a folder of safetensors, of which nothing is packed already."""
    from tunesmith.models.stored import stored_tensors

    folder = folder_of(base)
    packed = getattr(_text_config(base), "quantization_config", None) is not None
    return not packed and Path(folder).is_dir() and stored_tensors(Path(folder)) is not None


def _packed(model_class: Any, folder: str, config: Any, pack: str, **options: Any) -> tuple[Any, Any]:
    """What ``from_pretrained`` gives for ``folder``, its blocks packed as they are read."""
    from transformers import GenerationConfig

    from tunesmith.models.quantized.streamed import PackingConfig
    from tunesmith.models.stored import stored_tensors

    tensors = stored_tensors(Path(folder))
    model, found = model_class.from_pretrained(
        None, config=config, state_dict=tensors, quantization_config=PackingConfig(pack), **options
    )
    model.config.name_or_path = model.name_or_path = folder
    if model.can_generate() and (Path(folder) / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    return model, found


def ties_head(base: str) -> bool:
    """Whether the language model of ``base`` shares its output projection with its embeddings, as its config says."""
    return bool(_text_config(base).tie_word_embeddings)


def depth(base: str) -> int | None:
    """How many blocks ``base`` has, as its config says; None where it does not say."""
    found = getattr(_text_config(base), "num_hidden_layers", None)
    return None if found is None else int(found)


def skeleton(base: str, task: TaskHead | None = None) -> Any:
    """The model of ``base`` as its config describes it, on the meta device: its modules and shapes, no weights.

    None where transformers has no such model, which loading will tell.
    """
    import torch
    import transformers

    with _Told(base), _quietly():
        config = transformers.AutoConfig.from_pretrained(folder_of(base))
        masked = any(name.endswith("ForMaskedLM") for name in config.architectures or [])
        language = "AutoModelForMaskedLM" if masked else "AutoModelForCausalLM"
        auto = getattr(transformers, language if task is None else AUTO[task.problem])
        if type(config) not in auto._model_mapping:
            return None
        with torch.device("meta"):
            return auto.from_config(config)


def positions(base: str) -> int | None:
    """How many tokens a sequence of ``base`` may have, as its config says; None where it does not say."""
    found = getattr(_text_config(base), "max_position_embeddings", None)
    return None if found is None else int(found)


def _text_config(base: str) -> Any:
    from transformers import AutoConfig

    with _Told(base):
        return AutoConfig.from_pretrained(folder_of(base)).get_text_config()


@dataclass(frozen=True)
class Loaded:
    """A model and the paths of the modules that are to be trained with any method, because they are new."""

    model: Any
    heads: list[str]


def load_task_model(base: str, task: TaskHead, *, dtype: Any = None, pack: str | None = None) -> Loaded:
    """``base`` with the output layer of ``task``; what its files lack is drawn from torch's global generator.

    ``pack`` is that of ``load_model``.
    """
    import transformers

    from tunesmith.models.task_head import new_heads

    folder = folder_of(base)
    with _Told(base), _quietly():
        config = transformers.AutoConfig.from_pretrained(folder)
        _describe(config, task)
        auto = getattr(transformers, AUTO[task.problem])
        if type(config) not in auto._model_mapping:
            raise UserError(
                f"transformers has no model of the family '{config.model_type}' for this objective",
                allowed=f"a family of {AUTO[task.problem]}",
                code="no-such-task-model",
            )
        model_class = auto._model_mapping[type(config)]
        prefix = _other_prefix(transformers, model_class, config)
        options = {
            "dtype": dtype or "auto",
            "output_loading_info": True,
            "ignore_mismatched_sizes": True,
            "key_mapping": prefix,
        }
        if pack is None:
            model, found = model_class.from_pretrained(folder, config=config, **options)
        else:
            model, found = _packed(model_class, folder, config, pack, **options)
    if prefix:
        # else saving would undo the renaming, and transformers could not load what it saved
        model._weight_conversions = None
    resized = {name for name, *_ in found["mismatched_keys"]}
    return Loaded(model.eval(), new_heads(model, set(found["missing_keys"]) | resized))


AUTO = {
    "class": "AutoModelForSequenceClassification",
    "classes": "AutoModelForSequenceClassification",
    "number": "AutoModelForSequenceClassification",
    "tasks": "AutoModelForSequenceClassification",
    "tokens": "AutoModelForTokenClassification",
    "span": "AutoModelForQuestionAnswering",
    "reward": "AutoModelForSequenceClassification",
    "embedding": "AutoModel",
}
"""Problem of a task head -> transformers' class."""
PROBLEM_TYPES = {
    "class": "single_label_classification",
    "classes": "multi_label_classification",
    "number": "regression",
    "reward": "regression",
}


def _describe(config: Any, task: TaskHead) -> None:
    """Write the task into ``config``, where whoever loads the result finds it."""
    if task.labels and task.problem != "span":
        config.num_labels = len(task.labels)
        config.id2label = dict(enumerate(task.labels))
        config.label2id = {name: number for number, name in enumerate(task.labels)}
    if task.problem in PROBLEM_TYPES:
        config.problem_type = PROBLEM_TYPES[task.problem]


def set_padding(model: Any, tokenizer: Any) -> None:
    """Name a padding token that is not the end of text, for ``model`` and ``tokenizer``.

    transformers' classifiers on decoders read the last token that is no padding: with the end of text as padding they
    would read another token than the one trained on.
    """
    config = model.config.get_text_config()
    ends = tokenizer.eos_token
    names = (tokenizer.pad_token, tokenizer.unk_token, tokenizer.bos_token)
    chosen = next((name for name in names if name is not None and name != ends), None)
    if chosen is not None:
        tokenizer.pad_token = chosen
        config.pad_token_id = tokenizer.pad_token_id


def _other_prefix(transformers: Any, model_class: Any, config: Any) -> dict[str, str]:
    """Renames what ``model_class`` calls its body where the checkpoints of its family have another name for it.

    LlamaForQuestionAnswering is such a class: without this it would start from random weights.
    """
    theirs = transformers.AutoModel._model_mapping[type(config)].base_model_prefix
    ours = model_class.base_model_prefix
    return {} if ours == theirs else {rf"^{theirs}\.": f"{ours}."}


def _refuse_headless(model: Any, missing: set[str], base: str) -> None:
    """A ``UserError`` where the output layer of a language model would be made up of random numbers."""
    inside = {id(parameter) for parameter in model.base_model.parameters()}
    if any(name in missing and id(parameter) not in inside for name, parameter in model.named_parameters()):
        raise UserError(
            f"{base} has no language-model head: it is a body for classifiers or embeddings",
            allowed="objectives with an output layer of their own: classify, regress, tokens, span",
            code="no-language-head",
        )


@contextmanager
def _quietly() -> Iterator[None]:
    """Without progress bars and load reports: what they say of missing weights is judged here."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


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
        return [str(item) for item in path.parent.iterdir() if (item / "config.json").is_file()]
    except OSError:
        return []
