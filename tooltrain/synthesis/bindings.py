"""Bindings: how the arguments that one call takes from another's response are explained.

A way to bind picks, for every edge, one place in the source's response that holds the
argument's value. Edges whose places lie in one list share its element where they can: a
latitude and a longitude come from one place. An element is told from its siblings by a
selector; what a person could say of it, in this order:

    first            every list on the path is entered at its first element
    where(name=Rome) a naming field whose text no sibling has
    argmin(price)    a measure (`MEASURES`) smaller than every sibling's; argmax: greater
    nth(2)           the second, or third, of its list
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from tooltrain.env.projection import NAMING, Path, generic
from tooltrain.synthesis.provenance import value_text
from tooltrain.synthesis.sampler import produced_at
from tooltrain.types import Json

Place = tuple[str | int, ...]  # field path with list positions

SELECTORS = ("first", "where", "argmin", "argmax", "nth")
# Words in names of numbers that a person would rank by; an id or a coordinate is a number too.
MEASURES = re.compile(
    r"price|amount|value|cost|fee|fare|rate|rating|score|review|star|distance|duration|"
    r"minutes|hours|count|total|population|elevation|area|height|length|size|rank|year",
    re.IGNORECASE,
)
_NO_MEASURE = re.compile(r"(^|[a-z_])[iI]d$|(^|_)id(_|$)|rounded", re.ASCII)
_MAX_MEASURE_DEPTH = 4
_MAX_NTH = 3


class Feed(NamedTuple):
    """One edge without its slots: `argument` takes a value at `path`."""

    argument: str
    path: Path
    selector: str = ""


class Seen(NamedTuple):
    """A response, and what of it is visible: a part of it with the same list positions.
    The response itself where no projection is asked for."""

    response: Json
    view: Json


class Bound(NamedTuple):
    """Where one argument's value is, and how its element is told from the others."""

    argument: str
    place: Place
    selector: str


def value_at(value: Json, place: Place) -> Json:
    """The value at a place, None where there is none."""
    for step in place:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def places(seen: Seen, path: Path) -> dict[str, list[Place]]:
    """value text -> the visible places of a generic path that hold it, in order."""
    found: dict[str, list[Place]] = {}
    for place, text in produced_at(seen.view, path):
        if seen.view is seen.response or value_text(value_at(seen.response, place)) == text:
            found.setdefault(text, []).append(place)
    return found


def bind(
    feeds: Sequence[Feed],
    values: Sequence[str],
    found: Sequence[Mapping[str, list[Place]]],
    seen: Seen,
    *,
    kinds: Collection[str] | None,
    together: bool,
) -> tuple[Bound, ...] | None:
    """The first way to bind `values` (texts, one a feed), None if there is none.

    found: `places` of each feed's path. kinds: selectors that may be used; None: any
    element counts, explained or not. together: False to fall back on ways that take one
    list's elements apart.
    """
    options = []
    for feed, value, at in zip(feeds, values, found, strict=True):
        ways = []
        for place in at.get(value, ()):
            selector = _fitting(feed.selector, place, seen, kinds)
            if selector is not None:
                ways.append(Bound(feed.argument, place, selector))
        if not ways:
            return None
        options.append(ways)
    joined = _together(options, 0, {})
    if joined is None and not together:
        return tuple(ways[0] for ways in options)
    return joined


def _together(
    options: Sequence[Sequence[Bound]], at: int, elements: dict[Path, int]
) -> tuple[Bound, ...] | None:
    """One way of each edge from `at` on, such that all enter each list at one element."""
    if at == len(options):
        return ()
    for bound in options[at]:
        entered = {
            generic(bound.place[:i]): step
            for i, step in enumerate(bound.place)
            if isinstance(step, int)
        }
        if all(elements.get(path, step) == step for path, step in entered.items()):
            rest = _together(options, at + 1, elements | entered)
            if rest is not None:
                return (bound, *rest)
    return None


def _fitting(wanted: str, place: Place, seen: Seen, kinds: Collection[str] | None) -> str | None:
    """The first selector of the element that is wanted and allowed; None if there is none."""
    if not any(isinstance(step, int) for step in place):
        return "" if not wanted else None
    if not wanted and kinds is None:
        return next(explanations(place, seen), "")
    for selector in explanations(place, seen):
        kind = selector.partition("(")[0]
        if kinds is not None and kind not in kinds:
            continue
        if not wanted or selector == wanted or (wanted == "where" and kind == "where"):
            return selector
    return None


def explanations(place: Place, seen: Seen) -> Iterator[str]:
    """Every selector that tells the element at `place` from its siblings, as a person who
    sees the view could say and check it; none where an outer list is not at its first."""
    indices = [i for i, step in enumerate(place) if isinstance(step, int)]
    if all(place[i] == 0 for i in indices):
        yield "first"
    if any(place[i] != 0 for i in indices[:-1]):
        return
    last = indices[-1]
    siblings, shown = value_at(seen.response, place[:last]), value_at(seen.view, place[:last])
    at = place[last]
    element = siblings[at]
    if isinstance(element, dict) and isinstance(shown[at], dict):
        for field in sorted(NAMING & shown[at].keys()):
            value = element.get(field)
            same = sum(isinstance(s, dict) and s.get(field) == value for s in siblings)
            if isinstance(value, str) and value and same == 1 and shown[at][field] == value:
                yield f"where({field}={value})"
        yield from _extremes(siblings, shown, at)
    if 0 < at < _MAX_NTH:
        yield f"nth({at + 1})"


def _extremes(siblings: Sequence[Json], shown: Sequence[Json], at: int) -> Iterator[str]:
    if len(siblings) < 2:
        return
    for field in _measures(shown[at], ()):
        values = [value_at(element, field) for element in siblings]
        seen = [value_at(element, field) for element in shown if isinstance(element, dict)]
        # Every element that the view shows must show its value, or it cannot be checked.
        if not all(map(_is_number, values)) or seen != values[: len(seen)]:
            continue
        others = [value for i, value in enumerate(values) if i != at]
        if values[at] < min(others):
            yield f"argmin({'.'.join(field)})"
        elif values[at] > max(others):
            yield f"argmax({'.'.join(field)})"


def _measures(element: Json, at: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, value in element.items():
        if isinstance(value, dict) and len(at) + 1 < _MAX_MEASURE_DEPTH:
            yield from _measures(value, (*at, name))
        elif not _is_number(value) or _NO_MEASURE.search(name):
            continue
        elif any(MEASURES.search(step) for step in (*at, name)):
            yield (*at, name)


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
