"""Conversations to tokens and targets, with one tokenizer and one chat template.

A conversation is rendered once as a whole and once for every prompt an answer is generated from. The text is cut
where a prompt ends and where an answer ends, and the pieces are tokenised one after the other (``tokens.Tokens``):

    prompt 1 | answer 1 + end of turn | rest and prompt 2 | answer 2 + end of turn

``prompt_ids`` cuts in the same places, so the ids that generation starts from are a prefix of the ids that were
trained on, by construction. Targets are the spans the template marks with ``{% generation %}``; without marks they
reach from the end of the rendered prompt to the end of turn. Either way the end of turn is a target, found by its
place, never by its id: it may well be the padding token.

The trap: templates that write earlier turns differently later on (Qwen3 and R1 strip ``<think>``). Where a prompt, or a
conversation up to an answer, is no prefix of the whole, that answer is trained in an example of its own, rendered as
it was when it was generated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tunesmith.contracts.data import Encoding, Message, Prompt, Record, TrainOn
from tunesmith.data.choose import adds_bos, choose, no_template, special_tokens
from tunesmith.data.formats.base import BadRow
from tunesmith.data.render import Renderer, Rendering
from tunesmith.data.tokens import Tokens
from tunesmith.errors import UserError

Turn = Mapping[str, Any]
Tools = Sequence[Mapping[str, Any]] | None
_PROBE = "Lorem ipsum dolor"


@dataclass(frozen=True)
class Span:
    """One answer in a rendered text: its prompt ends at ``start``, its end of turn at ``end``."""

    start: int
    end: int
    targets: tuple[tuple[int, int], ...]


@dataclass
class Drawn:
    """A conversation as text, cut at every prompt end, answer end and target edge."""

    record: Record
    """Held so that its identity stays its own."""
    edges: list[int]
    pieces: list[str]
    spans: Mapping[int, Span | None]
    """By the number of the answer's turn; None where it was generated from another text than stands here."""
    ids: list[list[int]] | None = None
    """Of each piece."""


