"""What one does with a run: load it, talk to it, merge it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tunesmith.contracts.data import Message
from tunesmith.contracts.method import Attached, Method
from tunesmith.data.choose import no_template
from tunesmith.data.ledger import JOINED
from tunesmith.errors import GateFailed, UserError, did_you_mean
from tunesmith.files import whole_folder, write_text
from tunesmith.interop.folders import stored_method
from tunesmith.methods.given import given
from tunesmith.models.load import positions
from tunesmith.models.quantized.model import dequantize_model, keep_dense
from tunesmith.models.task_head import has_task_head, is_body, new_heads, own_scores
from tunesmith.recipe import Part, Recipe
from tunesmith.recipe.schema import DataConfig
from tunesmith.run.environment import dense_room
from tunesmith.run.folder import ARTIFACTS, Run, never_began
from tunesmith.run.judge import generator
from tunesmith.run.resolve import settled
from tunesmith.run.session import Language, Session, load_base, open_session

MERGE_BOUND = 1e-4
"""Largest logit difference of a merged model, relative to the largest logit, in float32 (rounding of one addition)."""
SAVED_BOUND = {"float32": 1e-4, "bfloat16": 2e-2, "float16": 5e-3}
"""The same for the written model, whose weights are rounded to the base's stored format."""
JOINED_MARK = "ASKED_AS_TEXT.txt"
JOINED_WORDS = (
    "This model was trained on prompts and completions joined as they are, without a chat template, and has none: give "
    "it a text and it goes on. `tunesmith chat` asks it so because of this file.\n"
)
"""What a merged folder says of itself where the base's template would ask it otherwise than it was trained."""


def open_run(run: Run | str | Path, *, dtype: str | None = None, template: str | None = None) -> Session:
    """A run's model with its best checkpoint; ``dtype`` and ``template`` override those it was trained with."""
    run = (run if isinstance(run, Run) else Run.open(run)).last_stage
    recipe = run.recipe if dtype is None else settled(run.recipe, "model", dtype=dtype)
    recipe = recipe if template is None else settled(recipe, "data", template=template)
    artifact = run.artifact
    session = open_session(_self_contained(recipe, artifact), masters=False)
    session.attached.load(artifact)
    session.policy.eval()
    keep_dense(session.model, room=dense_room(session.device))
    return session


def _self_contained(recipe: Recipe, artifact: Path) -> Recipe:
    """The recipe without what a run's result no longer needs: what it was made from may be gone."""
    if artifact.name == "model":  # all weights are in it
        return settled(recipe, "model", start=None)
    method: Any = stored_method(artifact)
    if method is None:
        return recipe
    return recipe.model_copy(update={"method": Part(name=recipe.method.name, **method.model_dump())})


def open_any(
    name: str | Path, *, template: str | None = None, max_tokens: int | None = None, dtype: str | None = None
) -> Session:
    """A run folder, or a base model (folder, hub id, ``embedded``) as it is; ``template``, ``dtype`` and, for a base,
    ``max_tokens`` as in a recipe."""
    if is_run(name) or never_began(Path(name)):
        return open_run(name, template=template, dtype=dtype)
    if "/" in str(name) and Path(name).parent.is_dir() and not Path(name).exists():
        raise UserError(
            f"no run or model folder at {name}",
            allowed="a run folder, a model folder, a hub id, or 'embedded'",
            hint=did_you_mean(str(name), [str(path) for path in Path(name).parent.iterdir() if _is_model(path)]),
            code="not-a-run",
        )
    limits = [limit for limit in (max_tokens or DataConfig().max_tokens, positions(str(name))) if limit is not None]
    data = {"template": template or "auto", "max_tokens": min(limits)}
    recipe = Recipe(model={"base": str(name), "dtype": dtype or "auto"}, data=data, method=Part(name="full"))
    session = open_session(recipe, masters=False)
    session.policy.eval()
    return session


