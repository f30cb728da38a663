"""Whether rows may be trained on: the error that refuses them, made of the ledger."""

from __future__ import annotations

from collections.abc import Set

from tunesmith.data.fit import NO_TARGET, NO_TARGET_LEFT, too_long
from tunesmith.data.ledger import IMAGES, Ledger, top_reasons
from tunesmith.errors import UserError
from tunesmith.recipe.schema import DataConfig


def refusal(ledger: Ledger, config: DataConfig) -> UserError | None:
    """Why training on the rows of ``ledger`` is refused, or None where it is not."""
    return _forbidden(ledger, config) or _images(ledger, config) or _nothing(ledger, config) or _losses(ledger, config)


def _images(ledger: Ledger, config: DataConfig) -> UserError | None:
    """More rows with images than may be lost."""
    rows = sum(entry.reason == IMAGES for entry in ledger.entries)
    if not rows or (rows <= config.max_lost * ledger.rows and ledger.sequences["train"]):
        return None
    return UserError(
        "the rows have images, and no model that Tunesmith trains reads any yet",
        got=f"{rows:,} of {ledger.rows:,} rows; {_first_example(ledger, {IMAGES})}",
        hint="Train on rows of text. `tunesmith data convert` and `data curate` carry images along until then.",
        code="images-not-trained",
    )


def _forbidden(ledger: Ledger, config: DataConfig) -> UserError | None:
    """``overlong: refuse`` and a row that is."""
    reason = too_long(config.max_tokens)
    rows = sum(entry.reason == reason for entry in ledger.entries)
    if config.overlong != "refuse" or not rows:
        return None
    first = ledger.examples[reason][0]
    who = f"{first.file} line {first.line}" + (f" and {rows - 1:,} more rows are" if rows > 1 else " is")
    return UserError(
        f"{who} longer than max_tokens",
        allowed=f"at most {config.max_tokens} tokens, because data.overlong is refuse",
        hint="Raise data.max_tokens, or set data.overlong to drop, cut or split.",
        code="overlong-row",
    )


def _nothing(ledger: Ledger, config: DataConfig) -> UserError | None:
    if ledger.sequences["train"]:
        return None
    reasons = {entry.reason for entry in ledger.entries if not ledger.sources[entry.source].validation}
    if reasons <= {NO_TARGET, NO_TARGET_LEFT}:
        return UserError(
            "no row has a token to train on: every label is masked",
            got=top_reasons(ledger),
            hint="`tunesmith data report` shows examples; set objective.train_on, or raise data.max_tokens.",
            code="all-masked",
        )
    if reasons == {too_long(config.max_tokens)}:
        return UserError(
            f"every row is longer than max_tokens ({config.max_tokens})",
            got=top_reasons(ledger),
            hint="Raise data.max_tokens, or set data.overlong to cut or split.",
            code="all-overlong",
        )
    return UserError(
        "no row is left to train on",
        got=top_reasons(ledger),
        hint=_first_example(ledger, reasons),
        code="no-rows-left",
    )


def _losses(ledger: Ledger, config: DataConfig) -> UserError | None:
    if ledger.lost_share <= config.max_lost:
        return None
    return UserError(
        f"{ledger.total('dropped'):,} of {ledger.rows:,} rows would be dropped ({ledger.lost_share:.0%})",
        got=top_reasons(ledger),
        allowed=f"data.max_lost: {config.max_lost}",
        hint="`tunesmith data report` lists them with examples. Mend the rows, raise data.max_tokens, set "
        "data.overlong to cut or split, or raise data.max_lost.",
        code="too-many-lost",
    )


def _first_example(ledger: Ledger, reasons: Set[str]) -> str | None:
    for reason, shown in ledger.examples.items():
        if reason in reasons:
            return f"For example {shown[0].file} line {shown[0].line}: {shown[0].text}"
    return None
