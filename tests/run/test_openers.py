"""Models for curation: what they say beside plain transformers, and what cannot be opened."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tiny_base import make_base, make_tokenizer
from tunesmith.contracts.data import Message, Record
from tunesmith.data.curate.models import Span
from tunesmith.errors import UserError
from tunesmith.run.openers import Openers, _spans


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("openers") / "base")


def chat(question: str, answer: str) -> Record:
    return Record(messages=(Message("user", question), Message("assistant", answer)))


def test_surprise_is_the_mean_of_the_answers_tokens(base: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(base).double(), AutoTokenizer.from_pretrained(base)
    rows = [chat("What is the name?", "The river is called Anna."), chat("Count", "to seven"), chat("a b c", "d")]
    found = Openers().language(str(base), 128)([*rows, Record(messages=rows[0].messages[:1])])  # type: ignore[index]
    assert found[3] is None
    for record, one in zip(rows, found, strict=False):
        question, answer = record.messages or ()
        given = tokenizer(f"<|im_start|>user\n{question.content}<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
        said = tokenizer(f"{answer.content}<|im_end|>")["input_ids"]
        assert one is not None
        assert one.tokens == len(said)
        assert one.asked == pytest.approx(nats(model, given, said), abs=0.1)  # read in bfloat16
        assert one.alone == pytest.approx(nats(model, said[:1], said[1:]), abs=0.1)  # read in bfloat16


def nats(model: torch.nn.Module, given: list[int], said: list[int]) -> float:
    with torch.no_grad():
        logits = model(torch.tensor([[*given, *said]])).logits[0, len(given) - 1 : -1]
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(said)))


def test_vectors_do_not_depend_on_what_stands_beside_them(base: Path) -> None:
    embed = Openers().encoder(str(base))
    texts = ["What is the name of the river?", "Count to seven.", "a"]
    together = embed(texts)
    assert together.shape[0] == 3
    assert (together**2).sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    for text, vector in zip(texts, together, strict=True):
        assert embed([text])[0] == pytest.approx(vector, abs=1e-4)


def test_a_model_without_the_output_layer_is_refused(base: Path) -> None:
    for opener in (Openers().classifier, Openers().tagger):
        with pytest.raises(UserError) as error:
            opener(str(base))
        assert error.value.code == "no-task-head"
    with pytest.raises(UserError):
        Openers().encoder(str(base.parent / "absent"))


def test_a_classifier_of_transformers_gives_its_labels(base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    names = {0: "fine", 1: "toxic"}
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2, id2label=names, pad_token_id=0)
    model.save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    said = Openers().classifier(str(tmp_path))(["one text", "another one that is longer"])
    assert [set(one) for one in said] == [{"fine", "toxic"}] * 2
    assert all(sum(one.values()) == pytest.approx(1.0, abs=1e-5) for one in said)


def test_neighbouring_tokens_of_one_kind_are_one_span() -> None:
    offsets = [(0, 0), (0, 3), (4, 6), (7, 9), (10, 12), (13, 15)]
    tags = ["B-PER", "B-PER", "I-PER", "B-PER", "O", "LOC"]
    assert _spans(offsets, tags) == [Span(0, 6, "PER"), Span(7, 9, "PER"), Span(13, 15, "LOC")]


def test_a_model_is_opened_once() -> None:
    models = Openers()
    seen: list[str] = []
    for _ in range(2):
        models._once("kind", "name", lambda name: seen.append(name) or SimpleNamespace())
    assert seen == ["name"]
