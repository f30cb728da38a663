"""Constitutional revision: what is asked, in which order, and what is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted import CUT, asked, parents, work

from tunesmith.errors import UserError
from tunesmith.making.constitutional import UNCHANGED, Constitutional
from tunesmith.making.texts import filled, read_principles, read_templates

PRINCIPLES = """
principles:
  - {name: kind, critique: "Where is it rude?", revision: "Make it kind."}
  - {name: short, critique: "Where is it long?", revision: "Make it short."}
"""
TEMPLATES = """
critique: "C|{question}|{answer}|{principle}"
revision: "R|{question}|{answer}|{critique}|{principle}"
"""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "principles.yaml").write_text(PRINCIPLES)
    (tmp_path / "templates.yaml").write_text(TEMPLATES)
    return {name: str(tmp_path / f"{name}.yaml") for name in ("principles", "templates")}


def reply(prompt: str, seed: int) -> str:
    kind = prompt[:2]
    return {"C|": "it shouts {answer}", "R|": f"better {prompt.count('better') + 1}"}.get(kind, "GO AWAY")


def test_answer_critique_revision(files: dict[str, str]) -> None:
    found = work(parents("May I?"), reply)
    (one,) = Constitutional(**files).ready(found).make([0])
    first, critique, revision = asked(found)
    assert first == "May I?"
    principle = one.rows[0]["made"]["steps"][0]["principle"]
    wanted = {"kind": ("Where is it rude?", "Make it kind."), "short": ("Where is it long?", "Make it short.")}[
        principle
    ]
    assert critique == f"C|May I?|GO AWAY|{wanted[0]}"
    assert revision == f"R|May I?|GO AWAY|it shouts {{answer}}|{wanted[1]}"
    (row,), (pair,) = one.rows, one.pairs
    assert row["messages"][-1]["content"] == "better 1"
    assert (pair["chosen"], pair["rejected"]) == ("better 1", "GO AWAY")
    assert row["made"]["first"] == "GO AWAY"
    assert (row["made"]["file"], row["made"]["line"]) == ("rows.jsonl", 1)


def test_each_round_revises_the_revision_by_another_principle(files: dict[str, str]) -> None:
    found = work(parents("May I?"), reply)
    (one,) = Constitutional(rounds=3, **files).ready(found).make([0])
    steps = one.rows[0]["made"]["steps"]
    assert {step["principle"] for step in steps[:2]} == {"kind", "short"}
    assert steps[2]["principle"] == steps[0]["principle"]
    assert one.rows[0]["messages"][-1]["content"] == "better 2"  # "better 1" stands in the request of each later round
    assert asked(found)[3].startswith("C|May I?|better 1|")
    assert one.pairs[0]["rejected"] == "GO AWAY"


def test_what_is_given_up_is_not_asked_further(files: dict[str, str]) -> None:
    def script(prompt: str, seed: int) -> str:
        if prompt.startswith("C|") and "cut" in prompt:
            return f"it{CUT}"
        return reply(prompt, seed) if "same" not in prompt else "same"

    found = work(parents("cut me", "same", "fine"), script)
    cut, same, fine = Constitutional(**files).ready(found).make([0, 1, 2])
    assert cut.dropped == ["the answer was cut off at the most tokens allowed"]
    assert same.dropped == [UNCHANGED]
    assert len(fine.rows) == 1
    assert not any(prompt.startswith("R|cut me") for prompt in asked(found))


def test_batches_change_nothing(files: dict[str, str]) -> None:
    rows = parents("a", "b", "c")
    together = (
        Constitutional(**files).ready(work(rows, lambda prompt, seed: f"{prompt[:1]}{seed % 99}")).make([0, 1, 2])
    )
    making = Constitutional(**files).ready(work(rows, lambda prompt, seed: f"{prompt[:1]}{seed % 99}"))
    assert [making.make([number])[0] for number in range(3)] == together


def test_the_shipped_texts_can_be_read() -> None:
    assert len(read_principles("shipped")) == 3
    assert all(isinstance(one.name, str) and one.critique and one.revision for one in read_principles("shipped"))
    Constitutional().ready(work(parents("What?"), reply))


def test_a_sentence_is_a_principle(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("- Be kind.\n")
    (one,) = read_principles(str(tmp_path / "p.yaml"))
    assert "Be kind." in one.critique and "Be kind." in one.revision


@pytest.mark.parametrize("text", ["", "[]", "3", "- {name: x}", "- ''", "- {critique: a, revision: 3}"])
def test_files_without_principles_are_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(UserError) as told:
        read_principles(str(tmp_path / "p.yaml"))
    assert told.value.code == "bad-principles"


def test_missing_files_and_missing_places_are_told(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("critique: '{question} {anwser}'\n")
    for path in ("t.yaml", "none.yaml"):
        with pytest.raises(UserError) as told:
            read_templates(str(tmp_path / path), "constitutional.yaml", {"critique": ("question", "answer")})
        assert told.value.code == "bad-templates"


def test_only_the_templates_own_places_are_filled() -> None:
    assert filled("{a} {b} {c}", a="{b}", b="2") == "{b} 2 {c}"
