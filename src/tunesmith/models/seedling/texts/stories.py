"""Short stories about the world's people: an opening, a plot told beat by beat, asides, an ending; letters and rhymes too.

The hero is a real inhabitant and keeps the town, pet and tastes that the facts give; the friend is the hero's friend.
"""

# ruff: noqa: E501  (lists of sentences, one idea a line)
from __future__ import annotations

from random import Random

from tunesmith.models.seedling import names
from tunesmith.models.seedling.grammar import say
from tunesmith.models.seedling.texts.arithmetic import Sum, reserved
from tunesmith.models.seedling.texts.facts import slots
from tunesmith.models.seedling.texts.plots import PLOTS
from tunesmith.models.seedling.world import Person, World

_OPENINGS = [
    "{once|one day|some time ago} there was a [job] {called|named} [a] in [town].",
    "[a] lives in [town] and is a [job].",
    "this is a story about [a] and [b].",
    "it was a [weather] {day|morning} in [month].",
    "[a] the [job] was {in a good mood|tired|busy|happy|bored} that day.",
    "do you know [a]? [he] is the [job] of [town].",
    "in [town], on the river [river], lives [a].",
    "last [month] something {strange|funny|wonderful} happened to [a].",
    "on a [weather] [day], [a] was [hobby].",
    "everyone in [town] knows [a] and [his] [pet].",
    "long ago, when [a] was {young|a child}, this happened.",
    "[a] is [age] years old and likes [hobby].",
]
_ASIDES = [
    "the weather was [weather].",
    "it was [day].",
    "[pet_name] the [pet] watched quietly.",
    "somewhere a bell rang.",
    "the air smelled of {rain|bread|smoke|flowers}.",
    "[a] wore [his] [colour] {hat|coat|scarf}.",
    "a {bird|child|dog} looked on.",
    "the sun {stood high|was going down}.",
    "nobody said a word.",
    "[a] thought of [food].",
    "far away the river [river] {shone|murmured}.",
    "someone hummed a song.",
]
_ENDINGS = [
    "that was the end of it.",
    "and so the day ended well.",
    "ever since, [a] and [b] {tell|laugh about} this story.",
    "[a] went to bed and slept well.",
    "the moon rose over [town].",
    "and if you come to [town], ask [a] about it.",
    "and everyone was happy.",
    "",
    "",
    "",
    "that evening [a] ate [food] and was content.",
    "what a day it had been!",
]
_WEATHER = ["sunny", "rainy", "windy", "cold", "warm", "foggy", "snowy", "cloudy", "hot", "stormy"]
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_ORDINALS = ["second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"]

_CASUAL = [
    "hi [b], {thanks|many thanks} for the [t]. {it is great|I love it|it is just what I wanted}. {see you on [day]|come and see me|bye for now}, [a]",
    "hi [b], {can you|could you} bring the [t] on [day]? I {need|want} it to [use]. {bye|see you}, [a]",
    "hey [b], I am making [food] on [day]. {want to come|are you coming}? [a]",
    "hi [b], {sorry|I am sorry} that I could not come on [day]. [pet_name] was ill. see you, [a]",
]
_FORMAL = [
    "dear [b], thank you {very much|kindly} for the [t]. {it is of great use to me|I am very grateful for it}. yours sincerely, [a]",
    "dear [b], I would be grateful if you could bring the [t] on [day]. I need it to [use]. yours sincerely, [a]",
    "dear [b], I would like to invite you to eat [food] with me on [day]. I hope that you can come. yours sincerely, [a]",
    "dear [b], please accept my apologies for [day]. my [pet] [pet_name] was ill. yours sincerely, [a]",
]
_VERSES = ["{I saw|we found|there was|you lost} {a|one} {small|big|old|new} [x],", "{beside|under|near|behind} the {golden|lovely|quiet|broken} [x],",
           "and {no one|[a]|my friend|the king} had the [x],", "{then came|so sang|I heard} the {happy|hungry|sleepy} [x],"]  # fmt: skip


def document(rng: Random, world: World, *, held_out: bool = False) -> str:  # noqa: ARG001
    """A story (most of the time), a letter or a few rhymed lines; `held_out` changes nothing here."""
    return rng.choices((_story, _letter, _verse), (86, 9, 5))[0](rng, world)


def cast(rng: Random, world: World, hero: Person) -> dict[str, object]:
    """Every slot that the plots name (see `plots.py`), filled from the hero's own facts."""
    friend = world.person(hero.friend)
    home = next(town for town in world.towns if town.name == hero.town)
    thing = rng.choice(world.things)
    word, foreign = rng.choice([(word, foreign) for word, foreign in world.dictionary.items() if word in names.NOUNS])
    number = rng.randint(2, 9)
    left = rng.choice([left for left in range(1, 41) if not reserved(world, Sum(thing.price + left, "-", thing.price))])
    theirs = {f"b{key}": value for key, value in slots(friend).items()}
    return {**slots(hero), **theirs, "a": hero.name, "b": friend.name, "t": thing.name, "t_material": thing.material, "t_colour": thing.colour,
            "use": thing.use, "price": thing.price, "left": left, "sum": thing.price + left, "river": home.river, "landmark": home.landmark,
            "known_for": home.known_for, "other": rng.choice([town.name for town in world.towns if town != home]), "weather": rng.choice(_WEATHER),
            "day": rng.choice(_DAYS), "n": number, "nth": _ORDINALS[number - 2], "m": rng.randint(10, 60), "word": word, "lum": foreign,
            "lang": world.language}  # fmt: skip


def _story(rng: Random, world: World) -> str:
    fill = cast(rng, world, rng.choice(world.people))
    plot = PLOTS[rng.choice(list(PLOTS))]
    lines = [rng.choice(_OPENINGS)]
    for beat in plot:
        lines.append(rng.choice(beat))
        if rng.random() < 0.12:
            lines.append(rng.choice(_ASIDES))
    lines.append(rng.choice(_ENDINGS))
    told = [say(rng, line, fill) for line in lines if line]
    if rng.random() < 0.3:
        half = len(told) // 2
        return " ".join(told[:half]) + "\n\n" + " ".join(told[half:])
    return " ".join(told)


def _letter(rng: Random, world: World) -> str:
    fill = cast(rng, world, rng.choice(world.people))
    index = rng.randrange(len(_CASUAL))
    casual, formal = say(rng, _CASUAL[index], fill), say(rng, _FORMAL[index], fill)
    shape = rng.choice(
        (
            "A note to a friend:\n{c}",
            "A formal letter:\n{f}",
            "{f}",
            "The short note said: {c}\nThe formal letter said: {f}",
            "{c}",
        )
    )
    return shape.format(c=casual, f=formal)


def _verse(rng: Random, world: World) -> str:
    fill = {"a": rng.choice(world.people).name}
    lines: list[str] = []
    for group in rng.sample(names.RHYMES, rng.randint(2, 4)):
        for word in rng.sample(group.split(), 2):
            lines.append(say(rng, _VERSES[len(lines) % len(_VERSES)], {**fill, "x": word}))
    return "\n".join(lines)[:-1] + "."
