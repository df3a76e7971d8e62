"""In what order traces are taken: shuffled, shared among processes, easy ones first.

Position p of an order is a pure function of (number of traces, seed, p), so an iterator's
state is one integer, and files and streams give the same examples for the same positions.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tooltrain.errors import UserError
from tooltrain.types import Trace

if TYPE_CHECKING:
    import grain

_ENDLESS = 2**62  # positions


@dataclasses.dataclass(frozen=True)
class Shard:
    """Process `index` of `count` takes every count-th position."""

    index: int = 0
    count: int = 1

    def __post_init__(self):
        if not 0 <= self.index < self.count:
            raise ValueError(f"shard {self.index} of {self.count}: must be in [0, count)")


@dataclasses.dataclass(frozen=True)
class Curriculum:
    """The easy traces first: position p < ramp_examples draws from the easiest share

        start + (1 - start) p / ramp_examples

    of the traces, with replacement; after the ramp every trace comes once an epoch.
    by: a name in `Trace.difficulty`. start: in (0, 1].
    """

    by: str
    ramp_examples: int
    start: float = 0.1

    def __post_init__(self):
        if not 0 < self.start <= 1 or self.ramp_examples < 1:
            raise UserError(
                "a curriculum needs start in (0, 1] and ramp_examples of at least 1, got "
                f"{self.start} and {self.ramp_examples}"
            )

    def easiest_first(self, traces: Sequence[Trace]) -> np.ndarray:
        """Indices of the traces by difficulty; equally hard ones in their own order.

        Raises UserError if a trace does not say how hard it is.
        """
        measured = []
        for i in range(len(traces)):
            found = traces[i].difficulty
            if self.by not in found:
                raise UserError(
                    f"curriculum by {self.by!r}: trace {traces[i].id} has only "
                    f"{', '.join(found) or 'no measures'}; synthesize the traces anew or choose "
                    "one of these"
                )
            measured.append(found[self.by])
        return np.argsort(np.asarray(measured), kind="stable")


def order(
    num_traces: int,
    *,
    seed: int,
    shard: Shard | None = None,
    easiest_first: np.ndarray | None = None,
    curriculum: Curriculum | None = None,
) -> grain.MapDataset:
    """Endless trace indices, shuffled anew each epoch.

    easiest_first: of `Curriculum.easiest_first`, where there is a curriculum.
    """
    import grain

    shard = shard or Shard()
    shuffled = grain.MapDataset.source(range(num_traces)).seed(seed).shuffle()
    if curriculum is not None:
        ramp = _Ramp(shuffled.repeat(), easiest_first, curriculum, seed)
        return grain.MapDataset.source(ramp)[shard.index :: shard.count]
    if shard.count > 1:
        shuffled = shuffled[shard.index :: shard.count]
    return shuffled.repeat()


class _Ramp:
    """A curriculum as a source of random access."""

    def __init__(self, after, easiest_first: np.ndarray, curriculum: Curriculum, seed: int):
        self._after = after
        self._easiest_first = easiest_first
        self._curriculum = curriculum
        self._seed = seed

    def __len__(self) -> int:
        return _ENDLESS

    def __getitem__(self, position: int) -> int:
        ramp, start = self._curriculum.ramp_examples, self._curriculum.start
        if position >= ramp:
            return self._after[position - ramp]
        share = start + (1 - start) * position / ramp
        allowed = max(1, math.ceil(share * len(self._easiest_first)))
        rng = random.Random(f"{self._seed}/curriculum/{position}")
        return int(self._easiest_first[rng.randrange(allowed)])
