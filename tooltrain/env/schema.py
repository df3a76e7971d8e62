"""Tool schemas: what a call's arguments may be, and the one key a call is cached under.

HTTP query parameters carry text, so a numeric string is accepted where the schema says
number (and a number where it says string) and both give the same key; the reward still
tells their JSON types apart. ComplexFuncBench needs this: hotels' `dest_id` is a string
in one tool's response and a number in the next tool's schema.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
from collections.abc import Mapping

from tooltrain.types import Json

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_INTEGER = re.compile(r"[+-]?\d{1,15}")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_SHOWN_CHARS = 80  # of a bad value in a fault, so that errors stay small
_LISTED_VALUES = 40  # of an enumeration
_MAX_REFERENCES = 4  # deep
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
    keywords type (one or several), enum, const, default, minimum, maximum, items,
    properties, required, additionalProperties (false or not), anyOf, oneOf, allOf and local
    $ref; others do not restrict. original_name: the name in the tool's source, which may not
    be an OpenAI-safe one.
    """

    name: str
    description: str
    parameters: Mapping[str, Json]
    original_name: str = ""

    @functools.cached_property
    def properties(self) -> Mapping[str, Mapping[str, Json]]:
        """Schema of each argument, references inlined."""
        inlined = _object(_inlined(self.parameters, self.parameters, 0)).get("properties", {})
        return {name: _object(schema) for name, schema in inlined.items()}

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(self.parameters.get("required", ()))

    @functools.cached_property
    def _open(self) -> bool:
        """Whether arguments beside the properties are taken: only if the schema says so, by
        true or by a schema for them, which is not read."""
        return self.parameters.get("additionalProperties") not in (False, None)

    @functools.cached_property
    def _default_texts(self) -> dict[str, str]:
        """Canonical text of each optional argument's default."""
        return {
            name: _text(_coerced(schema["default"], schema))
            for name, schema in self.properties.items()
            if "default" in schema and name not in self.required
        }

    def validate(self, arguments: Mapping[str, Json]) -> list[str]:
        """Every fault of `arguments`, each naming what was got and what is allowed."""
        faults = [
            f"missing required argument {name!r} ({_kind(self.properties.get(name, {}))})"
            for name in self.required
            if name not in arguments
        ]
        for name, value in arguments.items():
            if name in self.properties:
                faults += _faults(value, self.properties[name], name)
            elif not self._open:
                allowed = ", ".join(self.properties) or "none"
                faults.append(f"unknown argument {name[:_SHOWN_CHARS]!r}; allowed: {allowed}")
        return faults

    def coerced(self, arguments: Mapping[str, Json]) -> dict[str, Json]:
        """`arguments` in the schema's order, numbers and numeric strings in its types."""
        order = {name: i for i, name in enumerate(self.properties)}
        names = sorted(arguments, key=lambda name: order.get(name, len(order)))
        return {name: _coerced(arguments[name], self.properties.get(name, {})) for name in names}

    def canonical(self, arguments: Mapping[str, Json]) -> str:
        """Cache key of a call: sorted keys, values in the schema's types where they can
        be, optional arguments equal to their default dropped. The same request always
        gives the same key, and a key read as arguments gives itself. Raises RecursionError,
        ValueError or TypeError only on what Python cannot write as JSON text (nested a
        thousand deep, integers of 4,300 digits, other types)."""
        kept = {}
        for name, value in arguments.items():
            value = _coerced(value, self.properties.get(name, {}))
            default = self._default_texts.get(name)
            if default is None or _text(value) != default:
                kept[name] = value
        return _text(kept)


_WRITER = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _text(value: Json) -> str:
    # As text True is not 1, which Python's == would make the same request.
    return _WRITER.encode(value)


def _object(schema: Json) -> Mapping[str, Json]:
    """A schema may be `true`, which restricts nothing."""
    return schema if isinstance(schema, Mapping) else {}


def _inlined(schema: Json, root: Mapping[str, Json], depth: int) -> Json:
    """`schema` with local references replaced by what they name. A reference inside itself
    is followed a few levels and then restricts nothing."""
    if isinstance(schema, list):
        return [_inlined(item, root, depth) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    if isinstance(schema.get("$ref"), str):
        if depth == _MAX_REFERENCES:
            return {}
        named: Json = root
        for step in schema["$ref"].removeprefix("#").strip("/").split("/"):
            named = _object(named).get(step.replace("~1", "/").replace("~0", "~"), {})
        beside = {k: v for k, v in schema.items() if k != "$ref"}
        return {**_object(_inlined(named, root, depth + 1)), **beside}
    return {k: v if k == "$defs" else _inlined(v, root, depth) for k, v in schema.items()}


def _kind(schema: Mapping[str, Json]) -> str:
    """What a schema allows, for a person."""
    branches = _branches(schema)
    if len(branches) > 1:
        return " or ".join(dict.fromkeys(map(_kind, branches)))
    return str(schema.get("type", "any"))


def _branches(schema: Mapping[str, Json]) -> list[Mapping[str, Json]]:
    """The schemas of which one must hold."""
    for name in ("anyOf", "oneOf"):
        if isinstance(schema.get(name), list) and schema[name]:
            rest = {k: v for k, v in schema.items() if k != name}
            return [b for one in schema[name] for b in _branches(_both(rest, _object(one)))]
    if isinstance(schema.get("allOf"), list):
        merged = {k: v for k, v in schema.items() if k != "allOf"}
        for one in schema["allOf"]:
            merged = _both(merged, _object(one))
        return _branches(merged)
    if isinstance(schema.get("type"), list):
        return [{**schema, "type": kind} for kind in schema["type"]]
    return [schema]


def _both(schema: Mapping[str, Json], more: Mapping[str, Json]) -> dict[str, Json]:
    """The second over the first; the fields of an object are those that either names."""
    properties = {**_object(schema.get("properties")), **_object(more.get("properties"))}
    return {**schema, **more} | ({"properties": properties} if properties else {})


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)


