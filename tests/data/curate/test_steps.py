"""What single steps find, change and leave alone."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from curate_rows import Run, asked, item_of

from tunesmith.data.curate import base
from tunesmith.data.curate.balance import Balance
from tunesmith.data.curate.base import Change, Drop
from tunesmith.data.curate.conflicts import Conflicts
from tunesmith.data.curate.decontaminate import Decontaminate
from tunesmith.data.curate.exact_dedup import ExactDedup
from tunesmith.data.curate.language import Language, language_of, script_counts
from tunesmith.data.curate.length import Length
from tunesmith.data.curate.markup import Markup
from tunesmith.data.curate.pii import Pii, luhn
from tunesmith.data.curate.quality import Quality
from tunesmith.data.curate.roles import Roles
from tunesmith.data.curate.toxicity import Toxicity
from tunesmith.data.curate.unicode import Unicode
from tunesmith.errors import UserError


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("cafÃ© and naÃ¯ve", "café and naïve"),
        ("itâ€™s fine", "it’s fine"),
        ("a\u200bb\ufeffc\u00add", "abcd"),
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("a \t\nb", "a\nb"),
        ("a\n\n\n\n\n\nb", "a\n\n\nb"),
        ("a\u00a0b\u3000c", "a b c"),
        ("e\u0301", "é"),
        ("ends in a blank ", "ends in a blank "),
        ("  indented\n    code", "  indented\n    code"),
        ("👩\u200d👩\u200d👧 می\u200cخواهم", "👩\u200d👩\u200d👧 می\u200cخواهم"),
        ("“quoted” – ünïcödé", "“quoted” – ünïcödé"),
    ],
)
def test_unicode(text: str, mended: str) -> None:
    pytest.importorskip("ftfy")
    assert Unicode().mend(text)[0] == mended
    assert Unicode().mend(mended) == (mended, ())


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("<p>One &amp; two</p><p>three</p>", "One & two\n\nthree"),
        ("<div><script>var x = '<p>';</script><b>bold</b> text</div>", "bold text"),
        ("a <!-- gone --> b <br/> c", "a  b \n c"),
        ("```html\n<p>a</p><p>b</p>\n``` <i>out</i> <b>x</b>", "```html\n<p>a</p><p>b</p>\n``` out x"),
        ("List<String> and Map<Key, Value> if a < b and c > d", "List<String> and Map<Key, Value> if a < b and c > d"),
        ("<think>one</think> two", "<think>one</think> two"),
        ("Use the <p> tag", "Use the <p> tag"),
        (
            "Text.\nThis website uses cookies to help you.\n© 2020 Some Site. All rights reserved.\nMore.",
            "Text.\nMore.",
        ),
        ("All rights reserved", "All rights reserved"),
    ],
)
def test_markup(text: str, mended: str) -> None:
    assert Markup().mend(text)[0] == mended


def test_markup_leaves_rows_about_markup() -> None:
    about = item_of(asked("Write a web page.", "<html><body><p>Hi</p></body></html>"))
    assert Markup().look(about) is None
    change = Markup(about=True).look(about)
    assert change == Change({**asked("Write a web page.", "Hi")}, ("HTML taken out",))


HIDDEN = [
    ("My SSN is 078-05-1121.", "My SSN is [SSN]."),
    ("mail to a.b+c@mail.example.co.uk now", "mail to [EMAIL] now"),
    ("call +49 (30) 901820, or (555) 123-4567", "call [PHONE], or [PHONE]"),
    ("call 555-123-4567.", "call [PHONE]."),
    ("IBAN DE89 3704 0044 0532 0130 00.", "IBAN [IBAN]."),
    (
        "card 4111 1111 1111 1111, 5500-0000-0000-0004, 340000000000009",
        "card [CREDIT_CARD], [CREDIT_CARD], [CREDIT_CARD]",
    ),
    ("host 192.168.1.17 and 2001:db8::8a2e:370:7334", "host [IP] and [IP]"),
    ("key AKIAIOSFODNN7EXAMPLE here", "key [API_KEY] here"),
    ("export API_KEY=9f8a7b6c5d4e3f2a1b0c", "export API_KEY=[API_KEY]"),
    ("Authorization: Bearer abcdefghij0123456789xyz", "Authorization: Bearer [API_KEY]"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----", "[API_KEY]"),
]
LEFT = [
    "card 4111 1111 1111 1112",
    "IBAN DE88 3704 0044 0532 0130 00",
    "on 2024-01-15 at 12:30:45, pages 100-200",
    "version 1.2.3.4.5 of 127.0.0.1",
    "999.1.1.1 and 3.14159 and 1234567890123",
    "the sum is 472547338\n+960397912423686",
    "the password is required; api_key: your_api_key_123",
    "@handle and a@b",
    "call 5551234 or 911",
    "std::vector and a::b",
    "ISBN 978-3-16-148410-0",
    "part 000-12-3456, version 123-45-67890",
]


@pytest.mark.parametrize(("text", "hidden"), HIDDEN)
def test_personal_data_is_hidden(text: str, hidden: str) -> None:
    assert Pii().mend(text)[0] == hidden
    assert isinstance(Pii(action="drop").look(item_of(asked("a", text))), Drop)


@pytest.mark.parametrize("text", LEFT)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert Pii().mend(text) == (text, ())
    assert Pii(action="drop").look(item_of(asked("a", text))) is None


def test_only_the_kinds_asked_for() -> None:
    text = "a@example.org 10.1.2.3"
    assert Pii(kinds=["ip"], mark="<{kind}>").mend(text)[0] == "a@example.org <IP>"


def test_luhn_by_its_definition() -> None:
    assert luhn("79927398713")
    assert sum(luhn(f"7992739871{digit}") for digit in range(10)) == 1


QUALITY = [
    ("empty", asked("a", "...!")),
    ("echo", asked("Say it to me!", "say it to me")),
    ("refusal", asked("a", "I'm sorry, but I can't help you with it.")),
    ("refusal", asked("a", "Well, as an AI language model I have no taste.")),
    ("placeholder", asked("a", "Dear [insert name], hello")),
    ("placeholder", asked("a", "<noinput>")),
    ("repetition", asked("a", "the cat sat on the mat and looked at all of us " * 4)),
    ("symbols", asked("a", "a @@@ ### $$$ %%% ^^^ &&& *** ((( )))")),
    ("shouting", asked("a", "THIS IS WHAT YOU SHOULD DO NOW MY FRIEND")),
    ("long-word", asked("a", "x" * 101)),
]
GOOD = [
    asked(
        "Rewrite: the dog ran over the hill and far away with the ball",
        "The dog ran over the hill and far away with it",
    ),
    asked("Explain AI", "An AI is a machine. I am a student of it; sorry to be short."),
    asked("Code?", "```\n{{{}}} ;;; ((())) [[[]]] $$$ @@@ ###\n```\nThat is how."),
    asked("Link?", "https://example.org/" + "a" * 120),
    asked("在中文中", "这是一个很长的句子" * 3 + "没有空格但是没有问题因为这里的文字不用空格"),
    asked("OK?", "No."),
    asked("Unfortunately what?", "Unfortunately the train was late, so we walked."),
]


@pytest.mark.parametrize(("rule", "row"), QUALITY)
def test_a_broken_rule_is_named(rule: str, row: dict[str, str]) -> None:
    drop = Quality().look(item_of(row))
    assert isinstance(drop, Drop)
    assert drop.why.startswith(f"{rule}: ")
    rest = [one for one in Quality().rules if one != rule]
    assert Quality(rules=rest).look(item_of(row)) is None or rule == "repetition"


@pytest.mark.parametrize("row", GOOD[:4] + GOOD[5:])
def test_good_rows_break_no_rule(row: dict[str, str]) -> None:
    assert Quality().look(item_of(row)) is None


def test_foul_words_are_seen_through_signs_and_not_inside_of_words() -> None:
    for text in ("What the f*ck", "you sh1thead", "fuuuuck that", "I'm going to kill you", "Go die in a fire"):
        assert isinstance(Toxicity().look(item_of(asked("a", text))), Drop), text
    for text in (
        "Scunthorpe and shiitake",
        "kill the process",
        "a classic assessment",
        "she dies in the end",
        "die Katze",
    ):
        assert Toxicity().look(item_of(asked("a", text))) is None, text
    assert Toxicity(hits=2).look(item_of(asked("a", "one shit"))) is None


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("en", "The house at the end of the street was sold to a family with two children."),
        ("de", "Das Haus am Ende der Straße wurde an eine Familie mit zwei Kindern verkauft, und es ist nicht alt."),
        ("fr", "La maison au bout de la rue est vendue à une famille qui a deux enfants et un chien."),
        ("es", "La casa al final de la calle se vendió a una familia con dos hijos y un perro."),
        ("it", "La casa in fondo alla strada è stata venduta a una famiglia con due figli e il cane."),
        ("pt", "A casa no fim da rua foi vendida a uma família com dois filhos e um cão, mas não o carro."),
        ("nl", "Het huis aan het einde van de straat is verkocht aan een gezin met twee kinderen."),
    ],
)
def test_languages_are_told_apart(code: str, text: str) -> None:
    assert language_of(text) == code
    assert Language(languages=[code]).look(item_of(asked(text, text))) is None
    other = "de" if code == "en" else "en"
    assert Language(languages=[other]).look(item_of(asked(text, text))) == Drop(f"its language is {code}")


def test_scripts_are_counted() -> None:
    assert script_counts("abc Жб 日本 の 한글 αβ é!") == Counter(
        {"latin": 4, "cyrillic": 2, "han": 2, "kana": 1, "hangul": 2, "greek": 2}
    )
    row = item_of(asked("Переведи это на английский язык", "Yes"))
    assert Language(scripts=["latin"]).look(row) == Drop("its script is cyrillic")
    assert Language(scripts=["latin", "cyrillic"]).look(row) is None
    assert Language(scripts=["latin"], of="answer").look(row) is None
    with pytest.raises(UserError, match="scripts"):
        Language()


def test_length_counts_words_and_characters() -> None:
    row = item_of(asked("one two", "three four five"))
    assert Length(min_words=5, max_words=5, max_characters=23).look(row) is None
    assert Length(min_words=6).look(row) == Drop("the row has fewer than 6 words")
    assert Length(of="answer", max_words=2).look(row) == Drop("the answer has more than 2 words")
    assert Length(of="prompt", min_characters=8).look(row) == Drop("the prompt has fewer than 8 characters")
    assert Length(max_characters=22).look(row) == Drop("the row has more than 22 characters")
    assert Length(of="answer", max_words=4).look(item_of(asked("a", "你好世界"))) is None
    with pytest.raises(UserError):
        Length(min_words=3, max_words=2)


def test_exact_duplicates_by_part_and_by_what_counts_as_same(run: Run) -> None:
    rows = [asked("a b", "x"), asked("a  b", "x"), asked("A b", "x"), asked("a b", "y"), asked("a", "b x")]
    assert set(run(rows, ExactDedup()).dropped) == {2}
    assert set(run(rows, ExactDedup(alike="same")).dropped) == set()
    assert set(run(rows, ExactDedup(alike="case")).dropped) == {2, 3}
    assert set(run(rows, ExactDedup(by="prompt")).dropped) == {2, 4}
    assert set(run(rows, ExactDedup(by="answer")).dropped) == {2, 3}


def labelled(*rows: tuple[str, str]) -> list[dict[str, str]]:
    return [{"text": text, "label": label} for text, label in rows]


def test_conflicts_believe_the_majority(run: Run) -> None:
    good = (("good film", "pos"), ("Good film", "pos"), ("good  film", "neg"))
    rows = labelled(*good, ("so so", "pos"), ("so so", "neg"), ("fine", "pos"), ("fine", "pos"))
    assert set(run(rows, Conflicts()).dropped) == {3, 4, 5}
    assert set(run(rows, Conflicts(keep="none")).dropped) == {1, 2, 3, 4, 5}
    assert set(run(rows, Conflicts(alike="same")).dropped) == {4, 5}
    asks = [asked("what?", "this"), asked("what?", "that")]
    assert set(run(asks, Conflicts()).dropped) == set()
    assert set(run(asks, Conflicts(answer_words=1)).dropped) == {1, 2}


def test_balance_thins_out_the_larger_groups_wherever_rows_stand(run: Run) -> None:
    rows = labelled(*((f"row {number}", "a" if number % 5 else "b") for number in range(100)))
    found = run(rows, Balance())
    assert Counter(row["label"] for row in found.kept.values()) == {"a": 20, "b": 20}
    turned = run(rows[::-1], Balance())
    assert {row["text"] for row in turned.kept.values()} == {row["text"] for row in found.kept.values()}
    other = run(rows, Balance(seed=1))
    assert {row["text"] for row in other.kept.values()} != {row["text"] for row in found.kept.values()}
    assert len(run(rows, Balance(ratio=2.0)).kept) == 60
    assert len(run(rows, Balance(ratio=None, most=7)).kept) == 14
    assert set(found.dropped.values()) == {"curate balance: there are enough rows of label 'a'"}


def test_balance_by_language_and_across_chunks(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    english, german = "the cat is on the mat and it is not in the house {}", "der Hund ist nicht in dem Haus und {}"
    rows = labelled(*((english.format(number), "a") for number in range(30)))
    rows += labelled(*((german.format(number), "b") for number in range(10)))
    whole = run(rows, Balance(by="language", ratio=1.5))
    assert sorted(line for line in whole.kept if line > 30) == list(range(31, 41))
    assert len(whole.kept) == 25
    assert set(whole.dropped.values()) == {"curate balance: there are enough rows of language 'en'"}
    monkeypatch.setattr(base, "CHUNK", 7)
    items = [item_of({"text": row["text"], "label": row["label"]}, "labelled", at) for at, row in enumerate(rows)]
    chunked = Balance(by="language", ratio=1.5).pick(
        [Balance(by="language", ratio=1.5).sketch(chunk) for chunk in base.chunks(items, 7)], Path()
    )
    assert {number + 1 for number in chunked} == set(whole.dropped)


def test_nothing_is_balanced_and_nothing_contradicts_where_there_is_nothing() -> None:
    assert Balance().pick([], Path()) == {}
    assert Balance().pick([Balance().sketch([])], Path()) == {}
    assert Conflicts().pick([], Path()) == {}
    assert Conflicts().pick([Conflicts().sketch([])], Path()) == {}


def test_decontamination_needs_a_run_of_words_and_knows_templates(run: Run, tmp_path: Path) -> None:
    exam = tmp_path / "exam.json"
    words = [f"w{number}" for number in range(40)]
    template = "Read the following text closely and answer the one question that stands below it now"
    questions = [{"q": " ".join(words[:20])}, {"q": "five words are just enough"}]
    questions += [{"q": f"{template} u{number} v{number}"} for number in range(12)]
    exam.write_text(json.dumps(questions))
    rows = [
        asked(f"so {' '.join(words[3:16])} it", "leak"),
        asked(f"so {' '.join(words[3:15])} it", "one word less"),
        asked("five words, are just ENOUGH!", "leak"),
        asked("and five words are just enough here", "not the same, and not near"),
        asked(f"{template} but here is something else", "template"),
        asked(f"{template.replace('one', 'lone')} u3 v3", "nearly the same"),
    ]
    step = Decontaminate(against=[str(exam)], near=0.75)
    assert set(run(rows, step).dropped) == {1, 3, 6}
    assert set(run(rows, Decontaminate(against=[str(exam)], near=None)).dropped) == {1, 3}
    assert set(run(rows, Decontaminate(against=[str(exam)], near=None, template=100)).dropped) == {1, 3, 5}
    assert set(run(rows, Decontaminate(against=[str(exam)], ngram=12, near=None)).dropped) == {1, 2, 3}


def chat(*roles: str, **extra: object) -> dict[str, object]:
    return {"messages": [{"role": role, "content": "words", **extra} for role in roles]}


@pytest.mark.parametrize(
    ("roles", "rule"),
    [
        (("assistant", "user", "assistant"), "begins"),
        (("system", "assistant"), "begins"),
        (("user", "user", "assistant"), "twice"),
        (("user", "assistant", "assistant"), "twice"),
        (("user", "assistant", "user"), "unanswered"),
        (("user", "tool", "assistant"), "tool"),
    ],
)
def test_roles_have_their_order(roles: tuple[str, ...], rule: str) -> None:
    item = item_of(chat(*roles), "messages")
    drop = Roles().look(item)
    assert isinstance(drop, Drop)
    assert drop.why.startswith(f"{rule}: ")
    rest = [one for one in ("begins", "twice", "unanswered", "tool") if one != rule]
    assert Roles(rules=rest).look(item) is None


def test_right_roles_and_rows_without_roles_stay() -> None:
    call = [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "", "tool_calls": call},
        {"role": "tool", "content": "1"},
        {"role": "tool", "content": "2"},
        {"role": "assistant", "content": "b"},
    ]
    assert Roles().look(item_of({"messages": turns}, "messages")) is None
    assert Roles().look(item_of(chat("system", "user", "assistant"), "messages")) is None
    assert Roles().look(item_of({"text": "a b", "label": "x"}, "labelled")) is None
    rated = {"prompt": "a", "chosen": "b", "rejected": "c"}
    assert Roles().look(item_of(rated, "preference")) is None


def test_what_is_read_ahead_changes_no_verdict(tmp_path: Path) -> None:
    exam = tmp_path / "exam.jsonl"
    texts = [
        "the red fox ran over the old bridge to the far side of the river at noon",
        "what is the capital of spain now",
    ]
    exam.write_text("".join(json.dumps({"question": text}) + "\n" for text in texts))
    rows = [
        asked("say it", f"Well: {texts[0]}, they said."),
        asked("what is the capital of spain now?", "Madrid"),
        asked("what is the capital of spain, now?", "so the red fox ran over the old bridge to the far side"),
        asked("nothing", "of the kind stands here at all"),
        asked("?", "!"),
    ]
    items = [item_of(row, number=number) for number, row in enumerate(rows)]
    alone, ahead = (Decontaminate(against=[str(exam)], near=near) for near in (0.8, 0.8))
    ahead.read_ahead(items)
    assert [ahead.look(item) for item in items] == [alone.look(item) for item in items]
    assert [alone.look(item) is not None for item in items] == [True, True, True, False, False]
    only = Decontaminate(against=[str(exam)], near=None)
    only.read_ahead(items)
    assert [only.look(item) is not None for item in items] == [True, True, True, False, False]
