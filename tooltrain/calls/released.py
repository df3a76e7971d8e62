"""How the paper's released reward reads calls and responses out of a rollout's text.

For parity only (rewards/released.py); `parser.parse_calls` is what the package uses. It
differs from it where the release does: think blocks and responses are not skipped, JSON
is Python's (NaN, duplicate keys), calls that are not JSON do not exist, arguments that
cannot be read are {}. Behaviour read in the release (arXiv 2603.24709) and checked
against its scores; unlike it, time is linear and nothing raises.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from tooltrain.types import Call, CallRecord, Json, MalformedCall, ObservationKind


class ReleasedCall(NamedTuple):
    """value: the JSON between the tags, not null; response: the JSON paired with it, None
    where there is none (or it is null, or is not JSON)."""

    value: Json
    response: Json


def read_released(text: str) -> list[ReleasedCall]:
    """Every call that is JSON, in order. Each call, readable or not, takes the first
    response after it that no earlier call took; the responses to calls that look alike
    are then handed out in order."""
    calls = _blocks(text, "tool_call")
    responses = _blocks(text, "tool_response")
    paired: list[Json] = []
    following = 0
    for position, _ in calls:
        while following < len(responses) and responses[following][0] <= position:
            following += 1
        paired.append(responses[following][1] if following < len(responses) else None)
        following += 1

    queues: dict[str, list[Json]] = {}
    for (_, value), response in zip(calls, paired, strict=True):
        if value and type(value) is dict and response is not None:
            queues.setdefault(_signature(value), []).append(response)
    for queue in queues.values():
        queue.reverse()

    read = []
    for _, value in calls:
        if value is not None:
            queue = queues.get(_signature(value)) if type(value) is dict else None
            read.append(ReleasedCall(value, queue.pop() if queue else None))
    return read


def released_arguments(value: dict[str, Json]) -> dict[str, Json]:
    """A call's arguments as the release takes them: {} wherever they are no object."""
    arguments = value.get("arguments", {})
    if type(arguments) is str:
        arguments = _json(arguments)
    return arguments if type(arguments) is dict else {}


def succeeded(response: Json) -> bool:
    """There is a response and it reports no error."""
    return response is not None and not (
        type(response) is dict and ("error" in response or response.get("status") in (False, 0))
    )


def executed(response: Json) -> bool:
    """It succeeded and is not an empty object."""
    return succeeded(response) and response != {}


def released_records(text: str) -> list[CallRecord]:
    """The calls as records: one a turn, as the release orders them; those that are JSON
    but no object are malformed, those that are not JSON are left out."""
    records = []
    for turn, (value, response) in enumerate(read_released(text)):
        if type(value) is dict and type(value.get("name", "")) is str:
            call = Call(value.get("name", ""), released_arguments(value))
            kind = ObservationKind.OK if executed(response) else ObservationKind.NOT_RECORDED
        else:
            call = MalformedCall("not_an_object", "a call must be an object with a name")
            kind = ObservationKind.MALFORMED
        records.append(CallRecord(call, turn, kind))
    return records


def _blocks(text: str, tag: str) -> list[tuple[int, Json]]:
    """(position, value) of every closed <tag> block; value None where it is not JSON."""
    opening, closing = f"<{tag}>", f"</{tag}>"
    blocks, end = [], 0
    while (start := text.find(opening, end)) >= 0:
        stop = text.find(closing, start + len(opening))
        if stop < 0:
            break
        blocks.append((start, _json(text[start + len(opening) : stop])))
        end = stop + len(closing)
    return blocks


def _json(text: str) -> Json:
    try:
        return json.loads(text.strip())
    except (ValueError, RecursionError):
        return None


def _signature(value: dict[str, Json]) -> str:
    return repr((value.get("name", ""), sorted(released_arguments(value).items())))
