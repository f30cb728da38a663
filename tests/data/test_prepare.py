"""From a file to a token store: the split, the ledger, the cache, and being killed on the way."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_rows import encode_answers, pair, write_rows

from tunesmith.data.chat import ChatEncoder
from tunesmith.data.fit import too_long
from tunesmith.data.ledger import JOINED, LEAK, SPELLED, STATUSES, Ledger
from tunesmith.data.prepare import CHUNK, Prepared, prepare
from tunesmith.data.show import plain_lines, show_lines
from tunesmith.errors import UserError
from tunesmith.objectives.sft import Sft
from tunesmith.recipe.schema import DataConfig

ROWS = [pair(number) for number in range(60)]


def texts(prepared: Prepared, side: str = "train") -> list[str]:
    store = getattr(prepared, side)
    return [prepared.encoder.decode(store[index].ids.tolist()) for index in range(len(store))]


def adds_up(ledger: Ledger, rows: int) -> None:
    assert ledger.rows == rows == sum(ledger.total(status) for status in STATUSES)
    assert len(ledger.entries) == rows - ledger.total("kept")
    assert sum(ledger.reasons.values()) == len(ledger.entries)


def test_no_prompt_is_on_both_sides_and_every_row_is_on_one(ready: Any) -> None:
    twins = [pair(number, "another answer") for number in range(60)]
    loud = [{**pair(number), "instruction": pair(number)["instruction"].upper() + "  "} for number in range(60)]
    prepared = ready([*ROWS, *twins, *loud, *ROWS], validation=0.3)
    assert len(prepared.train) + len(prepared.validation) == 240
    sides = [
        {record.split("Output:")[0].casefold().split("?")[0] for record in texts(prepared, side)}
        for side in ("train", "validation")
    ]
    assert not sides[0] & sides[1]
    assert 8 <= len(sides[1]) <= 30  # 60 prompts at 0.3: 18 expected, 3.5 standard deviation
    assert len(prepared.validation_records) == len(prepared.validation)


def test_new_rows_move_no_old_row(ready: Any) -> None:
    before = set(texts(ready(ROWS, validation=0.3), "validation"))
    more = [pair(number) for number in range(100, 200)]
    after = set(texts(ready([*more, *ROWS], validation=0.3), "validation"))
    assert before == {text for text in after if text in {*before, *texts(ready(ROWS, validation=0.3))}}
    other_seed = set(texts(ready(ROWS, validation=0.3, seed=1), "validation"))
    assert other_seed != before


def test_validation_rows_of_their_own_hold_back_the_same_prompts(tmp_path: Path, plain_encoder: ChatEncoder) -> None:
    train, held = write_rows(tmp_path / "a.jsonl", ROWS), write_rows(tmp_path / "b.jsonl", [*ROWS[:5], pair(99)])
    config = DataConfig(train=[{"path": str(train)}], validation=[{"path": str(held)}], max_lost=0.0)
    prepared = prepare(config, encode_answers, plain_encoder, seed=0, cache=tmp_path, options_key="")
    assert (len(prepared.train), len(prepared.validation)) == (55, 6)
    assert prepared.ledger.reasons == {f"dropped: {LEAK}": 5}
    assert [(entry.source, entry.line) for entry in prepared.ledger.entries] == [(0, line) for line in range(1, 6)]
    adds_up(prepared.ledger, 66)
    assert prepared.ledger.lost_share == 0.0


def test_rows_without_the_marker_are_dropped_and_the_others_trained(tmp_path: Path, plain_encoder: ChatEncoder) -> None:
    path = write_rows(tmp_path / "a.jsonl", [{"text": "the cat ### the dog"}, {"text": "the king"}])
    config = DataConfig(train=[{"path": str(path)}], validation=0.0, max_lost=0.5)
    encode = Sft(response_marker="###").encode
    prepared = prepare(config, encode, plain_encoder, seed=0, cache=tmp_path, options_key="", marker="###")
    assert texts(prepared) == ["the cat ### the dog"]
    assert prepared.ledger.reasons == {"dropped: the text has no '###'": 1}


def test_a_single_book_is_split_by_pieces(ready: Any) -> None:
    book = {"text": " ".join(f"the word {number}" for number in range(800))}
    prepared = ready([book], validation=0.2)
    pieces = len(prepared.train) + len(prepared.validation)
    assert 0.05 * pieces < len(prepared.validation) < 0.4 * pieces
    assert prepared.ledger.total("split") == 1


def test_the_ledger_adds_up_to_the_last_row(ready: Any, tmp_path: Path) -> None:
    broken = [{"instruction": "x"}, {"instruction": "x", "output": ""}, [1], {"instruction": "y", "output": "z " * 300}]
    prepared = ready([*ROWS, *broken, *broken], max_tokens=64, overlong="drop")
    ledger = prepared.ledger
    adds_up(ledger, 68)
    assert ledger.total("dropped") == 8
    assert ledger.reasons["dropped: it is longer than 64 tokens"] == 2
    assert [one.line for one in ledger.examples["column 'output' is missing"]] == [61, 65]
    assert sum(ledger.sequences.values()) == 60
    ledger.save(tmp_path / "ledger.json")
    saved = json.loads((tmp_path / "ledger.json").read_text())
    assert Ledger.from_json(saved).to_json() == saved
    assert saved["rows"] == 68
    assert "68 rows: 60 kept, 0 cut, 0 split, 8 dropped" in ledger.summary_lines()


@pytest.mark.parametrize(("overlong", "status", "count"), [("cut", "cut", 1), ("split", "split", 7)])
def test_over_long_rows(ready: Any, overlong: str, status: str, count: int) -> None:
    long = {"instruction": "what is it?", "output": "the dog ran to the house " * 15}
    prepared = ready([long], max_tokens=16, overlong=overlong, validation=0.0)
    whole = ready([long], max_tokens=512, validation=0.0).train[0]
    adds_up(prepared.ledger, 1)
    assert prepared.ledger.total(status) == 1
    assert prepared.train.lengths.max() == 16
    examples = [prepared.train[index] for index in range(len(prepared.train))]
    assert len(examples) == (len(whole) - 2) // 15 + 1 if overlong == "split" else count
    targets = [number for one in examples for number in one.ids[one.trained].tolist()]
    expected = whole.ids[whole.trained].tolist()
    assert targets == (expected if overlong == "split" else whole.ids[:16][whole.trained[:16]].tolist())
    ends = prepared.encoder.stop_ids()
    assert (targets[-1] in ends) == (overlong == "split")  # a cut answer does not teach to stop


def test_a_cut_that_leaves_no_answer_drops_the_row(ready: Any) -> None:
    """Complaint 1: truncation removed the answer and training 'succeeded' with loss 0."""
    long = {"instruction": "the dog ran to the house " * 20, "output": "yes"}
    prepared = ready([*ROWS, long], max_tokens=64, overlong="cut")
    assert prepared.ledger.reasons == {"dropped: it has no trained token left after cutting": 1}
    with pytest.raises(UserError) as raised:
        ready([long, long], max_tokens=64, overlong="cut")
    assert raised.value.code == "all-masked"


def test_what_is_refused(ready: Any) -> None:
    long = {"instruction": "what?", "output": "the dog ran " * 50}
    with pytest.raises(UserError, match=r"line 1 is longer than max_tokens") as refused:
        ready([long], max_tokens=32, overlong="refuse")
    assert refused.value.code == "overlong-row"
    with pytest.raises(UserError, match=r"line 61 and 1 more rows are longer than max_tokens"):
        ready([*ROWS, long, long], max_tokens=32, overlong="refuse")
    assert ready([*ROWS, long], max_tokens=512, overlong="refuse").refusal is None
    with pytest.raises(UserError) as everything:
        ready([long, long], max_tokens=32)
    assert everything.value.code == "all-overlong"
    with pytest.raises(UserError, match="20%") as lost:
        ready([*ROWS[:8], long, long], max_tokens=64, max_lost=0.1)
    assert lost.value.code == "too-many-lost"
    assert ready([*ROWS[:8], long, long], max_tokens=64, max_lost=0.2).hit  # the tokens are kept for the next try
    with pytest.raises(UserError, match="'output' is empty") as nothing:
        ready([{"instruction": "a", "output": ""}, {"instruction": "b", "output": " "}])
    assert nothing.value.code == "no-rows-left"


def test_what_is_refused_can_be_looked_at(ready: Any) -> None:
    empty = [{"instruction": "a", "output": ""}, {"instruction": "b", "output": " "}]
    prepared = ready(empty, accept=False)
    assert (len(prepared.train), len(prepared.validation), prepared.validation_records) == (0, 0, [])
    assert prepared.ledger.total("dropped") == 2
    assert prepared.refusal is not None
    assert "rows.jsonl line 1" in str(prepared.refusal)
    assert ready(empty, accept=False).hit
    lost = ready([*ROWS[:8], *empty], accept=False, max_lost=0.1)
    assert len(lost.train) + len(lost.validation) == 8
    assert lost.refusal.code == "too-many-lost"
    assert ready(ROWS, accept=False).refusal is None


def test_rows_that_are_all_held_back_are_refused(tmp_path: Path, plain_encoder: ChatEncoder) -> None:
    path = str(write_rows(tmp_path / "a.jsonl", ROWS[:5]))
    config = DataConfig(train=[{"path": path}], validation=[{"path": path}])
    prepared = prepare(config, encode_answers, plain_encoder, seed=0, cache=tmp_path, options_key="")
    with pytest.raises(UserError, match="its prompt is in the validation rows") as nothing:
        prepared.accepted()
    assert nothing.value.code == "no-rows-left"


def test_text_that_spells_a_special_token_is_told_with_an_example(ready: Any, plain_encoder: ChatEncoder) -> None:
    special = max(plain_encoder.tokens.special, key=len)
    sly = {"instruction": "what is " + "the word " * 20 + f"{special} here?", "output": "the dog"}
    ledger = ready([*ROWS, sly, {"instruction": "what?", "output": f"the {special}"}]).ledger
    assert ledger.notes[SPELLED] == 2
    first = ledger.examples[SPELLED][0]
    assert (first.line, special in first.text) == (61, True)
    told = "\n".join(ledger.summary_lines())
    assert f"note: {SPELLED} (2 rows)\n    rows.jsonl line 61: {special} in: …" in told
    assert SPELLED not in ready(ROWS).ledger.notes


def test_rows_joined_without_a_template_are_told(ready: Any, bytes_tokenizer: Any) -> None:
    rows = [{"prompt": f"the {number}", "completion": "dog"} for number in range(4)]
    assert ready(rows, encoder=ChatEncoder.build(bytes_tokenizer)).ledger.notes == {JOINED: 4}
    assert ready(rows).ledger.notes == {}


def test_the_cache_follows_everything_that_decides_tokens(ready: Any, bytes_tokenizer: Any) -> None:
    """Complaint 10: another model's tokens were reused."""
    first = ready(ROWS)
    assert not first.hit
    assert ready(ROWS).hit
    assert ready(ROWS, validation=0.5, seed=3).hit
    keys = {first.key}
    for options in (
        {"max_tokens": 100},
        {"overlong": "cut"},
        {"encoder": ChatEncoder.build(bytes_tokenizer, "chatml")},
        {"encoder": ChatEncoder.build(bytes_tokenizer, "plain", system="be the dog")},
    ):
        other = ready(ROWS, **options)
        assert not other.hit
        keys.add(other.key)
    assert ready([*ROWS[:-1], pair(1000)]).key not in keys
    assert len(keys) == 5


