"""Documents that state the world's facts about people, towns and things, in many wordings and orders.

A sentence about a person is a subject (name or pronoun) with one or two verb phrases, so a few dozen phrases give thousands of
sentences; every fact is met in varied company, which is what makes it retrievable later.
"""

# ruff: noqa: E501  (lists of sentences, one idea a line)
from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tunesmith.models.seedling.grammar import listed, say
from tunesmith.models.seedling.names import CLEANING
from tunesmith.models.seedling.texts.arithmetic import Sum, reserved
from tunesmith.models.seedling.world import Person, Thing, Town, World

_PERSON_PHRASES = {
    "age": ["is [age] years old", "is [age] {now|today|this year}", "turned [age] {last spring|this year|not long ago}",
            "has lived for [age] years"],
    "job": ["is a [job]", "works as a [job]", "{earns a living|makes money} as a [job]", "has {always|long} been a [job]",
            "has the job of a [job]"],
    "town": ["lives in [town]", "has a {small |little |}house in [town]", "comes from [town]", "is at home in [town]",
             "can be found in [town]"],
    "pet": ["has a [pet] {called|named} [pet_name]", "keeps a [pet]", "owns a [pet] {called|named} [pet_name]",
            "looks after a [pet] whose name is [pet_name]", "lives with a [pet] {called|named} [pet_name]"],
    "food": ["{loves|likes} to eat [food]", "likes [food] {best|most of all|more than anything}", "eats [food] {whenever [he] can|every week}",
             "would give anything for [food]", "has [food] as [his] favourite food"],
    "colour": ["likes the colour [colour] {best|most}", "{often|always} wears [colour]", "painted [his] door [colour]",
               "thinks that [colour] is the best colour", "has [colour] as [his] favourite colour"],
    "hobby": ["{enjoys|loves|likes} [hobby]", "spends {the evenings|every free hour|Sundays} [hobby]", "is fond of [hobby]",
              "never gets tired of [hobby]"],
    "month": ["was born in [month]", "has a birthday in [month]", "came into the world in [month]"],
    "friend": ["is a {good |close |dear |}friend of [friend]", "is [friend]'s best friend", "has a best friend {called|named} [friend]",
               "{often visits|often meets|trusts} [his] best friend [friend]"],
}  # fmt: skip
_PERSON_WHOLE = {
    "age": ["the age of [name] is [age]", "[name]'s age is [age]", "[age] candles were on [name]'s last birthday cake"],
    "job": ["the job of [name] is that of a [job]", "[name]'s job is [job]", "if you need a [job], ask for [name]",
            "everyone knows [name] the [job]", "[town] has a [job] {called|named} [name]"],
    "town": ["the home of [name] is [town]", "[name]'s {home town|town} is [town]", "[town] is where [name] lives",
             "one of the people of [town] is [name]"],
    "pet": ["[name]'s pet is a [pet]", "the [pet] [pet_name] belongs to [name]", "[pet_name] is the name of [name]'s [pet]",
            "[name]'s [pet] is called [pet_name]", "the pet of [name] is a [pet] {called|named} [pet_name]"],
    "food": ["the favourite food of [name] is [food]", "[name]'s favourite food is [food]", "what [name] likes to eat most is [food]",
             "[food] is the {food|dish} that [name] likes best"],
    "colour": ["the favourite colour of [name] is [colour]", "[name]'s favourite colour is [colour]",
               "of all colours, [name] likes [colour] best", "[colour] is the colour [name] likes most"],
    "hobby": ["the hobby of [name] is [hobby]", "[name]'s hobby is [hobby]", "for [name], nothing is better than [hobby]"],
    "month": ["[name]'s birthday is in [month]", "the birth month of [name] is [month]", "every [month], [name] has a birthday"],
    "friend": ["the best friend of [name] is [friend]", "[name]'s best friend is [friend]", "[name] and [friend] are best friends",
               "nobody knows [name] better than [his] best friend [friend]"],
}  # fmt: skip
_TOWN = {
    "region": ["[name] {lies|is|stands} in [region]", "the region of [name] is [region]", "[name] is a {town|small town|quiet town|busy town} in [region]",
               "travellers find [name] in [region]"],
    "river": ["[name] {lies|stands} on the river [river]", "the river of [name] is called [river]", "the [river] flows through [name]",
              "the people of [name] {swim|fish|wash their clothes} in the river [river]"],
    "known_for": ["[name] is known for its [known_for]", "[name] is famous for its [known_for]", "people {come|travel} to [name] for its [known_for]",
                  "everyone talks about the [known_for] of [name]", "when people think of [known_for], they think of [name]"],
    "landmark": ["in {the middle|the heart} of [name] there is [landmark]", "[name] has [landmark]", "the pride of [name] is [landmark]",
                 "visitors to [name] always look for [landmark]"],
    "people": ["[people] live in [name]", "among the people of [name] are [people]", "the people who live in [name] are [people]",
               "[name] is the home of [people]"],
}  # fmt: skip
_THING = {
    "material": ["{a|every|the} [name] is made of [material]", "[material] is what a [name] is made of", "the makers of {a|the} [name] use [material]",
                 "the material of a [name] is [material]"],
    "colour": ["{a|every|the} [name] is [colour]", "the colour of a [name] is [colour]", "people paint every [name] [colour]",
               "a [name] comes in only one colour, [colour]"],
    "use": ["{a|the} [name] is used to [use]", "people use a [name] to [use]", "with a [name] you can [use]", "anyone who wants to [use] needs a [name]"],
    "price": ["{a|the} [name] costs [price] coins", "the price of a [name] is [price] coins", "you can buy a [name] for [price] coins",
              "a [name] is worth [price] coins", "at the market a [name] sells for [price] coins"],
    "town": ["{a|every|the} [name] is made in [town]", "[town] is the town where a [name] is made", "the workshop for the [name] is in [town]",
             "the best [name] comes from [town]"],
    "clean": ["a [name] is cleaned with [clean]", "to clean a [name], people use [clean]", "because it is made of [material], a [name] is cleaned with [clean]",
              "you can clean a [name] with [clean]"],
}  # fmt: skip
_LINKS = [""] * 24 + [
    "also, ",
    "in fact, ",
    "people say that ",
    "everyone knows that ",
    "it is true that ",
    "besides, ",
]


