"""Task heads: every family's scores are transformers' own, flat and padded; new parts are known and drawn by seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from families import tiny
from tiny_task import make_bert, tiny_task
from tunesmith.contracts.batch import Example
from tunesmith.contracts.objective import TaskHead
from tunesmith.contracts.policy import Want
from tunesmith.data.collate import labelled
from tunesmith.errors import UserError
from tunesmith.models import probe
from tunesmith.models.load import load_model, load_task_model, set_padding
from tunesmith.models.policy import CausalPolicy
from tunesmith.models.task_head import own_scores, task_view

CLASS, TOKENS, SPAN = TaskHead("class", ("a", "b", "c")), TaskHead("tokens", ("a", "b")), TaskHead("span", ("s", "e"))
LENGTHS = (13, 1, 9)


def other_encoders() -> dict[str, Any]:
    import transformers

    common = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    return {
        "roberta": transformers.RobertaForSequenceClassification(
            transformers.RobertaConfig(**common, intermediate_size=40, max_position_embeddings=60)
        ),
        "electra": transformers.ElectraForSequenceClassification(
            transformers.ElectraConfig(**common, embedding_size=32, intermediate_size=40)
        ),
        "distilbert": transformers.DistilBertForSequenceClassification(
            transformers.DistilBertConfig(vocab_size=99, dim=32, n_layers=2, n_heads=2, hidden_dim=40)
        ),
    }


@pytest.mark.parametrize("task", [CLASS, TOKENS, SPAN], ids=["class", "tokens", "span"])
@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral", "gemma2", "gpt2", "bert"])
def test_flat_scores_are_the_models_own(family: str, task: TaskHead) -> None:
    try:
        model = tiny_task(family, task)
    except ValueError:
        pytest.skip(f"transformers has no such {family}")
    assert probe.head_agrees(model).exact
    view = task_view(model)
    examples = []
    for row, length in enumerate(LENGTHS):
        marks = torch.zeros(length, dtype=torch.bool)
        marks[{"first": slice(0, 1), "last": slice(-1, None), "each": slice(None)}[view.reads]] = True
        ids = torch.arange(4, 4 + length) * (row + 2)
        examples.append(Example(ids.int().numpy(), marks.numpy(), row, labels=marks[marks].int().numpy()))
    batch = labelled(examples)
    with torch.no_grad():
        wanted = torch.cat([own_scores(model, torch.tensor(one.ids).long()) for one in examples])
        for driver in ("flat", "padded"):
            scores = CausalPolicy(model, driver)(batch, Want(logprob=False, scores=True)).scores
            assert scores.dtype == torch.float32
            assert float((scores - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())


@pytest.mark.parametrize("family", ["roberta", "electra", "distilbert"])
def test_other_encoders_heads_are_known(family: str) -> None:
    assert probe.head_agrees(other_encoders()[family].eval()).exact


def test_a_head_that_is_not_reproduced_is_refused() -> None:
    model = tiny_task("bert", CLASS)
    model.bert.pooler.activation = torch.nn.Identity()
    model.bert.pooler.register_forward_hook(lambda *_: None)
    assert probe.head_agrees(model).exact
    own = model.forward
    model.forward = lambda *args, **more: _doubled(own(*args, **more))
    with pytest.raises(UserError) as caught:
        probe.choose(model, "auto")
    assert caught.value.code == "head-not-exact"


def _doubled(outputs: Any) -> Any:
    outputs.logits = outputs.logits * 2
    return outputs


def test_new_parts_are_found_and_drawn_from_the_seed(tmp_path: Path) -> None:
    """A body has no head to load; a masked model has no pooler either; a finished classifier is trained on."""
    body = make_bert(tmp_path / "body")
    tiny("bert").save_pretrained(tmp_path / "masked")
    loaded = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        loaded.append(load_task_model(str(body), CLASS))
    assert loaded[0].heads == ["classifier"]
    weights = [one.model.classifier.weight for one in loaded]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert load_task_model(str(tmp_path / "masked"), CLASS).heads == ["bert.pooler", "classifier"]
    assert load_task_model(str(body), TOKENS).heads == ["classifier"]
    assert load_task_model(str(body), SPAN).heads == ["qa_outputs"]
    config = loaded[0].model.config
    assert config.id2label == {0: "a", 1: "b", 2: "c"}
    assert (config.label2id, config.problem_type) == ({"a": 0, "b": 1, "c": 2}, "single_label_classification")
    loaded[0].model.save_pretrained(tmp_path / "done")
    again = load_task_model(str(tmp_path / "done"), CLASS)
    assert again.heads == ["classifier"]
    assert torch.equal(again.model.classifier.weight, weights[0])


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_body_of_a_language_model_is_loaded_whatever_transformers_calls_it(tmp_path: Path, family: str) -> None:
    """LlamaForQuestionAnswering has another name for its body than every checkpoint."""
    base = tiny(family)
    base.save_pretrained(tmp_path)
    for task in (CLASS, TOKENS, SPAN):
        model = load_task_model(str(tmp_path), task).model
        pairs = zip(base.base_model.parameters(), model.base_model.parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)


def test_a_body_without_a_head_is_no_language_model(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_model(str(make_bert(tmp_path)))
    assert caught.value.code == "no-language-head"


def test_padding_is_never_the_end_of_text() -> None:
    """transformers reads the last token that is no padding; it must not step over the end of text."""
    from tiny_base import make_tokenizer

    model, tokenizer = tiny_task("llama", CLASS), make_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.unk_token = "<|pad|>"
    set_padding(model, tokenizer)
    assert model.config.pad_token_id == tokenizer.pad_token_id == 0
    assert tokenizer.eos_token_id != 0
