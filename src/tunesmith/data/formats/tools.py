"""Tools that a conversation may call, and whether its calls fit their descriptions.

A description is OpenAI's ``{type: function, function: {name, description, parameters}}`` or the inner object alone;
``parameters`` is a JSON schema. Of a schema the parts are checked that make a call wrong to learn: the tool's name,
``required``, ``type``, ``enum``, ``properties`` and ``items``; other keywords are believed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tunesmith.contracts.data import Message
from tunesmith.data.formats.base import BadRow

Tools = tuple[Mapping[str, Any], ...]
TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (Mapping,),
    "array": (list, tuple),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}


def parsed_tools(value: Any) -> Tools | None:
    """Tool descriptions as a list of objects, also when written as a JSON string; None where there are none."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            raise BadRow("column 'tools' is not JSON") from None
    if not value:
        return None
    if not isinstance(value, list) or not all(isinstance(tool, Mapping) for tool in value):
        raise BadRow("column 'tools' is not a list of objects")
    for tool in value:
        function = _function(tool)
        if not isinstance(function.get("name"), str) or not function["name"].strip():
            raise BadRow("a tool has no name")
        if not isinstance(function.get("parameters") or {}, Mapping):
            raise BadRow(f"the parameters of the tool '{function['name']}' are no JSON schema")
    return tuple(value)


def check_calls(messages: Iterable[Message], tools: Tools | None) -> None:
    """``BadRow`` for a call of a tool that is not described, or with arguments that its schema does not allow."""
    if not tools:
        return
    known = {_function(tool)["name"]: _function(tool).get("parameters") or {} for tool in tools}
    for message in messages:
        for call in message.extra.get("tool_calls") or ():
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            if name not in known:
                raise BadRow(f"a call of the tool '{name}', which the row does not describe")
            trouble = _trouble(arguments, known[name], "its arguments")
            if trouble:
                raise BadRow(f"a call of the tool '{name}' does not fit its schema: {trouble}")


def _function(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = tool.get("function", tool)
    return inner if isinstance(inner, Mapping) else {}


def _trouble(value: Any, schema: Any, where: str) -> str:
    """Why ``value`` does not fit ``schema``; "" where it does."""
    if not isinstance(schema, Mapping):
        return ""
    wanted = schema.get("type")
    if wanted is not None and not any(_is(value, one) for one in ([wanted] if isinstance(wanted, str) else wanted)):
        return f"{where} is not of type {wanted}"
    if isinstance(schema.get("enum"), list) and value not in schema["enum"]:
        return f"{where} is none of {schema['enum']}"
    if isinstance(value, Mapping):
        return _object_trouble(value, schema, where)
    if isinstance(value, list):
        return next(filter(None, (_trouble(one, schema.get("items"), f"an item of {where}") for one in value)), "")
    return ""


def _object_trouble(value: Mapping[str, Any], schema: Mapping[str, Any], where: str) -> str:
    missing = [name for name in _names(schema.get("required")) if name not in value]
    if missing:
        return f"{where} lacks '{missing[0]}'"
    properties = schema.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    if schema.get("additionalProperties") is False and any(name not in properties for name in value):
        return f"{where} has '{next(name for name in value if name not in properties)}', which there is not"
    troubles = (_trouble(one, properties.get(name), f"'{name}'") for name, one in value.items())
    return next(filter(None, troubles), "")


def _names(value: Any) -> Sequence[str]:
    return value if isinstance(value, list) else ()


def _is(value: Any, kind: Any) -> bool:
    found = TYPES.get(kind, (object,)) if isinstance(kind, str) else (object,)
    return isinstance(value, found) and not (isinstance(value, bool) and kind in ("integer", "number"))
