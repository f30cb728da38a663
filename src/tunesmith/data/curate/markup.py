"""HTML and boilerplate of web pages are taken out.

Scripts, styles and comments go whole; known tags go (blocks become line ends) and what they hold stays; entities become
the characters they stand for; lines of page furniture (cookie notices, share buttons, copyright lines) go.

The trap: an answer may be *about* HTML. Code in fences or backticks is never touched, a tag that is not HTML's own
stays (``List<String>``, ``<think>``), and a text with fewer than ``tags`` tags is taken to only mention them.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Annotated, ClassVar

from pydantic import Field

from tunesmith.data.curate.base import Change, Drop, Item
from tunesmith.data.curate.editing import TextStep

_BLOCKS = (
    "address article aside blockquote body br dd div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 "
    "head header hr html iframe li main nav noscript ol option p picture section select source svg table tbody td "
    "tfoot th thead title tr ul video"
)
_INLINE = (
    "a abbr b big button center cite code del em font i img input ins kbd label link mark meta path q s samp small "
    "span strike strong sub sup textarea time tt u var wbr"
)
_WHOLE = re.compile(r"<!--.*?-->|<(script|style|noscript|svg)\b[^>]*>.*?</\1\s*>|<!doctype[^>]*>", re.I | re.S)


def _tags(names: str) -> re.Pattern[str]:
    return re.compile(rf"</?(?:{'|'.join(names.split())})(?:\s[^<>]*)?/?>", re.I)


_BLOCK, _IN_LINE = _tags(_BLOCKS), _tags(_INLINE)
_CODE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]+`)", re.S)
_ENTITY = re.compile(r"&(?:[a-z]{2,8}|#\d{2,6}|#x[0-9a-f]{2,5});", re.I)
_MANY_ENDS = re.compile(r"[ \t]*\n(?:[ \t]*\n)+")
_FURNITURE = re.compile(
    r"""^\W*(?:
      (?:this|our)\s(?:web)?site\suses\scookies\b.* | we\suse\scookies\b.* | (?:accept|manage)\s(?:all\s)?cookies
    | (?:©|\(c\)|copyright)\s.{0,80}all\srights\sreserved.{0,40} | all\srights\sreserved
    | (?:share|tweet|pin)\s(?:this|on)\b.{0,60} | follow\sus\son\b.{0,60}
    | subscribe\sto\sour\s(?:newsletter|mailing\slist|channel)\b.{0,80} | sign\sup\sfor\sour\snewsletter\b.{0,80}
    | (?:privacy|cookie)\spolicy(?:\W+terms\b.{0,40})? | terms\s(?:of|and)\s(?:use|service|conditions)
    | skip\sto\s(?:main\s)?content | back\sto\stop | click\shere\sto\s(?:subscribe|read\smore|continue)\b.{0,60}
    | (?:please\s)?enable\sjavascript\b.{0,80} | log\s?in\s?[|/]\s?(?:sign\s?up|register) | advertisement
    )\W*$""",
    re.I | re.X,
)


_ABOUT = re.compile(r"\b(?:x?html5?|css|xml|svg|php|jsx|react\w*|vue|javascript|web\s?(?:page|site)s?|tags?)\b", re.I)


class Markup(TextStep):
    """Takes HTML out of texts, and the lines of web pages that say nothing."""

    NAME: ClassVar[str] = "markup"

    tags: Annotated[int, Field(ge=1)] = 2
    """How many tags a text must have to be taken for a piece of a page."""
    entities: bool = True
    """Whether `&amp;` and its like become the characters they stand for."""
    boilerplate: bool = True
    """Whether lines such as cookie notices, share buttons and copyright lines go."""

    about: bool = False
    """Whether rows whose prompt speaks of HTML, web pages or their kin are touched too; they may need their markup."""

    def look(self, item: Item) -> Drop | Change | None:
        """Without markup, unless markup is what the row is about."""
        asks = item.record.messages is not None and _ABOUT.search(item.prompt) is not None
        return None if asks and not self.about else super().look(item)

    def mend(self, text: str) -> tuple[str, tuple[str, ...]]:
        """``text`` without markup."""
        notes = []
        if "<" in text and len(_BLOCK.findall(text)) + len(_IN_LINE.findall(text)) + 2 * _has_whole(text) >= self.tags:
            bare = _outside_code(text, _without_tags)
            notes += ["HTML taken out"] if bare != text else []
            text = bare
        if self.entities and "&" in text:
            plain = _outside_code(text, lambda part: _ENTITY.sub(lambda found: html.unescape(found[0]), part))
            notes += ["entities written out"] if plain != text else []
            text = plain
        if self.boilerplate:
            lines = text.split("\n")
            kept = [line for line in lines if not _FURNITURE.match(line)]
            # a text that is nothing else is a row's whole content, and for other steps to judge
            if len(kept) < len(lines) and any(line.strip() for line in kept):
                text = "\n".join(kept)
                notes.append("page furniture taken out")
        return text, tuple(notes)


def _has_whole(text: str) -> bool:
    return _WHOLE.search(text) is not None


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    return "".join(part if place % 2 else change(part) for place, part in enumerate(_CODE.split(text)))


def _without_tags(text: str) -> str:
    bare = _IN_LINE.sub("", _BLOCK.sub("\n", _WHOLE.sub("", text)))
    return _MANY_ENDS.sub("\n\n", bare).strip("\n")
