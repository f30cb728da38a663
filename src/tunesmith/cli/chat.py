"""``tunesmith chat``: a conversation with a trained model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from tunesmith.cli.output import emit, json_option, say

if TYPE_CHECKING:
    from tunesmith.run.use import Chat


@click.command()
@click.argument("run_or_model", metavar="RUN")
@click.option("--system", help="A system prompt.")
@click.option(
    "--template",
    help="Chat template, as in data.template: auto (the model's own), chatml, llama-2, plain, or a jinja file. By "
    "default the one RUN was trained with.",
)
@click.option("--message", "-m", help="Say one thing, print the answer and stop.")
@json_option
def chat(run_or_model: str, system: str | None, template: str | None, message: str | None, as_json: bool) -> None:
    """Talk to the model of RUN: a run folder, or a base model to see what it said before.

    An empty line or Ctrl-D ends the conversation; /new starts a new one.
    """
    from tunesmith import run

    session = run.chat(run_or_model, system=system, template=template)
    if session.raw:
        say("Trained without a chat template: what you type is continued as it is, each time anew.")
    if message is not None or as_json:
        _once(session, message if message is not None else sys.stdin.read().strip(), as_json)
        return
    say("An empty line ends the conversation; /new starts a new one.")
    while text := _ask():
        if text == "/new":
            session = session.again()
            continue
        for piece in session.stream(text):
            click.echo(piece, nl=False)
        click.echo()


def _once(session: Chat, message: str, as_json: bool) -> None:
    answer = session.say(message)
    if as_json:
        emit({"message": message, "answer": answer})
    else:
        click.echo(answer)


def _ask() -> str:
    try:
        click.echo("> ", nl=False, err=True)
        return input().strip()
    except EOFError:
        return ""
