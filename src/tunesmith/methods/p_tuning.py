"""P-tuning: virtual tokens made by a small network (Liu et al. 2021, arXiv:2103.10385).

    p = MLP(e)   or   p = MLP(BiLSTM(e))  (equation 5)        trained: e [P, d] and the network

The network is dropped after training; what is stored are the ``P`` vectors it computed. Shapes are those of PEFT's
``PromptEncoder``.

The trap: the paper also puts virtual tokens between and after the words of a template. Here, as in PEFT, they stand in
front.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from tunesmith.methods.vectors import Vectors, check_base
from tunesmith.methods.virtual import AttachedPrompt
from tunesmith.recipe.base import PartConfig

LSTM_LAYERS = 2


class PTuning(PartConfig):
    """Trains virtual tokens through a small network that is dropped afterwards; the base stays as it is."""

    NAME: ClassVar[str] = "p-tuning"
    paper: ClassVar[str] = "https://arxiv.org/abs/2103.10385"
    use: ClassVar[str] = "As prompt, where the vectors alone train badly: an encoder relates them while training."
    usual_rate: ClassVar[float] = 1e-2

    tokens: Annotated[int, Field(gt=0)] = 20
    """How many virtual tokens; every sequence becomes longer by as many."""
    encoder: Literal["mlp", "lstm"] = "mlp"
    """The network: three linear layers, or a two-layer bidirectional LSTM and two linear layers."""
    width: Annotated[int, Field(gt=0)] | None = None
    """Inner width of the network; that of the base where not given."""

    def attach(self, model: nn.Module, *, heads: Sequence[str] = ()) -> AttachedPrompt:
        """Freeze ``model`` and put vectors in front of its inputs; drawn from torch's global generator.

        Raises ``UserError``: ``already-attached``, ``no-room``, ``no-prompt-here``.
        """
        check_base(model, self.tokens)
        words: torch.Tensor = model.get_input_embeddings().weight  # type: ignore[operator]
        size = words.shape[1]
        width = self.width or size
        network = _mlp(size, width) if self.encoder == "mlp" else _Lstm(size, width)
        vectors = Vectors(torch.randn(self.tokens, size), network).to(words.device, words.dtype)
        return PTuningVectors(model, vectors, self.encoder, width, heads=heads)


class PTuningVectors(AttachedPrompt):
    """The vectors and their network on a model."""

    PEFT = "P_TUNING"

    def __init__(self, model: nn.Module, vectors: Vectors, kind: str, width: int, *, heads: Sequence[str]) -> None:
        super().__init__(model, vectors, heads=heads)
        self._kind, self._width = kind, width

    def file_config(self) -> dict[str, Any]:
        """PEFT's further entries."""
        return super().file_config() | {
            "encoder_reparameterization_type": self._kind.upper(),
            "encoder_hidden_size": self._width,
            "encoder_num_layers": LSTM_LAYERS,
            "encoder_dropout": 0.0,
        }


def _mlp(size: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, size))


class _Lstm(nn.Module):
    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(size, width, num_layers=LSTM_LAYERS, bidirectional=True, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(2 * width, 2 * width), nn.ReLU(), nn.Linear(2 * width, size))

    def forward(self, table: torch.Tensor) -> torch.Tensor:
        """``[P, d] -> [P, d]``."""
        out: torch.Tensor = self.mlp(self.lstm(table[None])[0][0])
        return out
