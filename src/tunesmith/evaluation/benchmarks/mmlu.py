"""MMLU (Hendrycks et al. 2021): four choices shown with letters, the letter is scored."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tunesmith.errors import UserError
from tunesmith.evaluation.benchmarks.base import Benchmark, Reader, Row, letter_or_number
from tunesmith.recipe.schema import Part

LETTERS = ("A", "B", "C", "D")


class Mmlu(Benchmark):
    """Questions of 57 subjects with four choices; the authors' own `data.zip` and csv files are read as they are."""

    NAME: ClassVar[str] = "mmlu"
    paper: ClassVar[str] = "Hendrycks et al. 2021, arXiv:2009.03300"
    columns: ClassVar[Mapping[str, str]] = {
        "question": "the question",
        "choices": "a list of four texts",
        "answer": "the right one: 0 to 3, or A to D",
        "subject": "optional: its name, told in front",
    }
    metric: ClassVar[str] = "acc"
    metrics: ClassVar[Mapping[str, Part]] = {"acc": Part(name="acc")}

    def read(self, path: Path, reader: Reader) -> Sequence[Row]:
        """Rows of a data file; of the authors' archive or csv files, which have no header, those of ``test``."""
        if path.suffix == ".zip":
            return _archive(path)
        return list(_csv(path.name, path.read_text(encoding="utf-8"))) if path.suffix == ".csv" else reader(path)

    def question(self, row: Row, metric: str) -> dict[str, Any]:
        """The question with lettered choices; the letters are scored."""
        shown = "".join(f"{letter}. {row['choices'][at]}\n" for at, letter in enumerate(LETTERS))
        answer = letter_or_number(row["answer"], LETTERS)
        return {"prompt": f"{row['question'].strip()}\n{shown}Answer:", "choices": list(LETTERS), "answer": answer}

    def description(self, row: Row) -> str:
        """What the questions are about, where the row says."""
        if not row.get("subject"):
            return ""
        subject = str(row["subject"]).replace("_", " ")
        return f"The following are multiple choice questions (with answers) about {subject}.\n\n"


def _archive(path: Path) -> list[Row]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith("_test.csv"))
            return [row for name in names for row in _csv(Path(name).name, archive.read(name).decode())]
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no archive of MMLU: {error}", code="bad-suite-row") from None


def _csv(name: str, text: str) -> Iterator[Row]:
    subject = Path(name).stem.removesuffix("_test").removesuffix("_dev").removesuffix("_val")
    for cells in csv.reader(io.StringIO(text)):
        if len(cells) != 6:
            raise UserError(
                f"{name} is no file of MMLU: a row has {len(cells)} cells",
                allowed="question, four choices and the letter of the right one, without a header",
                code="bad-suite-row",
            )
        yield {"question": cells[0], "choices": cells[1:5], "answer": cells[5], "subject": subject}
