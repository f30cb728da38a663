"""Best of n: the answer with the highest reward is kept, and nothing that was cut off."""

from __future__ import annotations

from itertools import count

import pytest
from scripted import CUT, Reply, parents, work

from tunesmith.data.formats.base import Row
from tunesmith.data.recognise import recognise
from tunesmith.errors import UserError
from tunesmith.making.author import Written
from tunesmith.making.base import Made
from tunesmith.making.best_of import ALIKE, BELOW, BestOf

NUMERIC = ["numeric"]


def in_turn(*texts: str) -> Reply:
    """The first, second … answer that is asked for, whatever the question."""
    numbers = count()
    return lambda *_: texts[next(numbers) % len(texts)]


def made(maker: BestOf, *texts: str, raw: bool = False, **meta: object) -> Made:
    found = work(parents("What is 3 + 4?", raw=raw, **({"answer": "7"} | meta)), in_turn(*texts))
    (one,) = maker.ready(found).make([0])
    return one


def test_the_best_is_imitated_and_the_worst_is_its_opposite() -> None:
    length = [{"name": "length", "at_most": 100}, {"name": "numeric", "weight": 2.0}]
    one = made(BestOf(rewards=length, n=3), "It is 8.", "It is 7.", "x " * 200 + "9")
    (row,), (pair,) = one.rows, one.pairs
    assert row["messages"] == [
        {"role": "user", "content": "What is 3 + 4?"},
        {"role": "assistant", "content": "It is 7."},
    ]
    assert row["answer"] == "7"
    assert row["made"] == {"how": "best-of", "file": "rows.jsonl", "line": 1, "n": 3, "score": 3.0}
    assert (pair["chosen"], pair["rejected"]) == ("It is 7.", ("x " * 200 + "9"))
    assert (pair["score_chosen"], pair["score_rejected"]) == (3.0, 0.0)
    assert one.measured == {"reward_of_one": pytest.approx(4 / 3), "reward_of_best": 3.0, "gain": pytest.approx(5 / 3)}


def test_a_cut_answer_is_never_the_best_and_may_be_the_worst() -> None:
    one = made(BestOf(rewards=NUMERIC, n=2), f"7{CUT}", "It is 8.")
    assert one.rows[0]["messages"][-1]["content"] == "It is 8."
    assert not one.pairs
    assert made(BestOf(rewards=NUMERIC, n=2), f"9{CUT}", "It is 7.").pairs[0]["rejected"] == "9"
    assert not made(BestOf(rewards=NUMERIC, n=2), f"7{CUT}").rows


def test_the_threshold_drops_and_the_margin_leaves_the_pair_out() -> None:
    assert made(BestOf(rewards=NUMERIC, n=2, threshold=1.0), "8", "9").dropped == [BELOW]
    assert len(made(BestOf(rewards=NUMERIC, n=2, threshold=1.0), "8", "7").rows) == 1
    same = made(BestOf(rewards=NUMERIC, n=2), "7", "It is 7")
    assert (len(same.rows), same.pairs, same.dropped) == (1, (), [ALIKE])
    assert made(BestOf(rewards=NUMERIC, n=2, margin=1.0), "7", "8").dropped == [ALIKE]
    assert made(BestOf(rewards=NUMERIC, n=2, margin=0.9), "7", "8").pairs


def test_empty_answers_are_not_kept() -> None:
    assert made(BestOf(rewards=NUMERIC, n=2), " ").dropped == ["the answer is empty"]
    assert made(BestOf(rewards=NUMERIC, n=2), "7", " ").pairs == ()


@pytest.mark.parametrize("raw", [False, True])
def test_what_is_made_is_read_back_as_what_it_is(raw: bool) -> None:
    """Columns of the parent that another format is recognised by do not come along."""
    meta = {"chosen": "a", "rejected": "b", "output": "c", "score": 3, "label": "x", "difficulty": 2}
    one = made(BestOf(rewards=NUMERIC, n=2), "8", "7", raw=raw, **meta)
    rows: list[list[Row]] = [list(one.rows), list(one.pairs)]
    formats = [recognise(each, path="made", columns={}).format for each in rows]
    assert [form.name for form in formats] == ["prompt-completion" if raw else "messages", "preference"]
    records = [form.read(each[0]) for form, each in zip(formats, rows, strict=True)]
    assert [record.raw_prompt for record in records] == [raw, raw]
    assert (records[0].messages or ())[-1].content == "7"
    assert [one.messages[0].content for one in records[1].candidates] == ["7", "8"]
    assert [record.meta["difficulty"] for record in records] == [2, 2]


def test_seeds_depend_on_the_place_alone() -> None:
    maker = BestOf(rewards=NUMERIC, n=4)
    assert maker.seeds("answer", 5, 4)[:2] == maker.seeds("answer", 5, 2)
    assert not set(maker.seeds("answer", 5, 4)) & set(maker.seeds("answer", 6, 4))
    assert maker.seeds("answer", 5) != BestOf(rewards=NUMERIC, seed=1).seeds("answer", 5)


def test_a_prompt_without_room_is_dropped_and_the_others_are_answered() -> None:
    found = work(parents("l" * 51, "l" * 50, answer="7"), lambda *_: "7", context=60)
    first, second = BestOf(rewards=NUMERIC, n=1, max_new_tokens=10).ready(found).make([0, 1])
    assert first.dropped == ["the prompt leaves no room for an answer"]
    assert second.rows[0]["messages"][0]["content"] == "l" * 50


def test_rows_that_can_never_be_scored_are_refused_before_anything_is_asked() -> None:
    found = work(parents("What?"), lambda *_: "7")
    with pytest.raises(UserError) as told:
        BestOf(rewards=NUMERIC).ready(found)
    assert told.value.code == "unscorable-row"


def test_an_answer_knows_whether_it_is_whole() -> None:
    found = work(parents("What?"), lambda *_: " yes ")
    from tunesmith.making.author import Question

    question = Question(found.parents[0].messages, (1,))
    ((one,),) = [
        each or []
        for each in found.writer.write([question], sampling=BestOf(rewards=NUMERIC).sampling, max_new_tokens=5)
    ]
    assert one == Written("yes", 6, whole=True)
