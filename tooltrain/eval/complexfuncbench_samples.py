"""ComplexFuncBench's samples as traces: gold turns rebuilt, tools on offer, own responses.

The recorded conversion kept each sample's calls and lost how they were grouped into
turns. A call depends on every call that its conversion refers to, and on every earlier
call whose response alone explains one of its values (`synthesis.provenance`, nested
values too); a gold turn is a dependency level (`types.turns`). That gives the 1,000
samples 3.06 turns each, where the published annotation has 3.26 (arXiv 2501.10132,
table of statistics): annotators also ask one after the other for what could be asked
at once.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterable, Mapping, Sequence

from tooltrain.env.cache import Cache, Sample, SampleCall
from tooltrain.env.environment import Environment
from tooltrain.env.projection import leaf_values
from tooltrain.errors import UserError
from tooltrain.synthesis.provenance import Link, mine
from tooltrain.types import Call, GoldCall, Json, MalformedCall, Observation, Trace, turns

SUITE = "booking"
PUBLISHED_TURNS = 3.26  # a sample, arXiv 2501.10132
CROSS = "Cross"

# The look-ups that the official procedure lets a policy leave out (github.com/THUDM/
# ComplexFuncBench, utils/compare_method.py, `free_function_list`).
FREE_TOOLS = frozenset(
    {
        "Location_to_Lat_Long",
        "Search_Attraction_Location",
        "Search_Car_Location",
        "Search_Flight_Location",
        "Search_Hotel_Destination",
        "Taxi_Search_Location",
    }
)

Request = tuple[str, str]  # tool, canonical arguments


class OfferedTools(tuple[str, ...]):
    """Names of the tools offered in one sample, which know the sample's own responses.

    Rollouts hand the offered tools to the environment with every call, so this is what
    tells the environment whose recording to answer from.
    """

    own: Mapping[Request, Json]

    def __new__(cls, names: Iterable[str], own: Mapping[Request, Json]) -> OfferedTools:
        offered = super().__new__(cls, names)
        offered.own = own
        return offered


@dataclasses.dataclass(frozen=True)
class BenchmarkSample:
    """A sample to be played. requests: of the gold calls, in their order."""

    position: int
    domain: str
    trace: Trace
    requests: tuple[Request, ...]

    @property
    def id(self) -> str:
        return self.trace.id

    @property
    def offered(self) -> OfferedTools:
        own = dict(zip(self.requests, self.trace.responses, strict=True))
        return OfferedTools(self.trace.tools, own)

    @property
    def turns(self) -> list[int]:
        return turns(self.trace.calls)


def read_samples(cache: Cache, *, distractors: int | None = None) -> list[BenchmarkSample]:
    """The benchmark's samples in its own order.

    distractors: tools offered that no gold call uses, drawn by the sample's id from the
    rest of the suite. None offers what the benchmark does: every tool that a sample of the
    domain calls, and all tools of the suite for Cross. Either way the order is shuffled by
    the sample's id: the position of a tool says nothing.

    Raises UserError for a cache without samples, ValueError for distractors < 0.
    """
    if distractors is not None and distractors < 0:
        raise ValueError(f"distractors is the number of unused tools offered, got {distractors}")
    samples = list(cache.samples())
    if not samples:
        raise UserError(
            f"{cache.path} holds no benchmark samples; record them with "
            "`python -m tooltrain.cli.record --source=complexfuncbench --workdir=…`"
        )
    tools = cache.tools()
    of_domain: dict[str, set[str]] = {sample.domain: set() for sample in samples}
    for sample in samples:
        of_domain[sample.domain].update(call.name for call in sample.calls)
    if CROSS in of_domain:
        of_domain[CROSS] = set(tools)

    links, _ = mine(_flattened(sample) for sample in samples)
    read = []
    for sample, of_sample in zip(samples, links, strict=True):
        names = [call.name for call in sample.calls]
        rng = random.Random(f"offered tools {sample.id}")
        if distractors is None:
            offered = sorted(of_domain[sample.domain])
        else:
            rest = sorted(set(tools) - set(names))
            offered = sorted({*names, *rng.sample(rest, min(distractors, len(rest)))})
        rng.shuffle(offered)
        requests = tuple((c.name, tools[c.name].canonical(c.arguments)) for c in sample.calls)
        trace = _trace(sample, of_sample, offered)
        read.append(BenchmarkSample(sample.position, sample.domain, trace, requests))
    return read


def chosen(samples: Sequence[BenchmarkSample], count: int) -> list[BenchmarkSample]:
    """`count` of the samples (0: all), drawn by seed and in the benchmark's order.

    A smaller choice is part of every larger one, so that an evaluation can grow.
    """
    if not count or count >= len(samples):
        return list(samples)
    order = sorted(samples, key=lambda sample: random.Random(f"choice {sample.id}").random())
    return sorted(order[:count], key=lambda sample: sample.position)


def _trace(sample: Sample, links: Sequence[Link], offered: Sequence[str]) -> Trace:
    sources: list[set[int]] = [{index for _, index, _ in call.references} for call in sample.calls]
    for link in links:
        sources[link.target].add(link.source)
    gold = tuple(
        GoldCall(call.name, call.arguments, tuple(sorted(of_call)))
        for call, of_call in zip(sample.calls, sources, strict=True)
    )
    return Trace(
        id=sample.id,
        suite=SUITE,
        workflow=sample.domain,
        query=sample.query,
        tools=tuple(offered),
        calls=gold,
        responses=tuple(call.response for call in sample.calls),
    )


def _flattened(sample: Sample) -> Sample:
    """The sample with every leaf of a nested argument as an argument, so that provenance
    also explains values inside lists (the legs of a flight)."""
    return dataclasses.replace(sample, calls=tuple(map(_flattened_call, sample.calls)))


def _flattened_call(call: SampleCall) -> SampleCall:
    flat: dict[str, Json] = {}
    for name, value in call.arguments.items():
        if isinstance(value, list | dict):
            for path, leaf in leaf_values(value):
                flat[".".join(map(str, (name, *path)))] = leaf
        else:
            flat[name] = value
    return dataclasses.replace(call, arguments=flat)


class BenchmarkEnvironment(Environment):
    """The suite's environment, in which a sample's gold calls get the sample's own responses.

    The cache holds each request once, its recordings merged; a sample's own recording holds
    what its later calls need. Any other call is answered from the cache.
    whole_responses: show responses uncut, as the official procedure does; else projected.
    """

    def __init__(self, environment: Environment, *, whole_responses: bool = False):
        super().__init__(environment.cache, environment.projection)
        self.whole_responses = whole_responses

    def execute(self, call, offered=None) -> Observation:
        observation = super().execute(call, offered)
        if observation.ok and isinstance(offered, OfferedTools):
            request = (call.name, self.tools[call.name].canonical(call.arguments))
            if request in offered.own:
                return dataclasses.replace(observation, content=offered.own[request])
        return observation

    def show(self, call: Call | MalformedCall, observation: Observation) -> str:
        if not observation.ok:
            return super().show(call, observation)
        if self.whole_responses:
            return json.dumps(observation.content, ensure_ascii=False)
        return self.projection(call.name, observation.content)
