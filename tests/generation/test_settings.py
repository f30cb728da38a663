"""Settings of single requests, stop strings, and log-probabilities beside the trainer's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from asking import prompts, spelled

from families import tiny
from tunesmith.contracts.batch import Layout, Stream
from tunesmith.contracts.policy import Want
from tunesmith.contracts.sampler import Answer, Ask, Sampling
from tunesmith.errors import UserError
from tunesmith.generation.generator import Generator
from tunesmith.generation.sampling import distribution
from tunesmith.interop.named import Adapters
from tunesmith.methods.lora import Lora
from tunesmith.methods.prefix import PrefixTuning
from tunesmith.models.head import head_of
from tunesmith.models.policy import CausalPolicy

MIXED = (
    Sampling(),
    Sampling(temperature=0.7),
    Sampling(temperature=1.0, top_p=0.8),
    Sampling(temperature=1.3, top_k=20, repetition_penalty=1.4),
    Sampling(repetition_penalty=2.0),
)
drivers = pytest.mark.parametrize("driver", ["flat", "padded"])


def trainers(policy: CausalPolicy, asked: list[list[int]], answers: list[Answer]) -> list[list[float]]:
    """What the trainer computes for the generated tokens: all sequences packed in one stream."""
    whole = [[*prompt, *ids(answer)] for prompt, answer in zip(asked, answers, strict=True)]
    lengths = tuple(map(len, whole))
    starts = torch.tensor([0, *lengths]).cumsum(0)
    stream = Stream(
        torch.cat([torch.tensor(sequence) for sequence in whole]),
        torch.cat([torch.arange(length) for length in lengths]),
        Layout(starts, lengths),
    )
    rows = [
        torch.arange(start + len(prompt) - 1, start + length - 1)
        for start, prompt, length in zip(starts.tolist(), asked, lengths, strict=False)
    ]
    with torch.no_grad():
        hidden = policy.hidden(stream).index_select(0, torch.cat(rows))
        labels = stream.ids[torch.cat(rows) + 1]
        got = head_of(policy.model).read(hidden, labels, torch.ones(len(labels)), Want(logprob=True)).logprob
    assert got is not None
    return [part.tolist() for part in got.split([len(ids(answer)) for answer in answers])]


def ids(answer: Answer) -> list[int]:
    return [*answer.ids, answer.stop] if isinstance(answer.stop, int) else answer.ids


@pytest.mark.parametrize("family", ["llama", "gemma2", "mistral", "gpt2"])
def test_logprobs_equal_the_trainers_on_packed_sequences(family: str) -> None:
    policy, asked = CausalPolicy(tiny(family)), prompts(6, seed=4)
    generator = Generator(policy, stop_ids=list(range(2, 20)), max_new_tokens=30, batch=3)
    stopped = 0
    for sampling in MIXED:
        answers = generator.generate(asked, sampling=sampling, samples=2, logprobs=True)
        wanted = trainers(policy, [prompt for prompt in asked for _ in range(2)], answers)
        stopped += sum(answer.stopped for answer in answers)
        for answer, expected in zip(answers, wanted, strict=True):
            assert answer.logprobs == pytest.approx(expected, abs=1e-4)
    assert stopped > 5


def test_drawn_logprobs_are_those_of_what_was_drawn_from() -> None:
    policy, prompt = CausalPolicy(tiny("llama")), [5, 6, 7]
    generator = Generator(policy, stop_ids=[], max_new_tokens=6)
    for sampling in MIXED[1:4]:
        (answer,) = generator.generate([prompt], sampling=sampling, logprobs=True)
        sequence = [*prompt, *answer.ids]
        with torch.no_grad():
            layout = Layout(torch.tensor([0, len(sequence)]), (len(sequence),))
            stream = Stream(torch.tensor(sequence), torch.arange(len(sequence)), layout)
            logits = policy.logits(policy.hidden(stream)).double()
        for place, token in enumerate(answer.ids):
            row = logits[len(prompt) - 1 + place].clone()
            for seen in set(sequence[: len(prompt) + place]):
                row[seen] *= sampling.repetition_penalty if row[seen] < 0 else 1 / sampling.repetition_penalty
            expected = distribution(row[None], sampling)[0, token].log().item()
            assert answer.drawn_logprobs is not None
            assert answer.drawn_logprobs[place] == pytest.approx(expected, abs=1e-4)
    greedy, plain = (generator.generate([prompt], sampling=one, logprobs=True)[0] for one in (MIXED[0], Sampling(1.0)))
    assert greedy.drawn_logprobs == [0.0] * 6
    assert plain.drawn_logprobs == pytest.approx(plain.logprobs, abs=1e-5)
    assert greedy.logprobs != greedy.drawn_logprobs


@drivers
def test_every_request_has_its_own_settings(driver: Any) -> None:
    policy = CausalPolicy(tiny("llama"), driver)
    generator = Generator(policy, stop_ids=[2, 5], max_new_tokens=12, batch=4)
    asks = [
        Ask(prompt, [n], MIXED[n % 5], max_new_tokens=4 + n % 3, min_new_tokens=n % 2 * 3)
        for n, prompt in enumerate(prompts(9))
    ]
    together = generator.sample(asks, logprobs=True)
    for ask, answers in zip(asks, together, strict=True):
        (alone,) = generator.sample([ask], logprobs=True)
        assert [(one.ids, one.stop) for one in alone] == [(one.ids, one.stop) for one in answers]
        assert len(ids(answers[0])) <= (ask.max_new_tokens or 0)
        assert alone[0].drawn_logprobs == pytest.approx(answers[0].drawn_logprobs, abs=1e-4)


@drivers
def test_the_repetition_penalty_is_that_of_transformers(driver: Any) -> None:
    model, asked = tiny("llama"), prompts(4)
    policy = CausalPolicy(model, driver)
    sampling = Sampling(repetition_penalty=1.5)
    answers = Generator(policy, stop_ids=[], max_new_tokens=16).generate(asked, sampling=sampling)
    policy.drive("padded")
    for prompt, answer in zip(asked, answers, strict=True):
        out = model.generate(
            torch.tensor([prompt]), do_sample=False, max_new_tokens=16, repetition_penalty=1.5, eos_token_id=None,
            pad_token_id=0, attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        )  # fmt: skip
        assert answer.ids == out[0, len(prompt) :].tolist()
    assert answers != Generator(policy, stop_ids=[], max_new_tokens=16).generate(asked)


@drivers
def test_no_stop_before_the_least_number_of_tokens(driver: Any) -> None:
    policy, prompt = CausalPolicy(tiny("llama"), driver), [5, 6, 7]
    free = Generator(policy, stop_ids=[], max_new_tokens=12).generate([prompt])[0].ids
    at = max(free.index(token) for token in free[:5])  # its first place
    assert at >= 1
    generator = Generator(policy, stop_ids=[free[at]], max_new_tokens=12)
    (early,), (late,) = generator.sample([Ask(prompt), Ask(prompt, min_new_tokens=5)])
    assert (early.ids, early.stop) == (free[:at], free[at])
    assert free[at] not in late.ids[:5]
    assert late.ids[:at] == free[:at]
    assert len(late.ids) >= 5
    unhindered = Generator(policy, stop_ids=[], max_new_tokens=12, decode=spelled)
    (cut,) = unhindered.sample([Ask(prompt, stop=[f"<{free[at]}>"], min_new_tokens=6)])[0]
    assert (cut.ids, cut.stop) == (free[:6], f"<{free[at]}>")
    assert cut.text == spelled(free[:at])


@drivers
def test_stop_strings_across_tokens(driver: Any) -> None:
    policy, asked = CausalPolicy(tiny("llama"), driver), prompts(3)
    plain = [answer.ids for answer in Generator(policy, stop_ids=[], max_new_tokens=20).generate(asked)]
    generator = Generator(policy, stop_ids=[], max_new_tokens=20, decode=spelled, batch=2)
    one, two = plain[0][6], plain[0][7]
    # the stop begins in the middle of one token's text and ends in the next one's
    across = f"{one}><{str(two)[0]}"
    first = next(n for n in range(20) if across in spelled(plain[0][: n + 1]))
    asks = [
        Ask(asked[0], stop=["no such text", across]),
        Ask(asked[1]),
        Ask(asked[2], stop=[f"<{plain[2][3]}>", f"<{plain[2][3]}><{plain[2][4]}>"]),
    ]
    (cut,), (whole,), (shortest,) = generator.sample(asks, logprobs=True)
    assert (cut.ids, cut.stop, cut.stopped) == (plain[0][: first + 1], across, True)
    assert cut.text == spelled(plain[0])[: spelled(plain[0]).index(across)]
    assert cut.logprobs is not None
    assert len(cut.logprobs) == len(cut.ids)
    assert (whole.ids, whole.stop, whole.text) == (plain[1], None, spelled(plain[1]))
    assert shortest.stop == f"<{plain[2][3]}>"
    assert spelled(plain[2]).startswith(f"{shortest.text}{shortest.stop}")
    assert generator.generate(asked[:1], stop=[across])[0] == Answer(cut.ids, across, text=cut.text)


def test_a_stop_string_that_only_the_whole_text_shows_is_found_at_the_end() -> None:
    policy, prompt = CausalPolicy(tiny("llama")), [5, 6, 7]
    plain = Generator(policy, stop_ids=[], max_new_tokens=30).generate([prompt])[0].ids

    def shy(tokens: list[int]) -> str:
        return spelled(tokens) if tokens[:1] == plain[:1] else "?" * len(tokens)

    stop = f"<{plain[20]}><{plain[21]}>"
    generator = Generator(policy, stop_ids=[], max_new_tokens=30, decode=shy)
    (answer,) = generator.generate([prompt], stop=[stop], logprobs=True)
    end = next(n for n in range(31) if stop in spelled(plain[:n]))
    assert (answer.ids, answer.stop) == (plain[:end], stop)
    assert answer.text == spelled(plain[: end - 2])
    assert answer.logprobs is not None
    assert len(answer.logprobs) == end


def test_stop_strings_of_a_real_tokenizer(real_data: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = real_data / "models/stories260k-hf"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    policy = CausalPolicy(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32))
    generator = Generator(policy, stop_ids=[1, 2], max_new_tokens=80, decode=tokenizer.decode)
    prompt = [1, *tokenizer.encode("Once upon a time", add_special_tokens=False)]
    (plain,) = generator.generate([prompt])
    (answer,) = generator.generate([prompt], stop=["irl named"])
    assert plain.text is not None
    assert (answer.stop, answer.text) == ("irl named", plain.text[: plain.text.index("irl named")])
    assert plain.ids[: len(answer.ids)] == answer.ids


def test_wrong_stops_are_told() -> None:
    policy = CausalPolicy(tiny("llama"))
    with pytest.raises(UserError) as told:
        Generator(policy, stop_ids=[]).generate([[5]], stop=["x"])
    assert told.value.code == "cannot-decode"
    for wrong in ([""], "text"):
        with pytest.raises(UserError) as told:
            Generator(policy, stop_ids=[], decode=spelled).generate([[5]], stop=wrong)
        assert told.value.code == "bad-stop"


def test_requests_name_their_adapters() -> None:
    model = tiny("llama")
    adapters = Adapters(model)
    for seed, (name, method) in enumerate({"one": Lora(rank=4), "two": PrefixTuning(tokens=3, width=8)}.items()):
        torch.manual_seed(seed)
        attached = adapters.add(name, method)
        with torch.no_grad():
            for group in attached.groups():
                for parameter in group.parameters.values():
                    parameter.add_(torch.randn_like(parameter) * 0.3)
    adapters.set()
    policy, asked = CausalPolicy(model), prompts(6)
    generator = Generator(policy, stop_ids=[2, 9], max_new_tokens=10, batch=4, switch=adapters.use)
    names = [None, "one", "two", "one", None, "two"]
    asks = [Ask(prompt, [n], MIXED[1], adapter=name) for n, (prompt, name) in enumerate(zip(asked, names, strict=True))]
    together = generator.sample(asks)
    assert adapters.active == ()
    plain = Generator(policy, stop_ids=[2, 9], max_new_tokens=10)
    for ask, answers in zip(asks, together, strict=True):
        with adapters.use(*[ask.adapter] if ask.adapter else []):
            assert plain.sample([Ask(ask.prompt, ask.seeds, ask.sampling)])[0] == answers
    assert (
        len(
            {
                tuple(one.ids)
                for ask in ("one", "two", None)
                for one in generator.sample([Ask(asked[0], adapter=ask)])[0]
            }
        )
        == 3
    )


def test_an_adapter_is_off_between_answers() -> None:
    inside = []

    @contextmanager
    def switch(name: str) -> Iterator[None]:
        inside.append(name)
        try:
            yield
        finally:
            inside.pop()

    generator = Generator(CausalPolicy(tiny("llama")), stop_ids=[2], max_new_tokens=4, batch=2, switch=switch)
    for _ in generator.sample_each([Ask(prompt, adapter="x") for prompt in prompts(5)]):
        assert inside == []
    with pytest.raises(UserError) as told:
        Generator(CausalPolicy(tiny("llama")), stop_ids=[2]).sample([Ask([5], adapter="x")])
    assert told.value.code == "no-adapters"
