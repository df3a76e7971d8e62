"""A recording: what a recorder writes while it asks, until it is sealed into a cache.

One SQLite file in WAL mode, for one recorder process at a time; others may read it.

    with Recording.open("runs/mine") as recording:      # resumes what is there
        recording.add_tool(tool)
        if not recording.has(tool.name, tool.canonical(arguments)):
            recording.add(tool.name, arguments, response)
        cache = recording.seal("runs/mine/cache.sqlite")
"""

from __future__ import annotations

import json
import os
import pathlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import IO, Self

import zstandard

from tooltrain import locks
from tooltrain.env import sealing
from tooltrain.env.cache import Cache, CacheError, CacheWriter, Edge, Sample
from tooltrain.env.response import decode, encode
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError
from tooltrain.types import Json

FILE_NAME = "recording.sqlite"
RECORDING_VERSION = "1"
# At most this much is lost to kill -9 or a power cut: see `Recording.add`.
COMMIT_EVERY_ENTRIES = 256
COMMIT_EVERY_MS = 250
_READ_AT_ONCE = 256  # entries, so that a long read holds no lock


class Recording:
    """Entries of an unfinished cache. Every method may be called from any thread.

    Nothing acknowledged is lost and nothing is stored twice, whenever the process is
    killed. Acknowledged is an entry once `commit` has returned; `add` commits by itself
    every COMMIT_EVERY_ENTRIES entries, and when the last commit is COMMIT_EVERY_MS ago.
    """

    def __init__(self, connection: sqlite3.Connection, path: pathlib.Path, lock_file: IO[str]):
        self.path = path
        self._db = connection
        self._lock_file = lock_file
        self._lock = threading.RLock()
        self._compress = zstandard.ZstdCompressor(level=3).compress
        self._decompress = zstandard.ZstdDecompressor().decompress
        self._writer = CacheWriter(connection)
        self._uncommitted = 0
        self._committed_at = time.monotonic()

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Recording:
        """Opens or begins a recording: a file, or a directory that has or gets one.

        A path without a suffix is a directory. Raises UserError when another process is
        recording into it, CacheError for a file that is no recording.
        """
        path = pathlib.Path(path)
        if path.is_dir() or not path.suffix:
            path = path / FILE_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        lock_file = _locked(path)
        # Transactions are begun and ended here, not by the module's rules.
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection, path)
            return cls(connection, path, lock_file)
        except sqlite3.DatabaseError as error:
            connection.close()
            lock_file.close()
            raise CacheError(f"{path} is not a recording ({error}); name another") from error
        except BaseException:
            connection.close()
            lock_file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Commits and lets the next recorder in."""
        with self._lock:
            self.commit()
            self._db.close()
            self._lock_file.close()

    @property
    def tools(self) -> dict[str, Tool]:
        """The tools added, by name."""
        return self._writer.tools

    def add_tool(self, tool: Tool) -> None:
        """Adds a tool, or updates the words of one that is there.

        Raises UserError when it was recorded with other parameters: keys made by two
        schemas do not compare.
        """
        with self._lock:
            known = self.tools.get(tool.name)
            if known is None:
                self._begin()
                self._writer.add_tool(tool)
            elif json.dumps(dict(known.parameters)) != json.dumps(dict(tool.parameters)):
                raise UserError(
                    f"{self.path} has tool {tool.name} with other parameters than those given "
                    "now; record into another directory, or give the tool another name"
                )
            elif known != tool:
                self._begin()
                self._db.execute(
                    "UPDATE tools SET description = ?, original_name = ? WHERE name = ?",
                    (tool.description, tool.original_name, tool.name),
                )
                self.tools[tool.name] = tool
            self.commit()

    def has(self, tool: str, key: str) -> bool:
        """Whether a request is recorded; key: `Tool.canonical` of its arguments."""
        with self._lock:
            row = self._db.execute(
                "SELECT 1 FROM entries WHERE tool = ? AND key = ?", (tool, key)
            ).fetchone()
        return row is not None

    def add(self, tool: str, arguments: Mapping[str, Json], response: Json) -> bool:
        """Records a response; False if the request was there, whose response stays.

        Raises KeyError for a tool that was not added, ValueError for arguments or a
        response that JSON cannot hold (NaN, other types, nesting of hundreds of levels).
        """
        key = self.tools[tool].canonical(arguments)
        row = (tool, key, encode(dict(arguments)).decode(), encode(response))
        with self._lock:
            self._begin()
            done = self._db.execute(
                "INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?)",
                (*row[:3], self._compress(row[3])),
            )
            self._uncommitted += done.rowcount
            since_ms = (time.monotonic() - self._committed_at) * 1000
            if self._uncommitted >= COMMIT_EVERY_ENTRIES or since_ms >= COMMIT_EVERY_MS:
                self.commit()
        return done.rowcount == 1

    def add_edges(self, edges: Sequence[Edge]) -> None:
        """Tool-graph edges; of one that is there the greater count stays."""
        with self._lock:
            self._begin()
            rows = [(e.source, json.dumps(e.path), e.target, e.argument, e.count) for e in edges]
            self._db.executemany(
                "INSERT INTO edges VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE "
                "SET count = max(count, excluded.count)",
                rows,
            )
            self.commit()

    def add_sample(self, sample: Sample) -> None:
        """Adds a benchmark sample; raises sqlite3.IntegrityError if its id is there."""
        with self._lock:
            self._begin()
            self._writer.add_sample(sample)
            self.commit()

    def commit(self) -> None:
        """What was added before is on the disk when this returns."""
        with self._lock:
            if self._db.in_transaction:
                self._db.execute("COMMIT")
            self._uncommitted = 0
            self._committed_at = time.monotonic()

    def count(self, tool: str | None = None) -> int:
        """Recorded entries of a tool, or of all."""
        with self._lock:
            return self._db.execute(
                "SELECT count(*) FROM entries WHERE ?1 IS NULL OR tool = ?1", (tool,)
            ).fetchone()[0]

    def entries(self, tool: str) -> Iterator[tuple[dict[str, Json], Json]]:
        """(arguments, response) of a tool's entries, in key order. Entries may be added
        meanwhile: those at later keys are met."""
        after = ""
        while True:
            with self._lock:
                rows = self._db.execute(
                    "SELECT key, arguments, response FROM entries WHERE tool = ? AND key > ? "
                    "ORDER BY key LIMIT ?",
                    (tool, after, _READ_AT_ONCE),
                ).fetchall()
                texts = [self._decompress(row[2]) for row in rows]
            for (_, arguments, _), text in zip(rows, texts, strict=True):
                yield decode(arguments.encode()), decode(text)
            if len(rows) < _READ_AT_ONCE:
                return
            after = rows[-1][0]

    def meta(self, name: str) -> str:
        """A value that was set. Raises KeyError when it was not."""
        with self._lock:
            row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise KeyError(name)
        return row[0]

    def set_meta(self, name: str, value: str) -> None:
        """Sets a value that the sealed cache will carry, e.g. where it was recorded from."""
        if name in (*sealing.SEAL_META, sealing.RECORDING_META):
            raise ValueError(f"meta {name!r} is set by the recording itself")
        with self._lock:
            self._begin()
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))
            self.commit()

    def seal(self, path: str | os.PathLike[str]) -> Cache:
        """Writes the cache of what is recorded and opens it; recording may go on after.

        The digest names the content: the same entries give the same whatever order they
        came in. What stood at `path` is replaced when the new file is whole.
        """
        with self._lock:
            self.commit()
            sealing.seal(self._db, path)
        return Cache.open(path)

    def _begin(self) -> None:
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")


def _locked(path: pathlib.Path) -> IO[str]:
    """The lock file, held until it is closed or the process dies."""
    # A file of its own: closing any other handle of the database drops SQLite's locks.
    file = path.with_name(f"{path.name}.lock").open("a+")
    if not locks.acquire(file):
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise UserError(
            f"{path} is being recorded by {holder}; wait for it to end, or record into "
            "another directory and merge the caches"
        )
    file.truncate(0)
    file.write(f"process {os.getpid()}\n")
    file.flush()
    return file


def _prepare(db: sqlite3.Connection, path: pathlib.Path) -> None:
    """Settings and tables of a recording. Raises CacheError for another kind of file."""
    tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
    if "meta" in tables:
        found = dict(db.execute("SELECT name, value FROM meta"))
        if found.get(sealing.RECORDING_META) != RECORDING_VERSION:
            raise CacheError(
                f"{path} is {'a sealed cache' if 'digest' in found else 'of another version'}, "
                "not a recording that can go on; name another file or directory"
            )
    elif tables:
        raise CacheError(f"{path} is not a recording (a database of others); name another")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")  # a commit is on the disk, also after a power cut
    if "meta" not in tables:
        db.executescript(
            f"BEGIN IMMEDIATE; {sealing.SCHEMA} INSERT INTO meta VALUES "
            f"('{sealing.RECORDING_META}', '{RECORDING_VERSION}'); COMMIT;"
        )
