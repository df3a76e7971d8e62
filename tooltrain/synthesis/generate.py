"""From a cache to traces: mine, fill, put in words, check, split.

A trace is a pure function of (cache, settings, seed): generating twice gives the same
bytes.
"""

from __future__ import annotations

import collections
import dataclasses
import random
from collections.abc import Sequence

import tqdm

from tooltrain.env.environment import Environment
from tooltrain.env.projection import NAMING, generic
from tooltrain.errors import UserError
from tooltrain.synthesis.derive import at_path, underivable
from tooltrain.synthesis.provenance import is_specific, mine, value_text
from tooltrain.synthesis.queries import NoFrame, write_query
from tooltrain.synthesis.sampler import Entry, Recorded, fillings, produced_at
from tooltrain.synthesis.splits import Entities, assign
from tooltrain.synthesis.statements import is_name
from tooltrain.synthesis.workflow import SlotEdge, Workflow, mined
from tooltrain.types import Binding, Call, GoldCall, Json, Observation, ObservationKind, Trace

TRAIN, TRAIN_RL = "train", "train_rl"  # gold to imitate; prompts to roll out
VALIDATION, TEST, TEST_WORKFLOWS = "validation", "test", "test_workflows"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to generate. Shares are of fillings; the counts are upper bounds on traces.

    min_support: how many recorded calls a workflow must have been seen in.
    held_out_workflows: share of the workflows that only `test_workflows` plays.
    train_rl_share: of the entities that GRPO rolls out and SFT never sees, so that its
    prompts are as new to the policy as a test prompt; 0: no such split.
    queries_per_filling: queries written for one filling of a training trace; test
    fillings get one each. distractors: tools offered beside those of the gold calls.
    """

    suite: str
    max_calls: int = 4
    min_support: int = 10
    max_fillings: int = 2_000
    max_fillings_per_workflow: int = 400
    queries_per_filling: int = 4
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
        if not 0 <= self.held_out_workflows < 1:
            raise UserError(
                f"config.synthesis: held_out_workflows must be in [0, 1), got "
                f"{self.held_out_workflows}"
            )


@dataclasses.dataclass(frozen=True)
class Draft:
    """A filled workflow before it has words."""

    workflow: Workflow
    calls: tuple[GoldCall, ...]
    responses: tuple[Json, ...]
    views: tuple[str, ...]
    entities: frozenset[str]


@dataclasses.dataclass(frozen=True)
class Generated:
    """Traces by split, and what was rejected on the way, by reason."""

    splits: dict[str, list[Trace]]
    rejected: collections.Counter[str]
    workflows: dict[str, int]  # fillings by workflow id


def generate(environment: Environment, settings: Settings, *, progress: bool = True) -> Generated:
    """All splits. Raises UserError if the cache has no samples to mine."""
    samples = list(environment.cache.samples())
    if not samples:
        raise UserError(
            f"{environment.cache.path} holds no samples to mine workflows from; record a suite "
            "that has them (--source=complexfuncbench)"
        )
    links, _ = mine(samples)
    counts = mined(samples, links, max_calls=settings.max_calls)
    workflows = _without_dominated([w for w, n in counts.items() if n >= settings.min_support])
    recorded = Recorded(environment.cache)
    rejected: collections.Counter[str] = collections.Counter()
    rng = random.Random(settings.seed)
    drafts: list[Draft] = []
    for workflow in tqdm.tqdm(workflows, "fill", unit="workflow", disable=not progress):
        drafts += _drafts(workflow, recorded, environment, settings, rng, rejected)
    entities = _entities(drafts, recorded)
    drafts = [
        dataclasses.replace(d, entities=frozenset(entities.find(e) for e in d.entities))
        for d in drafts
    ]
    per_workflow = collections.Counter(d.workflow.id for d in drafts)
    held_out = _held_out(sorted(per_workflow), settings)
    splits = _split(drafts, per_workflow, held_out, settings, rejected)
    written = {
        name: _write(name, chosen, environment, settings, rejected)
        for name, chosen in splits.items()
    }
    return Generated(_without_shared_calls(written, rejected), rejected, dict(per_workflow))


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


def _drafts(
    workflow: Workflow,
    recorded: Recorded,
    environment: Environment,
    settings: Settings,
    rng: random.Random,
    rejected: collections.Counter[str],
) -> list[Draft]:
    found = list(fillings(workflow, recorded))
    if len(found) > settings.max_fillings:
        found = rng.sample(found, settings.max_fillings)
    drafts = []
    for filling in found:
        entries = [
            recorded.entries(tool)[i] for tool, i in zip(workflow.slots, filling, strict=True)
        ]
        draft = _draft(workflow, entries, recorded, environment)
        if isinstance(draft, str):
            rejected[f"{draft}: {workflow.id}"] += 1
        else:
            drafts.append(draft)
    rng.shuffle(drafts)
    return drafts[: settings.max_fillings_per_workflow]


def _draft(
    workflow: Workflow, entries: Sequence[Entry], recorded: Recorded, environment: Environment
) -> Draft | str:
    """The filling as gold calls, or the reason why it cannot be played from its views."""
    views = tuple(
        environment.show(Call(tool, e.arguments), Observation(ObservationKind.OK, e.response))
        for tool, e in zip(workflow.slots, entries, strict=True)
    )
    calls = []
    for slot, tool in enumerate(workflow.slots):
        edges = [e for e in workflow.edges if e.target == slot]
        bindings: list[Binding] = []
        for source in workflow.sources(slot):
            group = [e for e in edges if e.source == source]
            bound = _bind(group, entries[slot], entries[source], views[source])
            if isinstance(bound, str):
                return bound
            bindings += bound
        bindings.sort(key=lambda b: b.argument)
        calls.append(
            GoldCall(tool, entries[slot].arguments, workflow.sources(slot), tuple(bindings))
        )
    return Draft(
        workflow,
        tuple(calls),
        tuple(e.response for e in entries),
        views,
        frozenset(_names(calls, recorded)),
    )


def _bind(
    edges: Sequence[SlotEdge], target: Entry, source: Entry, view: str
) -> list[Binding] | str:
    """Bindings of the arguments that one call takes from another: all from one element."""
    places: list[dict[tuple[int, ...], tuple[str | int, ...]]] = []
    for edge in edges:
        text = value_text(target.arguments[edge.argument])
        if text not in view:
            return "not visible in the projection"
        at = {}
        for path, found in produced_at(source.response, edge.path):
            if found == text:
                at.setdefault(tuple(step for step in path if isinstance(step, int)), path)
        places.append(at)
    positions = sorted(set(places[0]).intersection(*places[1:]) - {()})
    if not positions and all(() in at for at in places):
        return [Binding(e.argument, e.source, at[()]) for e, at in zip(edges, places, strict=True)]
    if not positions:
        # Fields of the response's root beside fields of an element (a search key and an id).
        rooted = [at for at in places if () in at]
        listed = [set(at) for at in places if () not in at]
        if not rooted or not listed or not (both := sorted(set.intersection(*listed))):
            return "arguments from different elements"
        positions = both
    position = positions[0]
    path = next(at[position] for at in places if position in at)
    selector = _selector(source.response, path, view)
    if selector is None:
        return "no selector explains the element"
    return [
        Binding(
            e.argument, e.source, at.get(position) or at[()], selector if position in at else ""
        )
        for e, at in zip(edges, places, strict=True)
    ]


def _selector(response: Json, path: tuple[str | int, ...], view: str) -> str | None:
    """How a person would say which element `path` goes through; None if nothing visible
    tells it from the others."""
    indices = [i for i, step in enumerate(path) if isinstance(step, int)]
    if all(path[i] == 0 for i in indices):
        return "first"
    last = indices[-1]
    if any(path[i] != 0 for i in indices[:-1]):
        return None
    siblings = at_path(response, path[:last])
    element = siblings[path[last]]
    if not isinstance(element, dict):
        return None
    for field in sorted(NAMING & element.keys()):
        value = element[field]
        others = [s.get(field) for s in siblings if isinstance(s, dict)]
        if isinstance(value, str) and others.count(value) == 1 and f'"{value}"' in view:
            return f"where({field}={value})"
    return None


# --- entities and splits ------------------------------------------------------------


def _names(calls: Sequence[GoldCall], recorded: Recorded) -> list[str]:
    """Names and ids of a trace, casefolded: free names that the user states, bound values."""
    names = []
    for call in calls:
        bound = {b.argument for b in call.bindings}
        for argument, value in call.arguments.items():
            if not recorded.identifies(call.name, argument):
                continue
            text = value_text(value)
            if (argument in bound and is_specific(text)) or (
                argument not in bound and is_name(value)
            ):
                names.append(text.casefold())  # "Hong kong" is Hong Kong
    return names


def _entities(drafts: Sequence[Draft], recorded: Recorded) -> Entities:
    """Joins what goes by connected names: a call's own names with the values that its
    response fed to later calls. A call that takes values from two sources (a flight)
    joins nothing: its two ends are two entities."""
    entities = Entities()
    for draft in drafts:
        for i, call in enumerate(draft.calls):
            own = _names([call], recorded)
            if len({b.source for b in call.bindings}) > 1:
                own = []
            paths = {
                generic(b.path)
                for later in draft.calls
                for b in later.bindings
                if b.source == i and recorded.identifies(later.name, b.argument)
            }
            response, view = draft.responses[i], draft.views[i]
            # Every value the view shows at a used path, chosen or not, is this entity's.
            produced = [
                text.casefold()
                for path in sorted(paths)
                for _, text in produced_at(response, path)
                if is_specific(text) and text in view
            ]
            entities.join([*own, *produced])
    return entities


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
    # A workflow counts by the square root of its fillings: the large ones do not decide.
    weights = [per_workflow[d.workflow.id] ** -0.5 for d in drafts]
    home = assign([d.entities for d in drafts], weights, shares, seed=settings.seed)
    splits: dict[str, list[Draft]] = {name: [] for name in (*shares, TEST_WORKFLOWS)}
    for draft in drafts:
        homes = {home[e] for e in draft.entities}
        if len(homes) != 1:
            rejected["entities in different splits"] += 1
            continue
        name = homes.pop()
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
    environment: Environment,
    settings: Settings,
    rejected: collections.Counter[str],
) -> list[Trace]:
    """Traces with queries and offered tools; each passes the derivability check."""
    rng = random.Random(f"{settings.seed}/{split}")
    traces: list[Trace] = []
    for copy in range(settings.queries_per_filling if split in (TRAIN, TRAIN_RL) else 1):
        for draft in drafts:
            trace = _trace(f"{split}-{len(traces)}", draft, environment, settings, rng)
            reasons = (
                [trace]
                if isinstance(trace, str)
                else underivable(trace, draft.views, environment.tools)
            )
            if not reasons:
                traces.append(trace)
            elif copy == 0:
                rejected.update(reasons[:1])
    rng.shuffle(traces)
    return [dataclasses.replace(t, id=f"{split}-{i}") for i, t in enumerate(traces)]


def _trace(
    id_: str, draft: Draft, environment: Environment, settings: Settings, rng: random.Random
) -> Trace | str:
    try:
        query = write_query(draft.calls, rng)
    except NoFrame as error:
        return str(error)
    needed = sorted({call.name for call in draft.calls})
    others = sorted(environment.tools.keys() - set(needed))
    tools = needed + rng.sample(others, min(settings.distractors, len(others)))
    rng.shuffle(tools)
    return Trace(
        id_,
        settings.suite,
        draft.workflow.id,
        query,
        tuple(tools),
        draft.calls,
        draft.responses,
    )


def _without_shared_calls(
    splits: dict[str, list[Trace]], rejected: collections.Counter[str]
) -> dict[str, list[Trace]]:
    """Drops traces that hold a call that stands in an earlier split."""
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
