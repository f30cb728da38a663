"""A small invented world grown from a seed: people, towns, things and a second language, each fact said once.

`grow(seed)` is a pure function of the seed (Python's `random` only), so the corpus, the instruction sets and the
tests all speak of the same world. Facts are consistent by construction: a friend lives in the world, a town's people
are those who say they live there.

Held-out material: `World.held_out(key)` puts one key in five (a name, a word, an operand pair) on the held-out side
by a hash of the key. The plain corpus states every fact, so the base model knows them all; it is the *instruction*
sets that never ask the train split about a held-out key. Trap: never split by a random draw: two callers would then
disagree.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from random import Random

from tunesmith.models.seedling import names

WORLD_SEED = 0
"""The seed of the world that the shipped model was grown in."""


@dataclass(frozen=True)
class Person:
    """One inhabitant; `friend` is the name of another, and friendship goes both ways."""

    name: str
    female: bool
    age: int
    job: str
    town: str
    pet: str
    pet_name: str
    food: str
    colour: str
    hobby: str
    month: str
    friend: str


@dataclass(frozen=True)
class Town:
    """One town: `people` are the names of those who live there, in alphabetical order."""

    name: str
    region: str
    river: str
    known_for: str
    landmark: str
    people: tuple[str, ...]


@dataclass(frozen=True)
class Thing:
    """One kind of object; `price` in coins, `town` is where it is made."""

    name: str
    material: str
    colour: str
    use: str
    price: int
    town: str


@dataclass(frozen=True, eq=False)
class World:
    """Everything there is, compared by identity; `dictionary` maps English words to words of `language`, one to one."""

    seed: int
    people: tuple[Person, ...]
    towns: tuple[Town, ...]
    things: tuple[Thing, ...]
    language: str
    dictionary: dict[str, str]

    def held_out(self, key: str) -> bool:
        """Whether the instruction sets keep `key` (a name, a word, an operand pair) for the held-out split."""
        digest = hashlib.blake2b(f"{self.seed}:{key}".encode(), digest_size=4).digest()
        return int.from_bytes(digest, "big") % 5 == 0

    def person(self, name: str) -> Person:
        """The person of that name; `KeyError` when nobody has it."""
        return _by_name(self)[name]


@cache
def grow(seed: int = WORLD_SEED) -> World:
    """The world of a seed: 160 people, 40 towns, every thing and dictionary word of `names.py`."""
    rng = Random(f"world:{seed}")
    taken: set[str] = set()
    places = [_fresh(rng, taken, names.TOWN_STARTS, [""], names.TOWN_ENDS) for _ in range(40)]
    people = _people(rng, taken, places)
    towns = _towns(rng, places, people)
    things = _things(rng, places)
    return World(seed, people, towns, things, "Lumari", _dictionary(rng))


@cache
def _by_name(world: World) -> dict[str, Person]:
    return {person.name: person for person in world.people}


def _fresh(rng: Random, taken: set[str], starts: list[str], middles: list[str], ends: list[str]) -> str:
    """A name nobody has yet, and that neither begins another name nor is begun by one."""
    while True:
        name = rng.choice(starts) + rng.choice(middles) + rng.choice(ends)
        if not any(name.startswith(other) or other.startswith(name) for other in taken):
            taken.add(name)
            return name


def _people(rng: Random, taken: set[str], places: list[str]) -> tuple[Person, ...]:
    count = 4 * len(places)
    female = [index % 2 == 0 for index in range(count)]
    ends = (names.HE_ENDS, names.SHE_ENDS)
    called = [_fresh(rng, taken, names.NAME_STARTS, names.NAME_MIDDLES, ends[she]) for she in female]
    order = rng.sample(range(count), count)
    friend = {a: b for i in range(0, count, 2) for a, b in ((order[i], order[i + 1]), (order[i + 1], order[i]))}
    homes = rng.sample(places * 4, count)
    return tuple(
        Person(
            name=called[index],
            female=female[index],
            age=rng.randint(18, 89),
            job=rng.choice(names.JOBS),
            town=homes[index],
            pet=rng.choice(names.PETS),
            pet_name=rng.choice(names.PET_NAMES),
            food=rng.choice(names.FOODS),
            colour=rng.choice(names.COLOURS),
            hobby=rng.choice(names.HOBBIES),
            month=rng.choice(names.MONTHS),
            friend=called[friend[index]],
        )
        for index in range(count)
    )


def _towns(rng: Random, places: list[str], people: tuple[Person, ...]) -> tuple[Town, ...]:
    fame = rng.sample(names.FAME, len(places))
    return tuple(
        Town(
            name=place,
            region=rng.choice(names.REGIONS),
            river=rng.choice(names.RIVERS),
            known_for=fame[index],
            landmark=rng.choice(names.LANDMARKS),
            people=tuple(sorted(person.name for person in people if person.town == place)),
        )
        for index, place in enumerate(places)
    )


def _things(rng: Random, places: list[str]) -> tuple[Thing, ...]:
    return tuple(
        Thing(name, rng.choice(materials), rng.choice(names.COLOURS), use, rng.randint(2, 98), rng.choice(places))
        for name, materials, use in names.THINGS
    )


def _dictionary(rng: Random) -> dict[str, str]:
    """English to Lumari: the last letter tells the class (-o noun, -a verb, -i adjective, -e other)."""
    taken: set[str] = set()
    classes = ((names.NOUNS, "o"), (names.VERBS, "a"), (names.ADJECTIVES, "i"), (names.SMALL_WORDS, "e"))
    dictionary: dict[str, str] = {}
    for words, ending in classes:
        for word in words:
            foreign = ""
            while not foreign or foreign in taken:
                foreign = _stem(rng) + ending
            taken.add(foreign)
            dictionary[word] = foreign
    return dictionary


def _stem(rng: Random) -> str:
    syllables = [rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.choice((1, 1, 2)))]
    return "".join(syllables) + rng.choice("bdgklmnprstvz")
