"""The world is one and the same for a seed, its facts agree with one another, and its language is one to one."""

from __future__ import annotations

from random import Random

from tunesmith.models.seedling.grammar import say
from tunesmith.models.seedling.names import FAME
from tunesmith.models.seedling.world import grow


def test_the_same_seed_gives_the_same_world_and_another_seed_another() -> None:
    world, again, other = grow(0), grow.__wrapped__(0), grow(1)
    assert world is not again
    assert (world.people, world.towns, world.things, world.dictionary) == (
        again.people,
        again.towns,
        again.things,
        again.dictionary,
    )
    assert world.people != other.people
    assert world.dictionary != other.dictionary


def test_facts_agree() -> None:
    world = grow()
    towns = {town.name: town for town in world.towns}
    for person in world.people:
        assert person.name in towns[person.town].people
        friend = world.person(person.friend)
        assert friend != person
        assert friend.friend == person.name
    assert sum(len(town.people) for town in world.towns) == len(world.people)
    assert sorted(town.known_for for town in world.towns) == sorted(FAME)
    assert len(set(world.dictionary.values())) == len(world.dictionary)


def test_one_key_in_five_is_held_out() -> None:
    world = grow()
    share = sum(world.held_out(f"{a}+{b}") for a in range(100) for b in range(100)) / 10_000
    assert abs(share - 0.2) < 0.016, "four standard deviations"
    assert not all(grow(1).held_out(p.name) == world.held_out(p.name) for p in world.people)


def test_grammar_chooses_fills_and_corrects() -> None:
    rng = Random(0)
    assert (
        say(rng, "[x] is a [y]. what a useful {a|a}pple", {"x": "{b|b}", "y": "owl"})
        == "{b|b} is an owl. What a useful apple"
    )
    assert say(rng, '"go," said [he]. a ape', {"he": "she"}) == '"Go," said she. An ape'
    assert {say(rng, "{a|{b|c}}1", {}) for _ in range(50)} == {"A1", "B1", "C1"}
