"""An episode's JSON line (see transcript.py) as lines for a terminal.

turn 1
+ <tool_call>                      sampled: green, and + at the edge where there is no colour
+ {"name": "find_place", ...       (these tokens alone are in the loss)
  -> ok, gold call 0               what became of the turn's calls
<|im_start|>user                   read: dim
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tooltrain.types import Json

SAMPLED, READ, VERDICT, HEADING = "32", "2", "33", "1"


def episode_lines(episode: Mapping[str, Any], *, color: bool) -> Iterator[str]:
    """What `python -m tooltrain.cli.show` prints of one episode, without line ends.

    Text from policy and tools is printed with its control characters escaped. A line without
    messages (an episode that was never tokens) is shown by its calls and responses.
    """
    yield _painted(_summary(episode), HEADING, color)
    for name in ("query", "outcome", "reward_terms", "metrics"):
        if episode.get(name):
            yield _printable(f"{name}: {_compact(episode[name])}")
    turns = episode["turns"]
    if not episode.get("messages"):
        for number, calls in enumerate(turns):
            yield _painted(f"turn {number + 1}", HEADING, color)
            for call in calls:
                yield from _block(_call(call), SAMPLED, "+ ", color)
                yield from _verdicts([call], color)
                if call.get("response") is not None:
                    yield from _block(call["response"], READ, "  ", color)
        return
    number = 0
    for message in episode["messages"]:
        if message["author"] != "policy":
            yield from _block(message["text"], READ, "  ", color)
            continue
        number += 1
        yield _painted(f"turn {number}", HEADING, color)
        yield from _block(message["text"], SAMPLED, "+ ", color)
        # A turn that was cut before its first call's answer may have no entry.
        yield from _verdicts(turns[number - 1] if number <= len(turns) else (), color)


def _summary(episode: Mapping[str, Any]) -> str:
    parts = [
        f"{name} {episode[name]}"
        for name in ("step", "trace", "workflow", "prompt", "generation")
        if name in episode
    ]
    parts.append(f"{len(episode['turns'])} turns")
    if episode.get("ids"):
        parts.append(f"{len(episode['ids'])} tokens, {sum(episode['mask'])} sampled")
    return " · ".join([*parts, f"ended: {episode['end']}"])


def _verdicts(calls: Sequence[Mapping[str, Any]], color: bool) -> Iterator[str]:
    for call in calls:
        name = call.get("name", "malformed call")
        text = f"  -> {name}: {call['kind']}"
        if "malformed" in call:
            text += f" ({call['malformed']})"
        if "gold" in call:
            text += ", not gold" if call["gold"] is None else f", gold call {call['gold']}"
        if call.get("first_failure"):
            text += ", the first failure"
        yield _painted(text, VERDICT, color)


def _call(call: Mapping[str, Any]) -> str:
    if "malformed" in call:
        return call["malformed"]
    return json.dumps({k: call[k] for k in ("name", "arguments")}, ensure_ascii=False)


def _block(text: str, style: str, edge: str, color: bool) -> Iterator[str]:
    # Only the line feed is a line's end here: a template writes no other.
    for line in text.removesuffix("\n").split("\n"):
        yield _painted(edge + line, style, color)


def _compact(value: Json) -> str:
    if isinstance(value, Mapping):
        shown = ((k, round(v, 4) if isinstance(v, float) else v) for k, v in value.items())
        return ", ".join(f"{k} {v}" for k, v in shown)
    return str(value)


def _printable(text: str) -> str:
    """Without anything that a terminal would obey."""
    return "".join(
        c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text
    )


def _painted(text: str, style: str, color: bool) -> str:
    text = _printable(text)
    return f"\x1b[{style}m{text}\x1b[0m" if color else text
