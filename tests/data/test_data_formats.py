"""Every format reads its good row, is recognised with a reason, and refuses broken rows in words."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.base import BadRow
from tunesmith.data.recognise import check_columns, recognise, rename
from tunesmith.errors import UserError

GOOD: dict[str, dict[str, Any]] = {
    "alpaca": {"instruction": "add", "input": "1 2", "output": "3", "task": "sum"},
    "sharegpt": {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]},
    "messages": {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]},
    "prompt-completion": {"prompt": "Intent:", "completion": " card"},
    "preference": {"question": "add", "chosen": "3", "rejected": "4"},
    "ranked": {"question": "add", "responses": ["3", "4", "5"]},
    "unpaired": {"question": "add", "completion": "3", "label": True},
    "steps": {"question": "add", "steps": ["1 + 2", "3"], "labels": [True, False]},
    "squad": {"question": "what?", "context": "a story", "answers": [{"text": "story", "answer_start": 2}]},
    "embedding": {"anchor": "a story", "positive": "a tale"},
    "tagged": {"tokens": ["a", "story"], "tags": ["O", "X"]},
    "spans": {"text": "a story", "spans": [[2, 7, "X"]]},
    "labelled": {"text": "a story", "label": 1},
    "files": {"text": "a story", "path": "a.txt", "language": "text"},
    "image-text": {"image": "a.png", "question": "add", "answer": "3"},
    "text": {"text": "a story"},
    "paragraphs": {"text": "a story"},
    "lines": {"text": "a story"},
}
SAID = {
    "alpaca": [("user", "add\n1 2"), ("assistant", "3")],
    "sharegpt": [("user", "hi"), ("assistant", "hello")],
    "messages": [("user", "hi"), ("assistant", "hello")],
    "prompt-completion": [("user", "Intent:"), ("assistant", " card")],
    "image-text": [("user", "<image>add"), ("assistant", "3")],
    "preference": [("user", "add")],
    "ranked": [("user", "add")],
    "unpaired": [("user", "add")],
    "steps": [("user", "add")],
}


def read(name: str, row: dict[str, Any]) -> Any:
    return FORMATS.load(name).read(row)


def test_every_format_has_a_row_here() -> None:
    assert set(GOOD) == set(FORMATS)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_good_row_is_read(name: str) -> None:
    record = read(name, GOOD[name])
    if name in SAID:
        assert [(one.role, one.content) for one in record.messages] == SAID[name]
    else:
        assert record.text == "a story"
    assert record.raw_prompt == (name == "prompt-completion")


@pytest.mark.parametrize("name", [*sorted(SAID), "text"])
def test_a_format_is_recognised_with_its_reason(name: str) -> None:
    found = recognise([GOOD[name]] * 3 + [{"other": 1}], path="x", columns={})
    assert found.format.name == name
    assert "column" in found.reason


def test_alpaca_keeps_instruction_and_input_apart_and_reads_history() -> None:
    row = {**GOOD["alpaca"], "system": "be short", "history": [["q", "a"]]}
    record = read("alpaca", row)
    assert [one.role for one in record.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert record.messages[3].extra == {"instruction": "add", "input": "1 2"}
    assert record.meta == {"task": "sum"}


def test_messages_carry_tools_and_calls_with_parsed_arguments() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    turns = [
        {"role": "developer", "content": [{"type": "text", "text": "be kind"}]},
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "rain", "tool_call_id": "1"},
        {"role": "assistant", "content": "It rains."},
    ]
    record = read("messages", {"messages": turns, "tools": '[{"name": "weather"}]'})
    assert [one.role for one in record.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert record.messages[2].extra["tool_calls"][0]["function"] == {"name": "weather", "arguments": {"city": "Oslo"}}
    assert record.tools == ({"name": "weather"},)


def test_sharegpt_reads_function_calls_and_an_answer_column() -> None:
    turns = [
        {"from": "human", "value": "weather?"},
        {"from": "function_call", "value": '{"name": "weather", "arguments": {}}'},
        {"from": "observation", "value": "rain"},
    ]
    row = rename({"conversations": turns, "chosen": {"from": "gpt", "value": "rain"}}, {"answer": "chosen"})
    record = read("sharegpt", dict(row))
    assert [one.role for one in record.messages] == ["user", "assistant", "tool", "assistant"]
    assert record.messages[1].extra["tool_calls"][0]["function"]["name"] == "weather"


def test_prompt_and_completion_as_messages_keep_the_template() -> None:
    record = read("prompt-completion", {"prompt": GOOD["messages"]["messages"][:1], "completion": "yes"})
    assert not record.raw_prompt
    assert [one.content for one in record.messages] == ["hi", "yes"]


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("alpaca", {"instruction": "x"}, "'output' is missing"),
        ("alpaca", {"instruction": "x", "output": " "}, "'output' is empty"),
        ("alpaca", {"instruction": ["x"], "output": "y"}, "holds list"),
        ("alpaca", {"instruction": "x", "output": "y", "history": [["q"]]}, "history"),
        ("sharegpt", {"conversations": [{"from": "martian", "value": "x"}]}, "unknown role 'martian'"),
        ("sharegpt", {"conversations": "x"}, "not a list"),
        ("sharegpt", {"conversations": [{"from": "human", "value": "x"}], "chosen": "y"}, "columns: {answer: chosen}"),
        ("messages", {"messages": [{"role": "user", "content": "x"}]}, "no answer"),
        ("messages", {"messages": []}, "empty"),
        ("messages", {"messages": [{"role": "assistant", "content": "x"}]}, "no question"),
        ("messages", {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": ""}]}, "empty"),
        ("messages", {"messages": [{"content": "x"}]}, "unknown role None"),
        ("messages", {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input_audio"),
        ("messages", {"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]}, "no function name"),
        ("prompt-completion", {"prompt": "x", "completion": None}, "'completion' is missing"),
        ("text", {"text": None}, "'text' is missing"),
    ],
)
def test_a_broken_row_says_why(name: str, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRow, match=reason.replace("{", r"\{").replace("}", r"\}")):
        read(name, row)


def test_columns_are_renamed_and_unknown_ones_named() -> None:
    row = {"question": "q", "reply": "r"}
    columns = {"prompt": "question", "completion": "reply"}
    renamed = rename(row, columns)
    assert recognise([renamed], path="x", columns=columns).format.name == "prompt-completion"
    with pytest.raises(UserError, match="Did you mean 'reply'"):
        check_columns([row], {"completion": "replay"}, path="x")


def test_unrecognised_columns_name_the_formats_and_the_near_miss() -> None:
    with pytest.raises(UserError, match="Did you mean 'instruction'") as raised:
        recognise([{"instructions": "x", "response": "y"}], path="rows.jsonl", columns={})
    assert raised.value.code == "unknown-data-format"
    assert "alpaca" in str(raised.value)


@pytest.mark.parametrize(
    ("form", "turns"),
    [
        (
            "messages",
            {"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "It is 4."}]},
        ),
        ("sharegpt", {"conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "It is 4."}]}),
    ],
)
def test_a_column_called_answer_is_no_second_answer(form: str, turns: dict[str, Any]) -> None:
    """Rows that are scored by it keep it beside the conversation; as a turn it would be told in the prompt."""
    record = FORMATS.load(form).read({**turns, "answer": "4"})
    assert record.messages is not None
    assert [message.content for message in record.messages] == ["2 + 2?", "It is 4."]
    assert record.meta["answer"] == "4"


def test_a_completion_after_an_answer_is_still_the_completion() -> None:
    prompt = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "One,"}]
    record = FORMATS.load("prompt-completion").read({"prompt": prompt, "completion": " two."})
    assert record.messages is not None
    assert [message.content for message in record.messages] == ["Count.", "One,", " two."]


def test_the_embedded_rows_hold_one_answer_a_question() -> None:
    from tunesmith.models.seedling.tasks import instruction_set

    for row in instruction_set("all", seed=0, n=60):
        record = FORMATS.load("messages").read(row)
        assert record.messages is not None
        roles = [message.role for message in record.messages]
        assert all(one != two for one, two in pairwise(roles))
