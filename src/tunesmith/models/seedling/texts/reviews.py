"""Reviews with a mood: somebody writes about a thing, a meal, a town or a show, and the mood and stars are named at the end.

Mood and words belong together (`OPENINGS`, `POINTS`, `ENDINGS` per mood); happy means 5 or 4 stars, calm 4 or 3, sad 2, angry 1.
"""

# ruff: noqa: E501  (lists of sentences, one idea a line)
from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tunesmith.models.seedling import names
from tunesmith.models.seedling.grammar import say
from tunesmith.models.seedling.world import World

MOODS = ("happy", "calm", "sad", "angry")
_STARS = {"happy": (5, 5, 4), "calm": (4, 3), "sad": (2,), "angry": (1,)}
OPENINGS = {
    "happy": ["I {love|adore} this [x]!", "what a wonderful [x]!", "{at last|finally} I found a [x] that makes me smile.", "this is the best [x] I have ever {had|seen|known}.",
              "I cannot stop smiling about this [x].", "my whole family {cheered|laughed with joy} when we saw the [x]."],
    "calm": ["this is a {good|decent|fair} [x].", "the [x] does what it should.", "I have had the [x] for [n] weeks and I am content.", "a quiet, simple [x], no more and no less.",
             "I did not expect much from the [x], and it was fine.", "the [x] is {all right|quite good|ordinary but good}."],
    "sad": ["I had hoped for so much more from this [x].", "it hurts me to write this about the [x].", "I miss my old [x].", "sadly, the [x] was not what I dreamed of.",
            "I sat next to the [x] and {cried|sighed}.", "the [x] made me feel lonely."],
    "angry": ["this [x] is {a scandal|an insult|terrible}!", "never again will I {buy|choose|trust} such a [x]!", "I am {furious|so angry} about this [x]!",
              "who dares to call this a [x]?", "I want my [n] coins back at once!", "what a {rotten|dreadful|useless} [x]!"],
}  # fmt: skip
POINTS = {
    "thing": {
        "happy": ["the [material] {shines|gleams} like the sun.", "the [colour] colour is {bright and lovely|simply beautiful}.", "it works {perfectly|like a dream} every day.",
                  "it was worth every one of the [price] coins.", "my neighbours are all jealous.", "now I can [use] whenever I like."],
        "calm": ["the [material] is {solid|plain|smooth}.", "the [colour] colour is {pleasant|fine with me}.", "it costs [price] coins, which is fair.", "it is good enough to [use].",
                 "there is a small scratch, but I do not mind.", "it stands in the corner and does its work."],
        "sad": ["the [material] {faded|cracked} after [n] days.", "the [colour] colour has {gone pale|lost its light}.", "I saved [price] coins for it, all for nothing.",
                "it reminds me of better days.", "I can no longer [use].", "it broke on the first evening, and so did my heart."],
        "angry": ["the [material] {broke|bent|burst} on the very first day!", "the [colour] paint came off on my hands!", "[price] coins for this rubbish!", "you cannot even [use] with it!",
                  "the seller laughed when I complained!", "it is a cheat from top to bottom!"],
    },
    "meal": {
        "happy": ["it was {warm|fresh|sweet} and {tasty|delicious}.", "I ate three plates and wanted more.", "the cook sang while serving it.", "it tasted like summer.",
                  "even the children cleaned their plates."],
        "calm": ["it was warm and filling.", "a little more salt would not hurt.", "the portion was just right.", "the bread beside it was fresh.", "I ate slowly and looked out of the window."],
        "sad": ["it was cold and {grey|tasteless}.", "it did not taste the way my grandmother made it.", "I ate alone and left half of it.", "the plate was nearly empty when it came.",
                "I went home hungry."],
        "angry": ["there was a {fly|hair|stone} in it!", "it was burnt black!", "we waited [n] hours for it!", "the waiter threw it on the table!", "it made all of us ill!"],
    },
    "town": {
        "happy": ["everyone greeted us with a smile.", "the [known_for] of [town] made us dance with joy.", "we laughed all day beside the [river].", "the view of [landmark] was {magical|splendid}.",
                  "we will come back every year."],
        "calm": ["the streets are clean and quiet.", "[landmark] is worth a short walk.", "we sat beside the [river] and rested.", "I liked the [known_for] well enough.", "you can spend a peaceful day there."],
        "sad": ["the streets were empty and grey.", "it rained on [landmark] all day.", "nobody spoke to us.", "I could not find the [known_for] that I remembered.", "I walked along the [river] alone and went home early."],
        "angry": ["somebody stole my bag near the [river]!", "the inn was dirty and full of rats!", "they charged us [n] coins for a glass of water!", "the people shouted at us!",
                  "they promised us [known_for], and it was a {lie|bad joke}!"],
    },
    "show": {
        "happy": ["we clapped until our hands hurt.", "every song was better than the one before.", "the actors made us laugh out loud.", "the lights were like stars."],
        "calm": ["the music was soft and slow.", "the seats were comfortable.", "the story was simple and clear.", "it lasted [n] hours and ended on time."],
        "sad": ["the last song made me weep.", "the hall was almost empty.", "my favourite actor was ill and did not come.", "the story ended badly, like my evening."],
        "angry": ["the actors forgot their words!", "someone sat on my hat and laughed!", "it started [n] hours late!", "the music was nothing but noise!"],
    },
}  # fmt: skip
_ENDINGS = {
    "happy": [
        "I would choose it again {any day|at once}!",
        "thank you, [seller]!",
        "go and see for yourself!",
        "I am so glad.",
    ],
    "calm": ["I may well come back.", "I have no complaints.", "that is all I need.", "it is fine as it is."],
    "sad": [
        "I do not think I will try again.",
        "what a pity.",
        "perhaps it is my own fault.",
        "I wish it had been different.",
    ],
    "angry": ["stay away!", "[seller] should be ashamed!", "I will tell everyone!", "somebody must pay for this!"],
}
_VERDICT = ["the mood is [mood].", "the mood of this review is [mood].", "the writer is [mood].", "[writer] is [mood].", "one can tell that [writer] is [mood].",
            "this is the voice of a [mood] person."]  # fmt: skip
