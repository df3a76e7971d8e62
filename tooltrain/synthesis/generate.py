"""From a cache to traces: mine, fill, put in words, check, split.

A trace is a pure function of (cache, settings, seed): generating twice gives the same
bytes.
"""

from __future__ import annotations

import collections
import dataclasses
import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

import tqdm

from tooltrain.env.environment import Environment
from tooltrain.errors import UserError
from tooltrain.synthesis.drafts import Draft, fill
from tooltrain.synthesis.drawing import compiled_for, drawn, grown
from tooltrain.synthesis.entities import Identifying, homes, joined
from tooltrain.synthesis.provenance import mine
from tooltrain.synthesis.sampler import Recorded
from tooltrain.synthesis.stream import TraceStream, TraceWriter
from tooltrain.synthesis.workflow import Workflow, mined
from tooltrain.types import Trace

TRAIN, TRAIN_RL = "train", "train_rl"  # gold to imitate; prompts to roll out
VALIDATION, TEST, TEST_WORKFLOWS = "validation", "test", "test_workflows"
_Calls = TypeVar("_Calls", Draft, Trace)  # what has gold calls


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to generate. Shares are of fillings; the counts are upper bounds on traces.

    min_support: how many recorded calls a workflow must have been seen in.
    held_out_workflows: share of the workflows that only `test_workflows` plays.
    train_rl_share: of the entities that GRPO rolls out and SFT never sees, so that its
    prompts are as new to the policy as a test prompt; 0: no such split.
    queries_per_filling: queries written for one filling of a training trace; the other splits
    get one a filling. train_traces: if above 0, so many traces of each training split instead.
    Traces are then made by index, in every split (`stream.TraceStream`): a filling that no
    words are found for gives way to the next, which comes twice. variety: share of queries
    that the varied grammar writes; the rest are in the few plain frames, which a tiny policy
    can learn to read. Above 0, fillings are drawn from the compiled cache, with every selector
    that the varied grammar can say. grown_workflows: how many to grow from the tool graph
    beside the mined ones; takes a variety of 1, as plain frames know no others.
    distractors: tools offered beside those of the gold calls.
    """

    suite: str
    max_calls: int = 4
    min_support: int = 10
    max_fillings: int = 2_000
    max_fillings_per_workflow: int = 400
    queries_per_filling: int = 4
    train_traces: int = 0
    grown_workflows: int = 0
    variety: float = 1.0
    distractors: int = 3
    held_out_workflows: float = 0.15
    train_rl_share: float = 0.0
    validation_share: float = 0.1
    test_share: float = 0.2
    seed: int = 0

    @property
    def train_share(self) -> float:
        return 1 - self.train_rl_share - self.validation_share - self.test_share

    def __post_init__(self):
        shares = (self.validation_share, self.test_share, self.train_share)
        if min(shares) <= 0 or self.train_rl_share < 0:
            raise UserError(
                f"config.synthesis: validation_share {self.validation_share} and test_share "
                f"{self.test_share} must be above 0, train_rl_share {self.train_rl_share} not "
                "below, and together they must leave something to train on (sum below 1)"
            )
        if self.max_calls < 2 or self.queries_per_filling < 1 or self.distractors < 0:
            raise UserError(
                "config.synthesis: max_calls must be at least 2, queries_per_filling 1, "
                f"distractors 0; got {self.max_calls}, {self.queries_per_filling}, "
                f"{self.distractors}"
            )
        if self.train_traces < 0:
            raise UserError(f"config.synthesis: train_traces is {self.train_traces}, below 0")
        if self.grown_workflows < 0 or (self.grown_workflows and self.variety < 1):
            raise UserError(
                "config.synthesis: grown_workflows must be at least 0, and 0 unless variety is 1; "
                f"got {self.grown_workflows} with variety {self.variety}"
            )
        if not 0 <= self.variety <= 1:
            raise UserError(f"config.synthesis: variety must be in [0, 1], got {self.variety}")
        if not 0 <= self.held_out_workflows < 1:
            raise UserError(
                f"config.synthesis: held_out_workflows must be in [0, 1), got "
                f"{self.held_out_workflows}"
            )


@dataclasses.dataclass(frozen=True)
class Planned:
    """Drafts by split, before any has words, and what was rejected on the way, by reason."""

    splits: dict[str, list[Draft]]
    rejected: collections.Counter[str]
    workflows: dict[str, int]  # fillings by workflow id


@dataclasses.dataclass(frozen=True)
class Generated:
    """Traces by split, and what was rejected on the way, by reason."""

    splits: dict[str, list[Trace]]
    rejected: collections.Counter[str]
    workflows: dict[str, int]  # fillings by workflow id


def plan(environment: Environment, settings: Settings, *, progress: bool = True) -> Planned:
    """Fillings of the workflows, split. Raises UserError if there is no workflow: the cache
    has no samples to mine and none is asked to be grown."""
    samples = list(environment.cache.samples())
    if not samples and not settings.grown_workflows:
        raise UserError(
            f"{environment.cache.path} holds no samples to mine workflows from; set "
            "config.synthesis.grown_workflows (with a variety of 1), or record a suite that has "
            "samples (--source=complexfuncbench)"
        )
    links, _ = mine(samples)
    counts = mined(samples, links, max_calls=settings.max_calls)
    workflows = _without_dominated([w for w, n in counts.items() if n >= settings.min_support])
    rejected: collections.Counter[str] = collections.Counter()
    recorded: Identifying
    if settings.variety > 0:
        recorded = compiled = compiled_for(environment)
        if settings.grown_workflows:
            more = {"count": settings.grown_workflows, "max_calls": settings.max_calls}
            new = grown(compiled, **more, seed=settings.seed, rejected=rejected)
            workflows = sorted({*workflows, *new}, key=lambda w: w.id)
        drafts = drawn(
            workflows,
            compiled,
            rejected,
            max_drafts=settings.max_fillings_per_workflow,
            seed=settings.seed,
            progress=progress,
        )
    else:
        recorded = Recorded(environment.cache)
        rng = random.Random(settings.seed)
        drafts = []
        for workflow in tqdm.tqdm(workflows, "fill", unit="workflow", disable=not progress):
            drafts += fill(
                workflow,
                recorded,
                environment,
                rejected,
                max_fillings=settings.max_fillings,
                max_drafts=settings.max_fillings_per_workflow,
                rng=rng,
            )
    entities = joined(drafts, recorded)
    drafts = [
        dataclasses.replace(d, entities=frozenset(entities.find(e) for e in d.entities))
        for d in drafts
    ]
    per_workflow = collections.Counter(d.workflow.id for d in drafts)
    held_out = _held_out(sorted(per_workflow), settings)
    splits = _split(drafts, per_workflow, held_out, settings, rejected)
    return Planned(splits, rejected, dict(per_workflow))


def generate(environment: Environment, settings: Settings, *, progress: bool = True) -> Generated:
    """All splits. Raises UserError as `plan` does, and as a `TraceStream` does."""
    planned = plan(environment, settings, progress=progress)
    rejected = planned.rejected
    if settings.train_traces:
        found = streams(planned, environment, settings)
        written = {
            name: list(tqdm.tqdm(stream, name, unit="trace", disable=not progress))
            for name, stream in found.items()
        }
        for stream in found.values():
            rejected.update(stream.rejected)
    else:
        write = TraceWriter(environment, settings)
        written = {
            name: _write(name, drafts, write, settings, rejected)
            for name, drafts in planned.splits.items()
        }
        written = _without_shared_calls(written, rejected)
    return Generated(written, rejected, planned.workflows)


def streams(
    planned: Planned, environment: Environment, settings: Settings
) -> dict[str, TraceStream]:
    """Every split as traces made by index: `settings.train_traces` of the training splits
    (if 0, `queries_per_filling` times their fillings), as many as there are fillings of the
    others. A filling that no words are found for gives way to the next, which comes twice."""
    splits = _without_shared_calls(planned.splits, planned.rejected)
    write = TraceWriter(environment, settings)

    def length(name: str, drafts: Sequence[Draft]) -> int:
        if not drafts or name not in (TRAIN, TRAIN_RL):
            return len(drafts)
        return settings.train_traces or settings.queries_per_filling * len(drafts)

    return {
        name: TraceStream(name, drafts, settings, write, length(name, drafts))
        for name, drafts in splits.items()
    }


# --- fillings -----------------------------------------------------------------------


def _without_dominated(workflows: Sequence[Workflow]) -> list[Workflow]:
    """Workflows whose edges are not a part of another's with the same slots: the richer
    one explains more arguments of the same calls."""
    kept = [
        w
        for w in workflows
        if not any(
            o.slots == w.slots and set(w.edges) < set(o.edges) for o in workflows if o is not w
        )
    ]
    return sorted(kept, key=lambda w: w.id)


# --- splits -------------------------------------------------------------------------


def _held_out(ids: Sequence[str], settings: Settings) -> frozenset[str]:
    """Workflows that training never plays, chosen by seed."""
    rng = random.Random(f"{settings.seed}/held-out")
    return frozenset(rng.sample(list(ids), round(settings.held_out_workflows * len(ids))))


def _split(
    drafts: Sequence[Draft],
    per_workflow: collections.Counter[str],
    held_out: frozenset[str],
    settings: Settings,
    rejected: collections.Counter[str],
) -> dict[str, list[Draft]]:
    shares = {
        TRAIN: settings.train_share,
        TRAIN_RL: settings.train_rl_share,
        VALIDATION: settings.validation_share,
        TEST: settings.test_share,
    }
    shares = {name: share for name, share in shares.items() if share}
    found = homes(drafts, per_workflow, shares, seed=settings.seed)
    splits: dict[str, list[Draft]] = {name: [] for name in (*shares, TEST_WORKFLOWS)}
    for draft, name in zip(drafts, found, strict=True):
        if name is None:
            parted = "entities in different splits"
            rejected[parted if draft.entities else "no entity to split by"] += 1
            continue
        if draft.workflow.id in held_out:
            if name != TEST:
                rejected["held-out workflow with entities of another split"] += 1
                continue
            name = TEST_WORKFLOWS
        splits[name].append(draft)
    return splits


# --- words --------------------------------------------------------------------------


def _write(
    split: str,
    drafts: Sequence[Draft],
    write: TraceWriter,
    settings: Settings,
    rejected: collections.Counter[str],
) -> list[Trace]:
    """Traces with queries and offered tools; each passes the derivability check."""
    rng = random.Random(f"{settings.seed}/{split}")
    traces: list[Trace] = []
    for copy in range(settings.queries_per_filling if split in (TRAIN, TRAIN_RL) else 1):
        for draft in drafts:
            trace = write(f"{split}-{len(traces)}", draft, rng)
            if not isinstance(trace, str):
                traces.append(trace)
            elif copy == 0:
                rejected[trace] += 1
    rng.shuffle(traces)
    return [dataclasses.replace(t, id=f"{split}-{i}") for i, t in enumerate(traces)]


def _without_shared_calls(
    splits: Mapping[str, Sequence[_Calls]], rejected: collections.Counter[str]
) -> dict[str, list[_Calls]]:
    """Drops traces (or drafts) that hold a call that stands in an earlier split."""
    seen: set[str] = set()
    kept = {}
    for name in splits:
        calls = [{f"{c.name} {sorted(c.arguments.items())}" for c in t.calls} for t in splits[name]]
        # Both test splits are evaluated, never trained on: they may share calls.
        if name != TEST_WORKFLOWS:
            earlier = frozenset(seen)
        kept[name] = [t for t, c in zip(splits[name], calls, strict=True) if c.isdisjoint(earlier)]
        rejected["a call of another split"] += len(splits[name]) - len(kept[name])
        for held in calls:
            seen |= held
    return kept
