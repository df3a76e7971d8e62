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
from typing import TYPE_CHECKING, overload

from tooltrain.data.traces import trace_from_json
from tooltrain.errors import UserError
from tooltrain.types import Trace

if TYPE_CHECKING:
    from tooltrain.data.recipe import Recipe

_DATASET = "tool_traces"  # below it: CONFIG/VERSION, and up to 1.0.0 VERSION alone


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
    directory: str | os.PathLike[str],
    splits: Mapping[str, Sequence[Trace]],
    description: str,
    *,
    suite: str = "traces",
    recipe: Mapping[str, object] | None = None,
) -> None:
    """Writes a dataset; one that stood in `directory` is replaced when this one is whole.

    suite: the name of its config; recipe: what it was made from, kept in its metadata.
    """
    from tooltrain.data.builder import ToolTraces, TracesConfig, examples

    config = TracesConfig(name=suite, description=description, recipe=dict(recipe or {}))
    filled = {name: examples(t, range(len(t))) for name, t in splits.items() if len(t)}
    with prepare(directory) as beside:
        ToolTraces(data_dir=str(beside), examples=filled, config=config).download_and_prepare()


def write_recipe(directory: str | os.PathLike[str], recipe: Recipe) -> None:
    """Writes every split of a recipe; the bytes of `beam.write_recipe_with_beam`."""
    described = recipe.described()
    write_traces(
        directory,
        recipe.streams(),
        f"Traces over cache {described['cache_digest']}.",
        suite=recipe.settings.suite,
        recipe=described,
    )


@contextlib.contextmanager
def prepare(directory: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """`replacing`, with what TFDS says and leaves behind kept away."""
    import tensorflow_datasets as tfds

    # At WARNING it would say of every config that it is not one of the builder's own.
    logging.getLogger("absl").setLevel(logging.ERROR)
    tfds.disable_progress_bar()
    with replacing(directory) as beside:
        with contextlib.redirect_stdout(io.StringIO()):  # it tells of downloads; there are none
            yield beside
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

    found = sorted((pathlib.Path(directory) / _DATASET).glob("**/dataset_info.json"))
    if not found:
        raise UserError(
            f"no traces at {directory}; make them with "
            "`python -m tooltrain.cli.synthesize --workdir=…`"
        )
    if len(found) > 1:
        raise UserError(
            f"{directory} holds several datasets ({', '.join(str(p.parent) for p in found)}); "
            "keep one"
        )
    builder = tfds.builder_from_directory(str(found[0].parent))
    if split not in builder.info.splits:
        allowed = ", ".join(builder.info.splits)
        raise UserError(f"the traces at {directory} have no split {split!r}; they have {allowed}")
    return TraceSource(builder.as_data_source(split))
