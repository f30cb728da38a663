"""Two models side by side: their answers to the same prompts, votes on them, and what the votes say.

A folder holds everything, so that judging goes on where it was left and any number of people may vote:

    pairs.jsonl   {number, prompt, a, b}: the answers, each written once
    models.json   which models a and b are
    votes.jsonl   {number, judge, winner: a | b | tie, left: a | b}, one line a vote; a later line replaces an earlier

Which answer stands on the left is drawn for each judge and pair, so that nobody can tell the models by their place. A
prompt is one unit: votes of several judges on it are averaged before the win rate is taken (ties count half).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any, Literal

from tunesmith.errors import UserError
from tunesmith.files import write_json, write_text
from tunesmith.metrics.agreement import cohen, fleiss
from tunesmith.metrics.win_rate import win_rate
from tunesmith.seed import derive

Winner = Literal["a", "b", "tie"]
WORTH: Mapping[str, float] = {"a": 1.0, "tie": 0.5, "b": 0.0}
Answerer = Callable[[str, Sequence[str]], list[str]]
"""Answers of the model of that name to prompts."""


@dataclass(frozen=True)
class Pair:
    """A prompt and what the two models answered."""

    number: int
    prompt: str
    a: str
    b: str

    @property
    def equal(self) -> bool:
        """Whether there is nothing to choose between."""
        return self.a.strip() == self.b.strip()


@dataclass(frozen=True)
class Vote:
    """What a judge said of a pair, and which answer stood on the left."""

    number: int
    judge: str
    winner: Winner
    left: Literal["a", "b"]


@dataclass(frozen=True)
class Table:
    """A folder with pairs and votes."""

    folder: Path

    @property
    def models(self) -> dict[str, str]:
        """``{a, b}``: what was asked."""
        return dict(json.loads((self.folder / "models.json").read_text(encoding="utf-8")))

    @property
    def pairs(self) -> list[Pair]:
        """All pairs in their order."""
        return [Pair(**one) for one in _lines(self.folder / "pairs.jsonl")]

    @property
    def votes(self) -> list[Vote]:
        """The last vote of every judge on every pair; votes that were taken back are left out."""
        found = {}
        for one in _lines(self.folder / "votes.jsonl"):
            found[one["judge"], one["number"]] = one
        return [Vote(**one) for one in found.values() if one["winner"] is not None]

    def left_of(self, pair: Pair, judge: str) -> Literal["a", "b"]:
        """Which answer a judge sees on the left: drawn, and the same whenever it is asked."""
        return Random(derive(pair.number, "left", judge)).choice(("a", "b"))

    def open_pairs(self, judge: str) -> list[Pair]:
        """Pairs that ``judge`` has not voted on, in an order drawn for this judge; equal answers are never asked."""
        done = {vote.number for vote in self.votes if vote.judge == judge}
        waiting = [pair for pair in self.pairs if pair.number not in done and not pair.equal]
        return Random(derive(0, "order", judge)).sample(waiting, len(waiting))

    def vote(self, pair: Pair, judge: str, winner: Winner | None) -> None:
        """Write a vote down at once; None takes an earlier one back."""
        line = {"number": pair.number, "judge": judge, "winner": winner, "left": self.left_of(pair, judge)}
        with (self.folder / "votes.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def result(self) -> dict[str, Any]:
        """``{a, b, pairs, equal, judges: {name: {votes, win_rate}}, win_rate, ties, left, agreement}``.

        ``win_rate`` is that of ``a``, with its 95% interval over prompts; pairs of equal answers are ties of everybody.
        ``left`` is how often the answer on the left won, which is near a half where places do not matter.
        """
        pairs, votes = self.pairs, self.votes
        equal = [pair.number for pair in pairs if pair.equal]
        by_prompt: dict[int, list[float]] = {number: [0.5] for number in equal if votes}
        for vote in votes:
            by_prompt.setdefault(vote.number, []).append(WORTH[vote.winner])
        means = [sum(each) / len(each) for each in by_prompt.values()]
        decided = [vote for vote in votes if vote.winner != "tie"]
        judges = sorted({vote.judge for vote in votes})
        return {
            **self.models,
            "pairs": len(pairs),
            "equal": len(equal),
            "votes": len(votes),
            "judges": {name: _of_judge([vote for vote in votes if vote.judge == name]) for name in judges},
            "win_rate": win_rate(means).as_dict() if means else None,
            "ties": sum(vote.winner == "tie" for vote in votes),
            "left": sum(vote.winner == vote.left for vote in decided) / len(decided) if decided else None,
            "agreement": _agreement(votes, judges),
        }

    def preferences(self) -> list[dict[str, Any]]:
        """Rows for DPO and reward models: the answer that most judges prefer is ``chosen``; draws are left out."""
        worth: dict[int, float] = {}
        for vote in self.votes:
            worth[vote.number] = worth.get(vote.number, 0.0) + WORTH[vote.winner] - 0.5
        rows = []
        for pair in self.pairs:
            if worth.get(pair.number):
                better, worse = (pair.a, pair.b) if worth[pair.number] > 0 else (pair.b, pair.a)
                asked = [{"role": "user", "content": pair.prompt}]  # messages ask for the chat template
                rows.append({"prompt": asked, "chosen": better, "rejected": worse})
        return rows


def prepare(a: str, b: str, prompts: Sequence[str], folder: Path, answer: Answerer) -> Table:
    """The table of ``a`` and ``b`` in ``folder``, with every prompt answered; answers that stand there are kept.

    Raises ``UserError``: ``other-models`` where the folder is about others, ``no-prompts``.
    """
    if not prompts:
        raise UserError("there is no prompt to judge answers to", code="no-prompts")
    table, named = Table(folder), {"a": a, "b": b}
    if (folder / "models.json").is_file() and table.models != named:
        raise UserError(
            f"{folder} holds votes on other models",
            got=f"{a} and {b}",
            allowed=" and ".join(table.models.values()),
            hint="Choose another folder with --out.",
            code="other-models",
        )
    held = {pair.prompt: pair for pair in table.pairs}
    new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in held]
    if new:
        said = [answer(model, new) for model in (a, b)]
        start = len(held)
        pairs = [*held.values(), *(Pair(start + at, *three) for at, three in enumerate(zip(new, *said, strict=True)))]
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "pairs.jsonl", "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in pairs))
    write_json(folder / "models.json", named)
    return table


def prompts_in(path: str) -> list[str]:
    """The prompts of a file: its lines, or of rows the column ``prompt`` (or ``text``, or the first user turn)."""
    from tunesmith.run.rows import raw_rows

    found = []
    for number, row in enumerate(raw_rows(path, code="bad-prompts", unit="lines"), start=1):
        turns = [turn.get("content") for turn in row.get("messages") or () if turn.get("role") == "user"]
        prompt = next((row[name] for name in ("prompt", "text", "instruction") if isinstance(row.get(name), str)), None)
        prompt = prompt or (turns[0] if turns else None)
        if not prompt:
            raise UserError(
                f"row {number} of {path} has no prompt",
                got=", ".join(row),
                allowed="a column `prompt`, or a txt file with a prompt a line",
                code="bad-prompts",
            )
        found.append(str(prompt))
    return found


def answers_of(model: str, prompts: Sequence[str], *, max_new_tokens: int, template: str | None = None) -> list[str]:
    """Greedy answers of a run or a model, asked as it was trained."""
    from tunesmith.contracts.data import Message
    from tunesmith.run.judge import generator
    from tunesmith.run.use import asked_raw, open_any, refuse_task

    session = open_any(model, template=template)
    refuse_task(session)
    raw = template is None and asked_raw(Path(model))
    ids = [session.encoder.prompt_ids([Message("user", prompt)], raw=raw) for prompt in prompts]
    said = generator(session, max_new_tokens=max_new_tokens).generate(ids)
    return [session.encoder.decode(one.ids).strip() for one in said]


def _of_judge(votes: Sequence[Vote]) -> dict[str, Any]:
    return {"votes": len(votes), "win_rate": win_rate([WORTH[vote.winner] for vote in votes]).as_dict()}


def _agreement(votes: Sequence[Vote], judges: Sequence[str]) -> dict[str, Any]:
    """``{fleiss, cohen: {"one and other": kappa}}``; None where too little is shared."""
    said = {judge: {vote.number: vote.winner for vote in votes if vote.judge == judge} for judge in judges}
    numbers = sorted({vote.number for vote in votes})
    pairs = {}
    for one, other in combinations(judges, 2):
        shared = [number for number in numbers if number in said[one] and number in said[other]]
        pairs[f"{one} and {other}"] = cohen(
            [said[one][number] for number in shared], [said[other][number] for number in shared]
        )
    items = [[said[judge][number] for judge in judges if number in said[judge]] for number in numbers]
    return {"fleiss": fleiss(items), "cohen": pairs}


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    # a line that was cut off when the terminal was closed is no vote
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
