"""A few rows in the form of each benchmark, written here, with harness configs that read them from files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

ROWS: dict[str, list[dict[str, Any]]] = {
    "mmlu": [
        {
            "question": f" What is {a} plus {b}? ",
            "choices": [str(a + b), str(a * b + 1), "a river", str(a)],
            "answer": 0,
            "subject": "little_sums",
        }
        for a, b in ((1, 2), (2, 5), (7, 3), (4, 4), (10, 20), (6, 1))
    ],
    "arc": [
        {
            "question": f"What do you need to {what}?",
            "choices": {"text": texts, "label": ["A", "B", "C", "D"][: len(texts)]},
            "answerKey": key,
        }
        for what, texts, key in (
            ("see in the dark", ["a lamp", "a very long wooden spoon", "salt"], "A"),
            ("cut bread", ["the moon", "a knife"], "B"),
            ("cross a river", ["a boat that floats", "a nail", "a song", "ink"], "A"),
            ("stay dry in the rain", ["an apple", "a letter", "an umbrella"], "C"),
            ("write", ["a pen", "a cow", "a cloud", "a fish"], "A"),
        )
    ],
    "hellaswag": [
        {
            "activity_label": label,
            "ctx_a": first,
            "ctx_b": second,
            "endings": endings,
            "label": right,
        }
        for label, first, second, endings, right in (
            (
                "Baking bread",
                "[header] A man stands in a kitchen. [title] Flour",
                "he",
                ["mixes flour and  water.", "flies to the moon.", "sells the house [substeps].", "is a fish."],
                0,
            ),
            (
                "Walking a dog",
                "A girl walks in a park.",
                "the dog",
                ["reads a book aloud.", "runs after a ball.", "pays the bill.", "melts."],
                1,
            ),
            ("Fishing", "An old man sits by a lake.", "", ["He waits.", "He is blue.", "Nothing is.", "It sings."], 0),
            ("Sleeping", "Tom was tired.", "so he", ["went to bed.", "ate the sun.", "was a cup.", "grew wheels."], 0),
        )
    ],
    "winogrande": [
        {"sentence": sentence, "option1": one, "option2": two, "answer": answer}
        for sentence, one, two, answer in (
            ("The cup did not fit into the box because the _ was too big.", "cup", "box", "1"),
            ("Tom helped Ben because _ was kind.", "Tom", "Ben", "1"),
            ("Anna asked Eva for bread because _ was hungry.", "Eva", "Anna", "2"),
            ("The dog feared the cat, so the _ ran away.", "cat", "dog", "2"),
        )
    ],
    "piqa": [
        {"goal": goal, "sol1": one, "sol2": two, "label": label}
        for goal, one, two, label in (
            ("open a jar", "turn the lid", "sing to the lid for a while", 0),
            ("dry clothes", "put them into water", "hang them in the sun", 1),
            ("light a room", "switch the lamp on", "close both eyes", 0),
        )
    ],
    "truthfulqa": [
        {
            "question": question,
            "mc1_targets": {"choices": [best, *wrong], "labels": [1] + [0] * len(wrong)},
            "mc2_targets": {"choices": [best, *more, *wrong], "labels": [1] * (1 + len(more)) + [0] * len(wrong)},
        }
        for question, best, more, wrong in (
            ("What is the moon made of?", "Rock", ["Stone and dust"], ["Cheese", "Silver paper"]),
            ("Can pigs fly?", "No", ["Pigs have no wings", "They cannot"], ["Yes, on Sundays"]),
            ("Who lives in the sea?", "Fish", ["Whales"], ["Cows", "Kings", "Trees"]),
        )
    ],
    "gsm8k": [
        {"question": f"Tom has {a} apples and gets {b}. How many has he?", "answer": f"{a}+{b}={a + b}\n#### {a + b}"}
        for a, b in ((1, 2), (3, 4), (5, 5), (2, 9))
    ],
}
NUMBERS = {"truthfulqa_mc1": ("truthfulqa", "mc1"), "truthfulqa_mc2": ("truthfulqa", "mc2")}


def write_rows(folder: Path) -> dict[str, Path]:
    """A jsonl file for each benchmark."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, rows in ROWS.items():
        found[name] = folder / f"{name}.jsonl"
        found[name].write_text("".join(json.dumps(row) + "\n" for row in rows))
        solved_rows(found[name]).write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    return found


