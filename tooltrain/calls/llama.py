"""Model text -> calls, for Llama 3's JSON tool calls.

    {"name": "find", "parameters": {"q": "Rome"}}; {"name": "book", "parameters": {}}

The message is the calls and nothing else: one JSON object after another, with ";" or
white space between, after an optional `<|python_tag|>`. Text that does not begin with
"{" has no calls. JSON, limits and faults are those of parser.py; `arguments` is read too,
as Llama 3.2 and 3.3 write either. After a fault nothing more is read: without closing tags
there is no telling where the next call begins.
"""

from __future__ import annotations

from tooltrain.calls.parser import (
    MAX_CALL_CHARS,
    MAX_CALLS,
    JsonFault,
    check_depth,
    read_call,
    strict_prefix,
)
from tooltrain.types import Call, MalformedCall

_TAG = "<|python_tag|>"
_SHAPE = 'Write {"name": <tool>, "parameters": {<argument>: <value>}} and ";" between calls.'
_BETWEEN = " \t\n\r;"


def parse_llama_calls(text: str) -> list[Call | MalformedCall]:
    """All calls of an assistant turn, malformed ones included; never raises."""
    text = text.strip().removeprefix(_TAG)
    position = _skip(text, 0)
    if not text.startswith("{", position):
        return []
    if len(text) > MAX_CALL_CHARS:
        detail = f"The message has {len(text)} characters; at most {MAX_CALL_CHARS} are read."
        return [MalformedCall("too_large", detail)]
    calls: list[Call | MalformedCall] = []
    while position < len(text):
        if len(calls) == MAX_CALLS:
            detail = f"More than {MAX_CALLS} calls in one turn: only the first {MAX_CALLS}"
            return [*calls, MalformedCall("too_many_calls", detail + " were read. Make fewer.")]
        try:
            if not calls:
                check_depth(text)
            value, position = strict_prefix(text, position)
        except JsonFault as fault:
            return [*calls, MalformedCall(fault.kind, f"The message is {fault.detail} {_SHAPE}")]
        old = type(value) is dict and "arguments" in value and "parameters" not in value
        calls.append(read_call(value, "arguments" if old else "parameters"))
        position = _skip(text, position)
    return calls


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in _BETWEEN:
        position += 1
    return position
