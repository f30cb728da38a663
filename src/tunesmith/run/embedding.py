"""What one does with a run that embeds: vectors of texts, and a folder that sentence-transformers loads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.fit import fit
from tunesmith.data.store import example_of
from tunesmith.errors import UserError
from tunesmith.evaluation import embedding
from tunesmith.interop import sentence_transformers
from tunesmith.run.folder import Run
from tunesmith.run.session import Session
from tunesmith.run.use import open_run

PROBE = "A text, and nothing else."


def embed(run: Run | str | Path, texts: Sequence[str], *, dimensions: int | None = None) -> NDArray[np.float32]:
    """Vectors ``[n, d]`` of length 1 of ``texts``, by the model of ``run``; cut to ``dimensions`` where given."""
    return vectors(open_run(run), texts, dimensions=dimensions)


def vectors(session: Session, texts: Sequence[str], *, dimensions: int | None = None) -> NDArray[np.float32]:
    """The same with a session. Texts above ``data.max_tokens`` are cut; an empty text is a ``UserError``."""
    objective: Any = session.parts.objective
    if session.task is None or session.task.problem != "embedding":
        raise UserError(
            "this run has no vectors to give",
            got=f"objective {session.recipe.objective.name}",
            allowed="a run of the objective embed",
            code="no-vectors",
        )
    examples = []
    for number, text in enumerate(texts):
        if not text.strip():
            raise UserError(f"text {number + 1} is empty", code="bad-text")
        whole = [objective.together([text], session.encoder, {})]
        (one,) = fit(whole, max_tokens=session.recipe.data.max_tokens, overlong="cut").encodings
        examples.append(example_of(one, number))
    tokens = int(session.recipe.train.tokens_per_microbatch)
    found = embedding.embed(session.policy, objective, examples, tokens_per_microbatch=tokens)
    size = int(session.model.config.get_text_config().hidden_size)
    return embedding.normalised(np.concatenate([np.zeros((0, size), dtype=np.float32), *found]), dimensions)


def write_sentence_transformers(session: Session, folder: Path) -> str:
    """Make the model folder one of sentence-transformers, where that reads texts as it was trained; what was done."""
    objective: Any = session.parts.objective
    if list(session.tokenizer(PROBE)["input_ids"]) != session.encoder.framed(PROBE).ids:
        return "sentence-transformers would not add the end-of-text token that this model was trained with"
    sentence_transformers.write(
        folder,
        size=int(session.model.config.get_text_config().hidden_size),
        pooling=objective.pools(session.encoder),
        longest=session.recipe.data.max_tokens,
    )
    return "sentence-transformers loads this folder"
