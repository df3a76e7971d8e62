"""Queries from a seeded grammar: one sentence or two that state what a trace needs.

The calls that no other call needs are asked for; a bound argument is put in words by
naming the call it comes from, down to the values that the user states.

    Search_Attraction_Location(query="Ottawa") ─id▶ Search_Attractions ─slug▶ Get_Availability
    "Please check tickets for the first attraction in "Ottawa", trending on 5 November 2024."
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from tooltrain.synthesis.frames import FRAMES, Frame
from tooltrain.synthesis.statements import forms, is_name
from tooltrain.types import GoldCall, Json

_FIELD = re.compile(r"\{(\w+)\}")
_ORDERS = ("", "Please ", "Could you ", "Hi, please ", "Help me: ")
_QUESTIONS = ("", "Hi! ", "Hello, ", "I am planning a trip: ")  # and wishes
_QUESTION = re.compile(r"(I|which|what|how|are|is|on|when|where|in)\b")
_JOINS = (". Then ", ". Also, ", "; and ")


class NoFrame(ValueError):
    """The grammar has no words for this call; the message names the reason."""


def write_query(calls: Sequence[GoldCall], rng: random.Random) -> str:
    """A query for the gold calls. Raises NoFrame when some argument has no words."""
    needed = {source for call in calls for source in call.depends_on}
    asked = [i for i in range(len(calls)) if i not in needed]
    clauses = []
    for i in asked:
        frame = _frame(calls[i])
        clauses.append(_fill(calls, i, rng.choice(frame.ask), frame, rng))
    text = clauses[0]
    for clause in clauses[1:]:
        text += rng.choice(_JOINS) + clause
    opener = rng.choice(_QUESTIONS if _QUESTION.match(text) else _ORDERS)
    text = opener + text if opener else text[0].upper() + text[1:]
    return text + rng.choice((".", "?", "", " please."))


def _frame(call: GoldCall) -> Frame:
    if call.name not in FRAMES:
        raise NoFrame(f"no frame for {call.name}")
    return FRAMES[call.name]


def _fill(
    calls: Sequence[GoldCall],
    index: int,
    template: str,
    frame: Frame,
    rng: random.Random,
    pick: str = "",
) -> str:
    call = calls[index]
    sources = {binding.argument: binding.source for binding in call.bindings}
    stated = set(_FIELD.findall(template)) - {"pick"}
    nouns_used = {sources[name] for name in stated if name in sources}
    text = template
    for name, words in frame.optional.items():
        # A bound argument is in words already where its source is named.
        if name in call.arguments and sources.get(name) not in nouns_used:
            text += words
            stated.add(name)
            if name in sources:
                nouns_used.add(sources[name])
    for name in call.arguments:
        if name not in stated and sources.get(name) not in nouns_used:
            raise NoFrame(f"no words for {call.name}.{name}")
    if missing := stated - call.arguments.keys():
        raise NoFrame(f"{call.name} needs {', '.join(sorted(missing))}")

    def word(match: re.Match[str]) -> str:
        name = match[1]
        if name == "pick":
            return pick
        if name in sources:
            return _noun(calls, index, sources[name], rng)
        return _value(call.arguments[name], rng)

    return _FIELD.sub(word, text)


def _noun(calls: Sequence[GoldCall], user: int, source: int, rng: random.Random) -> str:
    frame = _frame(calls[source])
    if not frame.noun:
        raise NoFrame(f"no noun for {calls[source].name}")
    binding = next(b for b in calls[user].bindings if b.source == source)
    field = next((step for step in reversed(binding.path) if isinstance(step, str)), "")
    template = frame.noun_of.get(field) or rng.choice(frame.noun)
    pick = _pick(binding.selector, template.startswith("{pick}"))
    return _fill(calls, source, template, frame, rng, pick)


def _pick(selector: str, leads: bool) -> str:
    """Words of a selector: before a listed thing, or in brackets after a place."""
    if selector.startswith("where("):
        value = selector[len("where(") : -1].partition("=")[2]
        return f'the "{value}"' if leads else f' ("{value}")'
    return ("the first" if selector == "first" else "the") if leads else ""


def _value(value: Json, rng: random.Random) -> str:
    ways = forms(value)
    if not ways:
        raise NoFrame(f"no words for the value {value!r}")
    return f'"{value}"' if is_name(value) else rng.choice(ways)
