"""Every option of a recipe. The docstring under a field is its help, its reference entry and its comment in ``init``.

A pluggable part (``method``, ``objective``, an add-on) is a ``Part`` here: a name and fields. The part's own config
class lives in the part's file and is built by ``run.resolve``, so reading a recipe loads no method and no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tunesmith.recipe.base import Config, PartConfig
from tunesmith.recipe.thresholds import sure, thresholds

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
NonNegative = Annotated[float, Field(ge=0.0)]


class Part(BaseModel):
    """A part chosen by ``name``; its other fields belong to the part and are checked when the recipe is resolved."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def fields(self) -> dict[str, Any]:
        """What is passed to the part's own config class."""
        return dict(self.__pydantic_extra__ or {})


class ModelConfig(Config):
    """Which pretrained model, and how it is held in memory."""

    base: str = "embedded"
    """The base model: `embedded` (Seedling, shipped with Tunesmith), a local transformers folder, or a hub id."""
    start: str | None = None
    """A run folder to go on from: its result is put on the base before this run's method; by default the base alone."""
    quantize: str = "none"
    """Weight format of the frozen base's linear layers: `none`, `int8`, `nf4`, `nf4-double` (4.13 bits a weight, the
    base of QLoRA) or `nf2-double` (2.13 bits); any adapter method stands on any of them."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the forward and backward pass. `auto` measures once which is faster on this hardware; trained
    parameters and optimizer state are float32 in either case."""
    driver: Literal["auto", "flat", "padded"] = "auto"
    """How sequences are fed: `flat` computes no padding; `auto` probes whether the model is exact when driven flat."""
    checkpointing: Literal["auto", "on", "off"] = "auto"
    """Recompute activations in the backward pass to save memory; `auto` turns it on only when memory forces it."""
    trunk_cache: Literal["off", "ram", "disk"] = "off"
    """Keep what the frozen layers below the lowest trained one give for every row, so that from the second epoch on
    they are not run: in memory, or on disk, where later runs find it. For methods that train the upper layers only."""
    trunk_cache_gib: Annotated[float, Field(gt=0.0)] = 4.0
    """The most it may take, in GiB; rows beyond that are computed in every epoch."""
    threads: Positive | None = None
    """CPU threads for torch; by default all cores that this process may use."""


class SourceConfig(Config):
    """One place rows come from; `rows.jsonl` alone is short for `{path: rows.jsonl}`."""

    path: str
    """A jsonl, json, csv, tsv, parquet or txt file, a folder of them, or a hub id."""
    format: str = "auto"
    """How rows are read (`tunesmith formats` lists them); `auto` recognises the format and says why."""
    weight: Annotated[float, Field(gt=0.0)] = 1.0
    """How often rows of this source are seen relative to the others (2.0: twice as often)."""
    split: str | None = None
    """Split of a hub data set, or of a json file that holds several, such as `train`."""
    columns: dict[str, str] = {}
    """Names of columns where they differ from the format's: `{prompt: question, completion: reply}`."""

    @model_validator(mode="before")
    @classmethod
    def _accept_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class MixingConfig(Config):
    """Proportions of several sources, by their sizes: p ~ weight * min(rows, cap)^(1/temperature)."""

    temperature: Annotated[float, Field(gt=0.0)] = 1.0
    """1 mixes sources by their sizes, 2 and more makes small ones heavier, a very large one makes all alike."""
    cap: Positive | None = None
    """Rows beyond which a source counts as no larger."""
    repeats: Annotated[float, Field(gt=0.0)] | None = None
    """Most times that a row is seen in the whole run; what a source would be seen beyond that goes to the others."""


