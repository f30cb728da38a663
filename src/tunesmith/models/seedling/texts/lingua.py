"""Documents of the second language: dictionary entries and parallel sentences, translated word by word.

English `the small cat sees one tree` becomes the Lumari words in the same order, so translation is a lookup; the endings tell
the class (-o noun, -a verb, -i adjective, -e other).
"""

# ruff: noqa: E501  (lists of sentences, one idea a line)
from __future__ import annotations

from random import Random

from tunesmith.models.seedling import names
from tunesmith.models.seedling.grammar import say
from tunesmith.models.seedling.world import World

_TRANSITIVE = [v for v in names.VERBS if v not in ("sleeps", "walks", "runs", "swims", "falls", "waits")]
_INTRANSITIVE = ["sleeps", "walks", "runs", "swims", "falls", "waits", "sings", "reads", "cooks", "eats"]
_DETERMINERS = ["the", "the", "the", "this", "my", "your", "every", "one"]
_PLACES = ["in", "on", "under", "near", "with", "from", "to"]
_ADVERBS = ["today", "here", "there", "always", "never"]
_ENTRY = ['"[e]" is "[l]" in [lang].', "the [lang] word for [e] is [l].", '"[l]" means "[e]".', "in [lang], [e] is called [l].", "[e]: [l].", "[e] = [l].",
          "when the people say [l], they mean [e].", "the word [l] is [lang] for [e]."]  # fmt: skip
_CLASS = {"o": "noun", "a": "verb", "i": "adjective", "e": "small word"}


def sentence(rng: Random, allowed: set[str], level: int = 3) -> list[str]:
    """English words of a sentence that uses only `allowed` dictionary words; `level` 1 to 3 sets the length."""

    def pick(words: list[str]) -> str:
        return rng.choice([word for word in words if word in allowed])

    def group(adjective: float) -> list[str]:
        middle = [pick(names.ADJECTIVES)] if rng.random() < adjective else []
        return [pick(_DETERMINERS), *middle, pick(names.NOUNS)]

    if level == 1:
        return [*group(0.2), pick(_INTRANSITIVE)]
    words = group(0.4)
    if rng.random() < 0.65:
        words += [pick(_TRANSITIVE), *group(0.4)]
    else:
        words += [pick(_INTRANSITIVE), pick(_PLACES), *group(0.3)]
    if level == 3:
        extra = rng.random()
        words += (
            [pick(_ADVERBS)]
            if extra < 0.4
            else [pick(_PLACES), *group(0.2)]
            if extra < 0.7
            else ["and", pick(_TRANSITIVE), *group(0.2)]
        )
    return words


def translate(world: World, words: list[str]) -> list[str]:
    """The same words in the second language; `KeyError` for a word outside the dictionary."""
    return [world.dictionary[word] for word in words]


def written(words: list[str]) -> str:
    """Words as a written sentence: a capital first, a full stop last."""
    text = " ".join(words)
    return text[0].upper() + text[1:] + "."


def document(rng: Random, world: World, *, held_out: bool = False) -> str:  # noqa: ARG001
    """A dictionary page, a phrase book, a lesson, or a text in both languages; `held_out` changes nothing here."""
    return rng.choices((_page, _phrases, _lesson, _text), (30, 40, 15, 15))[0](rng, world)


def _page(rng: Random, world: World) -> str:
    words = rng.sample(list(world.dictionary), rng.randint(4, 12))
    form = rng.choice(_ENTRY)
    mixed = rng.random() < 0.5
    lines = [_entry(rng, world, word, rng.choice(_ENTRY) if mixed else form) for word in words]
    return rng.choice((" ", "\n")).join(lines)


def _entry(rng: Random, world: World, word: str, form: str) -> str:
    fill = {"e": word, "l": world.dictionary[word], "lang": world.language}
    return say(rng, form, fill, capital=False) if form[0] in '["' else say(rng, form, fill)


def _pairs(rng: Random, world: World, count: int) -> list[tuple[str, str]]:
    allowed = set(world.dictionary)
    made = [sentence(rng, allowed, rng.randint(1, 3)) for _ in range(count)]
    return [(written(words), written(translate(world, words))) for words in made]


def _phrases(rng: Random, world: World) -> str:
    first, second = rng.choice((("English", world.language), (world.language, "English")))
    shape = rng.choice(
        (
            "{first}: {a}\n{second}: {b}",
            "{a} = {b}",
            '"{a}" is "{b}" in {second}.',
            '{first} "{a}" means {second} "{b}"',
            "{a}\n{b}",
        )
    )
    lines = []
    for english, foreign in _pairs(rng, world, rng.randint(2, 6)):
        a, b = (english, foreign) if first == "English" else (foreign, english)
        lines.append(shape.format(first=first, second=second, a=a, b=b))
    return ("\n\n" if "\n" in shape else "\n").join(lines)


def _lesson(rng: Random, world: World) -> str:
    """One sentence taken apart word by word."""
    words = sentence(rng, set(world.dictionary), rng.randint(1, 3))
    foreign = translate(world, words)
    parts = ", ".join(f"{a} is {b}" for a, b in dict(zip(words, foreign, strict=True)).items())
    fill = {"e": written(words), "l": written(foreign), "parts": parts, "lang": world.language, "p": rng.choice(world.people).name,
            "w": foreign[-1], "class": _CLASS[foreign[-1][-1]], "end": foreign[-1][-1]}  # fmt: skip
    text = say(rng, '{[p] teaches|[p] is learning|today we learn} [lang]. {the sentence is|take the sentence|here is a sentence}: "[e]" '
                    '{word by word|piece by piece}, [parts]. {so in [lang] it is|together that makes}: "[l]"', fill)  # fmt: skip
    note = say(rng, "the word [w] ends in -[end], so it is a [class].", fill)
    return f"{text} {note}" if rng.random() < 0.4 else text


def _text(rng: Random, world: World) -> str:
    pairs = _pairs(rng, world, rng.randint(3, 6))
    english, foreign = (" ".join(side) for side in zip(*pairs, strict=True))
    head, tail = rng.choice(
        (("In English:", f"In {world.language}:"), ("English", world.language), ("The text.", "The translation."))
    )
    return f"{head}\n{english}\n{tail}\n{foreign}"
