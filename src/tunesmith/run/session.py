"""A recipe brought to life: model, tokenizer, method and objective in memory, ready to train, prove, judge or chat.

The order matters: load -> probe the driver on the untouched base -> attach the method -> take float32 masters -> cast
to the compute dtype -> bind masters.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tunesmith.contracts.method import Attached
from tunesmith.contracts.objective import TaskHead
from tunesmith.data.chat import ChatEncoder
from tunesmith.engine import microbatch
from tunesmith.engine.weights import Weights
from tunesmith.errors import UserError
from tunesmith.evaluation.retention import base_key, own_text
from tunesmith.events import Event, Sink, silent
from tunesmith.models import drivers, precision, probe
from tunesmith.models.checkpointing import recompute
from tunesmith.models.load import Loaded, load_model, load_task_model, load_tokenizer, set_padding
from tunesmith.models.policy import CausalPolicy
from tunesmith.models.prefixed import context
from tunesmith.models.quantized.model import Quantized, quantize_model
from tunesmith.models.task_head import add_heads
from tunesmith.models.trunk_store import Store
from tunesmith.recipe import Recipe
from tunesmith.run.environment import total_memory
from tunesmith.run.packing import reading, speaks
from tunesmith.run.resolve import Parts, parts, settled
from tunesmith.run.start import base_of, begin
from tunesmith.seed import derive


@dataclass
class Session:
    """What ``recipe`` (resolved: no ``auto`` left in model and train) stands for."""

    recipe: Recipe
    parts: Parts
    encoder: ChatEncoder
    tokenizer: Any
    policy: CausalPolicy
    attached: Attached
    weights: Weights
    device: str
    base_key: str | None = None
    """Digest of the base before anything was put on it, where text of its own is wanted."""
    start_key: str | None = None
    """Digest of the model that training starts from, where the objective compares with it."""
    may_recompute: bool = False
    """Whether activation checkpointing is off and may be switched on when memory forces it."""
    trunks: dict[int, Store] = field(default_factory=dict)
    """What is kept of frozen trunks by the number of their layers, for all sessions on one base."""

    def recompute(self) -> bool:
        """Switch activation checkpointing on, once, where the recipe leaves it to us; whether that was done."""
        if not self.may_recompute:
            return False
        self.may_recompute = False
        recompute(self.model)
        return True

    @property
    def task(self) -> TaskHead | None:
        """The output layer of the objective; None for a language model."""
        return self.parts.objective.head()

    @property
    def model(self) -> Any:
        """The transformers model inside the policy."""
        return self.policy.model


def cache_folder() -> Path:
    """Where tokens, probes and baselines are kept between runs: ``TUNESMITH_CACHE`` or the user's cache folder."""
    named = os.environ.get("TUNESMITH_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named) if named else base / "tunesmith"


def retention_cache() -> Path:
    """Where the text that bases write of their own is kept."""
    return cache_folder() / "retention"


@dataclass(frozen=True)
class Language:
    """Tokenizer and template of a recipe; cheap, because no model is loaded for it."""

    tokenizer: Any
    encoder: ChatEncoder

    @classmethod
    def of(cls, recipe: Recipe) -> Language:
        """The language of ``recipe``'s base and template."""
        tokenizer = load_tokenizer(recipe.model.base)
        encoder = ChatEncoder.build(
            tokenizer, recipe.data.template, system=recipe.data.system, new_tokens=recipe.data.new_tokens
        )
        return cls(tokenizer, encoder)


@dataclass
class Base:
    """A base in memory as it is before a method is put on it: loaded, probed, packed, not yet in the compute dtype."""

    model: Any
    language: Language
    heads: list[str]
    """Paths of output layers that are new to it."""
    adapter: Path | None
    """An earlier run's adapter that the method's own is to begin with."""
    driver: drivers.DriverName
    dtype: torch.dtype
    """What the forward pass computes in."""
    stored: torch.dtype
    """What its weights are in."""
    device: str
    base_key: str | None = None
    start_key: str | None = None


def open_session(
    recipe: Recipe, language: Language | None = None, *, emit: Sink = silent, masters: bool = True
) -> Session:
    """Load and attach everything ``recipe`` names; without ``masters`` it can be used, not trained, for less memory."""
    base = open_base(recipe, language or Language.of(recipe), emit=emit, masters=masters)
    return session_on(base, recipe, *put_on(base, recipe, masters=masters), emit=emit)


def open_base(recipe: Recipe, language: Language, *, emit: Sink = silent, masters: bool = True) -> Base:
    """Load, probe and pack the base of ``recipe``."""
    chosen = parts(recipe)
    if recipe.model.threads is not None:
        torch.set_num_threads(recipe.model.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    emit(Event("phase", 0, {"text": f"loading {recipe.model.base}"}))
    # where that is possible the base is packed as it is read; else once it was looked at as it is
    read = reading(recipe, language.tokenizer, keyed=masters, texts=retention_cache())
    loaded = load_base(recipe, language, pack=None if read is None else recipe.model.quantize)
    model = loaded.model
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    _fit_vocabulary(model, language, recipe)
    key = None
    if masters and speaks(recipe):
        key = base_key(model, language.tokenizer, without=loaded.heads) if read is None else read.key
    adapter = begin(model, recipe, heads=loaded.heads)
    start_key = None
    if masters and chosen.objective.beside:  # all weights are read for a digest: not twice where nothing was put on
        same = read.key if read is not None else key if recipe.model.start is None else None
        start_key = same or base_key(model, language.tokenizer, without=loaded.heads)
    model.to(device)
    choice = probe.choose(model, recipe.model.driver)
    if choice.why:
        emit(Event("note", 0, {"text": f"driven padded: {choice.why}"}))
    dtype = _dtype(recipe, model, device)
    if key is not None and recipe.model.quantize != "none" and read is None:
        # written before the weights are packed, so that runs on a packed and on a dense base are compared on one text
        own_text(CausalPolicy(model, choice.driver), language.tokenizer, cache=retention_cache(), key=key)
    stored = model.dtype
    if recipe.model.quantize != "none":
        _tell_packed(quantize_model(model, recipe.model.quantize) if read is None else model.packed, emit)
    return Base(model, language, loaded.heads, adapter, choice.driver, dtype, stored, device, key, start_key)


def put_on(base: Base, recipe: Recipe, *, masters: bool = True) -> tuple[Attached, Weights]:
    """Attach the method of ``recipe``, drawn by its seed; masters are of what is attached, as it is attached."""
    torch.manual_seed(derive(recipe.seed, "attach"))
    attached = parts(recipe).method.attach(base.model, heads=base.heads)
    _check_length(base.model, recipe)
    if base.adapter is not None:
        attached.load(base.adapter)
        attached.identity = False
    return attached, Weights(attached.groups() if masters else [])


def session_on(base: Base, recipe: Recipe, attached: Attached, weights: Weights, *, emit: Sink = silent) -> Session:
    """``base`` with what ``put_on`` put on it, in the compute dtype, ready."""
    model, language = base.model, base.language
    model.to(base.dtype)
    weights.bind()
    if recipe.model.checkpointing == "on":
        recompute(model)
    may_recompute = recipe.model.checkpointing == "auto"
    policy = CausalPolicy(model, base.driver)
    recipe = _resolved(recipe, model, base.dtype, base.driver, base.device)
    text = f"{base.driver} {recipe.model.dtype} on {base.device}, {weights.count:,} trained parameters"
    emit(Event("phase", 0, {"text": text}))
    return Session(
        recipe,
        parts(recipe),
        language.encoder,
        language.tokenizer,
        policy,
        attached,
        weights,
        base.device,
        base_key=base.base_key,
        start_key=base.start_key,
        may_recompute=may_recompute,
    )


def load_base(recipe: Recipe, language: Language, *, base: str | None = None, pack: str | None = None) -> Loaded:
    """The base of ``recipe`` (or the model ``base``) with the output layer its objective needs, drawn by its seed;
    packed as it is read with ``pack`` (``models.load``)."""
    objective = parts(recipe).objective
    task = objective.head()
    torch.manual_seed(derive(recipe.seed, "head"))
    if task is None:
        model = load_model(base or base_of(recipe), pack=pack)
        return Loaded(model, add_heads(model, objective.more_heads()))
    loaded = load_task_model(base or base_of(recipe), task, pack=pack)
    set_padding(loaded.model, language.tokenizer)
    return loaded


def _dtype(recipe: Recipe, model: Any, device: str) -> torch.dtype:
    """What the forward pass computes in."""
    dtype = precision.choose(recipe.model.dtype, model.dtype, device)
    if dtype == torch.float16 and device == "cpu":
        raise UserError("float16 is unusable on a CPU", allowed="float32, bfloat16", code="dtype-unusable")
    return dtype


def _resolved(recipe: Recipe, model: Any, dtype: torch.dtype, driver: str, device: str) -> Recipe:
    """The recipe without ``auto`` in model and train."""
    name, tokens = str(dtype).removeprefix("torch."), _tokens_at_once(recipe, model, device, half=dtype.itemsize < 4)
    recipe = settled(recipe, "model", dtype=name, driver=driver, threads=torch.get_num_threads())
    return settled(recipe, "train", tokens_per_microbatch=tokens)


def _tokens_at_once(recipe: Recipe, model: Any, device: str, *, half: bool) -> int:
    tokens = recipe.train.tokens_per_microbatch
    if tokens != "auto":
        return tokens
    return microbatch.tokens_for(
        model.config, longest=recipe.data.max_tokens, device=device, total_memory=total_memory(device), half=half
    )


def _tell_packed(packed: Quantized, emit: Sink) -> None:
    """Say what packing the base's linears as ``model.quantize`` says has saved."""
    text = f"{packed.weights:,} weights packed as {packed.kind}: {packed.ratio:.3f} of their bytes in bfloat16"
    emit(Event("note", 0, {"text": text}))


def _fit_vocabulary(model: Any, language: Language, recipe: Recipe) -> None:
    size = model.get_input_embeddings().num_embeddings
    needed = len(language.tokenizer)
    if needed <= size:
        return
    if not language.encoder.added_tokens:
        raise UserError(
            "the tokenizer has more tokens than the model has embedding rows",
            got=f"{needed} tokens, {size} rows",
            hint="Tokenizer and model of this base do not belong together.",
            code="vocabulary-mismatch",
        )
    if recipe.method.name != "full":
        raise UserError(
            "data.new_tokens adds embedding rows that have to be trained",
            got=f"method {recipe.method.name}, which keeps embeddings frozen",
            allowed="method full; or new_tokens: false, which spells the markers with existing tokens",
            code="new-tokens-untrained",
        )
    model.resize_token_embeddings(needed, mean_resizing=True)


def _check_length(model: Any, recipe: Recipe) -> None:
    limit = context(model)
    if limit is not None and recipe.data.max_tokens > limit:
        raise UserError(
            "data.max_tokens is longer than the positions that the model has (and the method leaves)",
            got=recipe.data.max_tokens,
            allowed=f"at most {limit} for {recipe.model.base}",
            hint=f"Set data.max_tokens={limit}.",
            code="too-long-for-model",
        )
