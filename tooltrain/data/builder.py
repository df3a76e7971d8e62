"""The TFDS builder of trace datasets: ArrayRecord files, no TensorFlow.

Imported only by `dataset.py`, when a dataset is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import tensorflow_datasets as tfds

from tooltrain.data.traces import trace_to_json
from tooltrain.types import Trace


class ToolTraces(tfds.core.GeneratorBasedBuilder):
    """Synthesized traces, one JSON text an example.

    One feature only: an example is a protobuf map, whose entries are written in an order
    that changes from process to process, and the same traces must give the same bytes.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, data_dir: str, splits: Mapping[str, Sequence[Trace]], description: str):
        self._traces = splits
        self._description = description
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self._description,
            features=tfds.features.FeaturesDict({"trace": tfds.features.Text()}),
            disable_shuffling=True,  # they are shuffled already, by seed
        )

    def _split_generators(self, dl_manager) -> dict[str, Iterator[tuple[int, dict]]]:
        del dl_manager  # nothing is downloaded
        return {name: self._generate_examples(name) for name in self._traces}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        for i, trace in enumerate(self._traces[split]):
            yield i, {"trace": json.dumps(trace_to_json(trace), ensure_ascii=False)}