class SplitConfig(Config):
    """What decides which rows are validation, and which rows stay on one side together."""

    near: Annotated[float, Field(ge=0.3, le=1.0)] | None = 0.8
    """Rows that are at least so much alike (Jaccard similarity of their word pairs) stay on one side (the `curate`
    extra); null for the same prompts only."""
    by: Literal["prompt", "row", "answer"] = "prompt"
    """What of two rows is compared."""
    group: str | None = None
    """A column whose rows of one value stay on one side: a user, a document."""
    stratify: str | None = None
    """`label`, or a column: of the rows of each of its values every side gets its share."""
    time: str | None = None
    """A column with times (ISO 8601) or numbers: the latest rows are validation."""
    since: str | float | None = None
    """With `time`: rows from here on are validation, whatever their share."""
    keep: str | None = None
    """A folder that `tunesmith data split` wrote: rows that stand there stay on their side."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.since is not None and self.time is None:
            raise ValueError("`since` is a value of the column `time`")
        if self.time is not None and self.stratify is not None:
            raise ValueError("`time` decides by itself which rows are validation: `stratify` cannot stand beside it")
        return self


class TagsConfig(Config):
    """Values of columns in front of what is asked, so that an answer's kind can be asked for."""

    columns: list[str]
    """The columns, such as `[tone, length]`; a row without one of them keeps no tag of it."""
    form: str = "[{column}: {value}] "
    """How a tag is written; whoever generates writes it so, too."""


class DataConfig(Config):
    """Rows, how they become tokens, and what may be lost on the way."""

    train: list[SourceConfig] = []
    """Training sources. Empty with the embedded model: its own generated instruction sets."""
    validation: Share | list[SourceConfig] = 0.1
    """A share of the training rows (split without leaks) or a list of sources."""
    split: SplitConfig | None = None
    """How validation rows are parted from training rows; by default by their prompts, `{}` keeps near duplicates
    together as well: `{stratify: label}`, `{group: user}`, `{time: date}`."""
    mixing: MixingConfig | None = None
    """How several sources are mixed; by default as they are, with the `weight` of each."""
    tags: TagsConfig | None = None
    """Control tags in front of prompts: `{columns: [tone]}`."""
    template: str = "auto"
    """Chat template: `auto` (the model's own), `chatml`, `llama-2`, `plain`, or a path to a jinja file."""
    new_tokens: bool = False
    """Whether the markers of a chosen template may be added as new tokens, whose embedding rows are then trained."""
    system: str | None = None
    """System prompt for rows that have none."""
    max_tokens: Annotated[int, Field(ge=8)] = 512
    """Longest sequence, in tokens."""
    overlong: Literal["drop", "cut", "split", "refuse"] = "drop"
    """What happens to longer rows; each is counted in the ledger."""
    max_lost: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1
    """Refuse to train when more than this share of rows is dropped (cut rows are counted apart)."""
    workers: Positive | None = None
    """Processes that tokenise; by default one a core."""


class EarlyStopping(Config):
    """Stop when a metric no longer improves."""

    metric: str = "validation_loss"
    """Name of the watched metric: `validation_loss`, `validation_perplexity`, `validation_accuracy`, or `validation_`
    and another metric of the objective. Losses, errors and divergences are better low, all others high."""
    patience: Positive = 3
    """Evaluations without improvement before stopping."""

    @property
    def higher_is_better(self) -> bool:
        """Which way the metric improves."""
        falls = ("loss", "perplexity", "error", "_kl", "unwanted_reward", "rejected_reward", "rejected_logprob")
        return not self.metric.endswith(falls)


class OrderConfig(Config):
    """Rows from easy to hard."""

    name: Literal["length", "perplexity", "column", "random"]
    """What makes a row hard: its `length` in tokens, its `perplexity` to the base, the number in a `column`; `random`
    makes none harder, so that with `pace: growing` a small part of the rows comes first and then more and more."""
    column: str | None = None
    """The column of `name: column`; small is easy."""
    pace: Literal["growing", "sorted"] = "growing"
    """`growing` draws from the easiest part, which grows until it is all rows; `sorted` orders the first epoch."""
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """With `growing`: the share of all updates after which all rows are in."""
    start: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    """With `growing`: the share of the rows that the first update draws from."""
    hard_first: bool = False
    """Whether hard rows come first instead."""

    @model_validator(mode="after")
    def _names_a_column(self) -> Self:
        if (self.name == "column") != (self.column is not None):
            raise ValueError("`column` names the column of `name: column`, and stands with no other name")
        return self


