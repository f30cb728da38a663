"""Personal data and secrets, by rules: hidden in place, or the row is dropped.

    email         local@domain.tld
    phone         with a country code, or in North American groups; plain numbers and dates are left alone
    iban          country code and check digits that hold (ISO 13616: remainder 1 modulo 97)
    credit-card   digits of a known prefix and its length whose Luhn check digit holds (ISO/IEC 7812)
    ssn           social security numbers of the United States, in their three groups; never issued ones aside
    ip            IPv4 and IPv6 addresses, but for loopback and unspecified ones
    api-key       keys of known makers by their prefix, private key blocks, and what is assigned to a name such as
                  ``api_key`` or ``password``

The trap: rules find what has a form. Names, addresses and birthdays have none and are not found; numbers of other
countries' phones written without a country code are not either.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tunesmith.data.curate.base import Change, Drop, Item
from tunesmith.data.curate.editing import TextStep

Kind = Literal["email", "phone", "iban", "credit-card", "ip", "api-key", "ssn"]
KINDS: tuple[Kind, ...] = ("api-key", "email", "iban", "credit-card", "ip", "ssn", "phone")
"""In the order in which they are looked for: what is hidden is not found again as something else."""


class Pii(TextStep):
    """Hides or drops e-mail addresses, phone and social security numbers, IBANs, cards, IP addresses and keys."""

    NAME: ClassVar[str] = "pii"

    kinds: Annotated[list[Kind], Field(min_length=1)] = list(KINDS)
    """What is looked for."""
    action: Literal["redact", "drop"] = "redact"
    """`redact` writes the kind in place of what was found, `drop` drops the row."""
    mark: str = "[{kind}]"
    """What is written in place, such as `[EMAIL]`."""

    def look(self, item: Item) -> Change | Drop | None:
        """Hidden or dropped where something is found."""
        if self.action == "redact":
            return super().look(item)
        for text in item.texts:
            notes = self.mend(text)[1]
            if notes:
                return Drop(notes[0].replace(" hidden", " in it"))
        return None

    def mend(self, text: str) -> tuple[str, tuple[str, ...]]:
        """``text`` with what was found replaced by its kind."""
        notes = []
        for kind in KINDS:
            if kind in self.kinds:
                changed = _hidden(text, kind, self.mark.replace("{kind}", kind.upper().replace("-", "_")))
                notes += [f"{kind} hidden"] if changed != text else []
                text = changed
        return text, tuple(notes)


def _hidden(text: str, kind: Kind, mark: str) -> str:
    def replaced(found: re.Match[str]) -> str:
        secret = found["secret"]
        return found[0].replace(secret, mark) if rule.holds(secret) else found[0]

    for rule in RULES[kind]:
        if rule.quick.search(text):
            text = rule.pattern.sub(replaced, text)
    return text


@dataclass(frozen=True)
class Rule:
    """``quick`` must be found for ``pattern`` to be tried, whose group ``secret`` is one where it ``holds``."""

    quick: re.Pattern[str]
    pattern: re.Pattern[str]
    holds: Callable[[str], bool]


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of those before (every second one doubled from the right)."""
    total = 0
    for place, sign in enumerate(reversed(digits)):
        value = int(sign) * (1 + place % 2)
        total += value - 9 * (value > 9)
    return total % 10 == 0


def _is_card(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    return _ISSUED.fullmatch(digits) is not None and luhn(digits)


def _is_iban(text: str) -> bool:
    plain = re.sub(r"\s", "", text).upper()
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])) % 97 == 1


def _is_address(text: str) -> bool:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return False
    # `a::b` of a program is an address by its form
    named = found.version == 6 and (len(text) < 7 or re.search(r"\d", text) is None)
    return not (found.is_loopback or found.is_unspecified or named)


