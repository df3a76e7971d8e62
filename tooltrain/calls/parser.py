"""Model text -> calls, for Hermes/Qwen `<tool_call>{json}</tool_call>` text.

The one border in this package that never raises: whatever a policy writes is a list of
`Call` and `MalformedCall`, in the order written. Time is linear in the text and memory
is bounded by the limits below.

How the text is read, from left to right:

* `<tool_call>` opens a call and the next `</tool_call>` closes it, also inside a JSON
  string: in every tokenizer that trains on these tags they are single special tokens.
* A `<tool_call>` inside an open call, or the end of the text, leaves the open one
  unclosed. A closing tag alone is text.
* `<think> ... </think>` is thought: calls in it are not calls. An unclosed `<think>` runs
  to the end. A first `</think>` without its opening tag ends a thought that the prompt
  opened, so everything before it was thought.

JSON is strict (RFC 8259, plus: no duplicate keys, no lone surrogates, finite numbers;
integers beyond 64 bits become floats). `orjson` reads it where it is installed; the
standard library, held to the same rules, finds the words for what is wrong.
"""

from __future__ import annotations

import json
import re

from tooltrain.types import Call, Json, MalformedCall

try:
    import orjson
except ImportError:  # a bare machine: the strict reader below gives the same answers
    orjson = None

PARSE_ERRORS = (
    "unclosed_tag",
    "too_large",
    "too_deep",
    "bad_json",
    "not_finite",
    "duplicate_key",
    "not_an_object",
    "bad_name",
    "bad_arguments",
    "too_many_arguments",
    "too_many_calls",
)

MAX_CALLS = 64  # in one text; gold traces have at most 10 and a turn seldom more than 4
MAX_CALL_CHARS = 65_536  # the longest recorded call has 1,300
MAX_ARGUMENTS = 64
MAX_DEPTH = 32
MAX_NAME_CHARS = 256

_TAG = re.compile(r"</?(?:tool_call|think)>")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_SPACE = " \t\n\r"
_SHAPE = 'Write one JSON object: {"name": <tool>, "arguments": {<argument>: <value>}}.'


def parse_calls(text: str) -> list[Call | MalformedCall]:
    """All calls of an assistant turn, malformed ones included; [] where there is no tag.

    After MAX_CALLS calls one `too_many_calls` stands for all the rest.
    """
    calls: list[Call | MalformedCall] = []
    start = -1  # where the open call's body begins
    thinking = thought = False
    for tag in _TAG.finditer(text):
        word = tag.group()
        if thinking:
            thinking = word != "</think>"
        elif word == "<tool_call>":
            if start >= 0:
                calls.append(_unclosed())
            start = tag.end()
        elif start >= 0:
            if word == "</tool_call>":
                calls.append(parse_call(text[start : tag.start()]))
                start = -1
        elif word == "<think>":
            thinking = thought = True
        elif word == "</think>" and not thought:
            calls.clear()
            thought = True
        if len(calls) >= MAX_CALLS:
            if "<tool_call>" in text[tag.end() :] or start >= 0:
                detail = f"More than {MAX_CALLS} calls in one turn: only the first {MAX_CALLS}"
                calls.append(MalformedCall("too_many_calls", detail + " were read. Make fewer."))
            return calls
    if start >= 0:
        calls.append(_unclosed())
    return calls


def parse_call(body: str) -> Call | MalformedCall:
    """The call written between the tags, as JSON."""
    if len(body) > MAX_CALL_CHARS:
        return MalformedCall(
            "too_large",
            f"The call has {len(body)} characters; at most {MAX_CALL_CHARS} are read. "
            "Pass shorter values.",
        )
    try:
        return read_call(loads(body))
    except JsonFault as fault:
        detail = f"The text between <tool_call> and </tool_call> is {fault.detail} {_SHAPE}"
        return MalformedCall(fault.kind, detail)


def read_call(value: Json, arguments_key: str = "arguments") -> Call | MalformedCall:
    """The call that a parsed JSON value stands for. Arguments left out are {}; a JSON
    string of an object counts as that object."""
    if type(value) is not dict:
        return MalformedCall("not_an_object", f"The call is {_what(value)}. {_SHAPE}")
    name = value.get("name")
    if type(name) is not str or not name or len(name) > MAX_NAME_CHARS:
        if "name" not in value:
            got = 'The call has no "name"'
        elif type(name) is str:
            got = f'"name" has {len(name)} characters, 1 to {MAX_NAME_CHARS} are allowed'
        else:
            got = f'"name" is {_what(name)}, not a string'
        return MalformedCall("bad_name", f"{got}. {_SHAPE}")
    arguments = value.get(arguments_key, _NO_ARGUMENTS)
    if type(arguments) is str:
        try:
            arguments = loads(arguments)
        except JsonFault as fault:
            detail = f'"{arguments_key}" is a string that is {fault.detail} {_SHAPE}'
            kind = "bad_arguments" if fault.kind == "bad_json" else fault.kind
            return MalformedCall(kind, detail)
    if type(arguments) is not dict:
        detail = f'"{arguments_key}" is {_what(arguments)}, not an object. {_SHAPE}'
        return MalformedCall("bad_arguments", detail)
    if len(arguments) > MAX_ARGUMENTS:
        detail = f"The call has {len(arguments)} arguments; at most {MAX_ARGUMENTS} are read."
        return MalformedCall("too_many_arguments", detail)
    return Call(name, dict(arguments) if arguments is _NO_ARGUMENTS else arguments)