def test_the_template_text_is_in_the_key(ready: Any, bytes_tokenizer: Any, tmp_path: Path) -> None:
    path = tmp_path / "own.jinja"
    found = []
    for word in ("said", "wrote"):
        path.write_text(
            "{% for m in messages %}{{ m['role'] }} " + word + ": {{ m['content'] }}{{ eos_token }}{% endfor %}"
            "{% if add_generation_prompt %}assistant " + word + ": {% endif %}"
        )
        found.append(ready(ROWS, encoder=ChatEncoder.build(bytes_tokenizer, str(path))))
    assert found[0].key != found[1].key
    assert not found[1].hit
    assert "wrote" in texts(found[1])[0]


def same(left: Prepared, right: Prepared) -> None:
    assert left.ledger.to_json() == right.ledger.to_json()
    for side in ("train", "validation"):
        one, two = getattr(left, side), getattr(right, side)
        assert np.array_equal(one.rows, two.rows)
        assert all(np.array_equal(one[i].ids, two[i].ids) for i in range(0, len(one), 97))
        assert all(np.array_equal(one[i].trained, two[i].trained) for i in range(0, len(one), 97))


def big(folder: Path, workers: int, cache: str) -> tuple[DataConfig, Path]:
    path = folder / "big.jsonl"
    if not path.exists():
        bad = [{"instruction": "x", "output": ""}] * 3
        write_rows(path, [row for n in range(6 * CHUNK) for row in ([pair(n)] if n % 700 else [pair(n), *bad])])
    return DataConfig(train=[{"path": str(path)}], workers=workers), folder / cache


