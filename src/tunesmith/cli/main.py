"""The entry point: a lazy table of commands, and the one place where errors become sentences and exit codes.

Exit codes: 0 done; 1 a gate or a proof failed; 2 the input is wrong; 3 a bug; 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper

import click

from tunesmith.cli.output import INTERRUPTED
from tunesmith.errors import GateFailed, UserError, did_you_mean

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("tunesmith.cli.demo:demo", "See the whole journey on the embedded model, in minutes."),
    "init": ("tunesmith.cli.init:init", "Write a commented recipe for your data file."),
    "data": ("tunesmith.cli.data:data", "Look at what would be trained on, and at what is lost on the way."),
    "check": ("tunesmith.cli.check:check", "Prove that the run would train what you asked for."),
    "train": ("tunesmith.cli.train:train", "Train a model from a recipe."),
    "sweep": ("tunesmith.cli.sweep:sweep", "Train with many options over one base, and name the best."),
    "align": ("tunesmith.cli.align:align", "Train in stages: supervised, then by preferences or rewards."),
    "iterate": ("tunesmith.cli.iterate:iterate", "Train on what a run got wrong, and compare, round by round."),
    "make": ("tunesmith.cli.make:make", "Let a model make rows to train on."),
    "eval": ("tunesmith.cli.eval:evaluate", "Measure a run or a model, with intervals."),
    "suite": ("tunesmith.cli.suite:suite", "See the shipped suites, or let a regression suite grow."),
    "judge": ("tunesmith.cli.judge:judge", "Let people or a server judge two models side by side."),
    "gate": ("tunesmith.cli.gate:gate", "Say whether a run may ship, by thresholds."),
    "compare": ("tunesmith.cli.compare:compare", "Say how runs differ, with intervals."),
    "inspect": ("tunesmith.cli.inspect:inspect", "Say how healthy a training was, and look inside its model."),
    "report": ("tunesmith.cli.report:report", "Write everything about a run as one HTML file."),
    "bench": ("tunesmith.cli.bench:bench", "Find which tuning method suits your model and rows."),
    "chat": ("tunesmith.cli.chat:chat", "Talk to a trained model."),
    "predict": ("tunesmith.cli.predict:predict", "Label texts, or make vectors of them, with a trained model."),
    "merge": ("tunesmith.cli.merge:merge", "Write the tuned model as a plain transformers folder."),
    "export": ("tunesmith.cli.card:export", "Write what others need of a run: its model card."),
    "teach": ("tunesmith.cli.teach:teach", "Store in rows what a teacher says of their answers."),
    "shallow": ("tunesmith.cli.shallow:shallow", "Write a model with fewer blocks, to distil a larger one into."),
    "methods": ("tunesmith.cli.parts:methods", "List the ways parameters can be trained."),
    "objectives": ("tunesmith.cli.parts:objectives", "List what can be minimised."),
    "addons": ("tunesmith.cli.parts:addons", "List what can stand beside an objective."),
    "rewards": ("tunesmith.cli.parts:rewards", "List what answers can be rewarded for."),
    "metrics": ("tunesmith.cli.parts:metrics", "List what answers can be measured by."),
    "formats": ("tunesmith.cli.formats:formats", "List the data formats that are understood."),
    "doctor": ("tunesmith.cli.doctor:doctor", "Show versions, hardware, measured speeds and missing extras."),
}
"""Name -> where the command lives and its one-line summary, so that help loads no command."""

ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
    "GRADIO_ANALYTICS_ENABLED": "False",
}
"""Set before torch is imported unless the user set them: idle threads sleep (spinning ones stall a busy machine
tenfold), libraries stay quiet and send nothing home. None of them changes a result."""

REPORT_AT = "https://github.com/tunesmith/tunesmith/issues"


class _ReaderLeftError(Exception):
    """Whoever read our output has left (`| head`), which is no failure; click would make it exit code 1."""


class LazyCommands(click.Group):
    """A group that knows names and summaries without importing any command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the journey."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            raise UserError(
                "unknown command",
                got=f"'{cmd_name}'",
                allowed=list(COMMANDS),
                hint=did_you_mean(cmd_name, COMMANDS),
                code="unknown-command",
            )
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run one command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _ReaderLeftError from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands, from the summaries."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=LazyCommands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="tunesmith", prog_name="tunesmith")
def cli() -> None:
    """Fine-tuning that proves itself: your data and a pretrained model in, a tuned, evaluated, proven model out.

    New here? Run `tunesmith demo`, then `tunesmith init YOUR-DATA`. Every command takes --json.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    as_json = "--json" in words
    if isinstance(sys.stdout, TextIOWrapper):
        # rows may hold characters that the terminal, or UTF-8 itself, has no bytes for
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return int(cli.main(args=words, prog_name="tunesmith", standalone_mode=False) or 0)
    except GateFailed as error:
        return _fail(error, as_json)
    except UserError as error:
        return _refuse(error, as_json)
    except click.ClickException as error:
        return _refuse(_from_click(error), as_json)
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nInterrupted. Nothing that was saved is lost.", err=True)
        return INTERRUPTED
    except _ReaderLeftError:
        # what is still in the buffer must not be flushed into the broken pipe at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _confess(error, as_json)


def _fail(error: GateFailed, as_json: bool) -> int:
    """Say what did not pass; exit code 1."""
    click.echo(f"{_red('failed:')} {error}", err=True)
    if as_json:
        click.echo(json.dumps({"error": {"code": "gate-failed", "what": str(error)}}, ensure_ascii=False))
    return 1


def _refuse(error: UserError, as_json: bool) -> int:
    """Say what is wrong with the input; exit code 2."""
    told = UserError(error.what, got=error.got, allowed=error.allowed).sentence()
    click.echo(f"{_red('error:')} {told}", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)
    if as_json:
        fields = {
            "code": error.code,
            "what": error.what,
            "got": error.got,
            "allowed": error.allowed,
            "hint": error.hint,
        }
        click.echo(json.dumps({"error": fields}, ensure_ascii=False, default=str))
    return 2


def _confess(error: Exception, as_json: bool) -> int:
    """Show a bug with its traceback and say where to report it; exit code 3."""
    traceback.print_exc()
    click.echo(
        f"\n{_red('This is a bug in Tunesmith, not a mistake of yours.')} Please report it at {REPORT_AT} with the "
        "text above and what `tunesmith doctor --json` prints. Nothing that was saved is lost.",
        err=True,
    )
    if as_json:
        click.echo(
            json.dumps({"error": {"code": "bug", "what": f"{type(error).__name__}: {error}"}}, ensure_ascii=False)
        )
    return 3


def _from_click(error: click.ClickException) -> UserError:
    """A mistake in the arguments, in the words of all other errors."""
    context = getattr(error, "ctx", None)
    hint = f"`{context.command_path} --help` shows the arguments." if context else None
    if isinstance(error, click.NoSuchOption) and "." in error.option_name:
        hint = f"Overrides have no dashes: {error.option_name.lstrip('-')}=VALUE"
    return UserError(error.format_message().rstrip("."), hint=hint, code="bad-arguments")


def _red(text: str) -> str:
    plain = "NO_COLOR" in os.environ or not sys.stderr.isatty()
    return text if plain else click.style(text, fg="red", bold=True)
