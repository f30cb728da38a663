"""Documents about words themselves: spelling, length, letters, reversing, sorting, counting, capitals, rhymes, tone.

The tokenizer hides letters from the model, so every word is spelled out often; all statements are computed.
"""

# ruff: noqa: E501  (lists of sentences, one idea a line)
from __future__ import annotations

from collections.abc import Callable
from functools import cache
from random import Random

from tunesmith.models.seedling import names
from tunesmith.models.seedling.grammar import listed, say
from tunesmith.models.seedling.texts import lingua
from tunesmith.models.seedling.world import World

POLITE = [("give me the [t]", "could you please give me the [t]?"), ("bring me a [t]", "could you please bring me a [t]?"),
          ("show me your [t]", "would you kindly show me your [t]?"), ("clean the [t]", "could you please clean the [t]?"),
          ("I want a [t]", "I would like a [t], please."), ("move your [t]", "would you mind moving your [t]?"),
          ("put the [t] down", "would you please put the [t] down?")]  # fmt: skip


@cache
def vocabulary() -> tuple[str, ...]:
    """Every plain word that the word tasks may use, in alphabetical order: 3 to 8 letters, lower case."""
    pool = {*names.NOUNS, *names.ADJECTIVES, *names.JOBS, *names.PETS, *names.COLOURS, *names.EXTRA_WORDS}
    pool |= {thing[0] for thing in names.THINGS} | {word for group in names.RHYMES for word in group.split()}
    return tuple(sorted(word for word in pool if 3 <= len(word) <= 8))


def document(rng: Random, world: World, *, held_out: bool = False) -> str:  # noqa: ARG001
    """Three to nine statements, in one form or mixed; `held_out` changes nothing here."""
    makers: list[Callable[[Random, World], str]] = [_spelled, _spelled, _length, _letter, _reversed, _reversed, _sorted, _sorted, _counted,
                                                    _capitals, _rhyme, _ends, _tone, _listing]  # fmt: skip
    if rng.random() < 0.15:
        return "\n\n".join(_portrait(rng) for _ in range(rng.randint(1, 3)))
    chosen = [rng.choice(makers)] if rng.random() < 0.4 else rng.sample(makers, 4)
    return rng.choice((" ", " ", "\n")).join(rng.choice(chosen)(rng, world) for _ in range(rng.randint(3, 9)))


def _portrait(rng: Random) -> str:
    """Everything about one word."""
    word = rng.choice(vocabulary())
    lines = [f"It is spelled {spelled(word)}.", f"It has {len(word)} letters.", f"It starts with {word[0]} and ends with {word[-1]}.",
             f"Backwards, {spelled(word[::-1])}, it is {word[::-1]}.", f"In capitals it is {word.upper()}."]  # fmt: skip
    kept = rng.sample(lines, rng.randint(2, len(lines)))
    return " ".join(
        [rng.choice((f'The word is "{word}".', f'Take the word "{word}".', f'Here is the word "{word}".')), *kept]
    )


def spelled(word: str) -> str:
    """The letters of a word with hyphens between."""
    return "-".join(word)


def _spelled(rng: Random, world: World) -> str:
    word = rng.choice(world.people).name if rng.random() < 0.1 else rng.choice(vocabulary())
    forms = ['the word "[w]" is spelled [s].', '"[w]" is spelled [s].', 'the letters of "[w]" are [s].', "[w]: [s]."]
    return _about(rng, word, forms)


def _length(rng: Random, _world: World) -> str:
    forms = [
        'the word "[w]" has [n] letters.',
        'there are [n] letters in "[w]".',
        '"[w]" has [n] letters: [s].',
        '"[w]" is [n] letters long.',
    ]
    return _about(rng, rng.choice(vocabulary()), forms)


def _letter(rng: Random, _world: World) -> str:
    word = rng.choice(vocabulary())
    letter = rng.choice(word)
    forms = [
        'the letter [y] {comes|appears|is found} [x] in "[w]".',
        '"[w]" has the letter [y] [x].',
        "in [s], the letter [y] comes [x].",
    ]
    return _about(rng, word, forms, x=("once", "twice", "three times", "four times")[word.count(letter) - 1], y=letter)


