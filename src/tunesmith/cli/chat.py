"""``tunesmith chat``: a conversation with a trained model."""

from __future__ import annotations

from pathlib import Path

import click

from tunesmith.cli.output import emit, json_option, say


@click.command()
@click.argument("run_folder", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--message", "-m", help="Say one thing, print the answer and stop.")
@json_option
def chat(run_folder: Path, message: str | None, as_json: bool) -> None:
    """Talk to the model of RUN. An empty line or Ctrl-D ends; /new starts a new conversation."""
    from tunesmith import run

    session = run.chat(run_folder)
    if message is not None or as_json:
        _once(session, message if message is not None else click.get_text_stream("stdin").read().strip(), as_json)
        return
    say("An empty line ends the conversation; /new starts a new one.")
    while text := _ask():
        if text == "/new":
            session = run.chat(run_folder)
            continue
        click.echo(session.say(text))


def _once(session: object, message: str, as_json: bool) -> None:
    answer = session.say(message)  # type: ignore[attr-defined]
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
