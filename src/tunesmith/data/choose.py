"""Which chat template a model is trained with, and what the tokenizer must be told for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from tunesmith.data.tokens import Tokens
from tunesmith.errors import UserError, did_you_mean

OWN = ("chatml", "llama-2", "plain")
MARKERS = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "llama-2": ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"),
    "plain": (),
}
END = {"chatml": "<|im_end|>"}


@dataclass(frozen=True)
class Choice:
    """``name`` as in the recipe; ``source`` is the jinja text, None where the model has none and none is chosen."""

    name: str
    source: str | None
    added: tuple[str, ...] = ()
    """Markers that were added to the tokenizer as new tokens."""


def choose(tokenizer: Any, template: str, *, new_tokens: bool) -> Choice:
    """The template for a transformers tokenizer; with ``new_tokens`` its markers are added to ``tokenizer``."""
    if template == "auto":
        own = tokenizer.chat_template
        if isinstance(own, Mapping):
            own = own.get("default")
        return Choice("auto", own)
    if template in OWN:
        added = _add_markers(tokenizer, template) if new_tokens else ()
        return Choice(template, _filled(tokenizer, template), added)
    path = Path(template).expanduser()
    if not path.is_file():
        raise UserError(
            "unknown chat template",
            got=f"'{template}'",
            allowed=["auto", *OWN, "the path of a jinja file"],
            hint=did_you_mean(template, ["auto", *OWN]),
            code="unknown-template",
        )
    return Choice(str(path), path.read_text(encoding="utf-8"))


def no_template() -> UserError:
    """What a base model without a chat template is refused with."""
    return UserError(
        "the model has no chat template to write a conversation with",
        allowed=[*OWN, "the path of a jinja file"],
        hint="Set data.template in the recipe, or --template of `tunesmith chat`; `plain` is right for most base "
        "models.",
        code="no-chat-template",
    )


def special_tokens(tokenizer: Any) -> dict[str, str]:
    """The tokenizer's special tokens by the names that templates use (``bos_token``, ``eos_token`` …)."""
    return {name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}


def adds_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer puts its beginning-of-sequence token before every text."""
    first = tokenizer("a")["input_ids"][:1]
    return tokenizer.bos_token_id is not None and first == [tokenizer.bos_token_id]


def _add_markers(tokenizer: Any, template: str) -> tuple[str, ...]:
    known = tokenizer.get_vocab()
    missing = tuple(marker for marker in MARKERS[template] if marker not in known)
    if missing:
        tokenizer.add_tokens(list(missing), special_tokens=True)
    return missing


def _filled(tokenizer: Any, template: str) -> str:
    source = (files("tunesmith.data.templates") / f"{template}.jinja").read_text(encoding="utf-8")
    if tokenizer.eos_token is None:
        raise UserError(
            "the tokenizer has no end-of-sequence token, so no answer could ever end",
            hint="Use a model whose tokenizer names an eos_token, or a jinja template that closes answers itself.",
            code="no-end-token",
        )
    end = END.get(template, "")
    front = Tokens(tokenizer.backend_tokenizer.to_str()).blank_in_front
    values = {
        "@@bos@@": "{{ bos_token }}" if adds_bos(tokenizer) else "",
        "@@end@@": end if end and end in tokenizer.get_vocab() else "{{ eos_token }}",
        "@@before@@": "" if front else " ",
        "@@after@@": " " if front else "",
    }
    for placeholder, value in values.items():
        source = source.replace(placeholder, value)
    return source