def test_the_number_of_processes_changes_nothing(tmp_path: Path, plain_encoder: ChatEncoder) -> None:
    found = []
    for workers in (1, 2):
        config, cache = big(tmp_path, workers, f"cache{workers}")
        seen: list[int] = []
        found.append(
            prepare(config, encode_answers, plain_encoder, seed=0, cache=cache, options_key="", progress=seen.append)
        )
        assert seen[-1] == 6 * CHUNK + 15
        assert seen == sorted(seen)
    same(*found)
    adds_up(found[0].ledger, 6 * CHUNK + 15)


KILLED = """
import os, pickle, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from small_rows import encode_answers
from tunesmith.data.prepare import prepare
from tunesmith.recipe.schema import DataConfig
encoder, config, cache = pickle.loads(Path(sys.argv[2]).read_bytes())
def kill(rows):
    if rows >= 1500:
        os.kill(os.getpid(), signal.SIGKILL)
prepare(config, encode_answers, encoder, seed=0, cache=cache, options_key="", progress=kill)
"""


def test_a_killed_tokenisation_goes_on_where_it_was(tmp_path: Path, plain_encoder: ChatEncoder) -> None:
    """Complaint 18: four hours, a crash, and again four hours."""
    import pickle

    config, cache = big(tmp_path, 1, "cache")
    job = tmp_path / "job.pickle"
    job.write_bytes(pickle.dumps((plain_encoder, config, cache)))
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", KILLED, here, str(job)], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    (parts,) = cache.glob("*.parts")
    assert len(list(parts.glob("part-*.npz"))) == 3
    seen: list[int] = []
    resumed = prepare(config, encode_answers, plain_encoder, seed=0, cache=cache, options_key="", progress=seen.append)
    assert seen[-1] == 3 * CHUNK + 15
    assert not parts.exists()
    _, fresh = big(tmp_path, 1, "fresh")
    same(resumed, prepare(config, encode_answers, plain_encoder, seed=0, cache=fresh, options_key=""))


