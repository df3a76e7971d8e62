"""The cache: recorded (tool, canonical arguments) -> response, in one SQLite file.

The environment's only world. Responses are zstd-compressed JSON. A cache is written to
a file of another name and moved into place when complete, so a path that exists is a
whole cache; it is read as an immutable file by any number of processes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import hashlib
import json
import os
import pathlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence

import orjson
import zstandard

from tooltrain.env.schema import Tool
from tooltrain.errors import UserError
from tooltrain.types import Json

FORMAT_VERSION = 1
_SCHEMA = """
CREATE TABLE tools (name TEXT PRIMARY KEY, original_name TEXT NOT NULL,
                    description TEXT NOT NULL, parameters TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (tool TEXT NOT NULL REFERENCES tools, key TEXT NOT NULL,
                      arguments TEXT NOT NULL, response BLOB NOT NULL,
                      PRIMARY KEY (tool, key)) WITHOUT ROWID;
CREATE TABLE samples (id TEXT PRIMARY KEY, position INTEGER NOT NULL, domain TEXT NOT NULL,
                      query TEXT NOT NULL, ambiguous INTEGER NOT NULL,
                      calls BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE edges (source TEXT NOT NULL, path TEXT NOT NULL, target TEXT NOT NULL,
                    argument TEXT NOT NULL, count INTEGER NOT NULL,
                    PRIMARY KEY (source, path, target, argument)) WITHOUT ROWID;
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


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


def _dump(value: Json) -> bytes:
    return orjson.dumps(value)


class Cache:
    """A recorded world, read-only. Open with `Cache.open`. `lookup` may be called from
    any thread."""

    def __init__(self, connection: sqlite3.Connection, path: pathlib.Path):
        self._db = connection
        self._decompress = zstandard.ZstdDecompressor().decompress
        self._lock = threading.Lock()  # neither of the two may run in two threads at once
        self.path = path

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
        page = int.from_bytes(header[16:18], "big")
        want = (65536 if page == 1 else page) * int.from_bytes(header[28:32], "big")
        if path.stat().st_size != want:
            got = path.stat().st_size
            raise CacheError(f"{path} is cut off: {got} bytes, its header says {want}; {remedy}")
        uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        cache = cls(sqlite3.connect(uri, uri=True, check_same_thread=False), path)
        try:
            version = cache.meta("format_version")
        except (sqlite3.DatabaseError, KeyError) as error:
            cache.close()
            raise CacheError(f"{path} is not a tooltrain cache ({error}); {remedy}") from error
        if version != str(FORMAT_VERSION):
            cache.close()
            raise CacheError(
                f"{path} has format {version}, this version reads {FORMAT_VERSION}; {remedy}"
            )
        return cache

    def close(self) -> None:
        self._db.close()

    def meta(self, name: str) -> str:
        """A value of the meta table. Raises KeyError when it was not recorded."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise KeyError(name)
        return row[0]

    @property
    def digest(self) -> str:
        """Name of this world: sha256 over tools, entries and samples, in key order."""
        return self.meta("digest")

    def tools(self) -> dict[str, Tool]:
        rows = self._db.execute("SELECT name, original_name, description, parameters FROM tools")
        return {n: Tool(n, d, json.loads(p), o) for n, o, d, p in rows}

    def lookup(self, tool: str, key: str) -> tuple[bool, Json]:
        """(recorded?, response) of a request by its canonical key."""
        with self._lock:
            row = self._db.execute(
                "SELECT response FROM entries WHERE tool = ? AND key = ?", (tool, key)
            ).fetchone()
            text = None if row is None else self._decompress(row[0])
        return (False, None) if text is None else (True, orjson.loads(text))

    def entries(self, tool: str) -> Iterator[tuple[dict[str, Json], Json]]:
        """(arguments, response) of every recorded call of a tool, in key order."""
        rows = self._db.execute(
            "SELECT arguments, response FROM entries WHERE tool = ? ORDER BY key", (tool,)
        )
        for arguments, blob in rows:
            yield orjson.loads(arguments), orjson.loads(self._decompress(blob))

    def __len__(self) -> int:
        return self._db.execute("SELECT count(*) FROM entries").fetchone()[0]

    def samples(self) -> Iterator[Sample]:
        return _read_samples(self._db)

    def edges(self) -> tuple[Edge, ...]:
        rows = self._db.execute("SELECT source, path, target, argument, count FROM edges")
        return tuple(sorted(Edge(s, tuple(json.loads(p)), t, a, c) for s, p, t, a, c in rows))


def _read_samples(db: sqlite3.Connection) -> Iterator[Sample]:
    decompress = zstandard.ZstdDecompressor().decompress
    rows = db.execute(
        "SELECT id, position, domain, query, ambiguous, calls FROM samples ORDER BY position"
    )
    for id_, position, domain, query, ambiguous, blob in rows:
        calls = tuple(
            SampleCall(c["name"], c["arguments"], c["response"], tuple(map(tuple, c["refs"])))
            for c in orjson.loads(decompress(blob))
        )
        yield Sample(id_, position, domain, query, calls, bool(ambiguous))


def _remove_left_over(path: pathlib.Path) -> None:
    """Removes what killed writers of `path` left behind."""
    for partial in path.parent.glob(f"{glob.escape(path.name)}.*.partial"):
        try:
            os.kill(int(partial.name.split(".")[-2]), 0)
        except (ProcessLookupError, ValueError):
            partial.unlink(missing_ok=True)
        except PermissionError:
            pass  # another user's process, alive


class CacheWriter:
    """Writes a new cache; use through `create`, which makes it whole or not at all."""

    def __init__(self, connection: sqlite3.Connection):
        self._db = connection
        self._db.executescript(_SCHEMA)
        self._compress = zstandard.ZstdCompressor(level=9).compress
        self.tools: dict[str, Tool] = {}

    @classmethod
    @contextlib.contextmanager
    def create(cls, path: str | os.PathLike[str]) -> Iterator[CacheWriter]:
        """Writer of `path`, which appears, complete, when the block ends without error.

        What stood at `path` before stays until then. An interrupted write leaves only
        `<path>.partial`, which the next write removes.
        """
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_over(path)
        # A name of its own: two processes that record at once do not mix their files.
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        partial.unlink(missing_ok=True)
        connection = sqlite3.connect(partial)
        try:
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            writer = cls(connection)
            yield writer
            writer._finish()
            connection.commit()
            connection.close()
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            connection.close()
            partial.unlink(missing_ok=True)
            raise

    def add_tool(self, tool: Tool) -> None:
        self.tools[tool.name] = tool
        self._db.execute(
            "INSERT INTO tools VALUES (?, ?, ?, ?)",
            (tool.name, tool.original_name, tool.description, json.dumps(dict(tool.parameters))),
        )

    def add_entry(self, tool: str, arguments: Mapping[str, Json], response: Json) -> None:
        """Records a response. Raises sqlite3.IntegrityError on a request already there."""
        key = self.tools[tool].canonical(arguments)
        self._db.execute(
            "INSERT INTO entries VALUES (?, ?, ?, ?)",
            (tool, key, _dump(arguments).decode(), self._compress(_dump(response))),
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
                self._compress(_dump(calls)),
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

    def _finish(self) -> None:
        digest = hashlib.sha256()
        decompress = zstandard.ZstdDecompressor().decompress
        for name, parameters in self._db.execute("SELECT name, parameters FROM tools ORDER BY 1"):
            digest.update(f"{name}\0{parameters}\0".encode())
        for query in (
            "SELECT tool || char(0) || key, response FROM entries ORDER BY tool, key",
            "SELECT id || char(0) || query, calls FROM samples ORDER BY id",
        ):
            for name, blob in self._db.execute(query):
                digest.update(name.encode("utf-8", "surrogatepass"))
                digest.update(hashlib.sha256(decompress(blob)).digest())
        self.add_meta("digest", digest.hexdigest())
        self.add_meta("format_version", str(FORMAT_VERSION))
