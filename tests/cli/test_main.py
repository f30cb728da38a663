"""The entry point: quick help, did-you-mean, errors as sentences with their exit codes, JSON on request."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from said import Tunesmith

from tunesmith.cli import main as entry
from tunesmith.errors import GateFailed, UserError

PROBE = """
import os, sys
from tunesmith.cli.main import main
code = main(["--help"])
heavy = {"torch", "transformers", "numpy", "pydantic", "ruamel", "rich", "tunesmith.recipe"} & set(sys.modules)
print("PROBE", code, sorted(heavy), os.environ["OMP_WAIT_POLICY"], os.environ["TOKENIZERS_PARALLELISM"],
      os.environ["HF_HUB_DISABLE_TELEMETRY"])
"""


def raising(error: BaseException) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_help_loads_nothing_heavy_and_sets_the_thread_policy_first() -> None:
    clean = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, env=clean)
    assert done.stdout.splitlines()[-1] == "PROBE 0 [] PASSIVE false 1"
    assert "Commands:" in done.stdout


def test_the_user_s_own_environment_wins(call: Tunesmith, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    call("--help")
    assert entry.os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def leaves(command: click.Command) -> list[click.Command]:
    """The commands below ``command``, itself where it is no group."""
    if not isinstance(command, click.Group):
        return [command]
    return [leaf for one in command.commands.values() for leaf in leaves(one)]


@pytest.mark.parametrize("name", list(entry.COMMANDS))
def test_every_command_explains_itself_and_takes_json(name: str, call: Tunesmith) -> None:
    context = click.Context(entry.cli)
    command = entry.cli.get_command(context, name)
    assert command is not None
    assert call(name, "--help").code == 0
    for one in leaves(command):
        assert one.help, f"{name} has no help"
        assert any("--json" in parameter.opts for parameter in one.params), f"{name} does not take --json"
        for parameter in one.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts} has no help"


def test_an_unknown_command_suggests_the_closest(call: Tunesmith) -> None:
    said = call("trian")
    assert said.code == 2
    assert "unknown command; got 'trian'" in said.err
    assert "Did you mean 'train'?" in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train"], "Missing argument 'RECIPE'"),
        (["train", "r.yaml", "--train.epochs=2"], "Overrides have no dashes: train.epochs=VALUE"),
        (["train", "r.yaml", "--resum"], "--resum"),
        (["merge", "run"], "--out"),
        (["--verson"], "--verson"),
    ],
)
def test_wrong_arguments_are_the_user_s_mistake(words: list[str], told: str, call: Tunesmith) -> None:
    said = call(*words)
    assert said.code == 2
    assert told in said.err
    assert "Traceback" not in said.err


def test_a_user_error_says_what_got_allowed_and_next(call: Tunesmith, library: ModuleType, tmp_path: Path) -> None:
    library.merge = raising(UserError("bad thing", got="x", allowed=["a", "b"], hint="Do this.", code="bad-thing"))
    said = call("merge", tmp_path, "--out", tmp_path / "o")
    assert said.code == 2
    assert said.err == "error: bad thing; got x; allowed: a, b.\nhint: Do this.\n"
    assert said.out == ""


def test_a_user_error_is_json_on_request(call: Tunesmith, library: ModuleType, tmp_path: Path) -> None:
    library.merge = raising(UserError("bad thing", got=Path("x"), allowed=["a"], code="bad-thing"))
    said = call("merge", tmp_path, "--out", tmp_path / "o", "--json")
    assert said.code == 2
    assert said.json == {
        "error": {"code": "bad-thing", "what": "bad thing", "got": "x", "allowed": ["a"], "hint": None}
    }
    assert "error: bad thing" in said.err


def test_a_bug_keeps_its_traceback_and_says_where_to_report(
    call: Tunesmith, library: ModuleType, tmp_path: Path
) -> None:
    library.merge = raising(ZeroDivisionError("oops"))
    said = call("merge", tmp_path, "--out", tmp_path / "o", "--json")
    assert said.code == 3
    assert "Traceback" in said.err
    assert "ZeroDivisionError: oops" in said.err
    assert entry.REPORT_AT in said.err
    assert said.json["error"]["code"] == "bug"


def test_a_failed_gate_is_exit_code_1(call: Tunesmith, library: ModuleType, tmp_path: Path) -> None:
    library.merge = raising(GateFailed("2 of 9 proofs failed"))
    said = call("merge", tmp_path, "--out", tmp_path / "o", "--json")
    assert said.code == 1
    assert said.err == "failed: 2 of 9 proofs failed\n"
    assert said.json["error"]["code"] == "gate-failed"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_is_one_sentence(
    error: BaseException, call: Tunesmith, library: ModuleType, tmp_path: Path
) -> None:
    library.merge = raising(error)
    said = call("merge", tmp_path, "--out", tmp_path / "o")
    assert said.code == 130
    assert said.err.strip() == "Interrupted. Nothing that was saved is lost."


@pytest.mark.parametrize(("no_color", "red"), [(None, True), ("1", False), ("", False)])
def test_colours_are_for_terminals_and_never_with_no_color(
    no_color: str | None, red: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert ("\x1b[" in entry._red("error:")) is red


def test_a_reader_that_leaves_early_is_no_error() -> None:
    script = "import sys; from tunesmith.cli.main import main; sys.exit(main(['formats', '--json']))"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        told = process.stderr.read()
        assert process.wait(60) == 0
    assert told == ""


def test_the_version_is_the_package_s(call: Tunesmith) -> None:
    from tunesmith import __version__

    assert __version__ in call("--version").out
