"""Traces by index: trace i of a split is a pure function of (drafts, settings, split, i).

Nothing is stored: a stream can be read in any order, from any process, and a dataset
written from it holds the same bytes. Every draft has one place an epoch, in an order of
its own each epoch, each time in new words. A draft that no words are found for leaves its
place to the next one, which then comes twice.

    i ─▶ epoch, place ─▶ draft ─▶ words (seeded by i) ─▶ check ─▶ trace
                           ▲────── the next draft, if none pass ──┘
"""

from __future__ import annotations

import collections
import functools
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, overload

from tooltrain.env.cache import Edge
from tooltrain.env.environment import Environment
from tooltrain.env.projection import estimate_tokens
from tooltrain.errors import UserError
from tooltrain.synthesis.derive import leaks, underivable
from tooltrain.synthesis.difficulty import difficulty
from tooltrain.synthesis.drafts import Draft
from tooltrain.synthesis.queries import NoFrame, write_query
from tooltrain.synthesis.varied import write_varied
from tooltrain.synthesis.workflow import Workflow
from tooltrain.types import Trace

if TYPE_CHECKING:
    from tooltrain.synthesis.generate import Settings

_WORDINGS_TRIED = 3  # of one draft, before the next one is taken
_DRAFTS_TRIED = 64
_VIEWS_KEPT = 16_384


class TraceWriter:
    """Puts drafts in words under one set of settings."""

    def __init__(self, environment: Environment, settings: Settings):
        self._settings = settings
        self._tools = environment.tools
        self._edges = tuple(environment.cache.edges())
        # By identity: to hash a workflow, or to name it, takes longer than to check a trace.
        self._known: dict[int, _Known] = {}

    def __call__(self, id_: str, draft: Draft, rng: random.Random) -> Trace | str:
        """The draft with a query and the tools offered, or the reason why it is rejected."""
        varied = self._settings.variety > 0 and rng.random() < self._settings.variety
        try:
            if varied:
                query = write_varied(draft.calls, self._settings.suite, rng)
            else:
                query = write_query(draft.calls, rng)
        except NoFrame as error:
            return str(error)
        return self.finish(id_, draft, query, rng, check_leaks=varied)

    def finish(
        self, id_: str, draft: Draft, query: str, rng: random.Random, *, check_leaks: bool = True
    ) -> Trace | str:
        """The draft with this query, checked, and tools drawn to be offered beside its own."""
        known = self._known.get(id(draft.workflow)) or self._know(draft.workflow)
        distractors = min(self._settings.distractors, len(known.others))
        names = [*known.needed, *rng.sample(known.others, distractors)]
        rng.shuffle(names)
        measured = difficulty(draft.calls, (), names, known.edges)
        measured["response_tokens"] = sum(map(_tokens, draft.views))
        trace = Trace(
            id_,
            self._settings.suite,
            known.id,
            query,
            tuple(names),
            draft.calls,
            draft.responses,
            measured,
        )
        reasons = underivable(trace, draft.views, self._tools)
        if check_leaks and not reasons:
            reasons = leaks(trace)
        return reasons[0] if reasons else trace

    def _know(self, workflow: Workflow) -> _Known:
        needed = set(workflow.slots)
        edges = [e for e in self._edges if e.source in needed or e.target in needed]
        others = sorted(self._tools.keys() - needed)
        known = _Known(workflow, workflow.id, sorted(needed), others, edges)
        self._known[id(workflow)] = known
        return known


class _Known(NamedTuple):
    """Of a workflow (kept, so that its identity stays its own): its name, the tools that its
    calls use, the others, and the edges of the graph at its tools."""

    workflow: Workflow
    id: str
    needed: list[str]
    others: list[str]
    edges: list[Edge]


_tokens = functools.lru_cache(_VIEWS_KEPT)(estimate_tokens)


class TraceStream(Sequence[Trace]):
    """The traces of one split, made when read.

    rejected counts what this reader tried and dropped, by reason. Raises UserError when
    no draft of `_DRAFTS_TRIED` in a row (or of all, if fewer) can be put in words that pass
    the check.
    """

    def __init__(
        self,
        split: str,
        drafts: Sequence[Draft],
        settings: Settings,
        write: TraceWriter,
        length: int,
    ):
        if not drafts and length:
            raise UserError(f"the split {split!r} has no filling to make traces of")
        self._split = split
        self._drafts = drafts
        self._seed = settings.seed
        self._write = write
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
        index = self._checked(int(index))
        rng = random.Random(f"{self._seed}/{self._split}/{index}")
        drafts_tried = min(len(self._drafts), _DRAFTS_TRIED)
        for tried in range(drafts_tried):
            draft = self._draft(index + tried)
            for _ in range(_WORDINGS_TRIED):
                trace = self._write(self.name(index), draft, rng)
                if not isinstance(trace, str):
                    return trace
                self.rejected[trace] += 1
        raise UserError(
            f"the split {self._split!r} has no words for {drafts_tried} fillings in a row; "
            f"most often: {self.rejected.most_common(1)[0][0]}"
        )

    def name(self, index: int) -> str:
        """Id of a trace."""
        return f"{self._split}-{index}"

    def draft(self, index: int) -> Draft:
        """The filling that trace `index` puts in words if it can be."""
        return self._draft(self._checked(index))

    def _checked(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"trace {index} of {len(self)}")
        return index % len(self)

    def _draft(self, place: int) -> Draft:
        epoch, at = divmod(place, len(self._drafts))
        return self._drafts[self._order(epoch)[at]]

    def _order_of_epoch(self, epoch: int) -> list[int]:
        order = list(range(len(self._drafts)))
        random.Random(f"{self._seed}/{self._split}/epoch {epoch}").shuffle(order)
        return order
