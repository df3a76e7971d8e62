"""Is a cache, or a recording that is not sealed yet, whole and true to its digest?"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import sqlite3
from collections.abc import Iterator

import zstandard

from tooltrain.env import sealing
from tooltrain.env.cache import Cache
from tooltrain.env.response import decode
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError

_MAX_FAULTS_KEPT = 20
_SHOWN_CHARS = 120


@dataclasses.dataclass
class Verified:
    """What was looked at, and the first faults found. digest: as computed from the content."""

    tools: int = 0
    entries: int = 0
    samples: int = 0
    digest: str = ""
    num_faults: int = 0
    faults: list[str] = dataclasses.field(default_factory=list)

    def fault(self, text: str) -> None:
        self.num_faults += 1
        if len(self.faults) < _MAX_FAULTS_KEPT:
            self.faults.append(text)


def verify(path: str | os.PathLike[str]) -> Verified:
    """Reads everything once, in constant memory: SQLite's own check; every blob decompresses
    to JSON; every key is its arguments' canonical one and its own; the digest holds.

    Of a recording that a recorder is adding to, what is committed when this begins. Raises
    CacheError for a path that is no cache at all, UserError for a recording that SQLite
    cannot open (in a folder that may not be written to, say).
    """
    path = pathlib.Path(path)
    with _opened(path) as db:
        found = Verified()
        try:
            db.execute("BEGIN")  # all reads see one state, whatever is added meanwhile
            for (line,) in db.execute("PRAGMA integrity_check(5)"):
                if line != "ok":
                    found.fault(f"SQLite: {line}")
            _verify_content(db, found)
        except sqlite3.DatabaseError as error:
            found.fault(f"SQLite cannot read on: {error}")
    return found


class _opened:
    """The file's connection: of a sealed cache as readers open it, else of a recording."""

    def __init__(self, path: pathlib.Path):
        with path.open("rb") if path.is_file() else open(os.devnull, "rb") as file:
            header = file.read(19)
        if header[:16] == b"SQLite format 3\0" and header[18:19] == b"\x02":
            # A writer's connection: only it may read the log that a killed one left.
            self._db = sqlite3.connect(path)
            self._db.execute("PRAGMA query_only = ON")
            try:
                self._db.execute("SELECT 1 FROM meta").fetchone()
            except sqlite3.OperationalError as error:
                self._db.close()
                raise UserError(f"cannot read {path}: {error}") from error
        else:
            Cache.open(path).close()
            self._db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)

    def __enter__(self) -> sqlite3.Connection:
        return self._db

    def __exit__(self, *_: object) -> None:
        self._db.close()


def _verify_content(db: sqlite3.Connection, found: Verified) -> None:
    digest = sealing.Digest()
    tools: dict[str, Tool] = {}
    for name, parameters in db.execute("SELECT name, parameters FROM tools ORDER BY name"):
        digest.tool(name, parameters)
        found.tools += 1
        try:
            tools[name] = Tool(name, "", json.loads(parameters))
        except ValueError as error:
            found.fault(f"parameters of {name}: {error}")
    for (name,) in db.execute("SELECT DISTINCT tool FROM entries"):
        if name not in tools:
            found.fault(f"entries of a tool that is not in the cache: {name}")
    for tool in tools.values():
        for key, text in _verified_entries(db, tool, found):
            digest.row(f"{tool.name}\0{key}", text)
    decompress = zstandard.ZstdDecompressor().decompress
    for id_, query, blob in db.execute("SELECT id, query, calls FROM samples ORDER BY id"):
        found.samples += 1
        try:
            text = decompress(blob)
            decode(text)
            digest.row(f"{id_}\0{query}", text)
        except (zstandard.ZstdError, ValueError) as error:
            found.fault(f"sample {id_}: {error}")
    found.digest = digest.hexdigest()
    meta = dict(db.execute("SELECT name, value FROM meta"))
    if sealing.RECORDING_META not in meta and meta.get("digest") != found.digest:
        found.fault(f"the digest says {meta.get('digest')}, the content has {found.digest}")


def _verified_entries(
    db: sqlite3.Connection, tool: Tool, found: Verified
) -> Iterator[tuple[str, bytes]]:
    """(key, uncompressed response) of the entries that can be read."""
    decompress = sealing.decompressor(db, tool.name)
    for key, arguments, blob in db.execute(
        "SELECT key, arguments, response FROM entries WHERE tool = ? ORDER BY key", (tool.name,)
    ):
        found.entries += 1
        where = f"{tool.name} {key[:_SHOWN_CHARS]}"
        try:
            for text in (arguments, key):
                if (canonical := tool.canonical(decode(text.encode()))) != key:
                    found.fault(f"{where}: the key of {text[:_SHOWN_CHARS]} is {canonical}")
            text = decompress(blob)
            decode(text)
            yield key, text
        except (zstandard.ZstdError, ValueError, AttributeError) as error:
            found.fault(f"{where}: {error}")
