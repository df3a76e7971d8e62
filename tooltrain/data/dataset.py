"""Trace datasets on disk: written through TFDS, read at random access from ArrayRecord."""

from __future__ import annotations

import json
import logging
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
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
    """Writes a dataset; what stood in `directory` under its name is replaced at the end."""
    import tensorflow_datasets as tfds

    from tooltrain.data.builder import ToolTraces

    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(directory / _DATASET, ignore_errors=True)
    filled = {name: traces for name, traces in splits.items() if traces}
    logging.getLogger("absl").setLevel(logging.WARNING)
    tfds.disable_progress_bar()
    builder = ToolTraces(data_dir=str(directory), splits=filled, description=description)
    builder.download_and_prepare()


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
