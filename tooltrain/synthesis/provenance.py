"""Provenance: which response field each argument value came from, mined from samples.

An argument that the query states is the user's. Any other is looked for among the leaves
of earlier responses, as text, so that a number and its decimal string are one value. A
path is evidence only if the value is specific (an id, a coordinate, a token), or if the
field has the argument's own name (`search_type`); of several paths the one that explains
most calls over all samples is taken.
"""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterable, Sequence

from tooltrain.env.cache import Edge, Sample
from tooltrain.env.projection import Path, generic, leaf_values
from tooltrain.env.schema import number_text
from tooltrain.types import Json

_DATE_OR_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ].*)?|\d\d:\d\d(:\d\d)?")
_MIN_SPECIFIC_CHARS = 4
_OPAQUE = re.compile(r"(?=\S*\d)\S{5,}|\S{16,}|-?\d+\.\d+")
_CODE = re.compile(r"\w+[._:/=]\w[\w._:/=]*")


@dataclasses.dataclass(frozen=True)
class Link:
    """Argument `argument` of call `target` takes the leaf at `path` of call `source`."""

    target: int
    argument: str
    source: int
    path: tuple[str | int, ...]


def value_text(value: Json) -> str | None:
    """Text under which equal values meet, None for what cannot be linked."""
    if isinstance(value, bool) or value is None or isinstance(value, list | dict):
        return None
    return value if isinstance(value, str) else number_text(value)


def is_specific(text: str) -> bool:
    """True for values that would hardly stand in a response by chance."""
    return len(text) >= _MIN_SPECIFIC_CHARS and not is_date_or_time(text)


def is_opaque(text: str, *, code: bool) -> bool:
    """True for an id, a coordinate or a token, which no person would say. code: the value
    stands for one thing (not for a category), so that `LHR.AIRPORT` is an id as well."""
    if is_date_or_time(text):
        return False
    return bool(_OPAQUE.fullmatch(text) or (code and _CODE.fullmatch(text)))


def is_date_or_time(text: str) -> bool:
    return _DATE_OR_TIME.fullmatch(text) is not None


def candidates(sample: Sample) -> list[list[Link]]:
    """For each (call, argument) that some earlier response could explain: every way."""
    ways = []
    leaves: list[dict[str, list[tuple[str | int, ...]]]] = []
    for i, call in enumerate(sample.calls):
        for argument, value in call.arguments.items():
            text = value_text(value)
            if text is None or not text or states_text(sample.query, text):
                continue
            links = [
                Link(i, argument, j, path)
                for j, paths in enumerate(leaves)
                for path in paths.get(text, ())
                if is_specific(text) or _field(path) == argument
            ]
            if links:
                ways.append(links)
        index: dict[str, list[tuple[str | int, ...]]] = {}
        for path, leaf in leaf_values(call.response):
            leaf_text = value_text(leaf)
            if leaf_text is not None:
                index.setdefault(leaf_text, []).append(path)
        leaves.append(index)
    return ways


def states_text(query: str, text: str) -> bool:
    """Does the query hold the text, as whole words, without regard to case?"""
    return re.search(rf"(?<!\w){re.escape(text)}(?!\w)", query, re.IGNORECASE) is not None


def _field(path: Sequence[str | int]) -> str | int | None:
    names = [step for step in path if isinstance(step, str)]
    return names[-1] if names else None


def mine(samples: Iterable[Sample]) -> tuple[list[list[Link]], tuple[Edge, ...]]:
    """Links of each sample (best way per argument), and the tool graph they make."""
    support: collections.Counter[tuple[str, Path, str, str]] = collections.Counter()
    found: list[tuple[tuple[str, ...], list[list[Link]]]] = []
    for sample in samples:
        names = tuple(call.name for call in sample.calls)
        ways = candidates(sample)
        found.append((names, ways))
        for links in ways:
            support.update({_edge(link, names) for link in links})
    mined: list[list[Link]] = []
    counts: collections.Counter[tuple[str, Path, str, str]] = collections.Counter()
    for names, ways in found:
        best = [max(links, key=lambda link: _score(link, names, support)) for links in ways]
        mined.append(best)
        counts.update(_edge(link, names) for link in best)
    edges = tuple(sorted(Edge(*edge, count) for edge, count in counts.items()))
    return mined, edges


def _edge(link: Link, names: Sequence[str]) -> tuple[str, Path, str, str]:
    return names[link.source], generic(link.path), names[link.target], link.argument


def _score(link: Link, names: Sequence[str], support) -> tuple:
    # Equal support: the field with the argument's name, the shorter path, the first
    # element, the later call.
    positions = tuple(-step for step in link.path if isinstance(step, int))
    return (
        support[_edge(link, names)],
        _field(link.path) == link.argument,
        -len(link.path),
        link.source,
        positions,
    )


def ancestors(call: int, links: Sequence[Link]) -> frozenset[int]:
    """The call itself and every call it needs, directly or not."""
    needed, frontier = {call}, [call]
    while frontier:
        i = frontier.pop()
        for link in links:
            if link.target == i and link.source not in needed:
                needed.add(link.source)
                frontier.append(link.source)
    return frozenset(needed)
