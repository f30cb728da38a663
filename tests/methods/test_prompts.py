"""Prompts and prefixes: packed = padded = alone, checkpointed or not, and equal to real words put in front."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from prompting import LENGTHS, METHODS, TOKENS, ids, parameters, plain, prompted, relative, values

from families import VOCABULARY, configs, tiny
from tunesmith.errors import UserError
from tunesmith.methods.p_tuning_v2 import PTuningV2
from tunesmith.methods.prefix import PrefixTuning
from tunesmith.methods.prompt import Prompt
from tunesmith.models import drivers, probe
from tunesmith.models.policy import CausalPolicy

FAMILIES = sorted(configs())
FULL_CAUSAL = ["llama", "qwen3", "gpt2", "phi3"]
"""Decoders without windows, where a prefix can be a text's own keys and values."""
CLOSE = 1e-5
"""Relative to the largest value: float32 sums in another order over two layers, measured at most 7e-7."""
each_method = pytest.mark.parametrize("method", METHODS)
each_family = pytest.mark.parametrize("family", FAMILIES)


def driven(model: Any, driver: Any, lengths: tuple[int, ...] = LENGTHS) -> torch.Tensor:
    policy = CausalPolicy(model, driver)
    return policy.logits(policy.hidden(probe.stream_of(ids(lengths), lengths)))


@each_method
@each_family
def test_flat_is_padded_is_alone(family: str, method: str) -> None:
    with torch.no_grad():
        base = plain(tiny(family))
        model, _ = prompted(family, method)
        wanted = plain(model)
        assert relative(wanted, base) > 0.1, "the method has an effect"
        for driver in ("flat", "padded"):
            assert relative(driven(model, driver), wanted) < CLOSE, driver


@each_method
@pytest.mark.parametrize("family", ["llama", "bert", "gemma3"])
def test_a_long_stream_too(family: str, method: str) -> None:
    """Long enough to be rounded up in length, before the virtual tokens and after them."""
    lengths = (130, 1, 77, 33, 33, 33, 41)
    with torch.no_grad():
        model, _ = prompted(family, method)
        wanted = plain(model, lengths)
        assert relative(driven(model, "flat", lengths), wanted) < CLOSE


@each_family
def test_a_prompt_of_words_is_these_words(family: str) -> None:
    """The logits of x behind a prompt that holds the embeddings of w are those of x in ``w x``, run by the base."""
    model, words = tiny(family), torch.arange(40, 40 + TOKENS)
    with torch.no_grad():
        wanted = [model(input_ids=torch.cat([words, part])[None]).logits[0, TOKENS:] for part in ids().split(LENGTHS)]
        attached = METHODS["prompt"].attach(model)
        attached.vectors.embedding.copy_(model.get_input_embeddings()(words))
        assert relative(plain(model), torch.cat(wanted)) < CLOSE
        assert relative(driven(model, "flat"), torch.cat(wanted)) < CLOSE


@pytest.mark.parametrize("method", [PTuningV2(tokens=TOKENS), PrefixTuning(tokens=TOKENS)], ids=["v2", "prefix"])
@pytest.mark.parametrize("family", FULL_CAUSAL)
def test_a_prefix_starts_as_the_words_it_was_drawn_from(family: str, method: Any) -> None:
    """Before training, x behind the prefix has the logits of x behind the words themselves."""
    model = tiny(family)
    torch.manual_seed(5)
    words = torch.randint(VOCABULARY, (TOKENS,))
    with torch.no_grad():
        wanted = [model(input_ids=torch.cat([words, part])[None]).logits[0, TOKENS:] for part in ids().split(LENGTHS)]
        torch.manual_seed(5)
        method.attach(model)
        assert relative(plain(model), torch.cat(wanted)) < CLOSE
        assert relative(driven(model, "flat"), torch.cat(wanted)) < CLOSE


@each_method
@pytest.mark.parametrize("family", ["llama", "gemma2", "gemma3", "gpt2", "bert"])
def test_gradients_are_those_of_each_row_alone(family: str, method: str) -> None:
    """Flat, padded, and flat under activation checkpointing; relative to each parameter's largest entry."""

    def gradients(model: Any, attached: Any, logits: torch.Tensor) -> dict[str, torch.Tensor]:
        logits.log_softmax(-1).gather(1, ids()[:, None]).sum().backward()
        found = {name: p.grad.clone() for name, p in parameters(attached).items()}
        model.zero_grad()
        return found

    model, attached = prompted(family, method)
    wanted = gradients(model, attached, plain(model))
    floor = 1e-3 * max(float(gradient.abs().max()) for gradient in wanted.values())
    for way in ("flat", "padded", "checkpointed"):
        if way == "checkpointed":
            model.train()
            model.activation_checkpointing_enable({"use_reentrant": False})
        found = gradients(model, attached, driven(model, "padded" if way == "padded" else "flat"))
        for name, gradient in found.items():
            worst = float((gradient - wanted[name]).abs().max())
            assert worst / max(floor, float(wanted[name].abs().max())) < 5e-5, (way, name)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("method", ["prefix", "p-tuning-v2", "prompt"])