def test_a_bad_line_far_into_the_file_is_told_by_workers_too(tmp_path: Path, plain_encoder: ChatEncoder) -> None:
    config, cache = big(tmp_path, 2, "cache")
    with Path(config.train[0].path).open("a") as file:
        file.write("{broken\n")
    with pytest.raises(UserError, match="on line 3016"):
        prepare(config, encode_answers, plain_encoder, seed=0, cache=cache, options_key="")


def test_characters_the_tokenizer_loses_are_noted(ready: Any) -> None:
    from small_tokenizers import trained_tokenizer

    encoder = ChatEncoder.build(trained_tokenizer("blank-behind"), "plain")
    ledger = ready([*ROWS, pair(1, "the é and the 中")], encoder=encoder).ledger
    assert ledger.notes["the tokenizer loses characters"] == 1
    assert set(ledger.lost_characters) == {"é", "中"}
    assert any("é" in line and "1 rows" in line for line in ledger.summary_lines())


def test_the_preview_brackets_exactly_what_is_trained(ready: Any) -> None:
    prepared = ready([pair(7)], validation=0.0)
    heading, line = plain_lines(prepared, 3)
    assert line == "<s>Instruction: what is the word 7?\nOutput:[[ the answer is two 7</s>]]"
    assert "row 1 of" in heading
    coloured = show_lines(prepared, 1)[-1]
    assert coloured.plain == line.replace("[[", "").replace("]]", "")
    green = "".join(coloured.plain[span.start : span.end] for span in coloured.spans if "green" in str(span.style))
    assert green == " the answer is two 7</s>"


@pytest.mark.parametrize("how", ["cut", "split"])
def test_the_preview_marks_where_a_sequence_was_cut(how: str, ready: Any) -> None:
    whole = len(ready([pair(7)], validation=0.0).train[0].ids)
    prepared = ready([pair(7), pair(8)], validation=0.0, max_tokens=whole - 2, overlong=how)
    lines, trained = plain_lines(prepared, 1), prepared.train[0].trained.sum()
    assert lines[0].endswith(f"{whole - 2} tokens, {trained} trained; {how}: {too_long(whole - 2)}")
    assert lines[1].endswith(f" ✂ {how} here")
    coloured = show_lines(prepared, 1)[-1]
    red = "".join(coloured.plain[span.start : span.end] for span in coloured.spans if "red" in str(span.style))
    assert red == f" ✂ {how} here"


def test_several_at_once_make_one_store_and_none_is_in_the_way(
    plain_encoder: ChatEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs of one sweep ask for the same rows at the same moment: one writes, the others wait and find it."""
    from concurrent.futures import ThreadPoolExecutor

    from tunesmith.data import prepare as module

    made: list[str] = []
    make = module._make

    def counted(*arguments: Any) -> None:
        made.append("made")
        make(*arguments)

    monkeypatch.setattr(module, "_make", counted)
    rows = write_rows(tmp_path / "rows.jsonl", ROWS)
    config = DataConfig(train=[{"path": str(rows)}], workers=1)

    def one(_: int) -> int:
        prepared = prepare(config, encode_answers, plain_encoder, seed=0, cache=tmp_path / "cache", options_key="x")
        return len(prepared.train)

    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(one, range(8)))
    assert len(set(counts)) == 1
    assert made == ["made"]
    assert not list((tmp_path / "cache").glob("*.parts"))


def test_a_folder_that_others_remove_is_made_again(tmp_path: Path) -> None:
    """Whoever had it removes it in the end, while others are about to open it."""
    from concurrent.futures import ThreadPoolExecutor

    from tunesmith.files import one_at_a_time

    def once(_: int) -> int:
        with one_at_a_time(tmp_path / "parts"):
            shutil.rmtree(tmp_path / "parts")
        return 1

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(once, range(2000))) == 2000
