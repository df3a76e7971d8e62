"""Trace datasets on disk: written through TFDS, read at random access from ArrayRecord."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import overload

from tooltrain.data.traces import trace_from_json
from tooltrain.errors import UserError
from tooltrain.types import Trace

_DATASET = "tool_traces/1.0.0"


class TraceSource(Sequence[Trace]):
    """The traces of one split, decoded when read."""

    def __init__(self, source):
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    @overload
    def __getitem__(self, index: int) -> Trace: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Trace]: ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"trace {index} of {len(self)}")
        return trace_from_json(json.loads(self._source[index % len(self)]["trace"]))


def write_traces(
    directory: str | os.PathLike[str], splits: Mapping[str, Sequence[Trace]], description: str
) -> None:
    """Writes a dataset; one that stood in `directory` is replaced when this one is whole."""
    import tensorflow_datasets as tfds

    from tooltrain.data.builder import ToolTraces

    filled = {name: traces for name, traces in splits.items() if traces}
    logging.getLogger("absl").setLevel(logging.WARNING)
    tfds.disable_progress_bar()
    with replacing(directory) as beside:
        builder = ToolTraces(data_dir=str(beside), splits=filled, description=description)
        with contextlib.redirect_stdout(io.StringIO()):  # it tells of downloads; there are none
            builder.download_and_prepare()
        shutil.rmtree(beside / "downloads", ignore_errors=True)  # TFDS makes it, empty


@contextlib.contextmanager
def replacing(directory: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """A scratch directory whose files and folders take the place of those of the same name
    in `directory` when the block ends; if it ends with an error, nothing has changed."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=directory) as scratch:
        new, old = pathlib.Path(scratch, "new"), pathlib.Path(scratch, "old")
        new.mkdir()
        old.mkdir()
        yield new
        for made in sorted(new.iterdir()):
            if (place := directory / made.name).exists():
                place.rename(old / made.name)
            made.rename(place)


def open_traces(directory: str | os.PathLike[str], split: str) -> TraceSource:
    """A split of the dataset in `directory`. Raises UserError when there is none."""
    import tensorflow_datasets as tfds

    path = pathlib.Path(directory) / _DATASET
    if not (path / "dataset_info.json").is_file():
        raise UserError(
            f"no traces at {directory}; make them with "
            "`python -m tooltrain.cli.synthesize --workdir=…`"
        )
    builder = tfds.builder_from_directory(str(path))
    if split not in builder.info.splits:
        allowed = ", ".join(builder.info.splits)
        raise UserError(f"the traces at {directory} have no split {split!r}; they have {allowed}")
    return TraceSource(builder.as_data_source(split))