def _reversed(rng: Random, _world: World) -> str:
    word = rng.choice(vocabulary())
    forms = ['"[w]" {backwards|reversed|read backwards} is "[x]".', 'reversing "[w]" gives "[x]".', '[s] backwards is [y], so "[w]" becomes "[x]".',
             'from the end, "[w]" reads "[x]".']  # fmt: skip
    return _about(rng, word, forms, x=word[::-1], y=spelled(word[::-1]))


def _ends(rng: Random, _world: World) -> str:
    word = rng.choice(vocabulary())
    forms = [
        '"[w]" starts with [x] and ends with [y].',
        'the first letter of "[w]" is [x].',
        'the last letter of "[w]" is [y].',
    ]
    return _about(rng, word, forms, x=word[0], y=word[-1])


def _sorted(rng: Random, _world: World) -> str:
    words = rng.sample(vocabulary(), rng.randint(2, 5))
    join = rng.choice((", ", " "))
    forms = [
        "sorted by the alphabet, [w] become [x].",
        'in alphabetical order, "[w]" is "[x]".',
        'sorting "[w]" gives "[x]".',
    ]
    return _about(rng, join.join(words), forms, x=join.join(sorted(words)))


def _listing(rng: Random, _world: World) -> str:
    words = rng.sample(vocabulary(), rng.randint(2, 5))
    longest = max(words, key=len)
    forms = ['the list "[w]" {has|contains} [x] words.', 'the first word of "[w]" is "[y]".', 'the last word of "[w]" is "[z]".',
             'backwards, the list "[w]" is "[r]".']  # fmt: skip
    if sum(len(word) == len(longest) for word in words) == 1:
        forms.append('the longest word of "[w]" is "[l]".')
    fill = {
        "w": " ".join(words),
        "x": len(words),
        "y": words[0],
        "z": words[-1],
        "r": " ".join(words[::-1]),
        "l": longest,
    }
    return say(rng, rng.choice(forms), fill)


def _counted(rng: Random, world: World) -> str:
    words = lingua.sentence(rng, set(world.dictionary), rng.randint(1, 3))
    return say(rng, '{the sentence "[s]" has [n] words.|there are [n] words in "[s]".|"[s]" has [n] words.|counting the words of "[s]" gives [n].}',
               {"s": lingua.written(words)[:-1], "n": len(words)})  # fmt: skip


def _capitals(rng: Random, world: World) -> str:
    text = (
        rng.choice(vocabulary())
        if rng.random() < 0.4
        else " ".join(lingua.sentence(rng, set(world.dictionary), rng.randint(1, 3)))
    )
    return say(rng, '{in capitals, "[s]" is "[S]".|the sign said "[S]", that is "[s]" in capitals.|"[s]" in capital letters is "[S]".|someone shouted "[S]".}',
               {"s": text, "S": text.upper()})  # fmt: skip


def _rhyme(rng: Random, _world: World) -> str:
    group = rng.choice(names.RHYMES).split()
    a, b = rng.sample(group, 2)
    other = rng.choice(
        [word for words in names.RHYMES if words.split() != group for word in words.split() if word not in group]
    )
    forms = [
        '"[w]" rhymes with "[b]".',
        'a word that rhymes with "[w]" is "[b]".',
        '"[w]" rhymes with "[b]" but not with "[o]".',
        "[all] rhyme.",
    ]
    return _about(rng, a, forms, b=b, o=other, all=listed(group))


def _tone(rng: Random, world: World) -> str:
    plain, polite = rng.choice(POLITE)
    thing = {"t": rng.choice(world.things).name}
    rude, kind = say(rng, plain, thing), say(rng, polite, thing)
    return f'A {rng.choice(("plain", "short", "rough"))} way to say it is "{rude}." A {rng.choice(("polite", "formal"))} way is "{kind}"'


def _about(rng: Random, word: str, forms: list[str], **values: str) -> str:
    """One of the forms; a form that begins with the word itself keeps its small letter."""
    form = rng.choice(forms)
    return say(rng, form, {"w": word, "s": spelled(word), "n": len(word), **values}, capital=form[0] not in '["')
