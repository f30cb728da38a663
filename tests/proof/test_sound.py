"""Sound cases pass: every family, method, driver and dtype; and the proofs that do not apply are left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.families import configs
from tests.proof.conftest import examples_of, make_case

from tunesmith.contracts.batch import Example
from tunesmith.contracts.data import Message, Record
from tunesmith.data.chat import ChatEncoder
from tunesmith.methods.freeze import Freeze
from tunesmith.methods.full import Full
from tunesmith.methods.lora import Lora
from tunesmith.objectives.pretrain import Pretrain
from tunesmith.objectives.sft import Sft
from tunesmith.proof import TABLE
from tunesmith.proof.base import Case, Outcome
from tunesmith.proof.prove import prove

ADAPTERS_ONLY = {"identity", "merge"}
COMPARISONS_ONLY = {"margin", "sharing"}
CONVERSATIONS_ONLY = {"end-of-turn", "rendering"}


def failures(outcomes: list[Outcome]) -> list[str]:
    return [
        f"{outcome.name}: {outcome.measured} > {outcome.bound}: {outcome.why}"
        for outcome in outcomes
        if not outcome.passed
    ]


@pytest.mark.parametrize("family", sorted(configs()))
def test_every_family_with_lora(family: str) -> None:
    case = make_case(family)
    outcomes = prove(case)
    assert failures(outcomes) == []
    assert [outcome.name for outcome in outcomes] == [name for name in TABLE.entries if name not in COMPARISONS_ONLY]
    assert case.policy.driver == "flat"


@pytest.mark.parametrize("method", [Lora(rank=4, dropout=0.1, bias="all"), Full(), Freeze(top_layers=1)], ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_every_method_in_both_dtypes(family: str, dtype: torch.dtype, method: Any) -> None:
    case = make_case(family, method=method, dtype=dtype, dropout=True)
    outcomes = prove(case)
    assert failures(outcomes) == []
    left_out = ADAPTERS_ONLY if case.attached.artifact == "model" else set()
    assert {outcome.name for outcome in outcomes} == set(TABLE.entries) - left_out - COMPARISONS_ONLY


@pytest.mark.parametrize("method", [Lora(rank=4), Full()], ids=repr)
def test_the_padded_driver(method: Any) -> None:
    assert failures(prove(make_case("gemma2", method=method, driver="padded"))) == []


def test_checkpointed_activations() -> None:
    case = make_case(method=Lora(rank=4, dropout=0.1))
    case.policy.model.activation_checkpointing_enable({"use_reentrant": False})
    assert failures(prove(case)) == []


def test_last_answers_and_whole_conversations() -> None:
    for objective in (Sft(train_on="last-answer"), Sft(train_on="everything")):
        assert failures(prove(make_case(objective=objective))) == []


def test_a_template_that_rewrites_history() -> None:
    """Earlier answers lose what they thought, so each answer is trained in a sequence of its own."""
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.role == 'assistant' and not loop.last %}{{ m.content.split('</think>')[-1] }}"
        "{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    turns = ("Add 1 and 2.", "<think>1+2</think>3", "And 4?", "<think>3+4</think>7")
    record = Record(messages=tuple(Message("assistant" if at % 2 else "user", text) for at, text in enumerate(turns)))
    case = with_rows(make_case(template=template), {0: record})
    assert len(case.examples) == 2
    assert failures(prove(case)) == []


def test_pretraining_on_pieces_of_text() -> None:
    text = "Far far away there lived a king. " * 8
    case = with_rows(make_case(objective=Pretrain(max_piece=50)), {0: Record(text=text)})
    assert len(case.examples) > 3
    outcomes = prove(case)
    assert failures(outcomes) == []
    assert {outcome.name for outcome in outcomes} == set(TABLE.entries) - CONVERSATIONS_ONLY - COMPARISONS_ONLY


def test_prompt_and_completion_joined_as_they_are() -> None:
    messages = (Message("user", "Translate: blue ="), Message("assistant", " bleu"))
    case = with_rows(make_case(), {0: Record(messages=messages, raw_prompt=True)})
    outcomes = prove(case)
    assert failures(outcomes) == []
    assert {outcome.name for outcome in outcomes} >= CONVERSATIONS_ONLY


def test_cut_rows_are_pieces_of_what_is_rendered(case: Case) -> None:
    cut = [Example(one.ids[:85], one.trained[:85], one.row) for one in case.examples]
    assert failures(prove(replaced(case, cut))) == []


def test_rows_without_any_target_fail_one_proof_and_stop_nothing(case: Case) -> None:
    bare = [Example(one.ids, np.zeros_like(one.trained), one.row) for one in case.examples]
    outcomes = prove(replaced(case, bare))
    assert [outcome.name for outcome in outcomes if not outcome.passed] == ["targets"]


@pytest.mark.parametrize("name", ["stories260k-hf", "tinystories-656k-hf"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_real_models(name: str, dtype: torch.dtype, real_data: Path) -> None:
    from tunesmith.models.load import load_model, load_tokenizer

    folder = str(real_data / "models" / name)
    case = make_case(model=load_model(folder), dtype=dtype)
    case = with_rows(case, dict(case.records), ChatEncoder.build(load_tokenizer(folder), "plain"))
    assert failures(prove(case)) == []


def with_rows(case: Case, rows: dict[int, Record], encoder: ChatEncoder | None = None) -> Case:
    encoder = encoder or case.encoder
    return replaced(case, examples_of(case.objective, encoder, rows), records=rows, encoder=encoder)


def replaced(case: Case, examples: list[Example], **changes: Any) -> Case:
    from dataclasses import replace

    return replace(case, examples=examples, **changes)