class TrainConfig(Config):
    """The optimizer's work."""

    epochs: Annotated[float, Field(gt=0.0)] = 3.0
    """Passes over the training rows."""
    steps: Positive | None = None
    """Optimizer updates; giving steps replaces epochs."""
    batch_size: Positive = 16
    """Units of the objective (sequences, pairs, prompts) in each optimizer update, whatever the hardware."""
    batch_tokens: Positive | None = None
    """Tokens in each optimizer update, in place of `batch_size` (for the objective `pretrain`)."""
    tokens_per_microbatch: Literal["auto"] | Positive = "auto"
    """Tokens computed at once. Fixed by model and hardware; changes time and memory, never the result."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 2.0e-4
    """Peak learning rate."""
    schedule: Literal["constant", "linear", "cosine", "warmup-stable-decay"] = "cosine"
    """Shape of the learning rate after warm-up."""
    warmup: Annotated[float, Field(ge=0.0)] = 0.03
    """Warm-up: a share of all updates below 1, a number of updates from 1 on."""
    optimizer: str = "adamw"
    """Name of the optimizer: `adamw`, `adam`, `sgd`, `adafactor`, or `adamw-8bit` and (on a GPU) `paged-adamw-8bit`,
    whose state takes a quarter of the memory (the `quant` extra)."""
    optimizer_state: Literal["fresh", "carry"] = "fresh"
    """With `model.start`: `carry` takes over the optimizer's state of parameters that were trained there too."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    """Decay rates of the optimizer's moment estimates."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay; never applied to biases and norms."""
    clip: NonNegative = 1.0
    """Largest gradient norm of an update; 0 switches clipping off."""
    optimizer_in_backward: bool = False
    """Step each parameter as soon as its gradient is there, so that only one gradient is in memory at a time: for
    `full` and `freeze` where memory is short. With `clip: 0`, an update in one micro-batch, and one process."""
    evaluate_every: Positive = 50
    """Updates between evaluations on the validation rows."""
    save_every: Positive = 50
    """Updates between checkpoints."""
    keep: Positive = 2
    """Last checkpoints kept, besides the best."""
    early_stopping: EarlyStopping | None = EarlyStopping()
    """When to stop early; `null` never stops early."""
    shuffle: bool = True
    """Whether every epoch sees the rows in a new order."""
    order: OrderConfig | None = None
    """A curriculum: rows from easy to hard, `{name: length}`; by default none."""


class EvaluateConfig(Config):
    """What is measured before and after training."""

    before: bool = True
    """Measure the base before training, so that gain and forgetting are known."""
    suites: list[str] = []
    """Further suite files to evaluate."""
    prompts: Annotated[int, Field(ge=0)] = 100
    """Held-out rows answered by generation for exact match and F1 (0: none)."""
    max_new_tokens: Positive = 64
    """Longest generated answer, in tokens."""
    samples: Annotated[int, Field(ge=0)] = 3
    """Held-out prompts answered in at most 32 tokens at every evaluation, to see answers change (0: none). Nothing of
    the training depends on them."""


