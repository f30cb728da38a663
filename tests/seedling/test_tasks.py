"""Instruction sets: exact answers, repeatable, different rows, and no held-out key in the train split."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tunesmith.errors import UserError
from tunesmith.models.seedling import instruction_set
from tunesmith.models.seedling.tasks import TASKS
from tunesmith.models.seedling.world import grow


def said(row: dict[str, Any]) -> str:
    return " ".join(message["content"] for message in row["messages"])


@pytest.mark.parametrize("task", TASKS)
def test_splits_share_no_key_and_no_name(task: str) -> None:
    world = grow()
    train = instruction_set(task, seed=1, n=300)
    held = instruction_set(task, seed=1, split="held-out", n=150)
    secret = {person.name for person in world.people if world.held_out(person.name)}
    for row in train:
        assert row["about"]
        assert not any(map(world.held_out, row["about"])), row
        assert not secret & set(re.findall(r"\w+", said(row))), row
    assert all(any(map(world.held_out, row["about"])) for row in held)
    assert {row["task"] for row in train + held} == {task}


@pytest.mark.parametrize("split", ["train", "held-out"])
def test_rows_are_repeatable_different_and_well_formed(split: str) -> None:
    rows = instruction_set(seed=2, split=split, n=350)
    assert rows == instruction_set(seed=2, split=split, n=350)
    questions = [message["content"] for row in rows for message in row["messages"] if message["role"] == "user"]
    assert len(set(questions)) == len(questions)
    for row in rows:
        roles = [message["role"] for message in row["messages"]]
        turns = roles[1:] if roles[0] == "system" else roles
        assert turns == ["user", "assistant"] * (len(turns) // 2)
        assert row["answer"] in row["messages"][-1]["content"]
    assert {row["difficulty"] for row in rows} == {1, 2, 3}
    assert {row["task"] for row in rows} == set(TASKS)
    assert any(row["messages"][0]["role"] == "system" for row in rows)
    assert any(len(row["messages"]) >= 4 for row in rows)


def test_arithmetic_answers() -> None:
    for row in instruction_set("arithmetic", seed=5, n=500):
        a, word, b = re.match(r"(\d+) (plus|minus|times) (\d+) is", row["messages"][-1]["content"]).groups()  # type: ignore[union-attr]
        exact = {"plus": int(a) + int(b), "minus": int(a) - int(b), "times": int(a) * int(b)}[word]
        assert row["answer"] == str(exact)
        assert f"{a} " in row["messages"][-2]["content"]


def test_translation_answers() -> None:
    world = grow()
    for row in instruction_set("translation", seed=5, n=300):
        question, reply = (message["content"] for message in row["messages"][-2:])
        if ": " in question:
            source = question.split(": ")[1].rstrip(".").lower().split()
            target = reply.rstrip(".").lower().split()
            pairs = zip(source, target, strict=True)
            assert all(world.dictionary.get(a) == b or world.dictionary.get(b) == a for a, b in pairs), row


def test_wrong_arguments_are_explained() -> None:
    with pytest.raises(UserError, match="unknown kind"):
        instruction_set("maths", seed=0, n=1)
    with pytest.raises(UserError, match="unknown split"):
        instruction_set("facts", seed=0, split="test", n=1)
    with pytest.raises(UserError, match="different rows"):
        instruction_set("safety", seed=0, split="held-out", n=5000)
