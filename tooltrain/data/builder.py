"""The TFDS builder of trace datasets: ArrayRecord files, no TensorFlow.

Imported only by `dataset.py` and `beam.py`, when a dataset is written.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds

from tooltrain.data.traces import trace_to_json
from tooltrain.types import Trace

VERSION = "1.1.0"
RELEASE_NOTES = {
    "1.0.0": "Id, suite, workflow, query, tools, calls with bindings.",
    "1.1.0": "Difficulty of each trace; the suite names the config.",
}


@dataclasses.dataclass(eq=False)
class TracesConfig(tfds.core.BuilderConfig):
    """What a dataset was made from. recipe: cache digest, projection and settings, by name."""

    recipe: Mapping[str, object] = dataclasses.field(default_factory=dict)


class ToolTraces(tfds.core.GeneratorBasedBuilder):
    """Synthesized traces, one JSON text an example.

    One feature only: an example is a protobuf map, whose entries are written in an order
    that changes from process to process, and the same traces must give the same bytes.
    """

    VERSION = tfds.core.Version(VERSION)
    RELEASE_NOTES = RELEASE_NOTES

    def __init__(self, *, data_dir: str, examples: Mapping[str, Any], config: TracesConfig):
        """examples: by split, pairs (index, example) or a Beam transform that makes them."""
        self._examples = examples
        super().__init__(data_dir=data_dir, config=config, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.builder_config.description,
            features=tfds.features.FeaturesDict({"trace": tfds.features.Text()}),
            metadata=tfds.core.MetadataDict(self.builder_config.recipe),
            disable_shuffling=True,  # they are shuffled already, by seed
        )

    def _split_generators(self, dl_manager) -> Mapping[str, Any]:
        del dl_manager  # nothing is downloaded
        return {name: self._generate_examples(name) for name in self._examples}

    def _generate_examples(self, split: str) -> Any:
        return self._examples[split]


def examples(traces: Sequence[Trace], indices: Iterable[int]) -> Iterator[tuple[int, dict]]:
    """(index, example) of these traces."""
    for i in indices:
        yield i, {"trace": json.dumps(trace_to_json(traces[i]), ensure_ascii=False)}
