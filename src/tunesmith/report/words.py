"""Names of figures in words, and the sentences a page begins with."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from tunesmith.report.markup import number, tag
from tunesmith.report.run_facts import Figure, RunFacts

NAMES: Mapping[str, str] = {
    "nll": "loss (nats a token)",
    "loss": "loss",
    "perplexity": "perplexity",
    "accuracy": "accuracy",
    "f1": "word overlap (F1)",
    "exact_match": "exact match",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "stopped": "answers ended by itself",
    "auroc": "area under ROC",
    "matthews": "Matthews' correlation",
    "mrr": "mean reciprocal rank",
    "map": "mean average precision",
    "ndcg@10": "nDCG@10",
    "chosen_logprob": "log p of chosen answers",
    "rejected_logprob": "log p of rejected answers",
    "length_margin": "tokens by which the chosen is longer",
}
FIRST = ("f1", "accuracy", "macro_f1", "exact_match", "reward", "pearson", "ndcg@10", "recall@1", "nll", "loss")
"""Which figure a reader is told first, of those that were measured; answers come before single tokens."""
SHARES = frozenset(
    [
        "accuracy",
        "f1",
        "exact_match",
        "macro_f1",
        "macro_precision",
        "macro_recall",
        "micro_f1",
        "micro_precision",
        "micro_recall",
        "entity_f1",
        "entity_precision",
        "entity_recall",
        "stopped",
        "auroc",
        "mrr",
        "map",
        "ndcg@10",
        "recall@1",
        "recall@5",
        "recall@10",
    ]
)
FORGOTTEN = ((0.05, "almost nothing"), (0.3, "a little"), (0.8, "a noticeable part"), (float("inf"), "much"))
"""Nats a token by which the base's own text became less likely, and the words for it."""
NOTICEABLE = 0.3


def name_of(figure: str) -> str:
    """A figure's name for people."""
    head, _, metric = figure.rpartition("/")
    words = NAMES.get(metric, metric.replace("_", " "))
    return f"{head}: {words}" if head else words


def form_of(figure: str) -> str:
    """How its values are written."""
    return "percent" if figure.rpartition("/")[2] in SHARES else "plain"


def change_form(figure: str) -> str:
    """How its changes are written."""
    return "points" if form_of(figure) == "percent" else "signed"


def foremost(facts: RunFacts) -> Figure | None:
    """The figure that says best what training was for; None where nothing was measured."""
    found = [*facts.figures("answers"), *facts.figures("task")]
    order = {name: place for place, name in enumerate(FIRST)}
    ranked = sorted(found, key=lambda figure: order.get(figure.name.rpartition("/")[2], len(order)))
    return ranked[0] if ranked else None


def forgotten(facts: RunFacts) -> Figure | None:
    """The loss on text the base wrote itself, where it has a change."""
    return next((one for one in facts.figures("retention") if one.name == "nll" and one.found.get("change")), None)


def kind(facts: RunFacts) -> str:
    """``good``, ``bad`` or ``warn``: the colour of the verdict."""
    gate = facts.get("report.json", "gate")
    first, lost = foremost(facts), forgotten(facts)
    if not facts.finished:
        return "warn"
    if (gate and not gate["ship"]) or (first is not None and first.verdict == "worse"):
        return "bad"
    severe = any(one.get("severity") == "bad" for one in facts.get("diagnosis.json", "findings") or ())
    much = lost is not None and lost.verdict == "worse" and lost.found["change"]["value"] > NOTICEABLE
    better = first is not None and first.verdict == "better"
    return "good" if better and not (much or severe or facts.get("report.json", "warnings")) else "warn"


def verdict(facts: RunFacts) -> list[Markup]:
    """What happened, in a few sentences, the first of them the verdict."""
    if not facts.finished:
        done = facts.traced("report.json", "steps")
        if done is None:
            return [Markup("This run is not finished: it has come to no result yet.")]
        wanted = number(facts.traced("recipe.yaml", "train", "steps"))
        return [Markup("This run is not finished: {} of {} updates are done.").format(number(done), wanted)]
    sentences = [_gained(facts), _lost(facts), _held(facts), _gate(facts)]
    return [sentence for sentence in sentences if sentence is not None]


def _gained(facts: RunFacts) -> Markup:
    figure = foremost(facts)
    if figure is None:
        return Markup("Trained to the end; no rows were held out, so nothing says how good it is.")
    name, form = name_of(figure.name), form_of(figure.name)
    after = number(facts.change(figure, "after"), form)
    if not figure.found.get("before") or not figure.found.get("change"):
        return Markup("Trained to the end: {} is {}. It was not measured before training.").format(name, after)
    before = number(facts.change(figure, "before"), form)
    count = number(facts.change(figure, "change", "n"))
    rows = "prompts" if figure.rows == "answers" else "rows"
    words = {
        "better": "The tuned model is better than its base at the task",
        "worse": "The tuned model is worse than its base at the task",
        "moved": "The tuned model differs from its base",
        "same": "No clear difference from the base at the task",
        "unknown": "Too few held-out rows to say whether it is better",
    }[figure.verdict]
    said = Markup("{}: {} went from {} to {} on {} held-out {}.")
    return said.format(words, name, before, after, count, rows)


def _lost(facts: RunFacts) -> Markup | None:
    figure = forgotten(facts)
    if figure is None:
        return None
    if figure.verdict != "worse":
        return Markup("It did not measurably forget what the base knew.")
    change = figure.found["change"]["value"]
    much = next(words for bound, words in FORGOTTEN if change < bound)
    lost = number(facts.change(figure, "change"), "signed")
    return Markup("It forgot {} of what the base knew: {} nats a token on text the base itself wrote.").format(
        much, lost
    )


def _held(facts: RunFacts) -> Markup | None:
    proofs = facts.get("proof.json", "proofs")
    if not proofs:
        return tag("span", "No proofs were made for this run.")
    failed = sum(proof["passed"] is False for proof in proofs)
    passed = number(facts.made("true", *(("proof.json", "proofs", place, "passed") for place in range(len(proofs)))))
    if failed:
        return Markup("Proofs failed before training: see below.")
    return Markup("{} proofs that it trained exactly what was asked for held before the first update.").format(passed)


def _gate(facts: RunFacts) -> Markup | None:
    gate = facts.get("report.json", "gate")
    if not gate:
        return None
    if gate["ship"]:
        return Markup("Every threshold of the gate is met: it may ship.")
    missed = ", ".join(line["name"] for line in gate["lines"] if not line["passed"])
    return Markup("It may not ship: {} missed.").format(missed)
