"""Augmentation: the same workflow with other values, consistently replaced.

A few hundred recorded entities are soon known by heart; a policy that has to copy must
see values that it cannot know. Every name, id, coordinate, date, time and number of a
trace gets another of the same shape, in the query, in the calls and in what the views
show; but for the measures that tell which element is the cheapest or the best rated. The
result is no recorded call, so it is for supervised training only.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import random
import re
from collections.abc import Sequence

from tooltrain.env.projection import leaf_values
from tooltrain.env.schema import number_text
from tooltrain.synthesis.bindings import value_at
from tooltrain.synthesis.frames import PHRASES
from tooltrain.synthesis.provenance import is_specific, value_text
from tooltrain.synthesis.queries import write_query
from tooltrain.synthesis.statements import is_name
from tooltrain.synthesis.varied import write_varied
from tooltrain.types import GoldCall, Json, Trace

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TIME = re.compile(r"\d\d:\d\d")
_DECIMAL = re.compile(r"-?\d+\.\d+")
_EXPONENT = re.compile(r"-?[\d.]+e[+-]?\d+")  # 1e-05: its letters are not replaceable
_WORD = re.compile(r"[^\W\d_]+")
_VARIED_ONLY = ("argmin(", "argmax(", "nth(")  # selectors that plain queries have no words for


def augment(
    trace: Trace,
    views: Sequence[str],
    pieces: Sequence[str],
    rng: random.Random,
    *,
    variety: float = 0.0,
) -> tuple[Trace, list[str]]:
    """`trace` and its views with new values; the query is written anew.

    variety: share of the queries that the varied grammar writes; those with a selector that
    only it can say are its own, whatever the share.

    views: projected response of each gold call, JSON text. pieces: what new words are made
    of (`Tokenizer.word_pieces`). The workflow, the tools
    offered and every binding stay; the `where` values of selectors change with the rest, what
    an argmin or argmax compares stays as it is.
    Raises NoFrame where the grammar has no words for a new value.
    """
    new = _replacements(trace, views, pieces, rng)
    selectors = {}
    calls = []
    for call in trace.calls:
        bindings = []
        for binding in call.bindings:
            selector = binding.selector
            if selector.startswith("where("):
                field, _, value = selector[len("where(") : -1].partition("=")
                selector = selectors.setdefault(selector, f"where({field}={new.get(value, value)})")
            bindings.append(_with_selector(binding, selector))
        arguments = {k: _replaced(v, new) for k, v in call.arguments.items()}
        calls.append(GoldCall(call.name, arguments, call.depends_on, tuple(bindings)))
    varied = variety > 0 and rng.random() < variety
    if varied or any(b.selector.startswith(_VARIED_ONLY) for c in calls for b in c.bindings):
        query = write_varied(calls, trace.suite, rng)
    else:
        query = write_query(calls, rng)
    changed = dataclasses.replace(trace, query=query, calls=tuple(calls))
    shown = [json.dumps(_replaced_in(json.loads(view), new), ensure_ascii=False) for view in views]
    return changed, shown


def _with_selector(binding, selector: str):
    return type(binding)(binding.argument, binding.source, binding.path, selector)


def _replacements(
    trace: Trace, views: Sequence[str], pieces: Sequence[str], rng: random.Random
) -> dict[str, str]:
    """New text of every value text that the trace passes around."""
    old: dict[str, None] = {}
    names: set[str] = set()
    for call in trace.calls:
        bound = {binding.argument for binding in call.bindings}
        for argument, value in call.arguments.items():
            text = value_text(value)
            if text is None or text in PHRASES or _EXPONENT.fullmatch(text):
                continue
            if argument in bound and not is_specific(text):
                continue
            if argument not in bound and is_name(value):
                names.add(text)
            old[text] = None
        for binding in call.bindings:
            if binding.selector.startswith("where("):
                text = binding.selector[len("where(") : -1].partition("=")[2]
                old[text] = None
                names.add(text)
    # What stands beside a copied value in a view is no longer known either.
    for view in views:
        for _, leaf in leaf_values(json.loads(view)):
            text = value_text(leaf)
            if text is None or text.startswith(("+", "<")) or _EXPONENT.fullmatch(text):
                continue  # counts and lengths that the projection wrote
            if is_specific(text):
                old.setdefault(text, None)
    for text in _compared(trace, views):
        old.pop(text, None)
    days = rng.randrange(-300, 300)
    new: dict[str, str] = {}
    words: dict[str, str] = {}
    for text in old:
        new[text] = _like(text, rng, days, words, text in names, pieces)
        if _DECIMAL.fullmatch(text):  # the same text whether a string or a number holds it
            new[text] = number_text(float(new[text]))
    return new


def _compared(trace: Trace, views: Sequence[str]) -> set[str | None]:
    """Texts of the fields that argmin and argmax selectors compare, of every element shown: with
    others, another element than the gold one would be the extreme."""
    found = set()
    for binding in (binding for call in trace.calls for binding in call.bindings):
        kind, _, field = binding.selector.partition("(")
        if kind in ("argmin", "argmax"):
            last = max(i for i, step in enumerate(binding.path) if isinstance(step, int))
            siblings = value_at(json.loads(views[binding.source]), binding.path[:last]) or ()
            measure = tuple(field[:-1].split("."))
            found |= {value_text(value_at(element, measure)) for element in siblings}
    return found


def _like(
    text: str,
    rng: random.Random,
    days: int,
    words: dict[str, str],
    is_text: bool,
    pieces: Sequence[str],
) -> str:
    """Another value of the same shape. Dates of a trace move together, so that a stay
    keeps its length; a word is replaced alike wherever it stands in the trace."""
    if _DATE.fullmatch(text):
        try:
            date = datetime.date.fromisoformat(text)
        except ValueError:
            return text
        return (date + datetime.timedelta(days=days)).isoformat()
    if _TIME.fullmatch(text):
        return f"{rng.randrange(24):02d}:{rng.choice(('00', '00', '30', '15', '45'))}"
    if text.isdigit() and len(text) <= 3:
        low = 10 ** (len(text) - 1)
        return str(rng.randrange(low, 10 * low))
    if is_text or (" " in text and not any(c.isdigit() for c in text)):
        return _WORD.sub(lambda m: _word_like(m[0], rng, words, pieces), text)
    return "".join(_character_like(c, i, text, rng) for i, c in enumerate(text))


def _word_like(word: str, rng: random.Random, words: dict[str, str], pieces: Sequence[str]) -> str:
    key = word.lower()
    if key not in words:
        # Some words stay: a name is seldom all new.
        made = "".join(rng.choice(pieces) for _ in range(rng.choice((1, 1, 2, 3))))
        words[key] = key if rng.random() < 0.3 else made
    made = words[key]
    return made.capitalize() if word[:1].isupper() else made


def _character_like(c: str, i: int, text: str, rng: random.Random) -> str:
    if c.isdigit():
        first = i == 0 or not text[i - 1].isdigit()
        last = i == len(text) - 1  # 1.50 and 1.5 would be one number
        return rng.choice("123456789" if first or last else "0123456789")
    if text.endswith((".AIRPORT", ".CITY")) and i >= text.index("."):
        return c
    if c.isascii() and c.isalpha():
        letters = "abcdefghijklmnopqrstuvwxyz"
        return rng.choice(letters.upper() if c.isupper() else letters)
    return c


def _replaced(value: Json, new: dict[str, str]) -> Json:
    """`value` with its new text, in its own JSON type."""
    text = value_text(value)
    if text is None or text not in new:
        return value
    if isinstance(value, str):
        return new[text]
    return float(new[text]) if isinstance(value, float) else int(new[text])


def _replaced_in(value: Json, new: dict[str, str]) -> Json:
    if isinstance(value, dict):
        return {name: _replaced_in(child, new) for name, child in value.items()}
    if isinstance(value, list):
        return [_replaced_in(child, new) for child in value]
    return _replaced(value, new)
