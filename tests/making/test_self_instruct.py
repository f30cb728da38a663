"""Self-instruct: new tasks unlike all others, answered; and how alike two texts are."""

from __future__ import annotations

import random
from functools import cache

import pytest
from scripted import CUT, asked, parents, work

from tunesmith.errors import UserError
from tunesmith.making.base import Made
from tunesmith.making.self_instruct import ECHO, LENGTH, LIKE_ANOTHER, NO_TASK, SelfInstruct
from tunesmith.making.similar import Pool, Words, rouge_l

SEEDS = parents("Name three rivers of Europe.", "Add two and two.", "Write a poem about rain.")


def run(reply_task: dict[int, str], numbers: list[int], answer: str = "Here.", **options: object) -> list[Made]:
    """Attempt ``n`` writes ``reply_task[n]``."""
    maker = SelfInstruct(**options)
    by_seed = {maker.seeds("task", number)[0]: text for number, text in reply_task.items()}
    found = work(SEEDS, lambda _, seed: by_seed.get(seed, answer))
    return maker.ready(found).make(numbers)


def test_a_new_task_is_answered_and_says_what_it_was_made_from() -> None:
    (one,) = run({0: "4. Translate a word into French.\n\n5. Another."}, [0])
    (row,) = one.rows
    assert [turn["content"] for turn in row["messages"]] == ["Translate a word into French.", "Here."]
    assert row["made"]["how"] == "self-instruct"
    assert sorted(row["made"]["shown"]) == ["rows.jsonl:1", "rows.jsonl:2", "rows.jsonl:3"]


@pytest.mark.parametrize(
    ("task", "why"),
    [
        ("Name three rivers of Asia.", LIKE_ANOTHER),
        ("Go.", LENGTH),
        ("very " * 200, LENGTH),
        (" ", NO_TASK),
        ("1.", NO_TASK),
    ],
)
def test_what_is_not_kept_has_a_reason(task: str, why: str) -> None:
    (one,) = run({0: task}, [0])
    assert (list(one.dropped), list(one.rows)) == ([why], [])


def test_two_alike_in_one_batch_are_one() -> None:
    first, second = run({0: "Explain how bread is baked.", 1: "Explain how bread gets baked."}, [0, 1])
    assert first.rows and second.dropped == [LIKE_ANOTHER]


def test_a_kept_task_does_not_come_again_in_a_later_batch() -> None:
    maker = SelfInstruct()
    tasks = {maker.seeds("task", number)[0] for number in (0, 1)}
    making = maker.ready(work(SEEDS, lambda _, seed: "Explain how bread is baked." if seed in tasks else "So."))
    assert [making.make([number])[0].dropped for number in (0, 1)] == [[], [LIKE_ANOTHER]]


def test_a_task_whose_answer_is_not_kept_stands_in_nobodys_way() -> None:
    maker = SelfInstruct()
    task = "Explain how bread is baked."
    answers = iter([f"By{CUT}", "By fire."])
    tasks = {maker.seeds("task", number)[0] for number in (0, 1)}
    found = work(SEEDS, lambda _, seed: task if seed in tasks else next(answers))
    making = maker.ready(found)
    assert [making.make([number])[0].dropped for number in (0, 1)] == [
        ["the answer was cut off at the most tokens allowed"],
        [],
    ]


def test_an_echo_is_no_answer() -> None:
    (one,) = run({0: "Explain how bread is baked."}, [0], answer="Explain how bread is baked.")
    assert one.dropped == [ECHO]


def test_made_tasks_are_shown_and_must_not_come_again() -> None:
    maker = SelfInstruct(shown=4, own=0.5)
    found = work(SEEDS, lambda *_: "Describe a red house.")
    found.kept.append({"messages": [{"content": "Describe a red house."}]})
    (one,) = maker.ready(found).make([7])
    assert one.dropped == [LIKE_ANOTHER]
    assert "Describe a red house." in asked(found)[0]
    assert "task 5" in asked(found)[0]


def test_too_few_seeds_are_told() -> None:
    with pytest.raises(UserError) as told:
        SelfInstruct().ready(work(SEEDS[:1], lambda *_: ""))
    assert told.value.code == "few-seeds"


def slow_common(first: tuple[str, ...], second: tuple[str, ...]) -> int:
    @cache
    def common(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return 0
        if first[i - 1] == second[j - 1]:
            return common(i - 1, j - 1) + 1
        return max(common(i - 1, j), common(i, j - 1))

    return common(len(first), len(second))


def test_likeness_is_the_f_measure_of_the_longest_common_subsequence() -> None:
    rng = random.Random(0)
    for _ in range(50):
        first, second = (" ".join(rng.choices("bcdefg", k=rng.randint(1, 12))) for _ in range(2))
        a, b = first.split(), second.split()
        wanted = 2 * slow_common(tuple(a), tuple(b)) / (len(a) + len(b))
        assert rouge_l(Words.of(first), Words.of(second)) == pytest.approx(wanted)


def test_the_order_of_words_counts() -> None:
    pool = Pool(["b c d e f"])
    assert pool.holds_like("b c d e g", 0.7)
    assert not pool.holds_like("f e d c b", 0.7)  # the same words, which only the quick bound takes for alike
    assert not pool.holds_like("b c d e g", 0.8)
