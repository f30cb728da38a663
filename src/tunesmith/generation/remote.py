"""Sampling from a server that speaks OpenAI's completions dialect (vLLM and its kin), with the weights it holds.

Prompts go as token ids and answers come back as token ids with their log-probabilities, so that nothing is tokenised
twice. Every answer is its own request with its own seed, ``parallel`` at a time: the server batches them, and computes
a shared prompt once where it caches prefixes.

What the fields mean was read in vLLM's own description of ``/v1/completions``: ``return_token_ids`` and
``return_tokens_as_token_ids`` (either gives the ids), ``stop_reason`` (the stop token or string), ``ignore_eos`` with
``stop_token_ids`` (so that exactly our stop tokens end an answer). Its log-probabilities are the model's own ("raw")
unless the server was started with ``--logprobs-mode processed_logprobs``.

The trap: seeds make a server's answers repeatable at best on the same server under the same load. The trainer's own
log-probabilities of the same tokens tell how far it is from the server (off-policy correction).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tunesmith.contracts.sampler import Answer, Ask
from tunesmith.errors import UserError, did_you_mean
from tunesmith.generation.connection import Connection, RefusedError

PROBE = "The 12 quick foxes' naïve cœur — 你好 🙂\n\tx += 3.14;"
"""Text whose tokens must be the same here and there."""


@dataclass(frozen=True)
class Tokens:
    """What the server's tokens must be: ids below ``vocabulary``, and ``encode(text)`` without special tokens."""

    vocabulary: int
    stop_ids: Sequence[int]
    encode: Callable[[str], Sequence[int]] | None = None


