"""Trained vectors that stand in for words: what `prompt`, `p-tuning`, `prefix` and `p-tuning-v2` share.

    stored = start + encoder(embedding)        (or a plain table)

An encoder helps training and is dropped afterwards: what an adapter folder holds, in PEFT's form, are the vectors it
computed, one tensor ``prompt_embeddings [P, width]``. Read back, they become ``start`` and the encoder's last layer is
zero: the same numbers bit for bit, and training may go on from there. A checkpoint holds the encoder itself.

Shape legend: ``P`` virtual tokens, ``d`` width of the model, ``T`` tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tunesmith.errors import UserError
from tunesmith.methods.attachment import base_name
from tunesmith.methods.insert import Inserted, refuse_adapted
from tunesmith.models import prefixed
from tunesmith.models.load import load_tokenizer

STORED = "prompt_embeddings"


class Vectors(Inserted):
    """``forward() -> [P, width]``: a plain table, or an encoder over one."""

    start: torch.Tensor | None

    def __init__(
        self, table: torch.Tensor, encoder: nn.Module | None = None, start: torch.Tensor | None = None
    ) -> None:
        super().__init__()
        self.embedding = nn.Parameter(table)
        self.encoder = encoder
        self.register_buffer("start", start, persistent=False)

    def forward(self) -> torch.Tensor:
        """The vectors, in the dtype of the table."""
        if self.encoder is None:
            return self.embedding
        encoded: torch.Tensor = self.encoder(self.embedding)
        return encoded if self.start is None else encoded + self.start

    def named(self) -> dict[str, nn.Parameter]:
        """What is trained, by stable name."""
        if self.encoder is None:
            return {STORED: self.embedding}
        return {f"prompt_encoder.{name}": parameter for name, parameter in self.named_parameters()}

    @torch.no_grad()
    def receive(self, vectors: torch.Tensor) -> None:
        """Let ``forward`` give ``vectors`` exactly."""
        if self.encoder is None:
            self.embedding.copy_(vectors)
            return
        self.start = vectors.detach().to(self.embedding, copy=True)
        rest(self.encoder)


@torch.no_grad()
def rest(encoder: nn.Module) -> None:
    """Zero the last linear layer of ``encoder``, so that it adds nothing until it is trained."""
    last = [module for module in encoder.modules() if isinstance(module, nn.Linear)][-1]
    last.weight.zero_()
    last.bias.zero_()


def start_ids(model: Any, tokens: int, text: str) -> torch.Tensor:
    """Ids ``[tokens]`` of words to start from: those of ``text``, repeated or cut (PEFT's rule), else a sample.

    The tokenizer is that of the folder the base came from; a ``UserError`` (``no-tokenizer``) where it has none.
    """
    table = model.get_input_embeddings()
    if not text:
        return torch.randint(table.num_embeddings, (tokens,)).to(table.weight.device)
    if base_name(model) is None:
        raise UserError(
            "the start text cannot be read, because the model was not loaded from a folder with a tokenizer",
            hint="Leave `text` empty, which starts from a sample of the vocabulary.",
            code="no-tokenizer",
        )
    ids = load_tokenizer(str(base_name(model)))(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise UserError("the start text has no token", got=f"'{text}'", code="no-tokenizer")
    return torch.tensor((ids * tokens)[:tokens], device=table.weight.device)


def check_base(model: Any, tokens: int) -> None:
    """A ``UserError`` where ``model`` is of two stacks, carries a method already, or has no room for ``tokens``."""
    if getattr(model.config, "is_encoder_decoder", False):
        raise UserError(
            f"{type(model).__name__} is an encoder-decoder, which virtual tokens are not made for here",
            hint="Use `lora`.",
            code="no-prompt-here",
        )
    refuse_adapted(model)
    room = prefixed.context(model)
    if room is not None and tokens >= room:
        raise UserError(
            "the virtual tokens leave no position for text", got=tokens, allowed=f"fewer than {room}", code="no-room"
        )


def refuse_prompted(model: nn.Module) -> None:
    """A ``UserError`` (``already-attached``) where vectors already stand in ``model``."""
    if any(isinstance(module, Vectors) for module in model.modules()):
        raise UserError(
            "this model already carries virtual tokens",
            hint="Take them out first with `attached.remove()`.",
            code="already-attached",
        )
