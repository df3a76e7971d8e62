"""The same dataset as `dataset.write_traces` writes, made by an Apache Beam pipeline.

For sizes beyond one machine: each worker opens the recipe and makes the traces of the
indices it is given; the bytes are those of the in-process path. Needs the extra `beam`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import tensorflow_datasets as tfds

from tooltrain.data.builder import ToolTraces, TracesConfig, examples
from tooltrain.data.dataset import prepare
from tooltrain.data.recipe import Recipe
from tooltrain.errors import UserError

_INDICES_A_BUNDLE = 256  # a worker opens the recipe once, so bundles may be small


def write_recipe_with_beam(
    directory: str | os.PathLike[str],
    recipe: Recipe,
    *,
    runner: str = "DirectRunner",
    options: Sequence[str] = (),
) -> None:
    """Writes every split of the recipe; replaces a dataset that stood in `directory`.

    options: Beam's own command-line options. Raises UserError without the extra.
    """
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise UserError("Beam is not installed: pip install 'tooltrain[beam]'") from error
    described = recipe.described()
    config = TracesConfig(
        name=recipe.settings.suite,
        description=f"Traces over cache {described['cache_digest']}.",
        recipe=described,
    )
    download = tfds.download.DownloadConfig(
        beam_runner=runner, beam_options=PipelineOptions(flags=list(options))
    )
    splits = {
        name: _transform(recipe, name, len(stream))
        for name, stream in recipe.streams().items()
        if len(stream)
    }
    with prepare(directory) as beside:
        builder = ToolTraces(data_dir=str(beside), examples=splits, config=config)
        builder.download_and_prepare(download_config=download)


def _transform(recipe: Recipe, split: str, size: int):
    import apache_beam as beam

    starts = range(0, size, _INDICES_A_BUNDLE)
    spans = [(start, min(start + _INDICES_A_BUNDLE, size)) for start in starts]
    return beam.Create(spans) | beam.Reshuffle() | beam.FlatMap(_examples, recipe, split)


def _examples(span: tuple[int, int], recipe: Recipe, split: str) -> Iterator[tuple[int, dict]]:
    yield from examples(recipe.streams()[split], range(*span))
