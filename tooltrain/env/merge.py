"""Several caches as one."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import sqlite3
from collections.abc import Sequence

import zstandard

from tooltrain.env import sealing
from tooltrain.env.cache import Cache, CacheWriter, Edge, Sample
from tooltrain.errors import UserError

# What becomes of a request that two caches answer differently.
CONFLICT_RULES = ("error", "first", "last")
_SHOWN_CHARS = 200


@dataclasses.dataclass
class Merged:
    """What a merge did. same: requests met again with the same response."""

    tools: int = 0
    entries: int = 0
    samples: int = 0
    same: int = 0
    conflicts: int = 0


def merge(
    sources: Sequence[str | os.PathLike[str]],
    path: str | os.PathLike[str],
    conflict: str = "error",
) -> Merged:
    """Writes the union of `sources` as a cache at `path`, whole or not at all.

    conflict: what becomes of a request (or sample) that two of them answer differently:
    "error" raises UserError, "first" keeps the response of the cache named first, "last" of
    the one named last. Responses are the same if their bytes are. Tools of one name must
    have the same parameters, or keys would not compare (UserError); the first's words stay.
    Of an edge the greatest count stays, of meta what all that have it agree on. So a merge
    of a cache with itself is that cache, and without conflicts the order changes nothing
    that the digest covers.
    """
    if conflict not in CONFLICT_RULES:
        raise UserError(f"unknown conflict rule {conflict!r}; allowed: {', '.join(CONFLICT_RULES)}")
    caches = [Cache.open(source) for source in sources]
    counts = Merged()
    edges: dict[tuple, Edge] = {}
    meta: dict[str, set[str]] = {}
    samples: dict[str, Sample] = {}
    with sealing.scratch(pathlib.Path(path), "merging") as (_, db):
        writer = CacheWriter(db)
        for cache in caches:
            _add_tools(writer, cache)
            for tool in cache.tools():
                _add_entries(db, cache, tool, conflict, counts)
            for sample in cache.samples():
                if samples.get(sample.id, sample) != sample:
                    _resolve(f"sample {sample.id}", cache, conflict, counts)
                if conflict == "last" or sample.id not in samples:
                    samples[sample.id] = sample
            for edge in cache.edges():
                name = (edge.source, edge.path, edge.target, edge.argument)
                edges[name] = max(edge, edges.get(name, edge), key=lambda e: e.count)
            for name, value in cache.all_meta().items():
                meta.setdefault(name, set()).add(value)
            cache.close()
        for sample in samples.values():
            writer.add_sample(sample)
        writer.add_edges(list(edges.values()))
        for name, values in meta.items():
            if len(values) == 1 and name not in sealing.SEAL_META:
                writer.add_meta(name, *values)
        counts.tools, counts.samples = len(writer.tools), len(samples)
        (counts.entries,) = db.execute("SELECT count(*) FROM entries").fetchone()
        sealing.seal(db, path)
    return counts


def _add_tools(writer: CacheWriter, cache: Cache) -> None:
    for name, tool in cache.tools().items():
        known = writer.tools.setdefault(name, tool)
        if known is tool:
            writer.add_tool(tool)
        elif known.parameters != tool.parameters:
            raise UserError(
                f"{cache.path} has tool {name} with other parameters than a cache before it: "
                "their keys do not compare; record one of them again"
            )


def _add_entries(
    db: sqlite3.Connection, cache: Cache, tool: str, conflict: str, counts: Merged
) -> None:
    compress = zstandard.ZstdCompressor(level=3).compress
    decompress = zstandard.ZstdDecompressor().decompress
    for key, arguments, response in cache.rows(tool):
        before = db.execute(
            "SELECT response FROM entries WHERE tool = ? AND key = ?", (tool, key)
        ).fetchone()
        if before is not None and decompress(before[0]) == response:
            counts.same += 1
            continue
        if before is not None:
            _resolve(f"{tool} {key[:_SHOWN_CHARS]}", cache, conflict, counts)
        if before is None or conflict == "last":
            db.execute(
                "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)",
                (tool, key, arguments, compress(response)),
            )


def _resolve(what: str, cache: Cache, conflict: str, counts: Merged) -> None:
    counts.conflicts += 1
    if conflict == "error":
        raise UserError(
            f"{cache.path} answers {what} differently than a cache before it; choose with "
            "--conflict=first or --conflict=last"
        )