def joined_rows(run: Run) -> bool:
    """Whether most rows of a run were prompts and completions joined as they are, without a template."""
    ledger = run.read("ledger.json")
    return bool(ledger.get("notes", {}).get(JOINED, 0) * 2 > ledger.get("rows", 0))


def asked_raw(folder: Path) -> bool:
    """Whether a run, or a model merged from one, learned from rows without a chat template."""
    if is_run(folder):
        return joined_rows(Run.open(folder).last_stage)
    return (folder / JOINED_MARK).is_file()


def is_run(name: str | Path) -> bool:
    """Whether ``name`` is the folder of a run whose recipe was resolved."""
    return (Path(name) / "recipe.yaml").is_file()


def _is_model(path: Path) -> bool:
    """Whether a folder holds a model, or a run that came to one."""
    return any((path / name).exists() for name in ("config.json", *ARTIFACTS))


def load(run: Run | str | Path) -> nn.Module:
    """The transformers model of a run with what was trained on it, in eval mode."""
    session = open_run(run)
    session.policy.drive("padded")  # the flat attention would ask a plain call for its layout
    model: nn.Module = session.policy.model
    return model


def attach(model: nn.Module, method: Method | str, *, heads: Sequence[str] | None = None) -> Attached:
    """Put a method, or the one of that name, on any transformers model, for a training loop of your own.

    ``heads`` are paths of modules that are trained and stored whole beside it. Without it they are the task head of a
    classifier, a token classifier or an answer finder: what stands outside its body; ``heads=()`` leaves that frozen.
    Raises ``UserError``: ``not-a-method``, and what the method raises.
    """
    chosen = given(method)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    if heads is None:
        heads = new_heads(model, set()) if has_task_head(model) else ()
    return chosen.attach(model, heads=heads)


@dataclass(frozen=True)
class Tuned:
    """A model with its tokenizer and template; with ``raw`` it is asked without one, as in ``Chat``."""

    session: Session
    raw: bool = False

    def generate(self, text: str, *, max_new_tokens: int = 256) -> str:
        """The greedy answer to one user message."""
        refuse_task(self.session)
        ids = self.session.encoder.prompt_ids([Message("user", text)], raw=self.raw)
        (answer,) = generator(self.session, max_new_tokens=max_new_tokens).generate([ids])
        return self.session.encoder.decode(answer.ids)

    def predict(self, texts: Sequence[Any]) -> list[dict[str, Any]]:
        """Labels, numbers or answers for texts (or pairs of texts), as ``run.predict.predictions`` gives them."""
        from tunesmith.run.predict import predictions

        return predictions(self.session, texts)


def refuse_task(session: Session) -> None:
    """Raise ``UserError`` (``writes-no-text``) where the model has a task head."""
    if session.task is not None:
        raise UserError(
            f"the objective {session.recipe.objective.name} trained a model that labels texts and writes none",
            hint="`tunesmith predict RUN TEXT` asks it.",
            code="writes-no-text",
        )


class Chat:
    """A conversation with a session's model; greedy answers.

    With ``raw`` every turn stands alone and is continued as it is, without a template: so is a run asked whose rows
    were prompts and completions joined as they are.
    """

    def __init__(self, session: Session, *, system: str | None = None, raw: bool = False) -> None:
        refuse_task(session)
        if raw and system:
            raise UserError(
                "a system prompt needs a chat template, and this run was trained without one",
                hint="Put the words into the message, or name a template with --template.",
                code="no-system-prompt",
            )
        if not raw and session.encoder.template is None:
            raise no_template()
        self.session = session
        self.system = system
        self.raw = raw
        self.messages: list[Message] = [Message("system", system)] if system else []

    def again(self) -> Chat:
        """A new conversation with the same model."""
        return Chat(self.session, system=self.system, raw=self.raw)

    def say(self, text: str) -> str:
        """Add a user turn and return the answer, which becomes part of the conversation."""
        return "".join(self.stream(text))

    def stream(self, text: str) -> Iterator[str]:
        """The same, piece by piece."""
        encoder = self.session.encoder
        self.messages = [*([] if self.raw else self.messages), Message("user", text)]
        engine = generator(self.session, max_new_tokens=256)
        ids: list[int] = []
        shown = ""
        for token in engine.stream(encoder.prompt_ids(self.messages, raw=self.raw)):
            ids.append(token)
            whole = encoder.decode(ids)
            if not whole.endswith("�"):
                yield whole[len(shown) :]
                shown = whole
        self.messages.append(Message("assistant", encoder.decode(ids)))


