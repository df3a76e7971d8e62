"""A part of a trace dataset as a dataset of its own, with the same tokenizer.

An arm's overrides may name fields of `Selection` beside those of the config:

    {"select.fillings": 3}
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Sequence

from tooltrain.data.dataset import open_traces, replacing, write_traces
from tooltrain.errors import UserError
from tooltrain.synthesis.generate import TEST, TEST_WORKFLOWS, TRAIN, TRAIN_RL, VALIDATION
from tooltrain.types import Trace

SECTION = "select"
SPLITS = (TRAIN, TRAIN_RL, VALIDATION, TEST, TEST_WORKFLOWS)


@dataclasses.dataclass(frozen=True)
class Selection:
    """What is kept of each split; 0: all of it.

    fillings: of each workflow in train and train_rl, all wordings of them; the first that occur,
    so 3 are among 5. most_train_calls: gold calls of a trace in train, train_rl and validation.
    least_test_calls: gold calls of a trace in the test splits.
    """

    fillings: int = 0
    most_train_calls: int = 0
    least_test_calls: int = 0

    def __post_init__(self):
        if min(dataclasses.astuple(self)) < 0:
            raise UserError(f"a selection has no field below 0 (0: all), got {self}")

    def __call__(self, split: str, traces: Sequence[Trace]) -> list[Trace]:
        """The traces of `split` that are kept, in their order."""
        if split in (TEST, TEST_WORKFLOWS):
            return [t for t in traces if len(t.calls) >= self.least_test_calls]
        most = self.most_train_calls or max((len(t.calls) for t in traces), default=0)
        kept = [t for t in traces if len(t.calls) <= most]
        if not self.fillings or split == VALIDATION:
            return kept
        chosen: dict[str, list[str]] = {}
        for trace in kept:
            found = chosen.setdefault(trace.workflow, [])
            if (filling := _filling(trace)) not in found and len(found) < self.fillings:
                found.append(filling)
        return [t for t in kept if _filling(t) in chosen[t.workflow]]


def _filling(trace: Trace) -> str:
    return json.dumps([[call.name, call.arguments] for call in trace.calls], sort_keys=True)


def write_selection(whole: pathlib.Path, part: pathlib.Path, selection: Selection) -> None:
    """Writes to `part` what `selection` keeps of the dataset in `whole`.

    Raises UserError where a split that `whole` has, but for test_workflows, would be empty.
    """
    splits = {}
    for split in SPLITS:
        try:
            traces = open_traces(whole, split)
        except UserError:
            if split in (TRAIN_RL, TEST_WORKFLOWS):
                continue  # a small suite may have none
            raise
        splits[split] = selection(split, traces[:])
        if not splits[split] and split != TEST_WORKFLOWS:  # which evaluation does without
            raise UserError(f"{selection} keeps none of the {len(traces)} {split} traces")
    with replacing(part) as beside:
        write_traces(beside, splits, f"{selection} of {whole}")
        shutil.copy(whole / "tokenizer.json", beside / "tokenizer.json")
