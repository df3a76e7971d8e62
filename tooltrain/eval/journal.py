"""Finished samples as JSON lines, so that an evaluation goes on where it was stopped.

A directory holds run.json (what is being evaluated) and samples.jsonl (one line a finished
sample, in the order they finished). A line is written with one append: a process that is
killed leaves whole lines, and a line that a dying machine cut off is dropped when the
journal is opened again. Only a sample with a whole line is finished.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from tooltrain import locks
from tooltrain.errors import UserError


class Journal:
    """Open with `Journal.open`; rows: the finished ones, by id."""

    def __init__(self, path: pathlib.Path, descriptor: int):
        self.path = path
        self._descriptor = descriptor
        self.rows: dict[str, dict[str, Any]] = {}

    @classmethod
    @contextlib.contextmanager
    def open(cls, directory: str | os.PathLike[str], identity: Mapping[str, Any]) -> Iterator:
        """The journal of `directory`, for one process at a time.

        identity: JSON; all that the rows depend on. Raises UserError if the directory holds
        rows of another identity, if another process has it open, or if a line is no row.
        """
        directory = pathlib.Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "samples.jsonl"
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            if not locks.acquire(descriptor):
                raise UserError(f"{directory} is being evaluated by another process")
            journal = cls(path, descriptor)
            journal._check(directory / "run.json", json.loads(json.dumps(dict(identity))))
            journal._read()
            yield journal
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def add(self, row: Mapping[str, Any]) -> None:
        """Appends a finished sample. row["id"] must be new."""
        if row["id"] in self.rows:
            raise ValueError(f"sample {row['id']} is finished already")
        line = orjson.dumps(row) + b"\n"
        if os.write(self._descriptor, line) != len(line):
            raise OSError(f"{self.path}: a line could not be written whole; is the disk full?")
        self.rows[row["id"]] = orjson.loads(line)

    def _check(self, path: pathlib.Path, identity: dict[str, Any]) -> None:
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            differing = [k for k in {**found, **identity} if found.get(k) != identity.get(k)]
            if differing:
                what = ", ".join(
                    f"{key}={found.get(key)!r} there and {identity.get(key)!r} now"
                    for key in sorted(differing)
                )
                raise UserError(
                    f"{path.parent} holds an evaluation of something else ({what}); "
                    "delete it, or use another workdir"
                )
            return
        if self.path.stat().st_size:
            raise UserError(f"{self.path} has no run.json beside it; delete it")
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(identity, indent=1, ensure_ascii=False), encoding="utf-8")
        partial.replace(path)

    def _read(self) -> None:
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(self._descriptor, whole)
        for number, line in enumerate(data[:whole].splitlines(), start=1):
            try:
                row = orjson.loads(line)
                self.rows[row["id"]] = row
            except (orjson.JSONDecodeError, KeyError, TypeError):
                raise UserError(
                    f"{self.path}, line {number} is no finished sample; delete the line"
                ) from None
