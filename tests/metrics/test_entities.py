"""Entities by hand: schemes, what no scheme allows, and counts over texts."""

from __future__ import annotations

import pytest

from tunesmith.metrics.entities import Entity, Matches, entities, matches, names_entities


def found(labels: str) -> list[tuple[str, int, int]]:
    return [(one.kind, one.first, one.last) for one in entities(labels.split())]


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        ("O O", []),
        ("B-P I-P O B-L", [("P", 0, 2), ("L", 3, 4)]),
        ("B-P B-P I-P", [("P", 0, 1), ("P", 1, 3)]),
        ("B-P I-L", [("P", 0, 1), ("L", 1, 2)]),
        ("I-P I-P O I-L", [("P", 0, 2), ("L", 3, 4)]),
        ("B-P I-P L-P U-P U-L", [("P", 0, 3), ("P", 3, 4), ("L", 4, 5)]),
        ("B-P E-P I-P S-P", [("P", 0, 2), ("P", 2, 3), ("P", 3, 4)]),
        ("U-P I-P", [("P", 0, 1), ("P", 1, 2)]),
        ("O L-P", [("P", 1, 2)]),
        ("B-new-york I-new-york", [("new-york", 0, 2)]),
        ("", []),
    ],
)
def test_spans_of_labels(labels: str, wanted: list[tuple[str, int, int]]) -> None:
    assert found(labels) == wanted


def test_an_entity_is_right_when_span_and_kind_are() -> None:
    wanted, said = ["B-P", "I-P", "O", "B-L", "O", "B-P"], ["B-P", "O", "O", "B-P", "O", "B-P"]
    assert matches(wanted, said) == Matches(wanted=3, said=3, right=1)
    assert matches(wanted, wanted) == Matches(3, 3, 3)
    assert matches(["O"], ["O"]) == Matches(0, 0, 0)
    assert next(entities(wanted)) == Entity("P", 0, 2)


@pytest.mark.parametrize(
    ("labels", "is_scheme"),
    [
        (["O", "B-P", "I-P"], True),
        (["O", "U-P", "L-P", "B-P", "I-P"], True),
        (["O", "C"], False),
        (["NOUN", "VERB"], False),
        (["O"], False),
        (["B-P", "I-P"], False),
        (["O", "B-"], False),
    ],
)
def test_only_labels_of_a_scheme_name_entities(labels: list[str], is_scheme: bool) -> None:
    assert names_entities(labels) is is_scheme