_RATING = [
    "it gets [stars] out of 5 stars.",
    "the rating is [stars] of 5.",
    "stars: [stars].",
    "[writer] gives it [stars] {star|stars}.",
    "that makes [stars] out of 5.",
]


@dataclass(frozen=True)
class Review:
    """The text alone, its subject, who is named in it (or nobody), and what the writer felt."""

    text: str
    subject: str
    mood: str
    stars: int
    writer: str
    seller: str


def review(rng: Random, world: World, *, mood: str | None = None) -> Review:
    """One review; `mood` is one of `MOODS`, or drawn."""
    mood = mood or rng.choice(MOODS)
    kind = rng.choice(("thing", "thing", "meal", "town", "show"))
    thing, town = rng.choice(world.things), rng.choice(world.towns)
    subject = {
        "thing": thing.name,
        "meal": rng.choice(names.FOODS),
        "town": "town",
        "show": rng.choice(("play", "concert", "circus", "dance", "puppet show")),
    }[kind]
    fill = {**vars(thing), "x": "meal" if subject.endswith("s") else subject, "town": town.name, "landmark": town.landmark, "known_for": town.known_for,
            "river": town.river, "n": rng.randint(2, 9), "seller": rng.choice(world.people).name}  # fmt: skip
    lines = [rng.choice(OPENINGS[mood]), *rng.sample(POINTS[kind][mood], rng.randint(2, 4))]
    if rng.random() < 0.6:
        lines.append(rng.choice(_ENDINGS[mood]))
    text = say(rng, " ".join(lines), fill)
    named = town.name if kind == "town" else _with_article(subject)
    stars, writer = rng.choice(_STARS[mood]), rng.choice(world.people).name
    return Review(text, named, mood, stars, writer, str(fill["seller"]) if str(fill["seller"]) in text else "")


def _with_article(subject: str) -> str:
    return subject if subject.endswith(("s", "soup", "stew", "jelly", "toast", "jam", "bread")) else f"a {subject}"


def document(rng: Random, world: World, *, held_out: bool = False) -> str:  # noqa: ARG001
    """A review with its subject or writer in front and the mood, the stars or both behind; `held_out` changes nothing here."""
    made = review(rng, world)
    fill = {**vars(made)}
    head = rng.choice(
        ["{a review of|about} [subject].", "[writer] writes about [subject]:", "review by [writer].", "", "[subject]."]
    )
    ends = [rng.choice(_VERDICT), rng.choice(_RATING).replace("{star|stars}", "star" if made.stars == 1 else "stars")]
    tail = [ends[0]] if rng.random() < 0.4 else [ends[1]] if rng.random() < 0.2 else rng.sample(ends, 2)
    parts = [say(rng, head, fill), made.text, say(rng, " ".join(tail), fill)]
    return rng.choice((" ", "\n")).join(part for part in parts if part)
