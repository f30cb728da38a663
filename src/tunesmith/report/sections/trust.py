"""Why to trust it: proofs, diagnosis, cost, environment, and how to make it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from tunesmith.report.documents import Traced, pointer
from tunesmith.report.markup import Child, join, more, number, table, tag, text
from tunesmith.report.markup import facts as fact_list
from tunesmith.report.page import Section
from tunesmith.report.run_facts import RunFacts

MARK = {None: ("skipped", ""), True: ("held", "good"), False: ("failed", "bad")}


def diagnosis(facts: RunFacts) -> Section | None:
    """What the diagnosis says, with evidence and advice."""
    found = facts.get("diagnosis.json")
    warnings = facts.get("report.json", "warnings") or []
    if not found and not warnings:
        return None
    place = "report.json"
    cards = [_finding(facts, number, one) for number, one in enumerate((found or {}).get("findings", ()))]
    if not found:
        cards = [tag("div", tag("span", "warning", class_="badge warn"),
                     text(facts.traced(place, "warnings", number), name="p"), class_="finding")
                 for number in range(len(warnings))]  # fmt: skip
    looked = ", ".join(one.replace("-", " ") for one in (found or {}).get("looked_for", ()))
    if not cards:
        cards = [
            tag("p", tag("span", "healthy", class_="badge good"), " Nothing was found that speaks against this run.")
        ]
    note = tag("p", f"Looked for: {looked}.", class_="quiet") if looked else None
    return Section("diagnosis", "Diagnosis", join([*cards, note]), "What the record of the training itself says.")


def _finding(facts: RunFacts, place: int, found: Mapping[str, Any]) -> Markup:
    at = ("diagnosis.json", "findings", place)
    evidence = [text(facts.traced(*at, "evidence", one, "text"), name="li") for one in range(len(found["evidence"]))]
    return tag(
        "div",
        tag("span", found["name"].replace("-", " "), class_=f"badge {found['severity']}"),
        tag(
            "div",
            text(facts.traced(*at, "what"), name="p"),
            tag("p", found["advice"], class_="advice", data_from=pointer(facts.newest(at[0]), *at[1:], "advice")),
            tag("ul", *evidence) if evidence else None,
        ),
        class_="finding",
    )


def proofs(facts: RunFacts) -> Section | None:
    """What was proved before the first update."""
    found = facts.get("proof.json", "proofs")
    if not found:
        return None
    rows = []
    for place, proof in enumerate(found):
        at = ("proof.json", "proofs", place)
        said, colour = MARK[proof["passed"]]
        badge = tag("span", said, class_=f"badge {colour}")
        measured = number(facts.traced(*at, "measured")) if proof["passed"] is not None else ""
        bound = number(facts.traced(*at, "bound")) if proof["passed"] is not None else ""
        rows.append((text(facts.traced(*at, "name")), badge, text(facts.traced(*at, "why")), measured, bound))
    lead = "Measured on this model and these rows before the first update; a failed one would have stopped it."
    return Section("proofs", "Proofs", table(("proof", "", "what holds", "measured", "bound"), rows), lead)


def cost(facts: RunFacts) -> Section:
    """Time, tokens, arithmetic, memory, energy (of the whole machine's processors and GPUs)."""
    flops = _flops(facts)
    rows: list[tuple[Child, Child]] = [
        ("time in updates", number(facts.traced("report.json", "seconds"), "seconds")),
        ("updates", number(facts.traced("report.json", "steps"))),
        ("tokens", number(facts.traced("report.json", "tokens"), "scaled")),
        ("tokens a second", number(facts.traced("report.json", "tokens_per_second"))),
        ("useful arithmetic", number(flops, "flops", absent="not counted")),
        ("share of the hardware's speed", number(facts.traced("report.json", "useful_fraction"), "percent")),
        ("peak memory", number(facts.traced("report.json", "peak_memory_bytes"), "bytes")),
        ("energy", number(facts.traced("report.json", "energy_joules"), "energy", absent="not told by this machine")),
        ("processor time", number(facts.traced("report.json", "cpu_seconds"), "seconds", absent="not measured")),
        ("trained parameters", number(facts.traced("report.json", "trainable_parameters"), "scaled")),
    ]
    return Section("cost", "What it cost", fact_list(rows), "Updates only; loading, proofs and judging come on top.")


def _flops(facts: RunFacts) -> Traced | None:
    starts = facts.starts()
    if len(starts) != 1:
        return None
    return facts.documents.made("product", f"{starts[0]}/flops_per_token", pointer(facts.file("report.json"), "tokens"))


def environment(facts: RunFacts) -> Section | None:
    """Hardware and versions."""
    found = facts.get("environment.json")
    if not found:
        return None
    file = "environment.json"

    def one(*keys: str | int) -> Traced | None:
        return facts.traced(file, *keys)

    rows: list[tuple[Child, Child]] = [
        ("processor", text(one("processor"))),
        ("cores used, threads", join([number(one("cores")), ", ", number(one("threads"))])),
        ("memory", number(one("memory_bytes"), "bytes")),
        ("platform", text(one("platform"))),
        ("python", text(one("python"))),
        *(("device", text(one("devices", place))) for place in range(len(found.get("devices", ())))),
        *((name, text(one("packages", name))) for name in found.get("packages", {})),
    ]
    return Section("environment", "Environment", fact_list(rows))


def again(facts: RunFacts) -> Section:
    """The recipe and the command that repeats the run."""
    commands = (
        "tunesmith check recipe.yaml     # its proofs alone\n"
        "tunesmith train recipe.yaml     # the recipe below, beside the same data"
    )
    recipes = [
        more(
            f"recipe.yaml{f' of {stage}' if stage else ''}, with everything that was decided by itself",
            tag("pre", facts.documents.files[f"{file} as text"], data_file=file),
        )
        for stage, file in [("", facts.file("recipe.yaml")), *(each for each in facts.each("recipe.yaml") if each[0])]
    ]
    lead = "Runs of one recipe on one kind of machine with the same versions are the same to the last bit."
    return Section("again", "How to make it again", join([tag("pre", commands), *recipes]), lead)


def versions(found: Mapping[str, str]) -> str:
    """What `pip install` takes."""
    return " ".join(f"{name}=={version}" for name, version in found.items())
