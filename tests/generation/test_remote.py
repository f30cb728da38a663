"""The remote sampler against a server of our own: a real small model behind vLLM's dialect, on a loopback port."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from asking import prompts, spelled
from serving import BASE, Stub, served

from families import VOCABULARY, tiny
from tunesmith.contracts.sampler import Ask, Sampler, Sampling
from tunesmith.errors import UserError
from tunesmith.generation.connection import Connection
from tunesmith.generation.generator import Generator
from tunesmith.generation.remote import PROBE, RemoteSampler, Tokens
from tunesmith.interop.named import Adapters
from tunesmith.methods.lora import Lora
from tunesmith.models.policy import CausalPolicy

STOPS = list(range(2, 30))
SAMPLED = Sampling(temperature=0.8, top_k=40, top_p=0.9)


@pytest.fixture
def stub() -> Stub:
    model = tiny("llama")
    adapters = Adapters(model)
    return Stub(
        Generator(CausalPolicy(model), stop_ids=STOPS, max_new_tokens=10, decode=spelled, switch=adapters.use), adapters
    )


@pytest.fixture
def url(stub: Stub) -> Iterator[str]:
    with served(stub) as address:
        yield address


def remote(url: str, *, sleep: Callable[[float], None] = lambda _: None, **options: Any) -> RemoteSampler:
    tokens = Tokens(VOCABULARY, STOPS, options.pop("encode", None))
    return RemoteSampler(Connection(url, sleep=sleep, timeout=60), tokens=tokens, max_new_tokens=10, **options)


def code(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as told:
        call()
    return told.value.code


def mixed() -> list[Ask]:
    """Asks that differ in everything."""
    one, two, three, four = prompts(4, seed=6)
    text = f"<{Generator(CausalPolicy(tiny('llama')), stop_ids=[], max_new_tokens=3).generate([three])[0].ids[1]}>"
    return [
        Ask(one, [1, 2, 3], SAMPLED),
        Ask(two, [4], Sampling(repetition_penalty=1.4), max_new_tokens=4),
        Ask(three, [5, 6], stop=["nothing like it", text]),
        Ask(four, [7, 2**62], Sampling(temperature=1.0), min_new_tokens=6),
        Ask(four, [8], Sampling(temperature=1.0)),
    ]


def test_both_samplers_answer_alike(stub: Stub, url: str) -> None:
    here: Sampler = stub.generator
    there: Sampler = remote(url)
    asks = mixed()
    for logprobs in (False, True):
        wanted, got = here.sample(asks, logprobs=logprobs), there.sample(asks, logprobs=logprobs)
        for ask, ones, others in zip(asks, wanted, got, strict=True):
            for one, other in zip(ones, others, strict=True):
                assert (one.ids, one.stop, one.text, one.seed) == (other.ids, other.stop, other.text, other.seed)
                assert other.logprobs == (pytest.approx(one.logprobs, abs=1e-4) if logprobs else None)
                known = logprobs and (ask.plain or ask.sampling.temperature == 0)
                assert other.drawn_logprobs == (pytest.approx(one.drawn_logprobs, abs=1e-4) if known else None)
    stops = {type(answer.stop) for answers in wanted for answer in answers}
    assert stops == {int, str, type(None)}
    assert {path for path, _ in stub.seen} == {"/v1/models", "/v1/completions"}
    assert there.sample([]) == []


def test_log_probabilities_of_what_is_drawn_from(stub: Stub, url: str) -> None:
    asks = mixed()
    for ask, answers in zip(asks, remote(url, logprobs="processed").sample(asks, logprobs=True), strict=True):
        for answer in answers:
            assert answer.drawn_logprobs is not None
            assert answer.logprobs == (answer.drawn_logprobs if ask.plain else None)


def test_adapters_are_loaded_replaced_and_forgotten(stub: Stub, url: str, tmp_path: Path) -> None:
    folders = []
    for seed in (1, 2):
        trainer = Adapters(tiny("llama"))
        torch.manual_seed(seed)
        trainer.add("policy", Lora(rank=4))
        with torch.no_grad():
            for parameter in trainer.trained_parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
        folders.append(tmp_path / str(seed))
        trainer.save("policy", folders[-1])
    sampler, asks = remote(url), [Ask(prompt, adapter="policy") for prompt in prompts(3)]
    answers = []
    for folder in folders:
        sampler.load_adapter("policy", folder)
        answers.append(sampler.sample(asks))
        local = Adapters(tiny("llama"))
        local.load("policy", folder)
        policy = CausalPolicy(local.model)
        plain = Generator(policy, stop_ids=STOPS, max_new_tokens=10, decode=spelled)
        assert plain.sample([Ask(ask.prompt) for ask in asks]) == answers[-1]
    assert answers[0] != answers[1]
    sampler.unload_adapter("policy")
    assert stub.adapters is not None
    assert stub.adapters.names == ()
    assert code(lambda: sampler.unload_adapter("policy")) == "server-refused"
    stub.missing.add("/v1/load_lora_adapter")
    assert code(lambda: sampler.load_adapter("policy", folders[0])) == "no-adapter-loading"


def test_a_busy_server_is_tried_again(stub: Stub, url: str) -> None:
    pauses: list[float] = []
    stub.failures = [503, 429, 500]
    assert remote(url, sleep=pauses.append).sample([Ask([5, 6])]) == stub.generator.sample([Ask([5, 6])])
    assert pauses == [0.5, 1.0, 2.0]
    stub.failures = [503] * 5
    pauses.clear()
    assert code(lambda: remote(url, sleep=pauses.append).sample([Ask([5])])) == "server-busy"
    assert pauses == [0.5, 1.0, 2.0, 4.0]
    stub.failures = [400]
    pauses.clear()
    assert code(lambda: remote(url, sleep=pauses.append).sample([Ask([5])])) == "server-refused"
    assert pauses == []


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
        pauses: list[float] = []
        assert code(lambda: remote(address, sleep=pauses.append).sample([Ask([5])])) == "server-unreachable"
    assert len(pauses) == 4
    assert code(lambda: Connection("localhost:8000")) == "bad-server-url"


def test_a_silent_server_runs_out_of_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        connection = Connection(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.05, retries=0)
        assert code(lambda: connection.get("/v1/models")) == "server-unreachable"


def without(*names: str) -> Callable[[dict[str, Any]], None]:
    def bend(choice: dict[str, Any]) -> None:
        for name in names:
            choice.pop(name, None)

    return bend


def unnamed(choice: dict[str, Any]) -> None:
    """Ended by a stop string, but which?"""
    choice.update(finish_reason="stop", stop_reason=None, token_ids=[100], logprobs={"token_logprobs": [-1.0]})


@pytest.mark.parametrize(
    ("bend", "wanted"),
    [
        (without("logprobs"), "no-logprobs"),
        (lambda choice: choice["logprobs"]["token_logprobs"].pop(), "no-logprobs"),
        (lambda choice: choice["logprobs"]["token_logprobs"].__setitem__(0, None), "no-logprobs"),
        (without("token_ids", "logprobs"), "no-token-ids"),
        (lambda choice: choice["token_ids"].__setitem__(0, VOCABULARY), "other-tokenizer"),
        (unnamed, "no-stop-reason"),
    ],
)
def test_answers_nothing_can_be_trained_on(stub: Stub, url: str, bend: Any, wanted: str) -> None:
    stub.bend = bend
    assert code(lambda: remote(url).sample([Ask([5, 6], stop=["a", "b"])], logprobs=True)) == wanted


def test_ids_are_read_from_named_tokens_too(stub: Stub, url: str) -> None:
    stub.bend = without("token_ids")
    ((got,),) = remote(url).sample([Ask([5, 6])], logprobs=True)
    ((expected,),) = stub.generator.sample([Ask([5, 6])])
    assert (got.ids, got.stop) == (expected.ids, expected.stop)


def test_another_model_or_tokenizer_is_refused_before_anything_is_sampled(stub: Stub, url: str) -> None:
    assert code(lambda: remote(url, model="tinny").sample([Ask([5])])) == "model-not-served"
    assert code(lambda: remote(url, encode=lambda _: [1, 2]).sample([Ask([5])])) == "other-tokenizer"
    assert remote(url, model=BASE, encode=lambda _: list(PROBE.encode())).sample([Ask([5])])
    stub.missing.add("/tokenize")
    assert remote(url, encode=lambda _: [1, 2]).sample([Ask([5])])
    stub.missing.add("/v1/models")
    assert code(lambda: remote(url).sample([Ask([5])])) == "server-refused"


def test_prompts_that_cannot_be_answered(stub: Stub, url: str) -> None:
    stub.context = 20
    sampler = remote(url)
    assert code(lambda: sampler.sample([Ask([])])) == "empty-prompt"
    assert code(lambda: sampler.sample([Ask([5] * 20)])) == "prompt-too-long"
    ((answer,),) = sampler.sample([Ask([7] * 18)])
    assert len(answer.ids) <= 2
    assert stub.seen[-1][1]["max_tokens"] == 2


def test_the_key_is_sent_and_not_shown(url: str) -> None:
    connection = Connection(url, key="secret")
    assert "secret" not in repr(connection)
    headers: list[Any] = []

    class Recorder:
        def open(self, request: Any, *, timeout: float) -> Any:
            headers.append(request.headers)
            raise OSError("stop here")

    recorded = Connection(url, key="secret", retries=0, _opener=Recorder())  # type: ignore[arg-type]
    assert code(lambda: recorded.get("/v1/models")) == "server-unreachable"
    assert headers[0]["Authorization"] == "Bearer secret"
