"""Text and code by folder: every file is one document, with its path in the folder and the language of its ending.

Hidden files and folders are passed over, as are files whose ending is none of ``LANGUAGES``. A file that is no UTF-8
text is a row that cannot be read, and the ledger lists it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

LANGUAGES = {
    ".txt": "text", ".text": "text", ".md": "markdown", ".markdown": "markdown", ".rst": "rst", ".tex": "tex",
    ".adoc": "asciidoc", ".org": "org", ".html": "html", ".htm": "html", ".css": "css", ".scss": "scss", ".xml": "xml",
    ".json": "json", ".jsonc": "json", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".ini": "ini", ".cfg": "ini",
    ".py": "python", ".pyi": "python", ".pyx": "cython", ".js": "javascript",
    ".mjs": "javascript", ".cjs": "javascript", ".jsx": "javascript", ".ts": "typescript", ".tsx": "typescript",
    ".c": "c", ".h": "c", ".cc": "c++", ".cpp": "c++", ".cxx": "c++", ".hh": "c++", ".hpp": "c++", ".cu": "cuda",
    ".cuh": "cuda", ".rs": "rust", ".go": "go", ".java": "java", ".kt": "kotlin", ".scala": "scala", ".swift": "swift",
    ".cs": "c#", ".fs": "f#", ".rb": "ruby", ".php": "php", ".pl": "perl", ".lua": "lua", ".r": "r", ".jl": "julia",
    ".hs": "haskell", ".ml": "ocaml", ".mli": "ocaml", ".ex": "elixir", ".exs": "elixir", ".erl": "erlang",
    ".clj": "clojure", ".lisp": "lisp", ".scm": "scheme", ".el": "lisp", ".dart": "dart", ".zig": "zig", ".nim": "nim",
    ".m": "objective-c", ".f90": "fortran", ".f": "fortran", ".asm": "assembly", ".s": "assembly", ".sh": "shell",
    ".bash": "shell", ".zsh": "shell", ".ps1": "powershell", ".bat": "batch", ".sql": "sql", ".proto": "protobuf",
    ".graphql": "graphql", ".tf": "terraform", ".cmake": "cmake", ".gradle": "gradle", ".vue": "vue",
    ".svelte": "svelte", ".v": "verilog", ".sv": "verilog", ".vhd": "vhdl", ".sol": "solidity", ".lean": "lean",
}  # fmt: skip
"""Ending -> the language that is written in such files."""
NAMES = {"Makefile": "make", "Dockerfile": "docker", "CMakeLists.txt": "cmake"}
"""Files whose whole name says it."""


def language_of(file: Path) -> str | None:
    """The language of a file by its name; None where it is not known to be text."""
    return NAMES.get(file.name) or LANGUAGES.get(file.suffix.lower())


def documents_in(folder: Path) -> list[Path]:
    """Files of known languages under ``folder``, in the order of their paths."""
    return sorted(
        file
        for file in folder.rglob("*")
        if not hidden(file, folder) and language_of(file) is not None and file.is_file()
    )


def hidden(file: Path, folder: Path) -> bool:
    """Whether a part of the path of ``file`` in ``folder`` begins with a dot."""
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def read_document(file: Path, folder: Path) -> Iterator[tuple[int, dict[str, str] | str]]:
    """(1, the row) of a file, or why it is none; nothing where it has no text."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        yield 1, "the file is no UTF-8 text"
        return
    if text.strip():
        language = language_of(file) or "text"
        yield 1, {"text": text, "path": file.relative_to(folder).as_posix(), "language": language}
