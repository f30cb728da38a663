"""The code on the pages works: shell blocks run in an empty folder, Python blocks use names that exist."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import tunesmith

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]
BLOCK = re.compile(
    r"(?:<!-- no-test: (?P<reason>.+?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Block:
    """A fenced block; ``reason`` says why it is not run (None: it is)."""

    language: str
    text: str
    reason: str | None


def blocks(text: str) -> list[Block]:
    return [Block(found["language"], found["text"], found["reason"]) for found in BLOCK.finditer(text)]


def test_blocks_are_found_with_their_reasons() -> None:
    text = "a\n```bash\nls\n```\n<!-- no-test: slow -->\n```bash\nmake\n```\n```\nplain\n```\n"
    assert blocks(text) == [Block("bash", "ls\n", None), Block("bash", "make\n", "slow"), Block("", "plain\n", None)]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_shell_blocks_run_one_after_the_other_in_an_empty_folder(page: Path, tmp_path: Path) -> None:
    script = "".join(block.text for block in blocks(page.read_text()) if block.language == "bash" and not block.reason)
    if not script:
        pytest.skip("no block to run on this page")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if page.stem == "README":
        assert "\n7\n" in done.stdout, "the tuned model does not give the answer it was trained on"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_blocks_use_names_that_exist(page: Path) -> None:
    for block in blocks(page.read_text()):
        if block.language == "python":
            for node in ast.walk(ast.parse(block.text)):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ts":
                    assert hasattr(tunesmith, node.attr), node.attr


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            if target != "docs/images/demo.svg":
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_two_commands_are_within_thirty_lines() -> None:
    top = "\n".join((ROOT / "README.md").read_text().splitlines()[:30])
    assert "make demo" in top
    assert "make test" in top
