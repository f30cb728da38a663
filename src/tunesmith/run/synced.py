"""Sampling on a server (vLLM) that is handed the adapter as it is now, before every rollout.

The server must serve the very model that training starts from, and see the run's folder under the same path. What it
computes differs a little from the trainer (other kernels, lower precision): ``objective.off_policy`` corrects for that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from tunesmith.contracts.sampler import Answer, Ask, Sampler
from tunesmith.engine.checkpoint import values_of
from tunesmith.errors import UserError
from tunesmith.files import whole_folder
from tunesmith.generation.connection import Connection
from tunesmith.generation.remote import RemoteSampler, Tokens
from tunesmith.run.session import Session

NAME = "tunesmith"
"""What the server calls the adapter."""


class TakesAdapters(Sampler, Protocol):
    """A sampler elsewhere that reads adapters from folders."""

    def load_adapter(self, name: str, folder: str | Path) -> None:
        """Read ``folder`` as ``name``, in place of an older one."""
        ...


@dataclass(frozen=True)
class Synced:
    """Answers of ``remote`` with what ``save`` writes into ``folder`` at the time of asking."""

    remote: TakesAdapters
    save: Callable[[Path], None]
    folder: Path

    def sample(self, asks: Sequence[Ask], *, logprobs: bool = False) -> list[list[Answer]]:
        """See ``contracts.sampler.Sampler``."""
        with whole_folder(self.folder) as temporary:
            self.save(temporary)
        self.remote.load_adapter(NAME, self.folder)
        return self.remote.sample([replace(ask, adapter=NAME) for ask in asks], logprobs=logprobs)


def synced(session: Session, url: str, folder: Path) -> Synced:
    """The server at ``url``, handed the session's adapter through ``folder``.

    Raises ``UserError`` (``server-needs-adapter``) where the method trains the base itself.
    """
    attached, encoder = session.attached, session.encoder
    if attached.artifact != "adapter":
        raise UserError(
            "a server can be handed adapters while it runs, not whole models",
            got=f"method {session.recipe.method.name}",
            allowed="a method with an adapter, such as lora; or objective.server: null, which samples here",
            code="server-needs-adapter",
        )

    def save(place: Path) -> None:
        attached.save(place, values_of(session.weights))

    def encode(text: str) -> list[int]:
        ids: list[int] = session.tokenizer.encode(text, add_special_tokens=False)
        return ids

    vocabulary = int(session.model.get_input_embeddings().num_embeddings)
    tokens = Tokens(vocabulary, sorted(encoder.stop_ids()), encode)
    return Synced(RemoteSampler(Connection(url), tokens=tokens), save, folder)
