"""The cache: recorded (tool, canonical arguments) -> response, in one SQLite file.

The environment's only world. A cache is sealed: written beside its path and moved into
place when complete, so a path that exists is a whole cache; it is read as an immutable
file by any number of processes and threads (`sealing` has its tables and its digest).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence

import zstandard

from tooltrain.env import sealing
from tooltrain.env.response import decode, encode
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError
from tooltrain.types import Json

_PAGE_CACHE_KIB = 4096  # of SQLite's, for each thread that reads


class CacheError(UserError):
    """A cache file that is missing, cut off or not a cache."""


@dataclasses.dataclass(frozen=True)
class SampleCall:
    """One recorded call of a benchmark sample, its own response with it."""

    name: str
    arguments: dict[str, Json]
    response: Json
    references: tuple[tuple[str, int, str], ...] = ()  # (argument, call index, field path)


@dataclasses.dataclass(frozen=True)
class Sample:
    """A benchmark sample. ambiguous: some reference of it resolved to several values."""

    id: str
    position: int
    domain: str
    query: str
    calls: tuple[SampleCall, ...]
    ambiguous: bool = False


@dataclasses.dataclass(frozen=True, order=True)
class Edge:
    """`argument` of `target` is fed by `path` of `source`'s response, seen `count` times.

    path: field names from the root, "[]" for "an element of this list".
    """

    source: str
    path: tuple[str, ...]
    target: str
    argument: str
    count: int = 1


class _Reader:
    """A thread's own connection and decompressors: neither may serve two threads at once."""

    def __init__(self, uri: str):
        # Another thread closes it with the cache.
        self.db = sqlite3.connect(uri, uri=True, check_same_thread=False)
        self.db.execute(f"PRAGMA cache_size = -{_PAGE_CACHE_KIB}")
        self.decompressors: dict[str, Callable[[bytes], bytes]] = {}


class Cache:
    """A recorded world, read-only. Open with `Cache.open`. Every method may be called from
    any thread; readers of different threads do not wait for each other."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self._uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        self._local = threading.local()
        self._readers: weakref.WeakSet[_Reader] = weakref.WeakSet()

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Cache:
        """Opens a cache file in constant time. Raises CacheError for anything else."""
        path = pathlib.Path(path)
        if not path.is_file():
            raise CacheError(
                f"no cache at {path}; record one with "
                "`python -m tooltrain.cli.record --source=complexfuncbench --workdir=…`"
            )
        remedy = f"delete {path} and record it again"
        with path.open("rb") as file:
            header = file.read(100)
        if header[:16] != b"SQLite format 3\0" or len(header) < 100:
            raise CacheError(f"{path} is not a tooltrain cache (no SQLite header); {remedy}")
        if header[18] == 2:  # SQLite's write-ahead log: not sealed, so never "delete it"
            raise CacheError(
                f"{path} is a recording, not a cache: open it with `Recording.open` and `seal` it"
            )
        page = int.from_bytes(header[16:18], "big")
        want = (65536 if page == 1 else page) * int.from_bytes(header[28:32], "big")
        if path.stat().st_size != want:
            got = path.stat().st_size
            raise CacheError(f"{path} is cut off: {got} bytes, its header says {want}; {remedy}")
        cache = cls(path)
        try:
            version = cache.meta("format_version")
        except (sqlite3.DatabaseError, KeyError) as error:
            cache.close()
            raise CacheError(f"{path} is not a tooltrain cache ({error}); {remedy}") from error
        if version not in map(str, sealing.READABLE_VERSIONS):
            cache.close()
            reads = " and ".join(map(str, sealing.READABLE_VERSIONS))
            raise CacheError(f"{path} has format {version}, this version reads {reads}; {remedy}")
        return cache

    @property
    def _reader(self) -> _Reader:
        reader = getattr(self._local, "reader", None)
        if reader is None:
            reader = self._local.reader = _Reader(self._uri)
            self._readers.add(reader)
        return reader

    @property
    def _db(self) -> sqlite3.Connection:
        return self._reader.db

    def close(self) -> None:
        """Closes the file; no other thread may be reading."""
        for reader in list(self._readers):
            reader.db.close()

    def _decompressor(self, tool: str) -> Callable[[bytes], bytes]:
        reader = self._reader
        if tool not in reader.decompressors:
            reader.decompressors[tool] = sealing.decompressor(reader.db, tool)
        return reader.decompressors[tool]

    def meta(self, name: str) -> str:
        """A value of the meta table. Raises KeyError when it was not recorded."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise KeyError(name)
        return row[0]

    def all_meta(self) -> dict[str, str]:
        return dict(self._db.execute("SELECT name, value FROM meta ORDER BY name"))

    @property
    def digest(self) -> str:
        """Name of this world: sha256 over tools, entries and samples, in key order."""
        return self.meta("digest")

    def tools(self) -> dict[str, Tool]:
        return _read_tools(self._db)

    def lookup(self, tool: str, key: str) -> tuple[bool, Json]:
        """(recorded?, response) of a request by its canonical key."""
        row = self._db.execute(
            "SELECT response FROM entries WHERE tool = ? AND key = ?", (tool, key)
        ).fetchone()
        return (False, None) if row is None else (True, decode(self._decompressor(tool)(row[0])))

    def neighbours(self, tool: str, key: str) -> list[str]:
        """The recorded keys of `tool` just before and just after `key`, in key order: those
        that share its beginning. Takes as long as a lookup."""
        before = self._db.execute(
            "SELECT key FROM entries WHERE tool = ? AND key < ? ORDER BY key DESC LIMIT 1",
            (tool, key),
        ).fetchall()
        after = self._db.execute(
            "SELECT key FROM entries WHERE tool = ? AND key > ? ORDER BY key LIMIT 1", (tool, key)
        ).fetchall()
        return [row[0] for row in before + after]

    def rows(self, tool: str) -> Iterator[tuple[str, str, bytes]]:
        """(key, arguments, response) of every recorded call of a tool as JSON text, in key
        order."""
        for key, arguments, blob in self._db.execute(
            "SELECT key, arguments, response FROM entries WHERE tool = ? ORDER BY key", (tool,)
        ):
            # Of the thread that asks for this row: it may be another than began.
            yield key, arguments, self._decompressor(tool)(blob)

    def entries(self, tool: str) -> Iterator[tuple[dict[str, Json], Json]]:
        """(arguments, response) of every recorded call of a tool, in key order."""
        for _, arguments, response in self.rows(tool):
            yield decode(arguments.encode()), decode(response)

    def entry(self, tool: str, index: int) -> tuple[dict[str, Json], Json]:
        """The entry at `index` in key order. Raises IndexError when there are not so many."""
        row = self._db.execute(
            "SELECT arguments, response FROM entries WHERE tool = ? ORDER BY key LIMIT 1 OFFSET ?",
            (tool, index),
        ).fetchone()
        if row is None:
            raise IndexError(index)
        return decode(row[0].encode()), decode(self._decompressor(tool)(row[1]))

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Entries of each tool, and the bytes that their responses take in the file."""
        rows = self._db.execute(
            "SELECT tool, count(*), sum(length(response)) FROM entries GROUP BY tool"
        )
        return {tool: (count, stored) for tool, count, stored in rows}

    def dictionary_bytes(self, tool: str) -> int:
        """Size of the tool's zstd dictionary; 0 if it has none."""
        return len(sealing.dictionary(self._db, tool) or b"")

    def __len__(self) -> int:
        return self._db.execute("SELECT count(*) FROM entries").fetchone()[0]

    def samples(self) -> Iterator[Sample]:
        return _read_samples(self._db)

    def edges(self) -> tuple[Edge, ...]:
        rows = self._db.execute("SELECT source, path, target, argument, count FROM edges")
        return tuple(sorted(Edge(s, tuple(json.loads(p)), t, a, c) for s, p, t, a, c in rows))


