"""Traces by index: trace i of a split is a pure function of (drafts, settings, split, i).

Nothing is stored: a stream can be read in any order, from any process, and a dataset
written from it holds the same bytes. Every draft is used once an epoch, in an order of
its own each epoch, each time in new words.

    i ─▶ epoch, place ─▶ draft ─▶ words (seeded by i) ─▶ check ─▶ trace
                           ▲────── the next draft, if none pass ──┘
"""

from __future__ import annotations

import collections
import functools
import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, overload

from tooltrain.env.schema import Tool
from tooltrain.errors import UserError
from tooltrain.synthesis.derive import leaks, underivable
from tooltrain.synthesis.drafts import Draft
from tooltrain.synthesis.queries import NoFrame, write_query
from tooltrain.synthesis.varied import write_varied
from tooltrain.types import Trace

if TYPE_CHECKING:
    from tooltrain.synthesis.generate import Settings

_WORDINGS_TRIED = 3  # of one draft, before the next one is taken
_DRAFTS_TRIED = 64


def worded(
    id_: str, draft: Draft, settings: Settings, tools: Mapping[str, Tool], rng: random.Random
) -> Trace | str:
    """The draft with a query and the tools offered, or the reason why it is rejected."""
    varied = settings.variety > 0 and rng.random() < settings.variety
    try:
        if varied:
            query = write_varied(draft.calls, settings.suite, rng)
        else:
            query = write_query(draft.calls, rng)
    except NoFrame as error:
        return str(error)
    trace = Trace(
        id_,
        settings.suite,
        draft.workflow.id,
        query,
        offered(draft, settings.distractors, tools, rng),
        draft.calls,
        draft.responses,
    )
    reasons = underivable(trace, draft.views, tools)
    if varied and not reasons:
        reasons = leaks(trace)
    return reasons[0] if reasons else trace


def offered(
    draft: Draft, distractors: int, tools: Mapping[str, Tool], rng: random.Random
) -> tuple[str, ...]:
    """Names of the tools in the prompt: those of the gold calls and others, shuffled."""
    needed = sorted({call.name for call in draft.calls})
    others = sorted(tools.keys() - set(needed))
    names = needed + rng.sample(others, min(distractors, len(others)))
    rng.shuffle(names)
    return tuple(names)


class TraceStream(Sequence[Trace]):
    """The traces of one split, made when read.

    rejected counts what this reader tried and dropped, by reason. Raises UserError when
    no draft of `_DRAFTS_TRIED` in a row can be put in words that pass the check.
    """

    def __init__(
        self,
        split: str,
        drafts: Sequence[Draft],
        settings: Settings,
        tools: Mapping[str, Tool],
        length: int,
    ):
        if not drafts and length:
            raise UserError(f"the split {split!r} has no filling to make traces of")
        self._split = split
        self._drafts = drafts
        self._settings = settings
        self._tools = tools
        self._length = length
        self._order = functools.lru_cache(2)(self._order_of_epoch)
        self.rejected: collections.Counter[str] = collections.Counter()

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Trace: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Trace]: ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = int(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"trace {index} of {len(self)}")
        index %= len(self)
        count = len(self._drafts)
        rng = random.Random(f"{self._settings.seed}/{self._split}/{index}")
        for tried in range(min(count, _DRAFTS_TRIED)):
            epoch, place = divmod(index + tried, count)
            draft = self._drafts[self._order(epoch)[place]]
            for _ in range(_WORDINGS_TRIED):
                name = f"{self._split}-{index}"
                trace = worded(name, draft, self._settings, self._tools, rng)
                if not isinstance(trace, str):
                    return trace
                self.rejected[trace] += 1
        raise UserError(
            f"the split {self._split!r} has no words for {_DRAFTS_TRIED} fillings in a row; "
            f"most often: {self.rejected.most_common(1)[0][0]}"
        )

    def _order_of_epoch(self, epoch: int) -> list[int]:
        order = list(range(len(self._drafts)))
        random.Random(f"{self._settings.seed}/{self._split}/epoch {epoch}").shuffle(order)
        return order