@dataclass
class ChatEncoder:
    """Implements ``contracts.data.Encoder``; picklable, and needs neither torch nor transformers where it lands."""

    tokenizer_json: str = field(repr=False)
    template: str | None = field(repr=False)
    """The jinja text, complete and fit to be saved with the model."""
    template_name: str
    variables: Mapping[str, str]
    system: str | None
    bos: str
    """What the tokenizer puts before a text ('' where it puts nothing)."""
    added_tokens: tuple[str, ...] = ()

    @classmethod
    def build(
        cls, tokenizer: Any, template: str = "auto", *, new_tokens: bool = False, system: str | None = None
    ) -> ChatEncoder:
        """From a transformers tokenizer; with ``new_tokens`` the template's markers are added to ``tokenizer``.

        A model without a chat template is a ``UserError`` (``no-chat-template``) once a conversation is encoded.
        """
        if not getattr(tokenizer, "is_fast", False):
            raise UserError("the model's tokenizer has no fast version (tokenizer.json)", code="slow-tokenizer")
        choice = choose(tokenizer, template, new_tokens=new_tokens)
        return cls(
            tokenizer_json=tokenizer.backend_tokenizer.to_str(),
            template=choice.source,
            template_name=choice.name,
            variables=special_tokens(tokenizer),
            system=system,
            bos=tokenizer.bos_token if adds_bos(tokenizer) else "",
            added_tokens=choice.added,
        )

    def __post_init__(self) -> None:
        self.tokens = Tokens(self.tokenizer_json)
        self.renderer = Renderer(self.template, self.variables) if self.template else None
        self.eos = self.variables.get("eos_token")
        self.end_of_turn = self._end_of_turn()
        self.warnings = self._warnings()

    def __reduce__(self) -> tuple[Any, ...]:
        parts = (self.tokenizer_json, self.template, self.template_name, dict(self.variables))
        return (ChatEncoder, (*parts, self.system, self.bos, self.added_tokens))

    def fingerprint(self) -> bytes:
        """Digest of everything that decides the tokens."""
        parts = [self.tokenizer_json, self.template, self.template_name, sorted(self.variables.items())]
        return hashlib.blake2b(repr([*parts, self.system, self.bos]).encode(), digest_size=32).digest()

    def conversation(self, record: Record, train_on: TrainOn) -> list[Encoding]:
        """A conversation with its targets; one example an answer where the template rewrites history.

        Raises ``BadRow`` for a row that cannot be trained on as it will be generated.
        """
        if record.messages is None:
            raise BadRow("the row is plain text, and the objective needs a conversation")
        if self._joined(record):
            return [self._join(record, train_on)]
        turns = self._turns(record.messages)
        answers = [at for at, turn in enumerate(turns) if turn["role"] == "assistant"]
        wanted = answers[-1:] if train_on == "last-answer" else answers
        whole = self._render(turns, record.tools)
        spans = {at: self._span(whole, turns, record.tools, at) for at in answers}
        if train_on == "everything" or all(spans[at] is not None for at in wanted):
            return [self._encoding(whole, spans, None if train_on == "everything" else wanted)]
        return [
            self._alone(turns[: at + 1], record.tools, f"expanded turn {number} of {len(wanted)}")
            for number, at in enumerate(wanted, start=1)
        ]

    def text(self, text: str, *, max_tokens: int | None = None) -> list[Encoding]:
        """Plain text and the document end, all targets (the first token has nothing to be predicted from).

        Longer text is split; each piece begins with the last token of the one before, so that every token but the
        first of the document is predicted once.
        """
        ids = self._plain([(text, True), (self.eos or "", True)]).ids
        if max_tokens is None or len(ids) <= max_tokens:
            return [Encoding(ids, [False] + [True] * (len(ids) - 1))]
        starts = range(0, len(ids) - 1, max_tokens - 1)
        pieces = [ids[start : start + max_tokens] for start in starts]
        return [
            Encoding(piece, [False] + [True] * (len(piece) - 1), f"split {number} of {len(pieces)}")
            for number, piece in enumerate(pieces, start=1)
        ]

    def marked(self, text: str, marker: str) -> Encoding | None:
        """Text of which only what follows the last ``marker`` is a target, its end included; None without a marker."""
        at = text.rfind(marker)
        if at < 0:
            return None
        at += len(marker)
        return self._plain([(text[:at], False), (text[at:] + (self.eos or ""), True)])

    def prompt_ids(self, messages: Sequence[Message], tools: Tools = None, *, raw: bool = False) -> list[int]:
        """The ids that an answer to ``messages`` is generated from; ``raw`` joins without a template."""
        if raw:
            return self._plain([("".join(message.content for message in messages), False)]).ids
        turns = self._turns(messages)
        rendering = self._render(turns, tools, prompt=True)
        answers = [at for at, turn in enumerate(turns) if turn["role"] == "assistant"]
        spans = [span for at in answers if (span := self._span(rendering, turns, tools, at)) is not None]
        texts = [text for text, _ in _cut(rendering.text, spans, ())]
        return [number for piece in self.tokens.pieces(texts) for number in piece]

    def prompt(self, record: Record) -> Prompt | None:
        """The last answer of a conversation as a question with its reference; None for text."""
        if record.messages is None or record.messages[-1].role != "assistant":
            return None
        asked, answer = record.messages[:-1], record.messages[-1]
        raw = self._joined(record)
        text = "".join(message.content for message in asked) if raw else self.render_prompt(asked, record.tools)
        return Prompt(self.prompt_ids(asked, record.tools, raw=raw), answer.content, text, record.meta)

    def render_prompt(self, messages: Sequence[Message], tools: Tools = None) -> str:
        """The text an answer to ``messages`` is generated from."""
        return self._render(self._turns(messages), tools, prompt=True).text

    def stop_ids(self) -> set[int]:
        """Ids that end an answer: end of sequence and the template's end of turn."""
        ends = [self.tokens.number(token) for token in (self.eos, self.end_of_turn) if token]
        return {number for number in ends if number is not None}

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of ``ids``, without special tokens unless asked for."""
        return self.tokens.decode(ids, special=special)

    def _joined(self, record: Record) -> bool:
        return record.raw_prompt and self.template_name == "auto"

    def _join(self, record: Record, train_on: TrainOn) -> Encoding:
        messages = record.messages or ()
        prompt, completion = messages[0].content, messages[-1].content
        pieces = [(prompt, train_on == "everything"), (completion + (self.eos or ""), True)]
        stray = prompt.endswith(" ") and self.tokens.blank_in_front
        note = "the prompt ends with a blank that the tokenizer puts before the answer's first word" if stray else ""
        return self._plain(pieces, note=note)

    def _plain(self, pieces: Sequence[tuple[str, bool]], *, note: str = "") -> Encoding:
        """Pieces of plain text after what the tokenizer puts before a text."""
        first = self.tokens.number(self.bos) if self.bos else None
        return _encoded(self.tokens, pieces, first=first, note=note)

    def _turns(self, messages: Sequence[Message]) -> list[Turn]:
        turns: list[Turn] = [message.as_dict() for message in messages]
        if self.system is not None and (not turns or turns[0]["role"] != "system"):
            turns.insert(0, {"role": "system", "content": self.system})
        return turns

    def _render(self, turns: Sequence[Turn], tools: Tools, *, prompt: bool = False) -> Rendering:
        if self.renderer is None:
            raise no_template()
        return self.renderer.render(turns, tools, add_generation_prompt=prompt)

    def _span(self, whole: Rendering, turns: Sequence[Turn], tools: Tools, at: int) -> Span | None:
        """Where answer ``at`` stands in ``whole``; None where it was generated from another text than stands there."""
        prompt = self._render(turns[:at], tools, prompt=True).text
        if not whole.text.startswith(prompt):
            return None
        closed = whole.text if at == len(turns) - 1 else self._render(turns[: at + 1], tools).text
        if not whole.text.startswith(closed):
            return None
        start, limit = len(prompt), len(closed)
        turn_end = self._turn_end(whole.text, start, limit, turns[at])
        if self.renderer is None or not self.renderer.marked:
            return Span(start, turn_end or limit, ((start, turn_end or limit),))
        inside = [span for span in whole.spans if start < span[1] <= limit]
        if not inside:
            raise BadRow("the chat template marks no answer with {% generation %}")
        end = max(inside[-1][1], turn_end or 0)
        return Span(start, end, (*inside[:-1], (inside[-1][0], end)))

    def _turn_end(self, text: str, start: int, limit: int, turn: Turn) -> int | None:
        """Where the end of turn after an answer ends; None where the template writes none."""
        tail = turn["content"].rstrip()[-16:]
        said = text.rfind(tail, start, limit) if tail else start
        calls = [call["function"]["name"] for call in turn.get("tool_calls") or ()]
        if said < 0 or not all(text.find(name, start, limit) >= 0 for name in calls):
            raise BadRow("the chat template leaves out " + ("a tool call" if said >= 0 else "the end of an answer"))
        found = text.rfind(self.end_of_turn, said, limit) if self.end_of_turn else -1
        return None if found < 0 else found + len(self.end_of_turn or "")

    def _alone(self, turns: Sequence[Turn], tools: Tools, note: str) -> Encoding:
        last = len(turns) - 1
        whole = self._render(turns, tools)
        answers = [at for at, turn in enumerate(turns) if turn["role"] == "assistant"]
        spans = {at: self._span(whole, turns, tools, at) for at in answers}
        if spans[last] is None:
            raise BadRow("the chat template writes an answer after another text than it is generated from")
        return self._encoding(whole, spans, [last], note=note)

    def _encoding(
        self, whole: Rendering, spans: Mapping[int, Span | None], wanted: Sequence[int] | None, *, note: str = ""
    ) -> Encoding:
        cut = [span for span in spans.values() if span is not None]
        targets: tuple[tuple[int, int], ...] = ((0, len(whole.text)),)
        if wanted is not None:
            targets = tuple(target for at in wanted if (span := spans[at]) is not None for target in span.targets)
            last = max((right for _, right in targets), default=len(whole.text))
            whole = Rendering(whole.text[:last])  # nothing after the last target is ever seen by one
        return _encoded(self.tokens, _cut(whole.text, cut, targets), note=note)

    def _end_of_turn(self) -> str | None:
        """The special token that closes an answer, found by rendering one."""
        if self.renderer is None:
            return None
        try:
            probe = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": _PROBE}]
            after = self.renderer.render(probe).text.rpartition(_PROBE)[2]
        except BadRow:
            return self.eos
        return self.tokens.first_special(after)

    def _warnings(self) -> tuple[str, ...]:
        if self.renderer is None:
            return ()
        found = []
        if self.end_of_turn is None:
            found.append("the chat template closes answers with no special token: the model will not learn to stop")
        try:
            prompt = self.render_prompt([Message("user", "Hi")])
        except BadRow:
            prompt = ""
        lost = self.tokens.lost(prompt)
        if lost:
            found.append(f"the tokenizer cannot write {' '.join(lost)} of the chat template's markers")
        if prompt.endswith(" ") and self.tokens.blank_in_front:
            found.append(
                "the chat template ends its prompt with a blank, but this tokenizer's words carry their blank in "
                "front: let the answer begin with the blank"
            )
        return tuple(found)


def _cut(text: str, spans: Sequence[Span], targets: Sequence[tuple[int, int]]) -> list[tuple[str, bool]]:
    """``text`` cut at every prompt end, answer end and target edge; each piece with whether it is a target."""
    edges = {0, len(text)}
    for span in spans:
        edges |= {span.start, span.end, *(edge for target in span.targets for edge in target)}
    ordered = sorted(edge for edge in edges if edge <= len(text))
    return [
        (text[left:right], any(start <= left and right <= end for start, end in targets))
        for left, right in pairwise(ordered)
    ]


def _encoded(
    tokens: Tokens, pieces: Sequence[tuple[str, bool]], *, first: int | None = None, note: str = ""
) -> Encoding:
    ids = [] if first is None else [first]
    trained = [False] * len(ids)
    for (_, target), numbers in zip(pieces, tokens.pieces([text for text, _ in pieces]), strict=True):
        ids += numbers
        trained += [target] * len(numbers)
    if trained:
        trained[0] = False  # the first token has nothing to be predicted from
    return Encoding(ids, trained, note)