class RemoteSampler:
    """A ``contracts.sampler.Sampler`` behind ``connection``: the model ``model`` of the server, or its only one.

    ``logprobs`` says which log-probabilities the server gives: of the model itself (``raw``), or of what it draws from
    (``processed``).
    """

    def __init__(
        self,
        connection: Connection,
        *,
        tokens: Tokens,
        model: str | None = None,
        max_new_tokens: int = 256,
        parallel: int = 64,
        logprobs: Literal["raw", "processed"] = "raw",
    ) -> None:
        self.connection = connection
        self.tokens = tokens
        self.max_new_tokens = max_new_tokens
        self.parallel = parallel
        self.logprobs = logprobs
        self._wanted = model
        self._served: _Served | None = None

    def sample(self, asks: Sequence[Ask], *, logprobs: bool = False) -> list[list[Answer]]:
        """See ``contracts.sampler.Sampler``. An ask's ``adapter`` must be loaded (:meth:`load_adapter`).

        Raises ``UserError``: ``empty-prompt``, ``prompt-too-long``, ``server-unreachable``, ``server-busy``,
        ``server-refused``, ``model-not-served``, ``other-tokenizer``, ``no-token-ids``, ``no-logprobs``,
        ``no-stop-reason``.
        """
        served = self._checked()
        bodies = [self._body(number, ask, served, logprobs) for number, ask in enumerate(asks)]
        jobs = [(number, seed) for number, ask in enumerate(asks) for seed in ask.seeds]
        pool = ThreadPoolExecutor(max(1, min(self.parallel, len(jobs))))
        try:
            found = list(pool.map(lambda job: self._answer(asks[job[0]], bodies[job[0]], job[1], logprobs), jobs))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        answers: list[list[Answer]] = [[] for _ in asks]
        for (number, _), answer in zip(jobs, found, strict=True):
            answers[number].append(answer)
        return answers

    def load_adapter(self, name: str, folder: str | Path) -> None:
        """Let the server read the PEFT folder ``folder`` (a path *it* sees) as ``name``, in place of an older one.

        The older one is unloaded first, so that nothing computed with it (cached prefixes) is used again. Raises
        ``UserError``: ``no-adapter-loading``, ``server-refused``, ``server-unreachable``.
        """
        if name in self._models():
            self.unload_adapter(name)
        self._adapters("load", {"lora_name": name, "lora_path": str(Path(folder).absolute())})

    def unload_adapter(self, name: str) -> None:
        """Let the server forget ``name``. Raises as :meth:`load_adapter`."""
        self._adapters("unload", {"lora_name": name})

    def _adapters(self, what: str, body: dict[str, Any]) -> None:
        path = f"/v1/{what}_lora_adapter"
        try:
            self.connection.post(path, body)
        except RefusedError as error:
            if error.status in (404, 405) and body["lora_name"] not in error.what:
                raise UserError(
                    f"the server cannot {what} adapters while it runs: {error.what}",
                    hint="Start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 in its environment.",
                    code="no-adapter-loading",
                ) from error
            raise

    def _models(self) -> dict[str, dict[str, Any]]:
        found = self.connection.get("/v1/models")
        try:
            return {str(card["id"]): card for card in found["data"]}
        except (TypeError, KeyError) as error:
            raise UserError(
                f"the server at {self.connection.url} does not speak OpenAI's dialect",
                got=str(found)[:100],
                allowed="a list of models at /v1/models",
                code="not-openai",
            ) from error

    def _checked(self) -> _Served:
        """What is served, looked at once: the model, its context, its tokenizer."""
        if self._served is None:
            models = self._models()
            bases = [name for name, card in models.items() if not card.get("parent")]
            name = self._wanted or (bases[0] if len(bases) == 1 else "")
            if name not in models:
                raise UserError(
                    "the server does not serve this model",
                    got=self._wanted or "no name",
                    allowed=list(models),
                    hint=did_you_mean(name, models),
                    code="model-not-served",
                )
            self._same_tokens(name)
            context = models[name].get("max_model_len")
            self._served = _Served(name, int(context) if context else None)
        return self._served

    def _same_tokens(self, model: str) -> None:
        """Tokenise ``PROBE`` here and there, where there is a way to ask (vLLM's ``/tokenize``)."""
        if self.tokens.encode is None:
            return
        try:
            found = self.connection.post("/tokenize", {"model": model, "prompt": PROBE, "add_special_tokens": False})
        except RefusedError as error:
            if error.status in (404, 405):
                return
            raise
        theirs = found.get("tokens") if isinstance(found, dict) else None
        if theirs != list(self.tokens.encode(PROBE)):
            raise self._other(f"other tokens for the same text: {theirs}")

    def _other(self, got: str) -> UserError:
        return UserError(
            f"the server's tokenizer is not the one that is trained with ({self.connection.url})",
            got=got,
            hint="Serve the folder that is trained: same base, same tokenizer.",
            code="other-tokenizer",
        )

    def _body(self, number: int, ask: Ask, served: _Served, logprobs: bool) -> dict[str, Any]:
        """The request of ``ask``, without its seed."""
        room = ask.max_new_tokens or self.max_new_tokens
        if not ask.prompt:
            raise UserError(f"prompt {number + 1} has no token", code="empty-prompt")
        if served.context is not None:
            room = min(room, served.context - len(ask.prompt))
        if room < 1:
            raise UserError(
                f"prompt {number + 1} leaves no room for an answer",
                got=f"{len(ask.prompt)} tokens",
                allowed=f"fewer than {served.context}, the served model's context",
                code="prompt-too-long",
            )
        return {
            "model": ask.adapter or served.model,
            "prompt": [int(token) for token in ask.prompt],
            "max_tokens": room,
            "min_tokens": min(ask.min_new_tokens, room),
            "temperature": ask.sampling.temperature,
            "top_p": ask.sampling.top_p,
            "top_k": ask.sampling.top_k or -1,
            "repetition_penalty": ask.sampling.repetition_penalty,
            "stop": list(ask.stop),
            "stop_token_ids": [int(token) for token in self.tokens.stop_ids],
            "ignore_eos": True,
            "return_token_ids": True,
            **({"logprobs": 1, "return_tokens_as_token_ids": True} if logprobs else {}),
        }

    def _answer(self, ask: Ask, body: dict[str, Any], seed: int, logprobs: bool) -> Answer:
        found = self.connection.post("/v1/completions", {**body, "seed": seed})
        try:
            choice = found["choices"][0]
        except (TypeError, KeyError, IndexError) as error:
            raise UserError("the server's answer holds no choice", got=str(found)[:100], code="not-openai") from error
        ids = self._ids(choice)
        ended = choice.get("finish_reason") == "stop"
        values = self._logprobs(choice, len(ids)) if logprobs else None
        stop: int | str | None = None
        if ended and ids and ids[-1] in self.tokens.stop_ids:
            stop = ids.pop()
        elif ended:
            stop = _stop_string(choice, ask)
        raw, drawn = self._kinds(ask, values)
        return Answer(ids, stop, raw, drawn, text=choice.get("text"), seed=seed)

    def _ids(self, choice: dict[str, Any]) -> list[int]:
        ids = choice.get("token_ids")
        if ids is None:
            named = (choice.get("logprobs") or {}).get("tokens") or [""]
            if not all(str(token).startswith("token_id:") for token in named):
                raise UserError(
                    "the server gives text and no token ids, so nothing could be trained on what it sampled",
                    hint="Use a vLLM that knows 'return_token_ids'.",
                    code="no-token-ids",
                )
            ids = [str(token).removeprefix("token_id:") for token in named]
        numbers = [int(token) for token in ids]
        if numbers and max(numbers) >= self.tokens.vocabulary:
            raise self._other(f"token {max(numbers)}, where the vocabulary has {self.tokens.vocabulary}")
        return numbers

    def _logprobs(self, choice: dict[str, Any], count: int) -> list[float]:
        values = (choice.get("logprobs") or {}).get("token_logprobs")
        if values is None or len(values) != count or None in values:
            raise UserError(
                "the server did not give the log-probability of every token it sampled",
                got="none" if values is None else f"{len(values)} for {count} tokens",
                hint="Use a server that honours 'logprobs' (vLLM does).",
                code="no-logprobs",
            )
        return [float(value) for value in values]

    def _kinds(self, ask: Ask, values: list[float] | None) -> tuple[list[float] | None, list[float] | None]:
        """Log-probabilities of the model and of what was drawn from, as far as they are known."""
        if values is None or ask.plain:
            return values, values
        if self.logprobs == "processed":
            return None, values
        return values, [0.0] * len(values) if ask.sampling.temperature == 0 else None


@dataclass(frozen=True)
class _Served:
    """The model's name and the tokens a sequence may have, if the server says."""

    model: str
    context: int | None


def _stop_string(choice: dict[str, Any], ask: Ask) -> str:
    found = choice.get("stop_reason")
    if isinstance(found, str):
        return found
    if len(ask.stop) == 1:
        return ask.stop[0]
    raise UserError(
        "the server does not say which stop string ended an answer", got=found, allowed=ask.stop, code="no-stop-reason"
    )