def _read_tools(db: sqlite3.Connection) -> dict[str, Tool]:
    rows = db.execute("SELECT name, original_name, description, parameters FROM tools ORDER BY 1")
    return {n: Tool(n, d, json.loads(p), o) for n, o, d, p in rows}


def _read_samples(db: sqlite3.Connection) -> Iterator[Sample]:
    decompress = zstandard.ZstdDecompressor().decompress
    rows = db.execute(
        "SELECT id, position, domain, query, ambiguous, calls FROM samples ORDER BY position, id"
    )
    for id_, position, domain, query, ambiguous, blob in rows:
        calls = tuple(
            SampleCall(c["name"], c["arguments"], c["response"], tuple(map(tuple, c["refs"])))
            for c in decode(decompress(blob))
        )
        yield Sample(id_, position, domain, query, calls, bool(ambiguous))


class CacheWriter:
    """Gathers the content of a cache; `create` makes one, whole or not at all."""

    def __init__(self, connection: sqlite3.Connection):
        self._db = connection
        self._db.executescript(sealing.SCHEMA)
        self._compress = zstandard.ZstdCompressor(level=3).compress
        self.tools: dict[str, Tool] = _read_tools(connection)

    @classmethod
    @contextlib.contextmanager
    def create(cls, path: str | os.PathLike[str]) -> Iterator[CacheWriter]:
        """Writer of `path`, which appears, complete, when the block ends without error.

        What stood at `path` before stays until then. An interrupted write leaves only
        `<path>.….partial`, which the next write removes.
        """
        with sealing.scratch(pathlib.Path(path), "content") as (_, connection):
            yield cls(connection)
            sealing.seal(connection, path)

    def add_tool(self, tool: Tool) -> None:
        self.tools[tool.name] = tool
        self._db.execute(
            "INSERT INTO tools VALUES (?, ?, ?, ?)",
            (tool.name, tool.original_name, tool.description, json.dumps(dict(tool.parameters))),
        )

    def add_entry(self, tool: str, arguments: Mapping[str, Json], response: Json) -> None:
        """Records a response. Raises sqlite3.IntegrityError on a request already there,
        ValueError on arguments or a response that JSON cannot hold (see `response`)."""
        key = self.tools[tool].canonical(arguments)
        self._db.execute(
            "INSERT INTO entries VALUES (?, ?, ?, ?)",
            (tool, key, encode(dict(arguments)).decode(), self._compress(encode(response))),
        )

    def add_sample(self, sample: Sample) -> None:
        calls = [
            {"name": c.name, "arguments": c.arguments, "response": c.response, "refs": c.references}
            for c in sample.calls
        ]
        self._db.execute(
            "INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?)",
            (
                sample.id,
                sample.position,
                sample.domain,
                sample.query,
                int(sample.ambiguous),
                zstandard.ZstdCompressor(level=9).compress(encode(calls)),
            ),
        )

    def samples(self) -> Iterator[Sample]:
        """The samples added so far, as `Cache.samples` will give them."""
        return _read_samples(self._db)

    def add_edges(self, edges: Sequence[Edge]) -> None:
        """Tool-graph edges; the projection keeps the fields that they read."""
        rows = [(e.source, json.dumps(e.path), e.target, e.argument, e.count) for e in edges]
        self._db.executemany("INSERT INTO edges VALUES (?, ?, ?, ?, ?)", rows)

    def add_meta(self, name: str, value: str) -> None:
        self._db.execute("INSERT INTO meta VALUES (?, ?)", (name, value))