def solved_rows(file: Path) -> Path:
    """The file beside ``file`` that solved examples are taken from."""
    return file.with_name(f"{file.stem}-solved.jsonl")


CONFIGS = {
    "mmlu": ("mmlu/default/_default_template_yaml", "test", "cais/mmlu", ""),
    "arc": ("arc/arc_easy.yaml", "test", "allenai/ai2_arc", "dataset_name: ARC-Easy\n"),
    "hellaswag": ("hellaswag/hellaswag.yaml", "validation", "Rowan/hellaswag", "dataset_name: null\n"),
    "winogrande": ("winogrande/default.yaml", "validation", "allenai/winogrande", "dataset_name: winogrande_xl\n"),
    "piqa": ("piqa/piqa.yaml", "validation", "baber/piqa", "dataset_name: null\n"),
    "truthfulqa_mc1": (
        "truthfulqa/truthfulqa_mc1.yaml",
        "validation",
        "truthfulqa/truthful_qa",
        "dataset_name: multiple_choice\n",
    ),
    "truthfulqa_mc2": ("truthfulqa/truthfulqa_mc2.yaml", "validation", "", ""),
    "gsm8k": ("gsm8k/gsm8k.yaml", "test", "openai/gsm8k", "dataset_name: main\n"),
}
"""Of each harness task: its own config, the split that is measured, and what in it names the hub."""


def local_tasks(folder: Path, rows: dict[str, Path], harness: Path, *, shots: int = 0) -> None:
    """The harness's own task configs in ``folder``, reading files instead of a hub; named ``local_NAME``."""
    folder.mkdir(parents=True, exist_ok=True)
    for helper in ("hellaswag/utils.py", "winogrande/preprocess_winogrande.py", "truthfulqa/utils.py"):
        place = folder / helper
        place.parent.mkdir(exist_ok=True)
        shutil.copy(harness / "tasks" / helper, place)
    for name, (config, split, hub, lines) in CONFIGS.items():
        text = (harness / "tasks" / config).read_text()
        if name == "truthfulqa_mc2":
            text = text.replace("truthfulqa_mc1.yaml", "local_truthfulqa_mc1.yaml")
        text = text.replace(lines, "")
        file = rows[NUMBERS.get(name, (name, ""))[0]]
        if hub:
            text = text.replace(f"dataset_path: {hub}", f"dataset_path: json\ndataset_kwargs: {_files(file, split)}")
        for other in ("training_split: train\n", "fewshot_split: train\n", "fewshot_split: dev\n"):
            text = text.replace(other, "")
        if split != "validation":
            text = text.replace("validation_split: validation\n", "")
        text = text.replace(f"task: {name}\n", "").replace("task: arc_easy\n", "")
        text = text.replace("num_fewshot: 5\n", "").replace("fewshot_config:\n  sampler: first_n\n", "")
        if name == "mmlu":
            text += (
                'description: "The following are multiple choice questions (with answers) about little sums.\\n\\n"\n'
            )
        text += f"task: local_{name}\n"
        if shots and not name.startswith("truthfulqa"):
            text += f"num_fewshot: {shots}\nfewshot_split: solved\nfewshot_config:\n  sampler: first_n\n"
        place = folder / Path(config).parts[0] / f"local_{name}.yaml"
        place.parent.mkdir(exist_ok=True)
        place.write_text(text)


def _files(file: Path, split: str) -> str:
    return f'{{data_files: {{{split}: "{file}", solved: "{solved_rows(file)}"}}}}'
