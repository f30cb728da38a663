"""Task heads: from hidden states to class scores, for the classifiers that transformers puts on its models.

The modules stay the model's own, so what is trained is a plain transformers model. Which of them there are and in what
order they run is read from the model's structure, and *verified* against its own outputs by ``probe.head_agrees``:

    a class a text     encoders: the first token through pooler, dropout, classifier (or one classification head)
                       decoders: the last token through ``score``
    a class a token    dropout, then ``classifier`` or ``score``
    an answer's place  ``qa_outputs``: a score for the start and one for the end

Shape legend: ``N`` rows read, ``T`` tokens, ``d`` hidden size, ``C`` outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from tunesmith.errors import UserError

KINDS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
Reads = Literal["first", "last", "each"]
"""Which token's hidden state is scored."""


@dataclass(frozen=True)
class TaskView:
    """How a model scores a hidden state: ``run [N, d] -> [N, C]``."""

    reads: Reads
    run: Callable[[torch.Tensor], torch.Tensor]

    def scores(self, hidden: torch.Tensor) -> torch.Tensor:
        """``[N, d] -> [N, C]`` float32, differentiable; dropout as the model's mode says."""
        return self.run(hidden).float()


def has_task_head(model: Any) -> bool:
    """Whether ``model`` is a classifier, a token classifier or an answer finder of transformers."""
    return type(model).__name__.endswith(
        ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
    )


def is_body(model: Any) -> bool:
    """Whether ``model`` has no output layer at all, so that its hidden states are what it gives."""
    return model.base_model is model


def task_view(model: Any) -> TaskView:
    """The head of ``model``; a ``UserError`` (``unknown-task-head``) where its parts are not known here."""
    name = type(model).__name__
    dropout = getattr(model, "dropout", None) or nn.Identity()
    output = getattr(model, "classifier", None) or getattr(model, "score", None)
    if name.endswith("ForQuestionAnswering") and hasattr(model, "qa_outputs"):
        return TaskView("each", lambda hidden: model.qa_outputs(dropout(hidden)))
    if name.endswith("ForTokenClassification") and output is not None:
        return TaskView("each", lambda hidden: output(dropout(hidden)))
    if name.endswith("ForSequenceClassification") and output is not None:
        return _of_a_text(model, output, dropout)
    raise UserError(
        f"the classification head of {name} is not known here",
        allowed="models whose head is a pooler, dropout and classifier, a classification head, or a score",
        code="unknown-task-head",
    )


def _of_a_text(model: Any, output: Any, dropout: Any) -> TaskView:
    if hasattr(model, "score"):
        return TaskView("last", output)
    if hasattr(output, "out_proj"):  # RoBERTa's and ELECTRA's head takes the first token of [N, T, d] itself
        return TaskView("first", lambda hidden: output(hidden[:, None]))
    if hasattr(model, "pre_classifier"):
        return TaskView("first", lambda hidden: output(dropout(torch.relu(model.pre_classifier(hidden)))))
    pooler = getattr(model.base_model, "pooler", None) or (lambda hidden: hidden[:, 0])
    return TaskView("first", lambda hidden: output(dropout(pooler(hidden[:, None]))))


def own_scores(model: Any, ids: torch.Tensor, types: torch.Tensor | None = None) -> torch.Tensor:
    """What transformers itself makes of one sequence ``ids [T]``: ``[1, C]``, or ``[T, C]`` for a score a token
    (of a body alone: its hidden states)."""
    more = {} if types is None else {"token_type_ids": types[None]}
    outputs = model(input_ids=ids[None], **more)
    if is_body(model):
        hidden: torch.Tensor = outputs.last_hidden_state[0].float()
        return hidden
    if hasattr(outputs, "start_logits"):
        return torch.stack([outputs.start_logits[0], outputs.end_logits[0]], dim=-1).float()
    logits: torch.Tensor = outputs.logits.float()
    return logits if logits.ndim == 2 else logits[0]


def add_heads(model: Any, sizes: Mapping[str, int]) -> list[str]:
    """Put linear layers on the last hidden state beside the model's own output, float32 and zero: ``value`` becomes
    ``model.value_head``. Returns their paths, for ``Method.attach(heads=…)``."""
    width = int(model.config.get_text_config().hidden_size)
    device = next(model.parameters()).device
    for name, size in sizes.items():
        linear = nn.Linear(width, size, device=device, dtype=torch.float32)
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
        model.add_module(f"{name}_head", linear)
    return [f"{name}_head" for name in sizes]


def head_output(model: Any, name: str, hidden: torch.Tensor) -> torch.Tensor:
    """``hidden [N, d] -> [N, C]`` float32 of the head ``name`` that ``add_heads`` put there, differentiable."""
    linear = getattr(model, f"{name}_head")
    dtype = next(linear.parameters()).dtype
    scores: torch.Tensor = linear(hidden.to(dtype)).float()
    return scores


def new_heads(model: Any, missing: set[str]) -> list[str]:
    """Paths of the modules to train whatever the method: all outside the body, and in it those not in the checkpoint.

    ``missing`` are names of parameters that were not loaded. Raises ``UserError`` (``model-not-loaded``) where parts
    of the body itself are missing.
    """
    if is_body(model):
        _refuse_lost([name for name in missing if not name.startswith("pooler.")])
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # it makes one vector of a text its own way; nothing here reads it
        return []
    body = next(name for name, module in model.named_modules() if module is model.base_model)
    parameters = [name for name, _ in model.named_parameters()]
    outside = [name for name, module in model.named_children() if name != body and list(module.parameters())]
    absent = [name for name in parameters if name in missing and name.startswith(f"{body}.")]
    pooler = f"{body}.pooler"
    _refuse_lost([name for name in absent if not name.startswith(f"{pooler}.")])
    return [*([pooler] if absent else []), *outside]


def _refuse_lost(names: list[str]) -> None:
    if names:
        raise UserError(
            f"{len(names)} parameters of the model are not in its folder",
            got=names[0],
            hint="Is the folder whole, and are its weights those of its config.json?",
            code="model-not-loaded",
        )
