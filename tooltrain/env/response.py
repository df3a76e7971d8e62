"""A response as bytes and back, exactly.

orjson reads and writes; what it cannot (integers beyond 64 bits, lone surrogates) is
written by the standard library behind one leading space, and read by it. JSON allows the
space, so every text stays JSON for anyone who looks into the file.
"""

from __future__ import annotations

import json

import orjson

from tooltrain.types import Json

_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_MAX_DEPTH = 254  # orjson's own


def encode(value: Json) -> bytes:
    """`value` as JSON text. Raises ValueError for what JSON does not have: NaN and
    infinities, keys that are no strings, other types, nesting deeper than 254."""
    try:
        text = orjson.dumps(value, option=_OPTIONS)
    except TypeError:
        _check(value)
        return b" " + json.dumps(value, allow_nan=False).encode()
    if b"null" in text:  # what orjson makes of NaN too
        json.dumps(value, allow_nan=False, default=str)
    return text


def decode(data: bytes) -> Json:
    """The value that `encode` was given. Raises ValueError for what is not JSON."""
    return json.loads(data) if data[:1] == b" " else orjson.loads(data)


def _check(value: Json) -> None:
    stack = [(value, 0)]
    while stack:
        item, depth = stack.pop()
        if depth > _MAX_DEPTH:
            raise ValueError(f"nested deeper than {_MAX_DEPTH} levels")
        if isinstance(item, dict):
            for name, child in item.items():
                if not isinstance(name, str):
                    raise ValueError(f"a key must be a string, got {name!r}")
                stack.append((child, depth + 1))
        elif isinstance(item, list | tuple):
            stack += [(child, depth + 1) for child in item]
        elif not (item is None or isinstance(item, str | int | float)):
            raise ValueError(f"JSON has no {type(item).__name__}")
