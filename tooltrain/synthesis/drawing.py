"""Drafts by draws: mined and grown workflows filled from a compiled cache.

Unlike `drafts.fill`, which lists fillings and keeps the two selectors that plain queries
have words for, this draws them uniformly and explains elements by every selector.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Sequence

import numpy as np
import tqdm

from tooltrain.env.environment import Environment
from tooltrain.synthesis import philox
from tooltrain.synthesis.compile import Compiled
from tooltrain.synthesis.drafts import Draft, of_filling
from tooltrain.synthesis.draws import Filler
from tooltrain.synthesis.grow import MIN_CALLS, Controls, Grower
from tooltrain.synthesis.network import NoFilling
from tooltrain.synthesis.workflow import Workflow, WorkflowError

_DRAWS_A_FILLING = 2  # so that repeated draws still leave enough different ones


def grown(
    compiled: Compiled, *, count: int, max_calls: int, seed: int, rejected: collections.Counter[str]
) -> list[Workflow]:
    """About `count` workflows, as many of each number of calls from 2 to max_calls."""
    sizes = range(MIN_CALLS, max_calls + 1)
    grower, found = Grower(compiled), []
    for calls in sizes:
        try:
            found += grower.grow(
                Controls(calls=calls), seed=seed, count=math.ceil(count / len(sizes))
            )
        except WorkflowError as error:
            rejected[f"nothing grown: {error}"] += 1
    return found


def drawn(
    workflows: Sequence[Workflow],
    compiled: Compiled,
    rejected: collections.Counter[str],
    *,
    max_drafts: int,
    seed: int,
    progress: bool,
) -> list[Draft]:
    """At most `max_drafts` different fillings of each workflow, in the order of their draws;
    a workflow that cannot be filled is counted in `rejected` with the edge to blame."""
    compiled.prepare(workflows)
    drafts = []
    for workflow in tqdm.tqdm(workflows, "draw", unit="workflow", disable=not progress):
        try:
            filler = Filler(workflow, compiled)
        except NoFilling as error:
            rejected[f"no filling: {error}"] += 1
            continue
        key = philox.key_of(f"{seed}/{workflow.id}")
        rows = filler.draw(key, np.arange(_DRAWS_A_FILLING * max_drafts))
        different = dict.fromkeys(tuple(int(entry) for entry in row) for row in rows)
        drafts += [of_filling(workflow, row, compiled) for row in [*different][:max_drafts]]
    return drafts


def compiled_for(environment: Environment) -> Compiled:
    """The cache compiled for what the environment shows."""
    return Compiled(environment.cache, environment.projection)
