"""The top of the page: the verdict in words and the few numbers that carry it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from tunesmith.report import words
from tunesmith.report.documents import Traced
from tunesmith.report.markup import Child, join, number, tag, text
from tunesmith.report.run_facts import Figure, RunFacts

BADGES = {"good": "good result", "warn": "look closer", "bad": "do not use"}


def top(facts: RunFacts) -> Markup:
    """Verdict and tiles."""
    kind = words.kind(facts)
    first, *others = words.verdict(facts)
    gate = facts.get("report.json", "gate")
    badge = ("SHIP" if gate["ship"] else "DO NOT SHIP") if gate else BADGES[kind] if facts.finished else "not finished"
    verdict = tag(
        "div",
        tag("p", tag("span", badge, class_=f"badge {kind}")),
        tag("p", first, class_="big"),
        tag("p", join(others, " ")) if others else None,
        class_=f"verdict {kind}",
    )
    return tag("p", subject(facts), class_="lead") + verdict + tag("div", *tiles(facts), class_="tiles")


def subject(facts: RunFacts) -> Markup:
    """What was trained on what, in a line."""
    recipe = facts.documents.get(facts.newest("recipe.yaml")) or {}
    base = text(facts.traced("recipe.yaml", "model", "base"), name="strong")
    rows = number(facts.made("value", ("ledger.json", "sequences", "train")))
    count = facts.traced("report.json", "trainable_parameters")
    trained = Markup("; {} parameters were trained").format(number(count, "scaled")) if count else ""
    stages = Markup(" in {} stages").format(_spelled(len(facts.stages))) if facts.stages else ""
    method = recipe.get("method") or {}
    size = text(facts.traced("recipe.yaml", "method", "rank")) if "rank" in method and not facts.stages else None
    named = Markup("{} (rank {})").format(method_words(method), size) if size else method_words(method)
    return Markup("{}, tuned with {}{} by {} on {} sequences{}.").format(
        base, named, stages, objective_words(recipe.get("objective") or {}), rows, trained
    )


def method_words(method: Mapping[str, Any]) -> str:
    """The method as its paper writes it."""
    name = str(method.get("name", ""))
    return {"lora": "LoRA", "ia3": "IA³", "full": "all weights", "bitfit": "BitFit", "adalora": "AdaLoRA"}.get(
        name, name
    )


def objective_words(objective: Mapping[str, Any]) -> str:
    """The objective in words where it is known by letters."""
    name = str(objective.get("name", ""))
    return {"sft": "imitating answers (sft)", "pretrain": "continuing text (pretrain)", "classify": "labels (classify)",
            "dpo": "preferences (dpo)", "grpo": "rewards (grpo)", "ppo": "rewards (ppo)"}.get(name, name)  # fmt: skip


def tiles(facts: RunFacts) -> list[Markup]:
    """The numbers: the foremost figure, the loss, what was forgotten, what it cost."""
    first, lost = words.foremost(facts), words.forgotten(facts)
    found = []
    if first is not None:
        found.append(_figure(facts, first, words.name_of(first.name)))
    loss = next((one for one in facts.figures("task") if one.name in ("nll", "loss") and one != first), None)
    if loss is not None:
        found.append(_figure(facts, loss, "loss on held-out rows"))
    if lost is not None:
        found.append(_figure(facts, lost, "loss on what the base knew"))
    seconds = facts.traced("report.json", "seconds")
    tokens = number(facts.traced("report.json", "tokens"), "scaled")
    if seconds is not None:
        found.append(tile("time in updates", number(seconds, "seconds"), Markup("{} tokens").format(tokens)))
    return found


def tile(name: Child, value: Child, note: Child = None) -> Markup:
    """One number with its name above and a remark below."""
    below = tag("div", note, class_="note") if note else None
    return tag("div", tag("div", name, class_="name"), tag("div", value, class_="value"), below, class_="tile")


def interval(low: Traced | None, high: Traced | None, form: str) -> Markup | None:
    """``[low, high]``, nothing where there is none."""
    if low is None or high is None:
        return None
    return tag("span", "[", number(low, form), ", ", number(high, form), "]")


def _figure(facts: RunFacts, figure: Figure, name: str) -> Markup:
    form = words.form_of(figure.name)
    colour = {"better": "good-text", "worse": "bad-text"}.get(figure.verdict)
    value = number(facts.change(figure, "after"), form, class_=colour)
    if figure.found.get("before"):
        value = join([tag("span", number(facts.change(figure, "before"), form), " → ", class_="from"), value])
    low, high = (facts.change(figure, "change", key) for key in ("low", "high"))
    change = interval(low, high, words.change_form(figure.name))
    unit = " points" if form == "percent" else ""
    return tile(name, value, Markup("change {}{}").format(change, unit) if change else None)


def _spelled(count: int) -> str:
    return (
        ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")[count] if count < 10 else "many"
    )
