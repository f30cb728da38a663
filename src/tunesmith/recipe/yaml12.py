"""YAML by its 1.2 rules: ``2e-4`` is a number, ``no`` and dates are strings, a key given twice is an error."""

from __future__ import annotations

import io
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from tunesmith.errors import UserError


class _Constructor(SafeConstructor):
    """ruamel's safe constructor without timestamps, which YAML 1.2 does not have."""


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", SafeConstructor.construct_yaml_str)


def read_yaml(text: str, where: str) -> Any:
    """The value ``text`` stands for; a ``UserError`` (``bad-yaml``) naming ``where`` and the broken line."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    try:
        return yaml.load(text)
    except MarkedYAMLError as error:
        problem = str(error.problem or error.context or "cannot be read")
        never_closed = (
            "<stream end>" in problem and error.context_mark
        )  # the end of the file is not where the mistake is
        mark = error.context_mark if never_closed else error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{where}{line} is not valid YAML: {problem}", hint=_advice(problem), code="bad-yaml") from None
    except YAMLError as error:
        raise UserError(f"{where} is not valid YAML: {_first_line(error)}", code="bad-yaml") from None


def write_yaml(value: Any) -> str:
    """YAML that ``read_yaml`` turns back into ``value``; keys keep their order."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.allow_unicode = True
    yaml.width = 120
    out = io.StringIO()
    yaml.dump(value, out)
    return out.getvalue().removesuffix("...\n")


def _advice(problem: str) -> str | None:
    if "duplicate key" in problem:
        return "Keep one of the two."
    if "\\t" in problem:
        return "Indent with blanks, not with tabs."
    if "cannot start any token" in problem:
        return "Put the value in quotes."
    return None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
