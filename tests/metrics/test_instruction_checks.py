"""Every check of an instruction, with an answer that follows it and one that does not."""

from __future__ import annotations

from typing import Any

import pytest

from tunesmith.errors import UserError
from tunesmith.metrics.base import Unit
from tunesmith.metrics.follows import Follows
from tunesmith.metrics.instructions import CHECKS, followed, trouble

CASES: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "words": ({"at_least": 2, "at_most": 3}, ["one two", "a b c", "你好"], ["one", "a b c d"]),
    "sentences": ({"exactly": 2}, ["One. Two!", "你好。再见。"], ["One.", "One. Two. Three?", "One two"]),
    "characters": ({"at_most": 4}, [" abcd "], ["abcde"]),
    "contains": ({"words": ["cow", "red hay"]}, ["Cow and red hay."], ["cows and red hay", "cow"]),
    "contains_any": ({"words": ["cow", "hen"]}, ["a Hen"], ["hens"]),
    "avoids": ({"words": ["cow"]}, ["cowboy"], ["the cow."]),
    "word_count": ({"word": "la", "exactly": 2}, ["la la", "La, la"], ["la", "la la la", "lala la"]),
    "letter_count": ({"letter": "z", "at_least": 2}, ["pizza"], ["zoo"]),
    "starts_with": ({"text": "Horses are"}, ["  horses are big"], ["All horses are"]),
    "ends_with": ({"text": "sleep well."}, ["So sleep well.\n"], ["sleep well"]),
    "first_word": ({"word": "Hello"}, ["hello, you"], ["Oh hello", "Hellos"]),
    "last_word": ({"word": "please"}, ["red, please."], ["please red"]),
    "lowercase": ({}, ["red and blue"], ["Red", "1 2"]),
    "uppercase": ({}, ["CLOSED 2"], ["CLOSEd", "12"]),
    "capital_words": ({"at_least": 2}, ["STAY OUT now"], ["STAY out", "I A"]),
    "no_commas": ({}, ["a b"], ["a, b", "甲，乙"]),
    "no_digits": ({}, ["two"], ["2"]),
    "question": ({}, ["How? Why? "], ["Why? Because."]),
    "script": ({"name": "CYRILLIC"}, ["Доброе утро!"], ["Доброе morning", "123"]),
    "number_between": ({"low": 10, "high": 20}, ["It is 15.", "1,2"], ["9", "none", "21 and 15"]),
    "paragraphs": ({"exactly": 2}, ["a\n\nb", "a\nb\n \nc"], ["a\nb", "a\n\nb\n\nc"]),
    "paragraph_starts": ({"paragraph": 2, "word": "Later"}, ["a\n\nlater b"], ["Later\n\nb", "Later"]),
    "bullets": ({"exactly": 2}, ["- a\n- b", "* a\ntext\n• b"], ["-a\n-b", "- a"]),
    "numbered": ({"exactly": 2}, ["1. a\n2) b"], ["1 a\n2 b", "1. a"]),
    "lines": ({"exactly": 2}, ["a\n\nb"], ["a", "a\nb\nc"]),
    "sections": ({"mark": "Section", "exactly": 2}, ["Section 1\na\n**Section 2**"], ["Section one", "Section 1"]),
    "highlights": ({"at_least": 1}, ["a *b* c", "**b**"], ["a * b", "none"]),
    "placeholders": ({"at_least": 2}, ["Dear [name], [place]"], ["Dear [name]"]),
    "title": ({}, ["<<Spring>>\na"], ["<Spring>"]),
    "postscript": ({}, ["Bye\nP.S. more", "bye\n p.s. x"], ["Bye P.S. more", "P.S."]),
    "quoted": ({}, ['"All is well."', "“All is well.”"], ['"All" is well.', '""']),
    "json_object": ({"keys": ["a"]}, ['{"a": 1}', '```json\n{"a": 1, "b": 2}\n```'], ['{"b": 1}', "[1]", "a: 1"]),
    "code_block": ({}, ["x\n```python\nprint(1)\n```"], ["```x```", "print(1)"]),
    "one_of": ({"options": ["yes", "no"]}, ["Yes.", " no"], ["yes, it is", "maybe"]),
    "two_answers": ({}, ["Tom\n******\nTim"], ["Tom ****** Tom", "Tom", "a ****** b ****** c"]),
    "repeats": ({"text": "What is it?"}, ["What is it? A sun."], ["What is it?", "It is. What is it?"]),
}


def test_there_are_many_checks_and_a_case_for_each() -> None:
    assert len(CHECKS) >= 20
    assert set(CASES) == set(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_knows_what_follows_it(name: str) -> None:
    options, right, wrong = CASES[name]
    instruction = {"check": name, **options}
    assert trouble(instruction) is None
    assert [answer for answer in right if not followed(instruction, answer)] == []
    assert [answer for answer in (*wrong, "", " \n") if followed(instruction, answer)] == []


@pytest.mark.parametrize(
    ("instruction", "says"),
    [
        ("be short", "check: NAME"),
        ({"check": "wrods", "exactly": 3}, "Did you mean 'words'"),
        ({"check": "words", "at_leats": 3}, "Did you mean 'at_least'"),
        ({"check": "words"}, "needs at_least"),
        ({"check": "words", "exactly": "3"}, "whole numbers"),
        ({"check": "contains", "words": "cow"}, "list of texts"),
        ({"check": "script", "name": "RUNES"}, "the scripts are"),
        ({"check": "starts_with"}, "cannot be used"),
    ],
)
def test_instructions_that_cannot_be_checked_are_told_with_the_row(instruction: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        Follows().check([Unit([], meta={"instructions": [instruction]})])


def test_answers_and_instructions_are_counted_apart() -> None:
    both = [{"check": "lowercase"}, {"check": "words", "at_most": 2}]
    units = [
        Unit(["red hat"], meta={"instructions": both}),
        Unit(["Red hat"], meta={"instructions": both}),
        Unit(["A b c"], meta={"instructions": [{"check": "no_digits"}]}),
    ]
    assert Follows().estimate(units).value == pytest.approx(2 / 3)
    assert Follows(level="instruction").estimate(units).value == pytest.approx(4 / 5)
    with pytest.raises(UserError, match="lists no instruction"):
        Follows().check([Unit([], meta={})])


def test_a_loose_reading_forgives_a_first_line_a_last_line_and_stars() -> None:
    for answer in ("Sure!\nred", "red\nHope it helps!", "**red**", "Sure!\n*red*\nBye!"):
        unit = Unit([answer], meta={"instructions": [{"check": "one_of", "options": ["red"]}]})
        assert Follows().estimate([unit]).value == 0.0
        assert Follows(loose=True).estimate([unit]).value == 1.0
