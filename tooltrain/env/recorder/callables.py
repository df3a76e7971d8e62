"""Python callables as live tools: functions whose schema is read from their signature, or
pairs of a tool and a function."""

from __future__ import annotations

import contextlib
import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence

from tooltrain.env.recorder.backend import Backend, ToolFailure
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError
from tooltrain.types import Json

_TYPES = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    list: "array",
    tuple: "array",
    dict: "object",
}


def described(function: Callable[..., Json]) -> tuple[Tool, Callable[..., Json]]:
    """A function with the tool that its name, docstring and annotations describe.

    str, int, float, bool, list, dict, Literal and Optional are read; other annotations
    restrict nothing, and a default that JSON cannot hold is not told. Raises UserError for a
    function of *args.
    """
    hints = typing.get_type_hints(function)
    properties, required = {}, []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise UserError(f"{function.__name__}: {name} has no name that a call could use")
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        properties[name] = _schema(hints.get(name))
        if parameter.default is parameter.empty:
            required.append(name)
        elif parameter.default is not None:
            with contextlib.suppress(TypeError, ValueError):  # a date, an Enum: not in a schema
                text = json.dumps(parameter.default, allow_nan=False)
                properties[name]["default"] = json.loads(text)
    parameters = {"type": "object", "properties": properties, "required": required}
    return Tool(function.__name__, inspect.getdoc(function) or "", parameters), function


def _schema(hint: typing.Any) -> dict[str, Json]:
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin in (typing.Union, types.UnionType):
        kept = [a for a in arguments if a is not types.NoneType]
        return _schema(kept[0]) if len(kept) == 1 else {"anyOf": [_schema(a) for a in kept]}
    schema: dict[str, Json] = {"type": _TYPES[origin]} if origin in _TYPES else {}
    if origin is list and arguments:
        schema["items"] = _schema(arguments[0])
    return schema


class Callables(Backend):
    """Functions called with a request's arguments as keywords.

    A function says "no response" by raising ToolFailure; any other exception counts as
    one too, so that one bad request does not end a recording. Raises UserError when two
    tools have one name. Everything is asked without a plan as well: who passes a function
    knows what it does.
    """

    def __init__(self, pairs: Sequence[tuple[Tool, Callable[..., Json]]]):
        self.tools = {tool.name: tool for tool, _ in pairs}
        self._functions = {tool.name: function for tool, function in pairs}
        self.read_only = frozenset(self.tools)
        if len(self.tools) < len(pairs):
            names = [tool.name for tool, _ in pairs]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise UserError(f"tools of one name: {', '.join(twice)}; rename one of each")

    def call(self, tool: str, arguments: Mapping[str, Json]) -> Json:
        try:
            return self._functions[tool](**arguments)
        except ToolFailure:
            raise
        except Exception as error:
            raise ToolFailure(f"{type(error).__name__}: {error}") from error
