"""``tunesmith judge``: which of two models answers better, by people who do not know which is which, or by a server."""

from __future__ import annotations

import getpass
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunesmith.cli.keys import pressed
from tunesmith.cli.output import emit, grid, interval, json_option, pairs, say, shown, stdout
from tunesmith.errors import UserError

if TYPE_CHECKING:
    from tunesmith.run.side_by_side import Pair, Table

KEYS = {"1": "left", "2": "right", "\x1b[D": "left", "\x1b[C": "right", "0": "tie", "t": "tie", "=": "tie"}
"""What a key says: the numbers, or the arrows."""
HELP = "1 or ←: the left one   2 or →: the right one   t: a tie   s: skip   u: undo   q: leave, votes are kept"


@click.command()
@click.argument("a")
@click.argument("b")
@click.option("--prompts", help="A file of prompts: lines of a txt file, or rows with a column `prompt`.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of answers and votes; judging goes on there.")
@click.option("--judge", "name", help="Your name; by default the user's. Several people may vote.")
@click.option("--server", help="Let a model judge instead: an OpenAI-compatible server, up to /v1.")
@click.option("--model", help="The judging model's name on that server.")
@click.option("--rubric", help="What the judging model looks for, in words.")
@click.option("--key-variable", help="Environment variable that holds the server's key.")
@click.option("--export", type=click.Path(path_type=Path), help="Write preference rows for DPO into this jsonl file.")
@click.option("--results", is_flag=True, help="Only tell what the votes so far say.")
@click.option("--max-new-tokens", type=click.IntRange(1), default=256, show_default=True, help="Longest answer.")
@click.option("--template", help="Chat template of models that have none.")
@json_option
def judge(a: str, b: str, as_json: bool, **options: Any) -> None:
    """Judge A against B (runs, model folders, `embedded`) side by side, without knowing which is which.

    Each prompt of --prompts is answered by both once; which answer stands on the left is drawn. Every vote is stored
    when it is made: leave with q and give the same command to go on. With --server a language model judges, each pair
    twice with the places swapped.
    """
    folder = options["out"] or Path("judgements") / f"{_plain(a)}-{_plain(b)}"
    table = _table(a, b, folder, options)
    if options["server"]:
        _by_server(table, options)
    elif not options["results"] and not options["export"]:
        _by_person(table, options["name"] or getpass.getuser())
    result = table.result()
    if options["export"]:
        result["exported"] = _export(table, options["export"])
    if as_json:
        emit({**result, "folder": str(folder)})
        return
    _tell(result, folder)


def _table(a: str, b: str, folder: Path, options: dict[str, Any]) -> Table:
    if options["server"] and not options["model"]:
        raise UserError("--server needs --model, the judging model's name there", code="bad-arguments")
    if options["prompts"] is None and not (folder / "pairs.jsonl").is_file():
        raise UserError(
            f"there is nothing to judge in {folder} yet",
            hint="Name prompts that both models answer: --prompts FILE.",
            code="no-prompts",
        )
    from tunesmith.run.side_by_side import Table, answers_of, prepare, prompts_in

    if options["prompts"] is None:
        table = Table(folder)
        return prepare(a, b, [pair.prompt for pair in table.pairs], folder, lambda *_: [])
    prompts = prompts_in(options["prompts"])

    def answer(model: str, asked: Sequence[str]) -> list[str]:
        say(f"{model} answers {len(asked)} prompts")
        return answers_of(model, asked, max_new_tokens=options["max_new_tokens"], template=options["template"])

    return prepare(a, b, prompts, folder, answer)


def _by_server(table: Table, options: dict[str, Any]) -> None:
    from tunesmith.rewards.judge import RUBRIC
    from tunesmith.run.pair_judge import PairJudge

    rubric = options["rubric"] or RUBRIC
    judging = PairJudge(options["server"], options["model"], rubric, key_variable=options["key_variable"])
    waiting = len(table.open_pairs(options["model"]))
    every = max(1, waiting // 10)

    def progress(done: int) -> None:
        if done % every == 0 or done == waiting:
            say(f"judged {done} of {waiting}")

    judging.judge(table, on_progress=progress)


def _by_person(table: Table, name: str) -> None:
    """Ask about every open pair until all are done or the judge leaves."""
    done: list[Pair] = []
    waiting = table.open_pairs(name)
    if not waiting:
        say(f"{name} has voted on every pair.")
        return
    say(f"{len(waiting)} pairs for {name}. {HELP}")
    while waiting:
        pair = waiting[0]
        _show(table, pair, name, len(done) + 1, len(done) + len(waiting))
        said = pressed()
        if said in ("q", "\x04", ""):
            break
        if said == "u" and done:
            waiting.insert(0, done.pop())
            table.vote(waiting[0], name, None)
        elif said == "s":
            waiting.append(waiting.pop(0))
        elif said in KEYS:
            left = table.left_of(pair, name)
            right: Any = "b" if left == "a" else "a"
            table.vote(pair, name, {"left": left, "right": right, "tie": "tie"}[KEYS[said]])
            done.append(waiting.pop(0))
        else:
            say(HELP)


def _show(table: Table, pair: Pair, name: str, number: int, count: int) -> None:
    """The prompt, and two answers beside each other (below each other where the terminal is narrow)."""
    from rich.columns import Columns
    from rich.panel import Panel
    from rich.text import Text

    from tunesmith.cli.output import stderr

    console = stderr()
    left, right = (pair.a, pair.b) if table.left_of(pair, name) == "a" else (pair.b, pair.a)
    console.rule(f"{number} of {count}")
    console.print(Text(pair.prompt, style="bold"))
    width = max(30, min(console.width, 160) // 2 - 2)
    panels = [
        Panel(Text(text or "(no answer)"), title=title, width=width) for title, text in (("1", left), ("2", right))
    ]
    console.print(Columns(panels))


def _export(table: Table, path: Path) -> int:
    from tunesmith.files import write_text

    rows = table.preferences()
    if not rows:
        raise UserError("no pair has a winner yet, so there is no preference to write", code="no-votes")
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    say(f"{len(rows)} preference rows are in {path}")
    return len(rows)


def _tell(result: dict[str, Any], folder: Path) -> None:
    console = stdout()
    if not result["votes"]:
        alike = result["equal"] == result["pairs"]
        say("Both gave the same answer to every prompt: no vote is asked." if alike else "There are no votes yet.")
        return
    rows = [(name, shown(one["votes"]), interval(one["win_rate"])) for name, one in result["judges"].items()]
    console.print(grid(("judge", "votes", f"win rate of {result['a']}"), rows))
    agreement = result["agreement"]
    told = {
        f"win rate of {result['a']}": interval(result["win_rate"]),
        "pairs": f"{result['pairs']}, of which {result['equal']} with equal answers",
        "ties": shown(result["ties"]),
        "won by the left place": shown(result["left"]),
        "agreement (Fleiss' kappa)": shown(agreement["fleiss"]),
        **{f"agreement of {names} (Cohen's kappa)": shown(value) for names, value in agreement["cohen"].items()},
    }
    console.print(pairs(told))
    say(f"Everything is in {folder}.")


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", Path(name).name or name).strip("-") or "model"