class StageConfig(Config):
    """One stage of a recipe: what it does otherwise than the recipe says. It starts where an earlier stage ended."""

    name: str | None = None
    """Name of the stage; by default `stage-1` and so on."""
    start: str | None = None
    """Name of the earlier stage whose result it goes on from, or `base`; by default the one before. In a stage's parts
    `stage:NAME` stands for the run folder of an earlier stage: `rewards: [{name: model, path: "stage:reward"}]`."""
    method: Part | None = None
    """Another method, whole."""
    objective: Part | None = None
    """Another objective, whole."""
    addons: list[Part] | None = None
    """Other add-ons, all of them; `data: earlier` in one stands for the training rows of the stages before."""
    model: dict[str, Any] = {}
    """Options of `model` that differ."""
    data: dict[str, Any] = {}
    """Options of `data` that differ."""
    train: dict[str, Any] = {}
    """Options of `train` that differ."""
    evaluate: dict[str, Any] = {}
    """Options of `evaluate` that differ."""

    @model_validator(mode="before")
    @classmethod
    def _accept_part_objects(cls, values: Any) -> Any:
        return _with_parts(values)


class Recipe(Config):
    """A whole run: model, data, method, objective, training, evaluation."""

    name: str = "run"
    """Name of the run; its folder is `runs/<name>`, so it holds no path separator and begins with no dot."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of everything random in the run."""
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    method: Part = Part(name="lora")
    """How parameters are trained (`tunesmith methods`): `{name: lora, rank: 16, alpha: 32, targets: all-linear}`."""
    objective: Part = Part(name="sft")
    """What is minimised (`tunesmith objectives`): `{name: sft, train_on: answers}`."""
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    retention: Literal["auto", "none"] | list[str] = "auto"
    """Text that shows what is forgotten: `auto` (the base writes it from a seed), `none`, or files."""
    proofs: Literal["start", "off"] = "start"
    """Whether the proofs run at the start of training."""
    track: list[Literal["tensorboard", "wandb", "mlflow", "trackio"]] = []
    """Experiment trackers that also hear the run's events (the `track` extra)."""
    gate: dict[str, bool | float | str] = {}
    """What must hold to ship: `{task.f1: 0.6, forgetting: 0.3, suite.support.capitals: 0.8}`. A number is the least
    value, or the most where lower is better; `"<= 0.3"` says it outright. `sure: true` asks it of the interval."""
    addons: list[Part] = []
    """Additions to the objective (`tunesmith addons`): `[{name: ewc, weight: 0.1}, {name: replay, share: 0.1}]`."""
    curate: list[Part] = []
    """Steps that clean the training rows (`tunesmith data steps`), in order: `[unicode, {name: near-dedup, threshold:
    0.8}]`. They run once; the ledger says of every row what became of it."""
    stages: list[StageConfig] = []
    """Stages that each override parts of the recipe and start where the one before ended."""

    @field_validator("name")
    @classmethod
    def _names_one_folder(cls, name: str) -> str:
        if not name.strip() or name.startswith(".") or not name.isprintable() or set(name) & set("/\\"):
            raise ValueError("it must name one folder: not empty, no '/' or '\\', no dot in front")
        return name

    @field_validator("gate")
    @classmethod
    def _has_thresholds(cls, gate: dict[str, bool | float | str]) -> dict[str, bool | float | str]:
        thresholds(gate)
        sure(gate)
        return gate

    @model_validator(mode="before")
    @classmethod
    def _accept_part_objects(cls, values: Any) -> Any:
        return _with_parts(values)

    @classmethod
    def load(cls, path: str | Path, overrides: list[str] | None = None) -> Self:
        """Read a YAML (1.2) file and apply dotted overrides such as ``train.epochs=2``."""
        from tunesmith.recipe.load import load_values, validated

        return validated(cls, load_values(Path(path), overrides or []))


def _with_parts(values: Any) -> Any:
    """`Recipe(method=ts.Lora(rank=8))`: a part's own config object is as good as its name and fields."""
    if not isinstance(values, dict):
        return values
    found = {key: _as_part(value) if key in ("method", "objective") else value for key, value in values.items()}
    for key in ("addons", "curate"):
        if isinstance(found.get(key), list):
            found[key] = [_as_part(value) for value in found[key]]
    return found


def _as_part(value: Any) -> Any:
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, PartConfig):
        return {"name": type(value).part_name(), **value.model_dump(exclude_unset=True)}
    return value
