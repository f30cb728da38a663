"""The base's own text: reproducible, cached by content, and a measure of what is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from families import tiny
from tunesmith.evaluation import retention
from tunesmith.evaluation.loss import evaluate_loss
from tunesmith.evaluation.retention import base_key, forgetting, own_text
from tunesmith.models.policy import CausalPolicy
from tunesmith.objectives.pretrain import Pretrain


def tokenizer(*, bos: str | None = "<s>", words: tuple[str, ...] = ()) -> Any:
    from transformers import PreTrainedTokenizerFast

    vocabulary = ["<unk>", "<s>", "</s>", *retention.WORD_STARTS, *words]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=bos, eos_token="</s>", unk_token="<unk>")


def test_text_is_written_once_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, words = CausalPolicy(tiny("llama")), tokenizer()
    first = own_text(policy, words, cache=tmp_path, sequences=5, tokens=12)
    (file,) = tmp_path.iterdir()
    assert [example.row for example in first] == [0, 1, 2, 3, 4]
    for example in first:
        assert example.ids[0] == 1
        assert example.trained.tolist() == [False, *[True] * (len(example) - 1)]
        assert len(example) == 13 or example.ids[-1] in (1, 2)
    assert len({example.ids.tobytes() for example in first}) == 5

    file.write_text(file.read_text()[:20])  # a damaged file is written anew
    again = own_text(policy, words, cache=tmp_path, sequences=5, tokens=12)
    assert [example.ids.tolist() for example in again] == [example.ids.tolist() for example in first]

    def unneeded(*_: Any, **__: Any) -> None:
        raise AssertionError("the text was written twice")

    monkeypatch.setattr(retention, "Generator", unneeded)
    cached = own_text(policy, words, cache=tmp_path, sequences=5, tokens=12)
    assert [example.ids.tolist() for example in cached] == [example.ids.tolist() for example in first]


def test_another_seed_writes_another_text(tmp_path: Path) -> None:
    policy, words = CausalPolicy(tiny("llama")), tokenizer()
    one, two = (own_text(policy, words, cache=tmp_path, sequences=3, tokens=8, seed=seed) for seed in (0, 1))
    assert all(a.ids.tolist() != b.ids.tolist() for a, b in zip(one, two, strict=True))


def test_without_a_beginning_token_text_starts_with_words(tmp_path: Path) -> None:
    words = tokenizer(bos=None)
    texts = own_text(CausalPolicy(tiny("llama")), words, cache=tmp_path, sequences=14, tokens=4)
    starts = [words.decode([int(example.ids[0])]) for example in texts]
    assert starts == [*retention.WORD_STARTS, *retention.WORD_STARTS[:2]]
    assert not any(example.trained[0] for example in texts)


def test_the_key_is_the_content() -> None:
    key = base_key(tiny("llama"), tokenizer())
    assert base_key(tiny("llama"), tokenizer()) == key
    changed = tiny("llama")
    with torch.no_grad():
        changed.model.norm.weight[3] += 1e-6
    different = {
        key,
        base_key(changed, tokenizer()),
        base_key(tiny("llama").bfloat16(), tokenizer()),
        base_key(tiny("llama"), tokenizer(words=("new",))),
        base_key(tiny("llama"), tokenizer(bos=None)),
    }
    assert len(different) == 5


def test_own_text_costs_the_entropy_and_damage_shows_as_forgetting(tmp_path: Path) -> None:
    """Sampled at temperature 1, the mean nll of own text estimates the model's entropy at the same places."""
    model = tiny("llama")
    policy = CausalPolicy(model)
    texts = own_text(policy, tokenizer(), cache=tmp_path, sequences=60, tokens=40)
    before = evaluate_loss(policy, Pretrain(), texts, tokens_per_microbatch=4096)

    surplus = []
    for row, example in enumerate(texts):
        with torch.no_grad():
            log_p = model.base_model(torch.tensor(example.ids[None].astype(np.int64)), layout=layout(len(example)))
            log_p = model.lm_head(log_p.last_hidden_state[0, :-1]).double().log_softmax(-1)
        surplus.append(before.sums.nll[row] + (log_p.exp() * log_p).sum().item())
    # per sequence nll - entropy has mean 0; three standard errors
    assert abs(np.mean(surplus)) < 3 * np.std(surplus) / np.sqrt(len(surplus))

    assert forgetting(before, before).value == 0.0
    with torch.no_grad():
        rng = torch.Generator().manual_seed(0)
        model.lm_head.weight += 0.3 * torch.randn(model.lm_head.weight.shape, generator=rng)
    after = evaluate_loss(policy, Pretrain(), texts, tokens_per_microbatch=4096)
    lost = forgetting(before, after)
    assert lost.value == pytest.approx(after.nll.value - before.nll.value, abs=1e-9)
    assert lost.low > 0
    assert lost.high - lost.low < after.nll.high - after.nll.low


def layout(length: int) -> Any:
    from tunesmith.contracts.batch import Layout

    return Layout(torch.tensor([0, length]), (length,))


def test_a_real_base_writes_stories(real_data: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = real_data / "models/stories260k-hf"
    words = AutoTokenizer.from_pretrained(folder)
    policy = CausalPolicy(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval())
    texts = own_text(policy, words, cache=tmp_path, sequences=32, tokens=100)
    report = evaluate_loss(policy, Pretrain(), texts, tokens_per_microbatch=4096)
    # on real stories the model has 1.36 nats a token; its own samples cost its entropy, which is about the same
    assert 1.1 < report.nll.value < 1.7
    assert any(name in words.decode(texts[0].ids) for name in ("Once", "One", "Lily", "Tim", "little"))
