"""The tool graph of a cache: which field of which response can feed which argument.

Where samples were recorded with the cache, their chains say it (`provenance.mine`). Where
there are none, the recorded values do: an argument is fed by a path if the path produced
many of the values that the argument was called with, and these are specific (an id, a
coordinate, a name; not `1`, not a date, which the user gives) or the field has the
argument's own name. `USD` under `currency` is both, but one value is no evidence; nor is
what a response only repeats from its own request.
"""

from __future__ import annotations

import collections
from collections.abc import Container, Iterator

from tooltrain.env.cache import Cache, Edge
from tooltrain.env.projection import Path, generic, leaf_values
from tooltrain.env.schema import Tool
from tooltrain.synthesis.provenance import is_date_or_time, is_specific, value_text

_MIN_VALUES = 3  # different values of an argument that a path must have produced
_MIN_SHARE = 0.1  # of the argument's different values


def tool_graph(cache: Cache) -> tuple[Edge, ...]:
    """The recorded edges, or else those that the recorded values show."""
    return cache.edges() or mine_entries(cache)


def mine_entries(
    cache: Cache, *, min_values: int = _MIN_VALUES, min_share: float = _MIN_SHARE
) -> tuple[Edge, ...]:
    """Edges between tools from recorded calls alone; `count` is how many different values of
    the argument the path produced. Of several paths of one response the one that produced
    most is taken, among equals a field of the argument's name, then the shorter path.
    """
    tools = cache.tools()
    values: dict[tuple[str, str], set[str]] = collections.defaultdict(set)
    for tool, schema in tools.items():
        for arguments, _ in cache.entries(tool):
            for argument, value in schema.coerced(arguments).items():
                text = value_text(value)
                if text and not is_date_or_time(text):
                    values[tool, argument].add(text)
    users: dict[str, list[tuple[str, str]]] = collections.defaultdict(list)
    for user in sorted(values):
        for text in values[user]:
            users[text].append(user)
    edges = []
    for source in sorted(tools):
        found: dict[tuple[Path, str, str], set[str]] = collections.defaultdict(set)
        for path, text in _leaf_texts(cache, tools[source], users):
            name = next((step for step in reversed(path) if step != "[]"), None)
            for target, argument in users[text]:
                if is_specific(text) or name == argument:
                    found[path, target, argument].add(text)
        best: dict[tuple[str, str], tuple] = {}
        for (path, target, argument), texts in found.items():
            enough = max(min_values, min_share * len(values[target, argument]))
            if target == source or len(texts) < enough:
                continue
            name = next((step for step in reversed(path) if step != "[]"), None)
            score = (len(texts), name == argument, -len(path), path)
            best[target, argument] = max(best.get((target, argument), ()), score)
        edges += [
            Edge(source, score[-1], target, argument, score[0])
            for (target, argument), score in best.items()
        ]
    return tuple(sorted(edges))


def _leaf_texts(cache: Cache, tool: Tool, known: Container[str]) -> Iterator[tuple[Path, str]]:
    """(generic path, text) of every leaf of a tool's responses whose text is known and was
    not in the request."""
    for arguments, response in cache.entries(tool.name):
        asked = {value_text(value) for value in arguments.values()}
        for path, leaf in leaf_values(response):
            text = value_text(leaf)
            if text is not None and text in known and text not in asked:
                yield generic(path), text