def test_the_base_may_run_between_a_checkpointed_pass_and_its_gradient(method: str) -> None:
    """As a reference model does: what was on the layers is there again when they are run once more."""
    model, attached = prompted("llama", method)
    model.train()
    wanted = torch.autograd.grad(driven(model, "flat").square().sum(), list(parameters(attached).values()))
    model.activation_checkpointing_enable({"use_reentrant": False})
    logits = driven(model, "flat")
    with attached.off(), torch.no_grad():
        driven(model, "flat")
    found = torch.autograd.grad(logits.square().sum(), list(parameters(attached).values()))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


@each_method
@each_family
def test_no_segment_reaches_another(family: str, method: str) -> None:
    model, _ = prompted(family, method)
    assert probe.foreign_gradient(model, CausalPolicy(model).hidden, ids(), LENGTHS) == 0.0


@each_method
@pytest.mark.parametrize("family", ["llama", "gemma2", "bert"])
def test_off_and_removed_are_the_base_bit_for_bit(family: str, method: str) -> None:
    with torch.no_grad():
        model = tiny(family)
        base, flat = plain(model), driven(tiny(family), "flat")
        _, attached = prompted(family, method, model=model)
        on = plain(model)
        with attached.off():
            assert torch.equal(plain(model), base)
        assert torch.equal(plain(model), on)
        attached.remove()
        assert torch.equal(plain(model), base)
        assert not hasattr(model.base_model, "virtual")
        attached.insert()
        assert torch.equal(plain(model), on)
        packed = driven(model, "flat")
        with attached.off():
            assert torch.equal(driven(model, "flat"), flat)
        assert torch.equal(driven(model, "flat"), packed)


@each_method
def test_several_tasks_share_one_base(method: str) -> None:
    """Two prompts attached in turn to one model give what each gives on a model of its own."""
    with torch.no_grad():
        alone = [plain(prompted("llama", method, seed=seed)[0]) for seed in (1, 2)]
        model, first = prompted("llama", method, seed=1)
        with pytest.raises(UserError) as told:
            METHODS[method].attach(model)
        assert told.value.code == "already-attached"
        first.remove()
        _, second = prompted("llama", method, model=model, seed=2)
        assert torch.equal(plain(model), alone[1])
        second.remove()
        first.insert()
        assert torch.equal(plain(model), alone[0])


@each_method
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_is_stored_gives_the_same_numbers(method: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """Bit for bit, in the dtype of the forward pass, though an encoder is stored as what it computed; and training can
    go on: the first step from the stored vectors changes them."""
    with torch.no_grad():
        model, attached = prompted("llama", method, model=tiny("llama").to(dtype))
        wanted = plain(model)
        attached.save(tmp_path, values(attached))
        fresh, again = prompted("llama", method, model=tiny("llama").to(dtype), seed=9)
        again.load(tmp_path)
        assert torch.equal(plain(fresh), wanted)
        assert torch.equal(again.vectors(), attached.vectors())
        third, restored = prompted("llama", method, model=tiny("llama").to(dtype), seed=9)
        restored.restore({name: value.clone() for name, value in again.state().items()})
        for name, parameter in parameters(restored).items():
            parameter.copy_(parameters(again)[name])
        assert torch.equal(plain(third), wanted), "state and trained values are all that a resumed run needs"
    optimizer = torch.optim.SGD(parameters(again).values(), lr=0.5)
    plain(fresh).float().square().mean().backward()
    optimizer.step()
    assert not torch.equal(again.vectors(), attached.vectors())


@each_method
def test_a_classifier_reads_the_first_real_token(method: str) -> None:
    """BERT's pooler and classifier: packed differently, padded differently, the same scores; heads are stored."""
    from transformers import BertForSequenceClassification

    torch.manual_seed(0)
    model = BertForSequenceClassification(configs()["bert"]).eval()
    attached = METHODS[method].attach(model, heads=["classifier"])
    assert {"base_model.classifier.weight", "base_model.classifier.bias"} < set(parameters(attached))
    rows = [part for part in ids().split(LENGTHS) if len(part) > 1]
    with torch.no_grad():
        alone = torch.cat([model(input_ids=row[None]).logits for row in rows])
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        types = torch.zeros_like(padded)
        together = model(input_ids=padded, attention_mask=mask, token_type_ids=types).logits
        hidden = model(input_ids=padded, attention_mask=mask, output_hidden_states=True).hidden_states
        read = model.classifier(model.bert.pooler(hidden[-1]))
    torch.testing.assert_close(together, read)
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)
    assert {tuple(state.shape) for state in hidden} == {(3, 13, 64)}


