"""The cache file: its tables, its digest, and how one appears whole or not at all.

Content is gathered in a SQLite file that may grow and be cut off; `seal` copies it, in
key order, into another that never changes again. Responses are zstd frames, with a
dictionary of their tool's where it saves more bytes than it takes (on the booking cache
6.1 MB of 30.6 without dictionaries become 3.4 with them, which take 0.3).
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import pathlib
import random
import sqlite3
from collections.abc import Callable, Iterator

import zstandard

FORMAT_VERSION = 2
READABLE_VERSIONS = (1, 2)  # 1 had no dictionaries
SCHEMA = """
CREATE TABLE IF NOT EXISTS tools (
  name TEXT PRIMARY KEY, original_name TEXT NOT NULL, description TEXT NOT NULL,
  parameters TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entries (
  tool TEXT NOT NULL REFERENCES tools, key TEXT NOT NULL, arguments TEXT NOT NULL,
  response BLOB NOT NULL, PRIMARY KEY (tool, key));
CREATE TABLE IF NOT EXISTS samples (
  id TEXT PRIMARY KEY, position INTEGER NOT NULL, domain TEXT NOT NULL, query TEXT NOT NULL,
  ambiguous INTEGER NOT NULL, calls BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS edges (
  source TEXT NOT NULL, path TEXT NOT NULL, target TEXT NOT NULL, argument TEXT NOT NULL,
  count INTEGER NOT NULL, PRIMARY KEY (source, path, target, argument)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dictionaries (
  tool TEXT PRIMARY KEY REFERENCES tools, dictionary BLOB NOT NULL) WITHOUT ROWID;
"""
SEAL_META = ("digest", "format_version")  # written by `seal` alone
RECORDING_META = "recording"  # in the meta of a file that is not sealed

_LEVEL = 9
_DICTIONARY_BYTES = (4096, 16384, 65536)
_SAMPLED_ENTRIES = 2000  # of a tool, half to train its dictionary, half to see if it pays
_SAMPLED_BYTES = 2 << 20
_FEWEST_SAMPLES = 16  # zstd's trainer fails on fewer than about half of it


class Digest:
    """Name of a world: sha256 over tools, then entries, then samples, each in key order,
    uncompressed. Descriptions, edges and meta are not part of it."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def tool(self, name: str, parameters: str) -> None:
        self._hash.update(f"{name}\0{parameters}\0".encode())

    def row(self, name: str, text: bytes) -> None:
        """An entry ("tool\\0key") or sample ("id\\0query") and its uncompressed JSON."""
        self._hash.update(name.encode())
        self._hash.update(hashlib.sha256(text).digest())

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def seal(source: sqlite3.Connection, path: str | os.PathLike[str]) -> None:
    """Writes the content of `source` (tables of SCHEMA) as a cache file at `path`.

    The file, dictionaries included, is a function of the content: the order in which it
    was gathered leaves no trace. What stood at `path` before stays until it is replaced.
    """
    with _replacing(pathlib.Path(path)) as target:
        target.executescript(SCHEMA)
        digest = Digest()
        tools = source.execute("SELECT * FROM tools ORDER BY name").fetchall()
        for row in tools:
            digest.tool(row[0], row[3])
            target.execute("INSERT INTO tools VALUES (?, ?, ?, ?)", row)
        for name, *_ in tools:
            _copy_entries(source, target, name, digest)
        decompress = zstandard.ZstdDecompressor().decompress
        for row in source.execute("SELECT * FROM samples ORDER BY id"):
            digest.row(f"{row[0]}\0{row[3]}", decompress(row[5]))
            target.execute("INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?)", row)
        edges = source.execute("SELECT * FROM edges ORDER BY 1, 2, 3, 4")
        target.executemany("INSERT INTO edges VALUES (?, ?, ?, ?, ?)", edges)
        meta = source.execute("SELECT * FROM meta WHERE name != ? ORDER BY 1", (RECORDING_META,))
        target.executemany("INSERT INTO meta VALUES (?, ?)", meta)
        values = (digest.hexdigest(), str(FORMAT_VERSION))
        target.executemany("INSERT INTO meta VALUES (?, ?)", zip(SEAL_META, values, strict=True))


def dictionary(db: sqlite3.Connection, tool: str) -> bytes | None:
    """The zstd dictionary that the responses of `tool` are stored with."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'dictionaries'").fetchone():
        return None  # format 1
    row = db.execute("SELECT dictionary FROM dictionaries WHERE tool = ?", (tool,)).fetchone()
    return None if row is None else row[0]


def decompressor(db: sqlite3.Connection, tool: str) -> Callable[[bytes], bytes]:
    """Function from a stored blob of `tool` to its JSON text; for one thread at a time."""
    trained = dictionary(db, tool)
    shared = None if trained is None else zstandard.ZstdCompressionDict(trained)
    return zstandard.ZstdDecompressor(dict_data=shared).decompress


def _copy_entries(
    source: sqlite3.Connection, target: sqlite3.Connection, tool: str, digest: Digest
) -> None:
    decompress = decompressor(source, tool)
    trained = _trained(source, tool)
    if trained is not None:
        target.execute("INSERT INTO dictionaries VALUES (?, ?)", (tool, trained.as_bytes()))
    compress = _compressor(trained)
    rows = source.execute(
        "SELECT key, arguments, response FROM entries WHERE tool = ? ORDER BY key", (tool,)
    )
    for key, arguments, blob in rows:
        text = decompress(blob)
        digest.row(f"{tool}\0{key}", text)
        target.execute(
            "INSERT INTO entries VALUES (?, ?, ?, ?)", (tool, key, arguments, compress(text))
        )


def _compressor(trained: zstandard.ZstdCompressionDict | None) -> Callable[[bytes], bytes]:
    if trained is not None:
        trained.precompute_compress(level=_LEVEL)
    return zstandard.ZstdCompressor(level=_LEVEL, dict_data=trained).compress


def _trained(source: sqlite3.Connection, tool: str) -> zstandard.ZstdCompressionDict | None:
    """The dictionary that saves most on responses it was not trained on, its own size
    counted; None where none saves anything."""
    keys = source.execute("SELECT key FROM entries WHERE tool = ? ORDER BY key", (tool,)).fetchall()
    # Spread over the keys: neighbours are alike.
    sampled = random.Random(0).sample(keys, min(len(keys), _SAMPLED_ENTRIES))
    decompress = decompressor(source, tool)
    texts: list[bytes] = []
    size = 0
    for (key,) in sampled:
        (blob,) = source.execute(
            "SELECT response FROM entries WHERE tool = ? AND key = ?", (tool, key)
        ).fetchone()
        texts.append(decompress(blob))
        size += len(texts[-1])
        if size > _SAMPLED_BYTES:
            break
    if len(texts) < _FEWEST_SAMPLES:
        return None
    trained_on, held_out = texts[::2], texts[1::2]
    share = len(keys) / len(held_out)

    def stored(trained: zstandard.ZstdCompressionDict | None) -> float:
        compress = _compressor(trained)
        overhead = 0 if trained is None else len(trained.as_bytes())
        return overhead + share * sum(len(compress(text)) for text in held_out)

    best, least = None, stored(None)
    for num_bytes in _DICTIONARY_BYTES:
        try:
            trained = zstandard.train_dictionary(num_bytes, trained_on)
        except zstandard.ZstdError:
            continue  # too little to learn from, e.g. responses of a few bytes
        if (needs := stored(trained)) < least:
            best, least = trained, needs
    return best


def remove_left_over(path: pathlib.Path) -> None:
    """Removes what killed writers of `path` left behind."""
    for partial in path.parent.glob(f"{glob.escape(path.name)}.*.partial"):
        try:
            os.kill(int(partial.name.split(".")[-2]), 0)
        except (ProcessLookupError, ValueError, OverflowError):
            partial.unlink(missing_ok=True)
        except PermissionError:
            pass  # another user's process, alive


def partial_path(path: pathlib.Path, part: str) -> pathlib.Path:
    """A name of this process's own: two that record at once do not mix their files."""
    return path.with_name(f"{path.name}.{part}.{os.getpid()}.partial")


@contextlib.contextmanager
def scratch(path: pathlib.Path, part: str) -> Iterator[tuple[pathlib.Path, sqlite3.Connection]]:
    """A database beside `path` that is gone when the block ends, or when the next writer of
    `path` starts if this one is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left_over(path)
    partial = partial_path(path, part)
    partial.unlink(missing_ok=True)
    connection = sqlite3.connect(partial)
    try:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        yield partial, connection
    finally:
        connection.close()
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _replacing(path: pathlib.Path) -> Iterator[sqlite3.Connection]:
    with scratch(path, "sealing") as (partial, connection):
        yield connection
        connection.commit()
        connection.close()
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)  # the new name itself outlives a power cut
        finally:
            os.close(directory)