def chat(run: Run | str | Path, *, system: str | None = None, template: str | None = None) -> Chat:
    """Open a conversation with a run, asked as its rows were, or with a base model; ``template`` as in the recipe."""
    name = run.folder if isinstance(run, Run) else run
    raw = template is None and asked_raw(Path(name))
    return Chat(open_any(name, template=template), system=system, raw=raw)


def merge(run: Run | str | Path, out: str | Path) -> dict[str, Any]:
    """Write the plain transformers model of a run into ``out``, proven equal to the adapter before and after saving."""
    run = run if isinstance(run, Run) else Run.open(run)
    folder = Path(out)
    if folder.exists() and any(folder.iterdir() if folder.is_dir() else [folder]):
        raise UserError(f"{out} is not empty", allowed="a new folder", code="folder-not-empty")
    language = Language.of(run.recipe)
    stored = load_base(run.recipe, language).model.dtype
    session = open_run(run, dtype="float32")
    session.policy.drive("padded")
    ids = _sample(session)
    with torch.no_grad():
        adapted = _outputs(session.model, ids)
        plain: Any = dequantize_model(session.attached.merge())
        merged = _outputs(plain, ids)
    difference = float((adapted - merged).abs().max() / adapted.abs().max())
    if not difference <= MERGE_BOUND:
        raise GateFailed(f"merged logits differ by {difference:.1e} (bound {MERGE_BOUND:.0e}); nothing was written")
    for name in session.parts.objective.more_heads():
        delattr(plain, f"{name}_head")  # of use in training only, and no part of a plain model
    with whole_folder(folder) as temporary:
        plain.to(stored).save_pretrained(temporary)
        joined = joined_rows(run.last_stage)
        session.tokenizer.chat_template = None if joined else session.encoder.template
        session.tokenizer.save_pretrained(temporary)
        if joined:
            write_text(temporary / JOINED_MARK, JOINED_WORDS)
        vectors = _as_embedder(session, temporary)
    with torch.no_grad():
        again = load_base(run.recipe, language, base=str(folder)).model.float()
        saved = float((_outputs(again, ids) - adapted).abs().max() / adapted.abs().max())
    dtype = str(stored).removeprefix("torch.")
    if not saved <= SAVED_BOUND[dtype]:
        raise GateFailed(
            f"the model written to {folder} differs by {saved:.1e} (bound {SAVED_BOUND[dtype]:.0e} for {dtype}); "
            "do not use it"
        )
    return {
        "out": str(folder),
        "difference": difference,
        "bound": MERGE_BOUND,
        "saved_difference": saved,
        "saved_bound": SAVED_BOUND[dtype],
        "dtype": dtype,
        **({} if vectors is None else {"vectors": vectors}),
        **({"asked": "with text as it is, without a chat template"} if joined else {}),
    }


def _as_embedder(session: Session, folder: Path) -> str | None:
    """Add what sentence-transformers needs to a folder of an embedding model; what was done, None for other models."""
    if session.task is None or session.task.problem != "embedding":
        return None
    from tunesmith.run.embedding import write_sentence_transformers

    return write_sentence_transformers(session, folder)


def _sample(session: Session) -> torch.Tensor:
    size = int(session.model.config.get_text_config().vocab_size)
    return torch.randint(0, size, (48,), generator=torch.Generator().manual_seed(0))


def _outputs(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Logits, or the scores of a task head, of one sequence as transformers makes them."""
    if has_task_head(model) or is_body(model):
        return own_scores(model, ids)
    logits: torch.Tensor = model(input_ids=ids[None]).logits.float()
    return logits
