"""Tool schemas: what a call's arguments may be, and the one key a call is cached under.

HTTP query parameters carry text, so a numeric string is accepted where the schema says
number (and a number where it says string) and both give the same key; the reward still
tells their JSON types apart. ComplexFuncBench needs this: hotels' `dest_id` is a string
in one tool's response and a number in the next tool's schema.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping

from tooltrain.types import Json

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_SHOWN_CHARS = 80  # of a bad value in a fault, so that errors stay small
_HUGE = 10**300


def safe_name(name: str) -> str:
    """Name under which a tool can be offered (OpenAI allows [A-Za-z0-9_-])."""
    return _UNSAFE.sub("_", name).rstrip("_")


def shown(value: Json) -> str:
    """`value` as JSON text cut to a length fit for an error message."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}… ({len(text)} characters)"


@dataclasses.dataclass(frozen=True)
class Tool:
    """A callable with a JSON-schema.

    parameters: `{"type": "object", "properties": {...}, "required": [...]}` with the
    keywords type, enum, default, items, properties, required, description.
    original_name: the name in the tool's source, which may not be an OpenAI-safe one.
    """

    name: str
    description: str
    parameters: Mapping[str, Json]
    original_name: str = ""

    @property
    def properties(self) -> Mapping[str, Json]:
        return self.parameters.get("properties", {})

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(self.parameters.get("required", ()))

    def validate(self, arguments: Mapping[str, Json]) -> list[str]:
        """Every fault of `arguments`, each naming what was got and what is allowed."""
        faults = [
            f"missing required argument {name!r} ({self.properties[name].get('type', 'any')})"
            for name in self.required
            if name not in arguments
        ]
        for name, value in arguments.items():
            if name not in self.properties:
                allowed = ", ".join(self.properties) or "none"
                faults.append(f"unknown argument {name[:_SHOWN_CHARS]!r}; allowed: {allowed}")
            else:
                faults += _faults(value, self.properties[name], name)
        return faults

    def coerced(self, arguments: Mapping[str, Json]) -> dict[str, Json]:
        """`arguments` in the schema's order, numbers and numeric strings in its types."""
        order = {name: i for i, name in enumerate(self.properties)}
        names = sorted(arguments, key=lambda name: order.get(name, len(order)))
        return {name: _coerced(arguments[name], self.properties.get(name, {})) for name in names}

    def canonical(self, arguments: Mapping[str, Json]) -> str:
        """Cache key of a call: sorted keys, values in the schema's types where they can
        be, optional arguments equal to their default dropped. The same request always
        gives the same key. Raises RecursionError or ValueError only on JSON that Python
        cannot write as text (nested a thousand deep, integers of 4,300 digits)."""
        kept = {}
        for name, value in arguments.items():
            schema = self.properties.get(name, {})
            value = _coerced(value, schema)
            optional = name not in self.required and "default" in schema
            if not optional or _text(value) != _text(_coerced(schema["default"], schema)):
                kept[name] = value
        return _text(kept)


def _text(value: Json) -> str:
    # As text True is not 1, which Python's == would make the same request.
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)


def _is_finite(value: int | float) -> bool:
    # An integer beyond float's range is no number that an API takes.
    return abs(value) < _HUGE if isinstance(value, int) else math.isfinite(value)


def _faults(value: Json, schema: Mapping[str, Json], where: str) -> list[str]:
    kind = schema.get("type")
    number = _is_number(value) or (
        isinstance(value, str) and _NUMBER.fullmatch(value.strip()) is not None
    )
    matches = {
        "string": isinstance(value, str) or _is_number(value),
        "number": number,
        "integer": number and float(value).is_integer(),
        "boolean": isinstance(value, bool),
        "array": isinstance(value, list),
        "object": isinstance(value, dict),
    }.get(kind, True)
    if not matches:
        return [f"argument {where!r} must be {kind}, got {shown(value)}"]
    if schema.get("enum") and _text(_coerced(value, schema)) not in {
        _text(_coerced(allowed, schema)) for allowed in schema["enum"]
    }:
        return [f"argument {where!r} must be one of {schema['enum']}, got {shown(value)}"]
    if kind == "array" and "items" in schema:
        return [
            f for i, v in enumerate(value) for f in _faults(v, schema["items"], f"{where}[{i}]")
        ]
    if kind == "object" and "properties" in schema:
        faults = [
            f"missing {where}.{name}" for name in schema.get("required", ()) if name not in value
        ]
        for name, item in value.items():
            if name in schema["properties"]:
                faults += _faults(item, schema["properties"][name], f"{where}.{name}")
        return faults
    return []


def number_text(value: int | float) -> str:
    """Shortest text of a number; 4 and 4.0 read alike."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return repr(value)


def _coerced(value: Json, schema: Mapping[str, Json]) -> Json:
    kind = schema.get("type")
    if kind == "string" and _is_number(value):
        return number_text(value)
    if kind in ("number", "integer") and isinstance(value, str):
        text = value.strip()
        if re.fullmatch(r"[+-]?\d{1,15}", text):
            value = int(text)
        elif _NUMBER.fullmatch(text):
            value = float(text)
    if _is_number(value):
        return int(value) if float(value).is_integer() and abs(value) < 2**53 else value
    if isinstance(value, list):
        return [_coerced(item, schema.get("items", {})) for item in value]
    if isinstance(value, dict):
        nested = schema.get("properties", {})
        return {k: _coerced(v, nested.get(k, {})) for k, v in value.items()}
    return value
