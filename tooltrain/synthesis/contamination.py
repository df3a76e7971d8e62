"""Contamination: how much of a set of traces stands in another set already.

Three shares, each of different items of the first set: identical calls (tool and canonical
arguments), identical requests (all calls of a trace, in any order), and near-identical
queries: at least `NEAR` of two queries' word triples in common,

    |A and B| / |A or B| >= NEAR     (Jaccard, A and B the sets of triples)

found exactly: two sets that share so much share one of the rarest few of their triples.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence

from tooltrain.env.cache import Sample
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError
from tooltrain.synthesis.check import read_traces
from tooltrain.synthesis.readings import fold
from tooltrain.types import Json, Trace

NEAR = 0.7
_WORDS = 3  # in a shingle


@dataclasses.dataclass(frozen=True)
class Material:
    """What of a set of traces can be found again: (query, calls by name and arguments)."""

    queries: tuple[str, ...]
    calls: tuple[tuple[tuple[str, Mapping[str, Json]], ...], ...]


def of_traces(traces: Iterable[Trace]) -> Material:
    found = [(t.query, tuple((c.name, c.arguments) for c in t.calls)) for t in traces]
    return Material(tuple(q for q, _ in found), tuple(c for _, c in found))


def of_samples(samples: Iterable[Sample]) -> Material:
    found = [(s.query, tuple((c.name, c.arguments) for c in s.calls)) for s in samples]
    return Material(tuple(q for q, _ in found), tuple(c for _, c in found))


def of_file(path: str | os.PathLike[str]) -> Material:
    """Any trace file that `check.read_traces` reads, or plain text with a query a line."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    if lines and not lines[0].startswith("{"):
        return Material(tuple(lines), ())
    return of_traces(trace for trace, _ in read_traces(path))


def overlap(ours: Material, theirs: Material, tools: Mapping[str, Tool]) -> dict[str, float | int]:
    """Shares in [0, 1] of our different calls, requests and queries that are also theirs,
    and how many different ones there are.

    identical_queries counts queries equal as folded text; near_queries counts those too.
    """
    theirs_calls, ours_calls = call_keys(theirs, tools), call_keys(ours, tools)
    theirs_requests = {_request(calls, tools) for calls in theirs.calls}
    ours_requests = {_request(calls, tools) for calls in ours.calls}
    ours_queries = list(dict.fromkeys(map(fold, ours.queries)))
    theirs_queries = list(dict.fromkeys(map(fold, theirs.queries)))
    same = set(theirs_queries)
    close = near_identical(ours_queries, theirs_queries)
    return {
        "calls": len(ours_calls),
        "identical_calls": _share(ours_calls & theirs_calls, ours_calls),
        "requests": len(ours_requests),
        "identical_requests": _share(ours_requests & theirs_requests, ours_requests),
        "queries": len(ours_queries),
        "identical_queries": _share([q for q in ours_queries if q in same], ours_queries),
        "near_queries": _share(close, ours_queries),
    }


def call_keys(material: Material, tools: Mapping[str, Tool]) -> set[tuple[str, str]]:
    """Its different calls as (tool, canonical arguments)."""
    return {key for calls in material.calls for key in _keys(calls, tools)}


def _share(part: Sequence | set, whole: Sequence | set) -> float:
    return len(part) / len(whole) if whole else 0.0


def _keys(calls, tools: Mapping[str, Tool]) -> list[tuple[str, str]]:
    return [(name, _key(name, arguments, tools)) for name, arguments in calls]


def _key(name: str, arguments: Mapping[str, Json], tools: Mapping[str, Tool]) -> str:
    if name in tools:
        return tools[name].canonical(arguments)
    return json.dumps(arguments, sort_keys=True, ensure_ascii=False)


def _request(calls, tools: Mapping[str, Tool]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(_keys(calls, tools)))


def near_identical(ours: Sequence[str], theirs: Sequence[str], near: float = NEAR) -> list[str]:
    """Those of our folded texts that some text of theirs is near.

    A pair with Jaccard >= near shares at least ceil(near |A|) of A's triples, so one of the
    |A| - ceil(near |A|) + 1 rarest of A: only those are looked up.
    """
    known = [_shingles(text) for text in theirs]
    counts = collections.Counter(shingle for shingles in known for shingle in shingles)
    index: dict[str, list[int]] = {}
    for i, shingles in enumerate(known):
        for shingle in shingles:
            index.setdefault(shingle, []).append(i)
    found = []
    for text in ours:
        mine = _shingles(text)
        rare = sorted(mine, key=lambda s: (counts[s], s))
        looked_up = rare[: len(mine) - math.ceil(near * len(mine) - 1e-9) + 1]
        candidates = {i for shingle in looked_up for i in index.get(shingle, ())}
        if any(len(mine & known[i]) >= near * len(mine | known[i]) - 1e-9 for i in candidates):
            found.append(text)
    return found


def _shingles(text: str) -> frozenset[str]:
    words = text.split()
    if len(words) <= _WORDS:
        return frozenset([text])
    return frozenset(" ".join(words[i : i + _WORDS]) for i in range(len(words) - _WORDS + 1))
