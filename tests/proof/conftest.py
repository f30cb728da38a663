"""Cases to prove: tiny models of all families, a byte-level tokenizer with a chat template, a few conversations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.families import tiny

from tunesmith.contracts.batch import Example
from tunesmith.contracts.data import Message, Record
from tunesmith.data.chat import ChatEncoder
from tunesmith.engine.weights import Weights
from tunesmith.methods.lora import Lora
from tunesmith.models import probe
from tunesmith.models.policy import CausalPolicy
from tunesmith.objectives.sft import Sft
from tunesmith.proof.base import Case, Outcome
from tunesmith.proof.prove import prove
from tunesmith.recipe.schema import TrainConfig

TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONVERSATIONS = (
    ("Name a colour.", "Blue."),
    ("Count to three.", "One, two, three.", "Backwards now.", "Three, two, one."),
    ("What is the capital of a country that has none?", "There is no such city, because there is no such capital."),
)


def tokenizer(template: str = TEMPLATE) -> Any:
    """Bytes as tokens, plus the four special ones (ids 0 to 3: padding, start, end, and the template's two)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    specials = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*specials, *alphabet])}
    bytewise = Tokenizer(models.BPE(vocabulary, []))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    bytewise.add_special_tokens(specials)
    return PreTrainedTokenizerFast(
        tokenizer_object=bytewise, pad_token="<pad>", bos_token="<s>", eos_token="</s>", chat_template=template
    )


def records() -> dict[int, Record]:
    roles = ("user", "assistant")
    return {
        row: Record(messages=tuple(Message(roles[at % 2], text) for at, text in enumerate(turns)))
        for row, turns in enumerate(CONVERSATIONS)
    }


def examples_of(objective: Any, encoder: ChatEncoder, rows: dict[int, Record]) -> list[Example]:
    return [
        Example(np.array(one.ids, np.int32), np.array(one.trained, bool), row)
        for row, record in rows.items()
        for one in objective.encode(record, encoder)
    ]


def make_case(
    family: str = "llama",
    *,
    method: Any = None,
    dtype: torch.dtype = torch.float32,
    dropout: bool = False,
    objective: Any = None,
    driver: str | None = None,
    model: Any = None,
    template: str = TEMPLATE,
) -> Case:
    """As a session opens: probe, attach, masters, cast, bind."""
    model = tiny(family, dropout=dropout) if model is None else model
    chosen = driver or probe.choose(model, "auto").driver
    method, objective = method or Lora(rank=4, alpha=8.0), objective or Sft()
    attached = method.attach(model)
    weights = Weights(attached.groups())
    model.to(dtype)
    weights.bind()
    encoder, rows = ChatEncoder.build(tokenizer(template)), records()
    return Case(
        policy=CausalPolicy(model, chosen),
        method=method,
        attached=attached,
        weights=weights,
        objective=objective,
        encoder=encoder,
        config=TrainConfig(learning_rate=1e-2),
        examples=examples_of(objective, encoder, rows),
        records=rows,
    )


def one(case: Case, name: str) -> Outcome:
    """The outcome of one proof."""
    (outcome,) = prove(case, names=[name])
    return outcome


@pytest.fixture
def case() -> Case:
    """LoRA on a tiny Llama in float32."""
    return make_case()
