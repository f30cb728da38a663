"""The pieces of a page: forms of numbers, escaping, sources, thinning, and drawings without colours of their own."""

from __future__ import annotations

import re

import pytest

from tunesmith.report import charts, plots
from tunesmith.report.charts import Change, Curve
from tunesmith.report.documents import Documents, Traced, pointer
from tunesmith.report.forms import FORMS, THIN
from tunesmith.report.markup import number, tag, text
from tunesmith.report.page import Section, page
from tunesmith.report.plots import Frame
from tunesmith.report.sections.curves import smoothed, thinned


@pytest.mark.parametrize(
    ("form", "value", "written"),
    [
        ("plain", 1234, "1,234"),
        ("plain", 0.96345, "0.963"),
        ("plain", 0.05, "0.05"),
        ("plain", -2.138, "−2.14"),
        ("plain", 1e-05, "1e-05"),
        ("plain", 140.16, "140"),
        ("plain", True, "yes"),
        ("signed", 0.5, "+0.5"),
        ("signed", -0.5, "−0.5"),
        ("percent", 0.8288, f"83{THIN}%"),
        ("percent", 0.0143, f"1.4{THIN}%"),
        ("percent", 0.0, f"0{THIN}%"),
        ("percent", 1.0, f"100{THIN}%"),
        ("points", 0.62, "+62"),
        ("points", -0.09, "−9.0"),
        ("points", -0.21, "−21"),
        ("points", 0.0, "0"),
        ("scaled", 430080, f"430{THIN}k"),
        ("scaled", 999.7, "1000"),
        ("flops", 6.95e12, f"6.95{THIN}TFLOP"),
        ("bytes", 1288704000, f"1.29{THIN}GB"),
        ("bytes", 0, f"0{THIN}B"),
        ("energy", 1.2e6, f"333{THIN}Wh"),
        ("energy", 7.2e6, f"2{THIN}kWh"),
        ("seconds", 0.42, f"0.42{THIN}s"),
        ("seconds", 12.2, f"12{THIN}s"),
        ("seconds", 190.2, f"3{THIN}min 10{THIN}s"),
        ("seconds", 3600, f"1{THIN}h"),
        ("seconds", 3 * 86400 + 4 * 3600, f"3{THIN}d 4{THIN}h"),
        ("rate", 2e-4, "0.0002"),
        ("rate", 1e-6, "1e-6"),
    ],
)
def test_numbers_as_people_read_them(form: str, value: float, written: str) -> None:
    assert FORMS[form](value) == written


def test_whatever_comes_from_a_file_is_escaped() -> None:
    found = text(Traced("<script>alert(1)</script>", ('x.json#/a"b',)))
    assert "<script>" not in found
    assert "&lt;script&gt;" in found
    assert 'data-from="x.json#/a&#34;b"' in found
    assert tag("p", "a < b", class_="x", hidden=True, id=None) == '<p class="x" hidden>a &lt; b</p>'
    assert number(None) == '<span class="absent">–</span>'


def test_sources_lead_back_and_derived_numbers_say_how() -> None:
    documents = Documents(
        {
            "a.json": {"x": {"tokens a/second ~": 4.0}, "list": [1, 2], "none": None},
            "e.jsonl": [{"kind": "step", "step": 1, "loss": 2.0}, {"kind": "step", "step": 2, "loss": None}],
        }
    )
    found = documents.traced("a.json", "x", "tokens a/second ~")
    assert found is not None
    assert found.sources == ("a.json#/x/tokens%20a~1second%20~0",)
    assert documents.at(found.sources[0]) == [4.0]
    made = documents.made("product", found.sources[0], pointer("a.json", "list", 1))
    assert made == Traced(8.0, (found.sources[0], "a.json#/list/1"), "product")
    assert documents.made("ratio", found.sources[0], pointer("a.json", "list", 7)) is None
    assert documents.made("sum", "e.jsonl#step/loss") == Traced(2.0, ("e.jsonl#step/loss",), "sum")
    assert documents.traced("a.json", "none") is None
    assert documents.traced("b.json", "x") is None
    assert documents.series("e.jsonl", "step", "loss") == [(1, 2.0)]


def test_curves_are_thinned_by_means_and_smoothed() -> None:
    x, y = thinned([(step, float(step)) for step in range(1, 11)], points=5)
    assert (x, y) == ([2, 4, 6, 8, 10], [1.5, 3.5, 5.5, 7.5, 9.5])
    assert smoothed([1.0, 2.0, 6.0, 2.0, 1.0], 3) == [1.5, 3.0, pytest.approx(10 / 3), 3.0, 1.5]
    assert smoothed([3.0], 9) == [3.0]


def pictures() -> list[str]:
    frame = Frame("A picture", "a.json#/x", wide=True, note="what it shows")
    some = [Curve("one", [1, 2, 3], [3, 2, 1]), Curve("two", [1, 2, 3], [1, 2, 2.5], dots=True, faint=True)]
    moved = [Change("a", (0.1, 0.0, 0.2), (0.5, 0.4, 0.6), "better"), Change("b", None, (0.5, None, None))]
    return [
        charts.curves(some, frame, log=True, at=[(2, "kept")]),
        charts.changes(moved, frame),
        charts.bars(["a", "b"], [("x", [1, 2]), ("y", [2, 1])], frame),
        charts.split([("kept", 9, "s1"), ("dropped", 1, "bad"), ("none", 0, "s2")], frame),
        charts.heat([[0.0, 1.0], [-1.0, 0.5]], ["a", "b"], ["left", "right"], frame),
        charts.histogram([("x", [1, 1, 2]), ("y", [2, 3, 3])], frame, x="length", zero=True),
        charts.points([("a", 1, 2), ("b", 2, 1)], frame, x="cost", y="gain"),
    ]  # fmt: skip


def test_drawings_have_the_colours_of_the_page_and_no_others() -> None:
    for drawn in pictures():
        assert "<title>A picture</title>" in drawn
        assert 'data-from="a.json#/x"' in drawn
        assert "var(--" in drawn
        inside = drawn[drawn.index("<svg") :]
        assert re.findall(r"#[0-9a-fA-F]{6}\b", inside) == []
        assert "<style" not in inside
        assert re.findall(r"https?://(?!www\.w3\.org)", inside) == []
    assert len(set(pictures())) == len(pictures())
    assert pictures() == pictures()


def test_a_colour_that_is_no_variable_is_a_bug() -> None:
    with plots.canvas() as (figure, axes):
        axes.plot([0, 1], [0, 1], color="#123456")
        with pytest.raises(AssertionError, match="123456"):
            plots.picture(figure, Frame("x", "y"))


def test_a_page_forbids_requests_and_links_its_sections() -> None:
    made = page(
        "A & B", tag("p", "top"), [Section("one", "First", tag("p", "x")), Section("two", "Second", tag("p", "y"))]
    )
    assert made.startswith("<!doctype html>\n<html")
    assert "default-src &#39;none&#39;" in made
    assert "<title>A &amp; B</title>" in made
    assert '<a href="#two">Second</a>' in made
    assert '<section id="two">' in made
