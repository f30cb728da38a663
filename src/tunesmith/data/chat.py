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
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from typing import Any

from tunesmith.contracts.data import Encoding, Framed, Message, Prompt, Record, TrainOn
from tunesmith.data.candidates import asked
from tunesmith.data.choose import adds_bos, choose, no_template, special_tokens
from tunesmith.data.drawn import Drawn, Span
from tunesmith.data.formats.base import BadRow
from tunesmith.data.framing import frame
from tunesmith.data.render import Renderer, Rendering
from tunesmith.data.tokens import Tokens
from tunesmith.errors import UserError

Turn = Mapping[str, Any]
Tools = Sequence[Mapping[str, Any]] | None
Shape = tuple[tuple[str, ...], ...]
_PROBE = "Lorem ipsum dolor"
TRIED = 20
"""Rows of a shape whose prompts are rendered in every chunk before the template's marks are believed for the others."""


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
        # by identity, which stays a record's own as long as the record is held here
        self._ahead: dict[int, tuple[Record, Drawn]] = {}
        self._agreed: Counter[Shape] | None = None
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

    def read_ahead(self, records: Sequence[Record]) -> None:
        """Render and tokenise the conversations of ``records`` at once: ``conversation`` then finds them done.

        What is wrong with a record is left for ``conversation`` to say. A conversation with one answer, at its end, has
        its prompt taken from where the mark begins, once that was right for the first ``TRIED`` of its shape.
        """
        self._ahead = {}
        if self.renderer is None:
            return
        self._agreed = Counter()
        for record in records:
            if record.messages is not None and not self.joined(record):
                with suppress(BadRow):
                    self._ahead[id(record)] = (record, self._draw(self._turns(record.messages), record.tools))
        self._agreed = None
        whole = [drawn for _, drawn in self._ahead.values() if None not in drawn.spans.values()]
        for drawn, ids in zip(whole, self.tokens.batch([drawn.pieces for drawn in whole]), strict=True):
            drawn.ids = ids

    def conversation(self, record: Record, train_on: TrainOn) -> list[Encoding]:
        """A conversation with its targets; one example an answer where the template rewrites history.

        Raises ``BadRow`` for a row that cannot be trained on as it will be generated.
        """
        if record.messages is None:
            raise BadRow("the row is plain text, and the objective needs a conversation")
        if self.joined(record):
            return [self._join(record, train_on)]
        _, drawn = self._ahead.pop(id(record), (record, None))
        turns = self._turns(record.messages)
        drawn = drawn or self._draw(turns, record.tools)
        answers = list(drawn.spans)
        wanted = answers[-1:] if train_on == "last-answer" else answers
        if train_on == "everything":
            return [self._encoding(drawn, None)]
        if all(drawn.spans[at] is not None for at in wanted):
            return [self._encoding(drawn, wanted)]
        return [
            self._alone(turns[: at + 1], record.tools, f"expanded turn {number} of {len(wanted)}")
            for number, at in enumerate(wanted, start=1)
        ]

    def candidates(self, record: Record) -> list[Encoding]:
        """Every candidate answer after the conversation that it answers; what the candidate says is trained.

        Raises ``BadRow`` for a candidate that the template writes after another text than it is generated from.
        """
        begin = asked(record)
        self._ahead.pop(id(record), None)
        if self.joined(record):
            whole = (replace(record, messages=(*begin, *one.messages)) for one in record.candidates)
            return [self._join(one, "answers") for one in whole]
        first = len(self._turns(begin))
        drawn = [self._draw(self._turns([*begin, *one.messages]), record.tools) for one in record.candidates]
        if any(span is None for one in drawn for at, span in one.spans.items() if at >= first):
            raise BadRow("the chat template writes an answer after another text than it is generated from")
        for one, ids in zip(drawn, self.tokens.batch([one.pieces for one in drawn]), strict=True):
            one.ids = ids
        return [self._encoding(one, [at for at in one.spans if at >= first]) for one in drawn]

    def stepped(self, record: Record) -> Encoding:
        """The only candidate, an answer in steps (``record.spans`` of its text): the last token of each is a target."""
        begin, (answer,) = asked(record), record.candidates[0].messages
        if self.joined(record):
            text, at = begin[0].content + answer.content, len(begin[0].content)
            edges = {0, at}
        else:
            turns = self._turns([*begin, answer])
            drawn = self._draw(turns, record.tools)
            span = drawn.spans[len(turns) - 1]
            at = -1 if span is None else drawn.text.find(answer.content, span.start)
            text, edges = drawn.text, {edge for edge in drawn.edges if edge < at}
        if at < 0:
            raise BadRow("the chat template changes the steps of an answer")
        ends = [at + right for _, right in record.spans]
        places = sorted({*edges, at, *ends})
        pieces = self.tokens.pieces([text[left:right] for left, right in pairwise(places)])
        first = self.tokens.number(self.bos) if self.bos and self.joined(record) else None
        parts = [
            part
            for right, ids in zip(places[1:], pieces, strict=True)
            for part in ((ids[:-1], False), (ids[-1:], right in ends))
        ]
        return _joined(parts, first=first)

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

    def framed(self, text: str, pair: str | None = None) -> Framed:
        """A text or a pair as a classifier reads it."""
        return frame(self.tokens, text, pair, end=self.eos)

    @property
    def reads_first(self) -> bool:
        """Whether a whole text is read at its first token (``[CLS]``), or at its last (decoders)."""
        return self.tokens.separates and "cls_token" in self.variables

    def prompt_ids(self, messages: Sequence[Message], tools: Tools = None, *, raw: bool = False) -> list[int]:
        """The ids that an answer to ``messages`` is generated from; ``raw`` joins without a template."""
        if raw:
            return self._plain([("".join(message.content for message in messages), False)]).ids
        turns = self._turns(messages)
        rendering = self._render(turns, tools, prompt=True)
        drawn = self._cut(rendering, turns, tools)
        return [number for piece in self.tokens.pieces(drawn.pieces) for number in piece]

    def prompt(self, record: Record) -> Prompt | None:
        """The last answer of a conversation as a question with its reference; None for text."""
        if record.messages is None or record.messages[-1].role != "assistant":
            return None
        asked, answer = record.messages[:-1], record.messages[-1]
        raw = self.joined(record)
        text = "".join(message.content for message in asked) if raw else self.render_prompt(asked, record.tools)
        return Prompt(self.prompt_ids(asked, record.tools, raw=raw), answer.content, text, record.meta)

    def render_prompt(self, messages: Sequence[Message], tools: Tools = None) -> str:
        """The text an answer to ``messages`` is generated from."""
        return self._render(self._turns(messages), tools, prompt=True).text

    def stop_ids(self) -> set[int]:
        """Ids that end an answer: end of sequence and the template's end of turn."""
        ends = [self.tokens.number(token) for token in (self.eos, self.end_of_turn) if token]
        return {number for number in ends if number is not None}

    def joined(self, record: Record) -> bool:
        """Whether prompt and completion are joined as they are, because the recipe names no template."""
        return record.raw_prompt and self.template_name == "auto"

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of ``ids``, without special tokens unless asked for."""
        return self.tokens.decode(ids, special=special)

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
        ids = self.tokens.pieces([text for text, _ in pieces])
        return _joined(zip(ids, (target for _, target in pieces), strict=True), first=first, note=note)

    def _turns(self, messages: Sequence[Message]) -> list[Turn]:
        turns: list[Turn] = [message.as_dict() for message in messages]
        if self.system is not None and (not turns or turns[0]["role"] != "system"):
            turns.insert(0, {"role": "system", "content": self.system})
        return turns

    def _render(self, turns: Sequence[Turn], tools: Tools, *, prompt: bool = False) -> Rendering:
        if self.renderer is None:
            raise no_template()
        return self.renderer.render(turns, tools, add_generation_prompt=prompt)

    def _draw(self, turns: Sequence[Turn], tools: Tools) -> Drawn:
        return self._cut(self._render(turns, tools), turns, tools)

    def _cut(self, rendering: Rendering, turns: Sequence[Turn], tools: Tools) -> Drawn:
        answers = [at for at, turn in enumerate(turns) if turn["role"] == "assistant"]
        spans = {at: self._span(rendering, turns, tools, at) for at in answers}
        edges = {0, len(rendering.text)}
        for span in spans.values():
            if span is not None:
                edges |= {span.start, span.end, *chain.from_iterable(span.targets)}
        return Drawn(rendering.text, sorted(edges), spans)

    def _span(self, whole: Rendering, turns: Sequence[Turn], tools: Tools, at: int) -> Span | None:
        """Where answer ``at`` stands in ``whole``; None where it was generated from another text than stands there."""
        start = self._prompt_end(whole, turns, tools, at)
        if start is None:
            return None
        closed = whole.text if at == len(turns) - 1 else self._render(turns[: at + 1], tools).text
        if not whole.text.startswith(closed):
            return None
        limit = len(closed)
        turn_end = self._turn_end(whole.text, start, limit, turns[at])
        if self.renderer is None or not self.renderer.marked:
            return Span(start, turn_end or limit, ((start, turn_end or limit),))
        inside = [span for span in whole.spans if start < span[1] <= limit]
        if not inside:
            raise BadRow("the chat template marks no answer with {% generation %}")
        end = max(inside[-1][1], turn_end or 0)
        return Span(start, end, (*inside[:-1], (inside[-1][0], end)))

    def _prompt_end(self, whole: Rendering, turns: Sequence[Turn], tools: Tools, at: int) -> int | None:
        """Where the prompt of answer ``at`` ends in ``whole``; None where ``whole`` does not begin with it."""
        shape = self._shape(whole, turns, tools, at)
        if self._agreed is not None and shape is not None and self._agreed[shape] == TRIED:
            return whole.spans[0][0]
        prompt = self._render(turns[:at], tools, prompt=True).text
        end = len(prompt) if whole.text.startswith(prompt) else None
        if self._agreed is not None and shape is not None:
            # beyond the reach of any count: after one prompt that ends elsewhere the marks are not believed
            self._agreed[shape] += 1 if end == whole.spans[0][0] else TRIED + 1
        return end

    def _shape(self, whole: Rendering, turns: Sequence[Turn], tools: Tools, at: int) -> Shape | None:
        """What the turns look like; None where the mark may begin elsewhere than the prompt ends."""
        # earlier answers may be rewritten, and tools shown anywhere: only a lone answer at the end is simple enough
        if len(whole.spans) != 1 or at != len(turns) - 1 or tools or turns[at].get("tool_calls"):
            return None
        return (tuple(turn["role"] for turn in turns), *map(tuple, turns))

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
        drawn = self._draw(turns, tools)
        if drawn.spans[last] is None:
            raise BadRow("the chat template writes an answer after another text than it is generated from")
        return self._encoding(drawn, [last], note=note)

    def _encoding(self, drawn: Drawn, wanted: Sequence[int] | None, *, note: str = "") -> Encoding:
        """What is trained of ``drawn``: the answers ``wanted``, or everything where it is None."""
        ids = self.tokens.pieces(drawn.pieces) if drawn.ids is None else drawn.ids
        if wanted is None:
            return _joined(((piece, True) for piece in ids), note=note)
        spans = (drawn.spans[at] for at in wanted)
        targets = [target for span in spans if span is not None for target in span.targets]
        last = max((right for _, right in targets), default=len(drawn.text))
        parts = [
            (piece, any(start <= left and right <= end for start, end in targets))
            for (left, right), piece in zip(pairwise(drawn.edges), ids, strict=True)
            if right <= last  # nothing after the last target is ever seen by one
        ]
        return _joined(parts, note=note)

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


def _joined(parts: Iterable[tuple[list[int], bool]], *, first: int | None = None, note: str = "") -> Encoding:
    """One sequence of pieces (ids, whether they are targets), after the token ``first``."""
    ids = [] if first is None else [first]
    trained = [False] * len(ids)
    for numbers, target in parts:
        ids += numbers
        trained += [target] * len(numbers)
    if trained:
        trained[0] = False  # the first token has nothing to be predicted from
    return Encoding(ids, trained, note)
