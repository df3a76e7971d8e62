"""What is in a cache, for a person."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

from tooltrain.env.cache import Cache
from tooltrain.env.projection import Projection
from tooltrain.env.schema import shown
from tooltrain.errors import UserError

_SAMPLE_TOKENS = 96  # of a response that is shown


def inspect(
    path: str | os.PathLike[str], tool: str | None = None, samples: int = 1
) -> Iterator[str]:
    """Lines: the file, its tools with entries and sizes, and `samples` entries of each tool
    (or of `tool` alone), spread over its keys. Raises UserError for an unknown tool."""
    cache = Cache.open(path)
    tools = cache.tools()
    if tool is not None and tool not in tools:
        raise UserError(f"{path} has no tool {tool!r}; it has: {', '.join(tools)}")
    sizes = cache.sizes()
    total = sum(entries for entries, _ in sizes.values())
    size = cache.path.stat().st_size
    yield f"{cache.path}: {total:,} entries of {len(tools)} tools, {size / 1e6:,.1f} MB"
    for name, value in cache.all_meta().items():
        yield f"{name:15} {value if len(value) < 100 else shown(value)}"
    num_samples = sum(1 for _ in cache.samples())
    yield f"{num_samples:,} samples, {len(cache.edges()):,} edges in the tool graph"
    yield f"\n{'tool':40} {'entries':>9} {'stored MB':>10} {'bytes each':>10} {'dictionary':>10}"
    chosen = [tool] if tool is not None else list(tools)
    for name in chosen:
        entries, stored = sizes.get(name, (0, 0))
        each = stored / max(entries, 1)
        dictionary = cache.dictionary_bytes(name)
        yield f"{name:40} {entries:9,} {stored / 1e6:10,.2f} {each:10,.0f} {dictionary:10,}"
    view = Projection(max_tokens=_SAMPLE_TOKENS, max_items=2, max_value_chars=64)
    for name in chosen:
        yield from _samples(cache, name, sizes.get(name, (0, 0))[0], samples, view)


def _samples(
    cache: Cache, tool: str, entries: int, samples: int, view: Projection
) -> Iterator[str]:
    count = min(samples, entries)
    for i in range(count):
        arguments, response = cache.entry(tool, i * entries // count)
        yield f"\n{tool} {json.dumps(arguments, ensure_ascii=False)}"
        yield f"  -> {view(tool, response)}"