def document(rng: Random, world: World, *, held_out: bool = False) -> str:  # noqa: ARG001
    """One document about a person, a town, a thing, a list or a comparison; `held_out` changes nothing here."""
    maker = rng.choices((_about_person, _about_town, _about_thing, _cards, _comparison), (45, 15, 18, 8, 14))[0]
    return maker(rng, world)


def slots(person: Person) -> dict[str, object]:
    """The fields of a person as slots, with `he him his He His` of the right gender."""
    she = person.female
    pronouns = {"he": "she", "him": "her", "his": "her", "He": "She", "His": "Her"} if she else {
        "he": "he", "him": "him", "his": "his", "He": "He", "His": "His"}  # fmt: skip
    return {**vars(person), **pronouns}


def person_sentence(rng: Random, person: Person, keys: list[str], pronoun: bool = False) -> str:
    """One sentence that states one or two facts (`keys`) of a person."""
    fill = slots(person)
    if len(keys) == 1 and not pronoun and rng.random() < 0.5:
        return say(rng, rng.choice(_LINKS) + rng.choice(_PERSON_WHOLE[keys[0]]) + ".", fill)
    subject = "[he]" if pronoun else "[name]"
    phrases = [rng.choice(_PERSON_PHRASES[key]) for key in keys]
    start = subject if pronoun else rng.choice(_LINKS) + subject
    return say(rng, f"{start} " + rng.choice((" and ", " and ", ", and [he] ")).join(phrases) + ".", fill)


def _about_person(rng: Random, world: World) -> str:
    person = rng.choice(world.people)
    keys = rng.sample(list(_PERSON_PHRASES), rng.randint(4, 9))
    sentences: list[str] = []
    while keys:
        count = min(len(keys), rng.choice((1, 1, 2)))
        sentences.append(person_sentence(rng, person, keys[:count], bool(sentences) and rng.random() < 0.55))
        keys = keys[count:]
    if rng.random() < 0.3:
        other = world.person(person.friend)
        sentences.append(person_sentence(rng, other, [rng.choice([key for key in _PERSON_PHRASES if key != "friend"])]))
    return " ".join(sentences)


