"""Chat templates as transformers renders them, with the spans that ``{% generation %}`` marks.

The environment has the filters and globals of transformers' own (``tojson`` without HTML escapes, ``raise_exception``,
loop controls, the immutable sandbox, trimmed blocks), so a template gives the same text in both. One thing differs on
purpose: ``strftime_now`` gives one fixed day, because a text that changes overnight would make the training text of
yesterday differ from the prompt of today, and no run could be repeated.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tunesmith.data.formats.base import BadRow
from tunesmith.errors import UserError

# private-use characters that stand around a generated span until the text is cut; no tokenizer's text holds them
OPEN, CLOSE = "\U0010fff0", "\U0010fff1"
_MARKS = re.compile(f"[{OPEN}{CLOSE}]")
DAY = datetime.datetime(2024, 7, 26, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class Rendering:
    """A conversation as text; ``spans`` are the ``[start, end)`` that the template marks as generated."""

    text: str
    spans: tuple[tuple[int, int], ...] = ()


class Renderer:
    """One compiled template; ``variables`` are the tokenizer's special tokens by name (``bos_token`` …)."""

    def __init__(self, source: str, variables: Mapping[str, str]) -> None:
        self.marked = re.search(r"\{%-?\s*generation\b", source) is not None
        try:
            self._template = _environment().from_string(source, globals=dict(variables))
        except jinja2.TemplateSyntaxError as error:
            raise UserError(
                f"the chat template is not valid jinja, line {error.lineno}", got=error.message, code="bad-template"
            ) from None
        # jinja copies the globals for every rendering, and a flat dictionary copies much faster than its chain
        self._template.globals = dict(self._template.globals)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        add_generation_prompt: bool = False,
    ) -> Rendering:
        """``messages`` as the template writes them; what the template refuses is a ``BadRow``."""
        try:
            text = self._template.render(
                messages=messages, tools=tools, documents=None, add_generation_prompt=add_generation_prompt
            )
        except (jinja2.TemplateError, TypeError) as error:
            raise BadRow(f"the chat template refuses the row: {error}") from None
        return _cut(text) if self.marked else Rendering(text)


def _cut(text: str) -> Rendering:
    pieces = _MARKS.split(text)
    if len(pieces) % 2 == 0:
        raise BadRow("the row holds the private characters U+10FFF0 or U+10FFF1")
    spans, at = [], 0
    for number, piece in enumerate(pieces):
        if number % 2:
            spans.append((at, at + len(piece)))
        at += len(piece)
    return Rendering("".join(pieces), tuple(spans))


class _Generation(Extension):
    """``{% generation %} … {% endgeneration %}``: puts marks around what the block renders."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        # a scope, as in transformers, where the block is the body of a call: what it sets ends with it
        return nodes.Scope([_literal(OPEN), *body, _literal(CLOSE)]).set_lineno(line)


def _literal(text: str) -> nodes.Output:
    return nodes.Output([nodes.TemplateData(text)])


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = DAY.strftime
    return environment


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
