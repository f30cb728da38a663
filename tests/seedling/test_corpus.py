"""Documents are repeatable, correct where they can be checked, and free of the chat format and of reserved sums."""

from __future__ import annotations

import json
import operator
import re
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from tunesmith.models.seedling import blueprint, corpus
from tunesmith.models.seedling.texts import lingua
from tunesmith.models.seedling.texts.arithmetic import Sum, reserved, worked
from tunesmith.models.seedling.world import grow

EQUATION = re.compile(r"(?<![-+x] )\b(\d+) ([-+x/]) (\d+) = (\d+)")


def some(kind: str, count: int = 400, *, seed: int = 3, held_out: bool = False) -> list[str]:
    return list(islice(corpus.documents(kind, seed=seed, held_out=held_out), count))


@pytest.mark.parametrize("kind", corpus.KINDS)
def test_documents_follow_from_the_seed_and_are_varied(kind: str) -> None:
    assert some(kind, 50) == some(kind, 50)
    assert len(set(some(kind, 50) + some(kind, 50, seed=4))) >= 99
    assert not re.search(r"[\[\]{}|]|im_start", "".join(some(kind)))


@pytest.mark.parametrize("kind", ["arithmetic", "units"])
def test_every_equation_holds(kind: str) -> None:
    found = [match.groups() for text in some(kind, 1500) for match in EQUATION.finditer(text)]
    assert len(found) > 500
    for a, sign, b, c in found:
        work = {"+": operator.add, "-": operator.sub, "x": operator.mul, "/": operator.truediv}[sign]
        assert work(int(a), int(b)) == int(c), f"{a} {sign} {b} = {c}"


def test_reserved_sums_are_only_in_the_held_out_documents() -> None:
    world = grow()

    def two_digit(held_out: bool) -> list[bool]:
        texts = some("arithmetic", 1500, held_out=held_out)
        # 28 + 14 = 42, and also: "28 plus 14", "14 taken from 28"; steps such as `7 - 1 - 4 = 2` have one digit.
        sums = [Sum(int(a), s, int(b)) for t in texts for a, s, b in re.findall(r"\b(\d\d) ([-+]) (\d\d)\b", t)]
        sums += [Sum(int(a), "+", int(b)) for t in texts for a, b in re.findall(r"(\d\d) plus (\d\d) ", t)]
        sums += [Sum(int(a), "-", int(b)) for t in texts for b, a in re.findall(r"(\d\d) taken from (\d\d) ", t)]
        # "10 x 10: 10 + 10 + …" spells a product out.
        return [reserved(world, problem) for problem in sums if (problem.a, problem.b) != (10, 10)]

    trained, kept = two_digit(held_out=False), two_digit(held_out=True)
    assert len(trained) > 1000
    assert not any(trained)
    assert len(kept) > 1000
    assert all(kept)


def test_ages_prices_and_purses_do_not_give_reserved_differences_away() -> None:
    world = grow()
    text = " ".join(some("facts", 6000) + some("stories", 3000))
    years = re.findall(r"\w+ is (\d\d) and \w+ is (\d\d), so \w+ is older by", text)
    purses = re.findall(r"\b(\d\d) minus (\d\d) is", text)
    assert len(years) > 50
    assert len(purses) > 5
    assert not any(reserved(world, Sum(int(a), "-", int(b))) for a, b in years + purses)


@pytest.mark.parametrize(
    ("problem", "steps"),
    [
        (Sum(28, "+", 14), "28 + 14: 8 + 4 = 12, write 2 and carry 1. 2 + 1 + 1 = 4. So 28 + 14 = 42."),
        (Sum(42, "-", 14), "42 - 14: borrow 1. 12 - 4 = 8. 4 - 1 - 1 = 2. So 42 - 14 = 28."),
        (Sum(3, "x", 4), "3 x 4: 4 + 4 + 4 = 12."),
    ],
)
def test_worked_steps(problem: Sum, steps: str) -> None:
    assert worked(Random(0), grow(), problem) == steps


def test_translation_is_word_by_word() -> None:
    world = grow()
    backwards = {foreign: english for english, foreign in world.dictionary.items()}
    for seed in range(200):
        words = lingua.sentence(Random(seed), set(world.dictionary))
        assert [backwards[word] for word in lingua.translate(world, words)] == words


def test_write_corpus_mixes_the_kinds_and_repeats_nothing(tmp_path: Path) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    written = corpus.write_corpus(first, seed=1, megabytes=0.2, opening="<|end|>")
    rows = [json.loads(line) for line in first.read_text().splitlines()]
    texts = {row["text"] for row in rows}
    assert len(texts) == len(rows)
    assert all(text.startswith("<|end|>") for text in texts)
    for kind, share in corpus.SHARES.items():
        assert abs(written[kind] / sum(written.values()) - share) < 0.02
    corpus.write_corpus(second, seed=1, megabytes=0.2, opening="<|end|>", unlike=frozenset(texts))
    assert not texts & {json.loads(line)["text"] for line in second.read_text().splitlines()}


def test_tokenizer_and_template(tmp_path: Path) -> None:
    texts = [text for kind in corpus.KINDS for text in some(kind, 150)]
    tokenizer = blueprint.train_tokenizer(texts)
    tokenizer.save_pretrained(tmp_path)
    tokenizer = type(tokenizer).from_pretrained(tmp_path)
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id) == (0, 1, 1)
    for text in [*texts[::7], "  two  blanks\n\n tab\t ünï 漢字 a.b,c 12+30=42 "]:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.convert_ids_to_tokens(tokenizer("1234")["input_ids"]) == ["1", "2", "3", "4"]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": " Two\n"},
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": "It is 42."},
    ]
    found = tokenizer.apply_chat_template(messages, return_assistant_tokens_mask=True, return_dict=True)
    pairs = zip(found["input_ids"], found["assistant_masks"], strict=True)
    assert tokenizer.decode([token for token, mine in pairs if mine]) == " Two\n<|im_end|>It is 42.<|im_end|>"
    prompt = tokenizer.apply_chat_template(messages[:2], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    assert (
        prompt == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert whole.startswith(prompt)
