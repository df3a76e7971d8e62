"""Calls of a whole episode that exists only as text or chat messages, for other stacks.

tooltrain's own rollouts carry `CallRecord`s and need none of this: what was executed is
recorded where it happened. A text cannot say who wrote a `<tool_response>`; where a
policy can write one itself, pass chat messages, whose roles are the framework's word.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tooltrain.calls.parser import parse_calls, read_call
from tooltrain.calls.released import executed
from tooltrain.types import Call, CallRecord, Json, MalformedCall, ObservationKind

_OPEN, _CLOSE = "<tool_response>", "</tool_response>"


def records_of_text(text: str) -> list[CallRecord]:
    """Records of a rollout text: assistant turns, each followed by its tool responses.

    The k-th response after a turn answers its k-th call. A call executed if its response
    is JSON, reports no error (no "error" key, "status" not false) and is not {}.
    """
    records: list[CallRecord] = []
    turn = position = 0
    while True:
        start = text.find(_OPEN, position)
        calls = parse_calls(text[position : start if start >= 0 else len(text)])
        responses: list[Json] = []
        position = len(text)
        while start >= 0:
            stop = text.find(_CLOSE, start)
            if stop < 0:
                break
            responses.append(_json(text[start + len(_OPEN) : stop]))
            position = stop + len(_CLOSE)
            following = text.find(_OPEN, position)
            between = text[position:following] if following >= 0 else "calls may follow"
            start = following if not between.strip() else -1
        records += _records(calls, responses, turn)
        turn += 1
        if position >= len(text):
            return records


def records_of_messages(messages: Sequence[Mapping[str, Json]]) -> list[CallRecord]:
    """Records of chat messages: assistant messages (with `tool_calls` as OpenAI and TRL
    write them, or calls in their text) and the tool messages that answer them in order."""
    records: list[CallRecord] = []
    turn = -1
    calls: list[Call | MalformedCall] = []
    responses: list[Json] = []
    for message in messages:
        if message["role"] == "assistant":
            records += _records(calls, responses, turn)
            turn, responses = turn + 1, []
            calls = [_structured(call) for call in message.get("tool_calls") or ()]
            calls = calls or parse_calls(_text(message.get("content")))
        elif message["role"] == "tool":
            content = message.get("content")
            responses.append(_json(content) if type(content) is str else content)
    return records + _records(calls, responses, turn)


def _records(calls, responses: list[Json], turn: int) -> list[CallRecord]:
    records = []
    for index, call in enumerate(calls):
        if type(call) is MalformedCall:
            kind = ObservationKind.MALFORMED
        elif index < len(responses) and executed(responses[index]):
            kind = ObservationKind.OK
        else:
            kind = ObservationKind.NOT_RECORDED
        records.append(CallRecord(call, turn, kind))
    return records


def _structured(call: Mapping[str, Json]) -> Call | MalformedCall:
    return read_call(dict(call.get("function", call)))


def _text(content: Json) -> str:
    """A message's text: a string, or a list of parts of which some are text."""
    if type(content) is list:
        return "".join(part.get("text") or "" for part in content if isinstance(part, Mapping))
    return content or ""


def _json(text: str) -> Json:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
