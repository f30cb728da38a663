"""From a recipe file and overrides to a checked ``Recipe``, and back to YAML.

Paths in a recipe file are relative to that file; paths in overrides are relative to where the command was typed. Both
become absolute here, so that the resolved recipe of a run means the same rows from anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tunesmith.errors import UserError
from tunesmith.recipe.overrides import apply_overrides
from tunesmith.recipe.problems import as_user_error
from tunesmith.recipe.yaml12 import read_yaml, write_yaml

Model = TypeVar("Model", bound=BaseModel)

DATA_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt", ".gz", ".zst")
"""What makes a source a file rather than a hub id, even where the file is missing."""
REGRESSION = "regression.yaml"
"""A suite that is run after every training with a recipe of its folder."""
TEMPLATE_SUFFIXES = (".jinja", ".jinja2", ".j2")


def load_values(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The values of the recipe file (or run folder) ``path`` with ``overrides`` applied, not yet checked.

    Raises ``UserError``: ``missing-recipe``, ``not-a-recipe``, ``bad-yaml`` (with the line), ``bad-override``.
    """
    path = path / "recipe.yaml" if path.is_dir() else path
    values = read_yaml(_text(path), str(path))
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise UserError(
            f"{path} is not a recipe",
            got=f"a {type(values).__name__}",
            allowed="options such as `model:`, `data:`, `method:`",
            hint="`tunesmith init DATA` writes a recipe for a data file.",
            code="not-a-recipe",
        )
    values = _with_regression(rebased(values, path.parent.resolve()), path.parent.resolve() / REGRESSION)
    return rebased(apply_overrides(values, overrides, _default_parts()), Path.cwd())


def validated(cls: type[Model], values: dict[str, Any], where: str = "") -> Model:
    """``values`` as a ``cls``; a ``UserError`` naming the dotted path, what was given and what is allowed."""
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        raise as_user_error(error, cls, where) from None


def dump(recipe: BaseModel) -> str:
    """``recipe`` with every option as YAML; reading it gives an equal recipe."""
    return write_yaml(recipe.model_dump(mode="json"))


def rebased(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """``values`` with every relative path of a local file made absolute from ``folder``; hub ids and names stay."""
    model, data = values.get("model"), values.get("data")
    evaluate, retention, method = values.get("evaluate"), values.get("retention"), values.get("method")
    result = dict(values)
    if isinstance(model, dict):
        base = model.get("base")
        result["model"] = _with(
            model,
            base=base if base == "embedded" else _path(base, folder, ()),
            start=_path(model.get("start"), folder, ()),
        )
    if isinstance(data, dict):
        result["data"] = _with(
            data,
            train=_sources(data.get("train"), folder),
            validation=_sources(data.get("validation"), folder),
            template=_template(data.get("template"), folder),
        )
    if isinstance(evaluate, dict):
        result["evaluate"] = _with(evaluate, suites=_paths(evaluate.get("suites"), folder))
    if isinstance(method, dict):
        result["method"] = _with(method, adapters=_paths(method.get("adapters"), folder))
    stages = values.get("stages")
    if isinstance(stages, list):
        result["stages"] = [rebased(stage, folder) if isinstance(stage, dict) else stage for stage in stages]
    return _with(result, retention=_paths(retention, folder), curate=_steps(values.get("curate"), folder))


def _with_regression(values: dict[str, Any], suite: Path) -> dict[str, Any]:
    """``values`` with ``suite`` among what is evaluated, where there is one."""
    evaluate = values.get("evaluate") or {}
    named = evaluate.get("suites") or [] if isinstance(evaluate, dict) else None
    if not suite.is_file() or not isinstance(named, list) or str(suite) in named:
        return values
    return {**values, "evaluate": {**evaluate, "suites": [*named, str(suite)]}}


def _text(path: Path) -> str:
    if path.suffix in DATA_SUFFIXES and path.suffix != ".txt":
        raise UserError(
            f"{path} is a data file, not a recipe",
            hint=f"`tunesmith init {path}` writes a recipe for it.",
            code="not-a-recipe",
        )
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(
            f"there is no recipe at {path}",
            hint="`tunesmith init DATA` writes one for a data file.",
            code="missing-recipe",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the recipe {path}: {error}", code="not-a-recipe") from None


def _default_parts() -> dict[str, str]:
    from tunesmith.recipe.schema import Part, Recipe

    defaults = {key: field.default for key, field in Recipe.model_fields.items()}
    return {key: default.name for key, default in defaults.items() if isinstance(default, Part)}


def _with(values: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**values, **{key: value for key, value in changes.items() if key in values}}


def _sources(value: Any, folder: Path) -> Any:
    def moved(item: Any) -> Any:
        source = {"path": item} if isinstance(item, str) else item
        if not isinstance(source, dict):
            return item
        return _with(source, path=_path(source.get("path"), folder, DATA_SUFFIXES))

    return [moved(item) for item in value] if isinstance(value, list) else value


def _steps(value: Any, folder: Path) -> Any:
    """Steps of curation, the files that they name made absolute."""

    def moved(item: Any) -> Any:
        if not isinstance(item, dict):
            return item
        words = item.get("words")
        return _with(
            item,
            against=_paths(item.get("against"), folder),
            words=str(folder / Path(words).expanduser()) if isinstance(words, str) else words,
        )

    return [moved(item) for item in value] if isinstance(value, list) else value


def _paths(value: Any, folder: Path) -> Any:
    return [_path(item, folder, DATA_SUFFIXES) for item in value] if isinstance(value, list) else value


def _template(value: Any, folder: Path) -> Any:
    is_file = isinstance(value, str) and ("/" in value or value.endswith(TEMPLATE_SUFFIXES))
    return _path(value, folder, TEMPLATE_SUFFIXES) if is_file else value


def _path(value: Any, folder: Path, suffixes: tuple[str, ...]) -> Any:
    """``value`` from ``folder``, where it is there or can only be meant as a file."""
    if not isinstance(value, str) or not value:
        return value
    path = Path(value).expanduser()
    meant = value.startswith((".", "~")) or path.suffix in suffixes
    return str((folder / path).resolve()) if meant or (folder / path).exists() else value
