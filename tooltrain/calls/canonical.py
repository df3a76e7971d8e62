"""Canonical values and their 64-bit hash: when two argument values count as equal.

Strings compare as BFCL compares them (its `standardize_string`: spaces and , . / - _ * ^
dropped, lower case, ' as "), numbers as floats, lists in order, objects by sorted key.
The canonical form carries the type, so values of different JSON types never meet.
"""

from __future__ import annotations

import functools
import hashlib

from tooltrain.types import Json

# JSON types; 0 is padding in encoded arrays. Booleans stand apart from numbers.
NULL, BOOLEAN, NUMBER, STRING, ARRAY, OBJECT = range(1, 7)

_TYPES = {
    type(None): NULL,
    bool: BOOLEAN,
    int: NUMBER,
    float: NUMBER,
    str: STRING,
    list: ARRAY,
    tuple: ARRAY,
    dict: OBJECT,
}
_DROPPED = str.maketrans(dict.fromkeys(" ,./-_*^") | {"'": '"'})
_MEMO_CHARS = 1024  # longer strings are hashed each time, so that the memo stays small


def json_type(value: Json) -> int:
    """NULL, BOOLEAN, NUMBER, STRING, ARRAY or OBJECT. Raises TypeError on anything else."""
    kind = _TYPES.get(type(value))
    if kind is None:
        raise TypeError(
            f"got a {type(value).__name__}; argument values are JSON "
            "(None, bool, int, float, str, list, dict): convert it first"
        )
    return kind


def argument_type(value: Json) -> int:
    """What encoded arrays hold: `code >> 1` is the JSON type. The last bit marks what the
    released reward compares in its own way: floats (7.0 is not 7 there), objects with
    members and arrays that begin with an object."""
    kind = type(value)
    odd = (
        kind is float
        or (kind is dict and len(value) > 0)
        or (kind is list and len(value) > 0 and type(value[0]) is dict)
    )
    return 2 * json_type(value) + odd


def canonical(value: Json) -> str:
    """The text that equal values share and others do not.

    >>> canonical("New-York, N.Y.") == canonical("new york ny"), canonical(7) == canonical(7.0)
    (True, True)
    """
    kind = json_type(value)
    if kind == STRING:
        return '"' + value.translate(_DROPPED).lower()
    if kind == NUMBER:
        return _number(value)
    if kind == NULL:
        return "null"
    if kind == BOOLEAN:
        return "true" if value else "false"
    # Each part is preceded by its length: no two structures write the same text.
    if kind == ARRAY:
        parts = [canonical(item) for item in value]
        return "[" + "".join(f"{len(part)}:{part}" for part in parts)
    parts = [part for key in sorted(value) for part in (key, canonical(value[key]))]
    return "{" + "".join(f"{len(part)}:{part}" for part in parts)


def _number(value: int | float) -> str:
    try:
        return repr(float(value) + 0.0)  # + 0.0 makes -0.0 into 0.0
    except OverflowError:
        return hex(value)


def hash64(text: str) -> int:
    """64 bits of BLAKE2b, the same on every machine and in every process; never 0, which
    is padding's."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


def name_hash64(name: str) -> int:
    """The hash of a tool's or an argument's name, in [1, 2^64)."""
    return _name_hash64(name) if len(name) <= _MEMO_CHARS else hash64(name)


_name_hash64 = functools.lru_cache(maxsize=1 << 16)(hash64)


def value_hash64(value: Json) -> int:
    """The hash of the canonical form, in [1, 2^64)."""
    kind = type(value)
    if kind is str:
        return _string_hash64(value) if len(value) <= _MEMO_CHARS else hash64(canonical(value))
    if kind is float or (kind is int and -(2**53) <= value <= 2**53):
        return _float_hash64(float(value))
    return hash64(canonical(value))


@functools.lru_cache(maxsize=1 << 16)
def _string_hash64(value: str) -> int:
    return hash64(canonical(value))


@functools.lru_cache(maxsize=1 << 16)
def _float_hash64(value: float) -> int:
    return hash64(canonical(value))