@each_method
def test_positions_that_do_not_start_at_zero(method: str) -> None:
    """RoBERTa counts from behind its padding's position."""
    from transformers import RobertaConfig, RobertaModel

    config = RobertaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
    )
    torch.manual_seed(0)
    model = RobertaModel(config).eval()
    assert probe.probe_flat(model).exact
    drivers.padded(model)
    prompted("roberta", method, model=model)
    stream = probe.stream_of(ids(), LENGTHS)
    with torch.no_grad():
        wanted = torch.cat([model(input_ids=part[None]).last_hidden_state[0] for part in ids().split(LENGTHS)])
        assert relative(drivers.padded(model)(stream), wanted) < CLOSE
        assert relative(drivers.flat(model)(stream), wanted) < CLOSE


@each_method
def test_a_model_that_calls_past_its_base(method: str) -> None:
    """OPT's head calls the decoder and not the base model around it; the method is there in every way."""
    from transformers import OPTConfig, OPTForCausalLM

    config = OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        ffn_dim=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        word_embed_proj_dim=64,
        dropout=0.0,
    )
    torch.manual_seed(0)
    model = OPTForCausalLM(config).eval()
    with torch.no_grad():
        base = plain(model)
        _, attached = prompted("opt", method, model=model)
        wanted = plain(model)
        assert relative(wanted, base) > 0.1
        for driver in ("flat", "padded"):
            assert relative(driven(model, driver), wanted) < CLOSE, driver
        with attached.off():
            assert torch.equal(plain(model), base)


def test_another_attention_function_is_noticed() -> None:
    model, attached = prompted("llama", "p-tuning-v2")
    model.set_attn_implementation("eager")
    with pytest.raises(UserError) as told:
        model(input_ids=torch.ones(1, 3, dtype=torch.long))
    assert told.value.code == "prefix-not-seen"
    with attached.off():
        model(input_ids=torch.ones(1, 3, dtype=torch.long))


@each_method
def test_what_does_not_fit_is_refused(method: str, tmp_path: Path) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    config = METHODS[method]
    with pytest.raises(UserError) as told:
        config.model_copy(update={"tokens": 256}).attach(tiny("llama"))
    assert told.value.code == "no-room"
    t5 = T5ForConditionalGeneration(T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2))
    with pytest.raises(UserError) as told:
        config.attach(t5)
    assert told.value.code == "no-prompt-here"
    _, attached = prompted("llama", method)
    with pytest.raises(UserError) as told:
        attached.merge()
    assert told.value.code == "cannot-merge"
    attached.save(tmp_path, values(attached))
    other = METHODS["prompt" if method != "prompt" else "p-tuning"].attach(tiny("llama"))
    with pytest.raises(UserError) as told:
        other.load(tmp_path)
    assert told.value.code == "adapter-mismatch"


def test_a_start_text_is_repeated_or_cut(tmp_path: Path) -> None:
    from tests.proof.conftest import tokenizer

    model = tiny("llama")
    with pytest.raises(UserError) as told:
        Prompt(text="hello").attach(model)
    assert told.value.code == "no-tokenizer"
    assert all(parameter.requires_grad for parameter in model.parameters()), "the model is left alone"
    words = tokenizer()
    words.save_pretrained(tmp_path)
    model.config.save_pretrained(tmp_path)
    model.config.name_or_path = str(tmp_path)
    spelled = words("ab", add_special_tokens=False)["input_ids"]
    assert len(spelled) == 2
    attached = Prompt(text="ab", tokens=5).attach(model)
    wanted = model.get_input_embeddings()(torch.tensor((spelled * 3)[:5]))
    assert torch.equal(attached.vectors(), wanted)
    attached.remove()
    random = Prompt(start="random", tokens=200).attach(model).vectors()
    assert float(random.detach().std()) == pytest.approx(float(model.get_input_embeddings().weight.std()), rel=0.1)


@each_method
def test_a_copied_model_has_its_own(method: str) -> None:
    """Changing the original afterwards leaves the copy alone, also when it was in the middle of training."""
    model, attached = prompted("llama", method)
    plain(model)
    with torch.no_grad():
        wanted = plain(model)
        twin = copy.deepcopy(model)
        for parameter in parameters(attached).values():
            parameter.add_(0.5)
        assert not torch.equal(plain(model), wanted)
        assert torch.equal(plain(twin), wanted)