def _is_finite(value: int | float) -> bool:
    # An integer beyond float's range is no number that an API takes.
    return abs(value) < _HUGE if isinstance(value, int) else math.isfinite(value)


_UNIONS = ("anyOf", "oneOf", "allOf")


def _is_union(schema: Mapping[str, Json]) -> bool:
    return isinstance(schema.get("type"), list) or any(name in schema for name in _UNIONS)


def _faults(value: Json, schema: Json, where: str) -> list[str]:
    schema = _object(schema)
    if _is_union(schema):
        branches = _branches(schema)
        tried = [_faults(value, branch, where) for branch in branches]
        if not all(tried):
            return []
        if len(tried) == 1:
            return tried[0]
        return [f"argument {where!r} must be {_kind(schema)}, got {shown(value)}"]
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
        "null": value is None,
    }.get(kind, True)
    if not matches:
        return [f"argument {where!r} must be {kind}, got {shown(value)}"]
    allowed = [schema["const"]] if "const" in schema else schema.get("enum")
    if allowed and _text(_coerced(value, schema)) not in {
        _text(_coerced(one, schema)) for one in allowed
    }:
        return [f"argument {where!r} must be one of {_listed(allowed)}, got {shown(value)}"]
    if kind in ("number", "integer"):
        return _range_faults(value, schema, where)
    if kind == "array" and "items" in schema:
        return [
            f for i, v in enumerate(value) for f in _faults(v, schema["items"], f"{where}[{i}]")
        ]
    return _field_faults(value, schema, where) if kind == "object" else []


def _field_faults(value: Mapping[str, Json], schema: Mapping[str, Json], where: str) -> list[str]:
    """Faults of an object's fields. Unlike an argument, a field beside the properties is taken
    unless the schema says no."""
    properties, required = _object(schema.get("properties")), schema.get("required")
    closed = schema.get("additionalProperties") is False and "patternProperties" not in schema
    # Schemas of draft 3 say `required: true` of a field itself.
    needed = required if isinstance(required, list | tuple) else ()
    faults = [f"missing {where}.{name}" for name in needed if name not in value]
    for name, item in value.items():
        if name in properties:
            faults += _faults(item, properties[name], f"{where}.{name}")
        elif closed:
            allowed = ", ".join(properties) or "none"
            faults.append(f"unknown {where}.{name[:_SHOWN_CHARS]}; allowed: {allowed}")
    return faults


def _range_faults(value: Json, schema: Mapping[str, Json], where: str) -> list[str]:
    low, high = (schema.get(name) for name in ("minimum", "maximum"))
    if _is_number(low) and float(value) < low:
        return [f"argument {where!r} must be at least {low}, got {shown(value)}"]
    if _is_number(high) and float(value) > high:
        return [f"argument {where!r} must be at most {high}, got {shown(value)}"]
    return []


def _listed(allowed: list[Json]) -> str:
    if len(allowed) <= _LISTED_VALUES:
        return str(allowed)
    listed = ", ".join(map(repr, allowed[:_LISTED_VALUES]))
    return f"[{listed}, … {len(allowed) - _LISTED_VALUES} more]"


def number_text(value: int | float) -> str:
    """Shortest text of a number; 4 and 4.0 read alike."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return repr(value)


def _coerced(value: Json, schema: Json) -> Json:
    schema = _object(schema)
    if _is_union(schema):
        branches = _branches(schema)
        schema = next((b for b in branches if not _faults(value, b, "")), branches[0])
    kind = schema.get("type")
    if kind == "string" and _is_number(value):
        return number_text(value)
    if kind in ("number", "integer") and isinstance(value, str):
        text = value.strip()
        if _INTEGER.fullmatch(text):
            value = int(text)
        elif _NUMBER.fullmatch(text):
            value = float(text)
    if _is_number(value):
        return int(value) if float(value).is_integer() and abs(value) < 2**53 else value
    if isinstance(value, list):
        items = schema.get("items", {})
        return [_coerced(item, items) for item in value]
    if isinstance(value, dict):
        nested = _object(schema.get("properties"))
        return {k: _coerced(v, nested.get(k, {})) for k, v in value.items()}
    return value