_NO_ARGUMENTS: dict[str, Json] = {}


class JsonFault(ValueError):
    """Text that is not strict JSON. kind: one of PARSE_ERRORS; detail: the end of a
    sentence that begins "the text is"."""

    def __init__(self, kind: str, detail: str):
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


def loads(raw: str) -> Json:
    """Strict JSON (see the module's docstring). Raises JsonFault and nothing else."""
    check_depth(raw)
    if orjson is None:
        return strict_loads(raw)
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        strict_loads(raw)  # raises, with better words
        raise JsonFault("bad_json", f"not valid JSON: {error.msg}.") from None
    if not _surely_no_duplicates(raw, value):
        strict_loads(raw)
    return value


def _surely_no_duplicates(raw: str, value: Json) -> bool:
    """orjson keeps the last of duplicate keys in silence. Every member of an object
    writes one colon outside strings, so if all colons are accounted for by the members
    and strings that were kept, none was lost. (An escaped colon spoils the count.)"""
    if "\\u003" in raw:
        return False
    expected = 0
    stack = [value]
    while stack:
        node = stack.pop()
        if type(node) is dict:
            expected += len(node)
            for key, child in node.items():
                expected += key.count(":")
                if type(child) is str:
                    expected += child.count(":")
                elif type(child) in (dict, list):
                    stack.append(child)
        elif type(node) is list:
            stack.extend(node)
        elif type(node) is str:
            expected += node.count(":")
    return raw.count(":") == expected


def strict_loads(raw: str) -> Json:
    """The same JSON through the standard library: slower, with words for each fault."""
    value, end = strict_prefix(raw, len(raw) - len(raw.lstrip(_SPACE)))
    if rest := raw[end:].strip(_SPACE):
        at = f"at character {raw.index(rest, end)} of {len(raw)}"
        raise JsonFault("bad_json", f"not valid JSON: Extra data {at}.")
    return value


def strict_prefix(raw: str, start: int) -> tuple[Json, int]:
    """The JSON value that begins at `start`, and where it ends. Raises JsonFault."""
    try:
        value, end = _DECODER.raw_decode(raw, start)
        raw[start:end].encode()
        if "\\u" in raw:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise JsonFault("bad_json", "not valid JSON: it has half of a surrogate pair.") from None
    except json.JSONDecodeError as error:
        where = f"at character {error.pos} of {len(raw)}"
        raise JsonFault("bad_json", f"not valid JSON: {error.msg} {where}.") from None
    return value, end


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        key = next(k for k, _ in pairs if k in seen or seen.add(k))
        raise JsonFault("duplicate_key", f"an object that has the key {_short(key)} twice.")
    return members


def _integer(digits: str) -> int | float:
    if len(digits) <= 20 and -(2**63) <= (value := int(digits)) < 2**64:
        return value
    return _float(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise JsonFault("not_finite", f"JSON with a number out of range, {digits[:40]}.")
    return value


def _constant(word: str) -> Json:
    raise JsonFault("not_finite", f"JSON with {word}, which is not a JSON number.")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)


def check_depth(raw: str) -> None:
    """Raises JsonFault where brackets outside strings nest more than MAX_DEPTH deep."""
    if raw.count("{") + raw.count("[") <= MAX_DEPTH:
        return
    depth = deepest = 0
    for character in _STRING.sub("", raw):
        if character in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "}]":
            depth -= 1
    if deepest > MAX_DEPTH:
        raise JsonFault("too_deep", f"nested more than {MAX_DEPTH} deep.")


def _unclosed() -> MalformedCall:
    return MalformedCall(
        "unclosed_tag", f"A <tool_call> was not closed by </tool_call>. {_SHAPE} Then close it."
    )


def _what(value: Json) -> str:
    if value is None:
        return "null"
    kinds = {bool: "a boolean", int: "a number", float: "a number", str: "a string"}
    return kinds.get(type(value), "an array" if type(value) is list else "an object")


def _short(text: str) -> str:
    return json.dumps(text if len(text) <= 60 else text[:57] + "...")