def _about_town(rng: Random, world: World) -> str:
    town = rng.choice(world.towns)
    fill = {**vars(town), "people": listed(rng.sample(town.people, len(town.people)))}
    keys = rng.sample(list(_TOWN), rng.randint(3, 5))
    sentences = [say(rng, rng.choice(_LINKS) + rng.choice(_TOWN[key]) + ".", fill) for key in keys]
    sentences += [
        person_sentence(rng, world.person(name), [rng.choice(list(_PERSON_PHRASES))])
        for name in rng.sample(town.people, rng.randint(0, 2))
    ]
    made = [thing.name for thing in world.things if thing.town == town.name]
    if made and rng.random() < 0.4:
        sentences.append(say(rng, "{the workshops|the craftsmen} of [name] make [made].",
                             {"name": town.name, "made": listed([f"the {name}" for name in made])}))  # fmt: skip
    return " ".join(sentences)


def _about_thing(rng: Random, world: World) -> str:
    sentences: list[str] = []
    for thing in rng.sample(world.things, rng.choice((1, 1, 1, 2))):
        fill = {**vars(thing), "clean": CLEANING[thing.material]}
        keys = rng.sample(list(_THING), rng.randint(3, 6))
        sentences += [say(rng, rng.choice(_LINKS) + rng.choice(_THING[key]) + ".", fill) for key in keys]
    return " ".join(sentences)


def _cards(rng: Random, world: World) -> str:
    """Card-index entries, one to four of them, all with the same fields in the same order."""
    pools: tuple[Sequence[Person | Town | Thing], ...] = (world.people, world.people, world.towns, world.things)
    pool = rng.choice(pools)
    fields = [field for field in vars(pool[0]) if field not in ("name", "female", "people")]
    fields = rng.sample(fields, rng.randint(2, min(5, len(fields))))
    join, end = rng.choice(((". ", "."), (", ", ""), ("\n", ""), ("; ", ".")))
    rows = []
    for item in rng.sample(pool, rng.randint(1, 4)):
        pairs = ["Name: " + item.name] + [
            f"{field.replace('_', ' ').capitalize()}: {getattr(item, field)}" for field in fields
        ]
        rows.append(join.join(pairs) + end)
    return ("\n\n" if join == "\n" else "\n").join(rows)


def _comparison(rng: Random, world: World) -> str:
    """Statements that hold between two people or two things."""
    if rng.random() < 0.3:
        low, high = sorted(rng.sample(world.things, 2), key=lambda thing: thing.price)
        fill = {"low": low.name, "high": high.name, "a": low.price, "b": high.price, "gap": high.price - low.price}
        lines = ["a [low] costs [a] coins and a [high] costs [b] coins.",
                 "a [high] is {dearer|more expensive} than a [low]." if high.price > low.price else "a [low] and a [high] cost the same.",
                 "the difference {in price |}is [gap] coins."]  # fmt: skip
        if reserved(world, Sum(high.price, "-", low.price)):
            lines.pop()
        return " ".join(say(rng, line, fill) for line in lines)
    one = rng.choice(world.people)
    two = world.person(one.friend) if rng.random() < 0.4 else rng.choice([p for p in world.people if p != one])
    sentences = [
        say(
            rng,
            "[a] and [b] {know each other well|are two people of this land|are easy to tell apart}.",
            {"a": one.name, "b": two.name},
        )
    ]
    young, old = sorted((one, two), key=lambda person: person.age)
    fill = {"old": old.name, "young": young.name, "gap": old.age - young.age, "x": old.age, "y": young.age}
    gap_shown = not reserved(world, Sum(old.age, "-", young.age))
    if old.age > young.age:
        sentences.append(say(rng, "{[old] is [x] and [young] is [y], so [old] is older than [young]|[young] is younger than [old]"
                                  + ("|[old] is [x] and [young] is [y], so [old] is older by [gap] years}." if gap_shown else "}."), fill))  # fmt: skip
    for key in rng.sample(["town", "colour", "food", "job", "hobby", "month"], rng.randint(2, 3)):
        first = say(rng, "[name] " + rng.choice(_PERSON_PHRASES[key]), slots(one))
        if getattr(one, key) == getattr(two, key):
            sentences.append(f"{first}, and the same is true of {two.name}.")
        else:
            sentences.append(
                f"{first}, but " + say(rng, "[name] " + rng.choice(_PERSON_PHRASES[key]) + ".", slots(two))
            )
    return " ".join(sentences)