def _is_phone(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    # a sum or an identifier is a long run of digits; a number of so many digits is written in groups
    return 7 <= len(digits) <= (13 if text.lstrip("+").isdigit() else 15)


def _is_secret(text: str) -> bool:
    # a word in place of a value (`password: required`) has no digit; `your_api_key_1` spells out what belongs there
    placeholder = re.search(r"your|example|placeholder|xxx|\*\*\*|<|changeme", text, re.I)
    return placeholder is None and re.search(r"\d", text) is not None


_KEY = re.compile(
    r"""(?P<secret>
      -----BEGIN\s[A-Z ]*PRIVATE\sKEY-----.*?-----END\s[A-Z ]*PRIVATE\sKEY-----
    | \b(?:sk|pk|rk)[-_](?:live[-_]|test[-_]|proj-|ant-)?[A-Za-z0-9_-]{20,} | \bgh[pousr]_[A-Za-z0-9]{30,}
    | \bgithub_pat_\w{30,} | \bglpat-[\w-]{20,} | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b | \bAIza[\w-]{35}
    | \bxox[abeoprs]-[\w-]{10,} | \bhf_[A-Za-z0-9]{30,} | \bnpm_[A-Za-z0-9]{36} | \bpypi-[\w-]{50,}
    | \beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}
    | (?<=bearer\s)[A-Za-z0-9._~+/-]{20,}
    )""",
    re.X | re.S | re.I,
)
_ASSIGNED = re.compile(
    r"""\b(?:api[_-]?key|secret(?:[_-]?key)?|access[_-]?token|auth[_-]?token|client[_-]?secret|passwd|password)
    ["']?\s*(?:[:=]|\sis\s)\s*["']?(?P<secret>[^\s"',;]{8,})""",
    re.X | re.I,
)
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}"
_EMAIL = re.compile(rf"(?<![\w.+-])(?P<secret>[\w.+%-]{{1,64}}@{_HOST})\b")
_IBAN = re.compile(r"\b(?P<secret>[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?)\b")
_CARD = re.compile(r"(?<![\d.-])(?P<secret>[2-6]\d{3}(?:[ -]?\d{4,6}){1,2}(?:[ -]?\d{1,7}))(?![\d]|[.-]\d)")
_ISSUED = re.compile(
    r"""4\d{15} | (?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12} | 3[47]\d{13}
    | 3(?:0[0-5]|[689]\d)\d{11} | (?:6011|64[4-9]\d|65\d\d)\d{12} | 35(?:2[89]|[3-8]\d)\d{12}""",
    re.X,
)
"""Prefix and length of Visa, Mastercard, American Express, Diners Club, Discover and JCB."""
_IP4 = re.compile(r"(?<![\w.])(?P<secret>(?:\d{1,3}\.){3}\d{1,3})(?![\w]|\.\d)")
_IP6 = re.compile(r"(?<![\w:.])(?P<secret>(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4})(?![\w:])", re.I)
_PHONE = re.compile(
    r"""(?<![\w+.-])(?<!\d[ ])(?P<secret>
      (?:\+|00)[1-9]\d{0,2}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){1,4}
    | (?:1[ .-])?\(\d{3}\)[ ]?\d{3}[ .-]\d{4} | (?:1[ .-])?\d{3}[.-]\d{3}[.-]\d{4} | \d{3}[ ]\d{3}[ -]\d{4}
    )(?!\d|[.-]\d)""",
    re.X,
)
# no area 000, 666 or 9xx, no group 00, no number 0000 was ever issued (SSA, since 2011)
_SSN = re.compile(r"(?<![\w.-])(?P<secret>(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4})(?![\w-]|\.\d)")
RULES: Mapping[Kind, tuple[Rule, ...]] = {
    "api-key": (
        Rule(re.compile(r"[A-Za-z0-9_-]{16}|BEGIN"), _KEY, lambda _: True),
        Rule(re.compile(r"key|secret|token|pass", re.I), _ASSIGNED, _is_secret),
    ),
    "email": (Rule(re.compile("@"), _EMAIL, lambda _: True),),
    "iban": (Rule(re.compile(r"[A-Z]{2}\d{2}"), _IBAN, _is_iban),),
    "credit-card": (Rule(re.compile(r"\d{4}"), _CARD, _is_card),),
    "ip": (
        Rule(re.compile(r"\d\.\d"), _IP4, _is_address),
        Rule(re.compile("::|:[0-9a-fA-F]{1,4}:"), _IP6, _is_address),
    ),
    "ssn": (Rule(re.compile(r"\d-\d{2}-\d"), _SSN, lambda _: True),),
    "phone": (Rule(re.compile(r"\d{2}"), _PHONE, _is_phone),),
}
