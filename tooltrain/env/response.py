"""A response as bytes and back, exactly.

orjson reads and writes; what it cannot (integers beyond 64 bits, lone surrogates) is
written by the standard library behind one leading space, and read by it. JSON allows the
space, so every text stays JSON for anyone who looks into the file.
"""

from __future__ import annotations

import json
import math

import orjson

from tooltrain.types import Json

_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_MAX_DEPTH = 200  # of recorded values; recursive readers have room for more


def encode(value: Json) -> bytes:
    """`value` as JSON text. Raises ValueError for what JSON does not have: NaN and
    infinities, keys that are no strings, other types, nesting deeper than 200."""
    try:
        text = orjson.dumps(value, option=_OPTIONS)
        plain = True
    except TypeError:
        text, plain = b"null", False
    if b"null" in text or text.count(b"[") + text.count(b"{") > _MAX_DEPTH:
        _check(value)  # orjson writes NaN as null
    return text if plain else b" " + json.dumps(value).encode()


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
        elif isinstance(item, float) and not math.isfinite(item):
            raise ValueError(f"JSON has no {item!r}")
        elif not (item is None or isinstance(item, str | int | float)):
            raise ValueError(f"JSON has no {type(item).__name__}")
