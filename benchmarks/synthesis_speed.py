"""How fast are workflows compiled and filled, and how much of a cache can they use?

On one core: relations of all workflows into arrays, exact counts, then draws by index in
batches. Workflows are those of the samples (each call with all that it needs, and whole
samples), or with --grow grown from the tool graph, for a cache without samples. With
--views only what can be played from the projected views counts (max_tokens 512, max_items
5). Prints one JSON object; rates are fillings a second by wall clock, and by CPU seconds
where the core is shared.

    python -m benchmarks.synthesis_speed --cache FILE [--views] [--grow 20] [--traces 2000]
"""

from __future__ import annotations

import argparse
import collections
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence

from benchmarks import one_core

if __name__ == "__main__":
    one_core.keep()

import numpy as np

from benchmarks.machine import machine
from tooltrain.env.cache import Cache
from tooltrain.env.environment import open_environment
from tooltrain.synthesis.compile import Compiled
from tooltrain.synthesis.drafts import of_filling
from tooltrain.synthesis.draws import Filler, Sampler
from tooltrain.synthesis.grow import Controls, Grower
from tooltrain.synthesis.network import NoFilling
from tooltrain.synthesis.provenance import mine
from tooltrain.synthesis.workflow import MAX_CALLS, Workflow, WorkflowError, mined, whole

VIEWS = {"max_tokens": 512, "max_items": 5, "max_value_chars": 1024}
SHAPES = [Controls(calls=calls) for calls in (2, 3, 4, 5, 6, 8, 10, 12)]


def of_samples(cache: Cache) -> list[Workflow]:
    samples, tools = list(cache.samples()), cache.tools()
    links, _ = mine(samples)
    counts = mined(samples, links, max_calls=MAX_CALLS, tools=tools)
    counts += whole(samples, links, tools=tools)
    return sorted(counts, key=lambda w: w.id)


def grown(compiled: Compiled, count: int) -> list[Workflow]:
    grower, found = Grower(compiled), {}
    for controls in SHAPES:
        try:
            found.update(dict.fromkeys(grower.grow(controls, seed=0, count=count)))
        except WorkflowError as error:
            print(error, file=sys.stderr)
    return sorted(found, key=lambda w: w.id)


def timed(work: Callable[[], object]) -> tuple[object, dict[str, float]]:
    start = time.perf_counter(), time.process_time()
    made = work()
    wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    return made, {"wall": wall, "cpu": cpu}


def rounded(took: dict[str, float]) -> dict[str, float]:
    return {clock: round(seconds, 3) for clock, seconds in took.items()}


def fillers_of(workflows: Sequence[Workflow], compiled: Compiled) -> tuple[list[Filler], list[str]]:
    compiled.prepare(workflows)
    found, faults = [], []
    for workflow in workflows:
        try:
            found.append(Filler(workflow, compiled))
        except NoFilling as error:
            faults.append(str(error))
    return found, faults


def measure(path: str, views: bool, grow: int, fillings: int, traces: int) -> dict[str, object]:
    projection = open_environment(path, **VIEWS).projection if views else None
    cache = Cache.open(path)
    growing = {}
    if grow:
        compiled = Compiled(cache, projection)
        workflows, growing = timed(lambda: grown(compiled, grow))
    else:
        workflows = of_samples(cache)
    compiled = Compiled(cache, projection)  # nothing of growing is kept
    (fillers, faults), compile_s = timed(lambda: fillers_of(workflows, compiled))
    sampler = Sampler([filler.workflow for filler in fillers], compiled, seed=0)
    batch = 65_536
    best: dict[str, float] = {}
    for repeat in range(3):
        starts = range(repeat * fillings, (repeat + 1) * fillings, batch)
        _, took = timed(lambda s=starts: [sampler.draw(np.arange(i, i + batch)) for i in s])
        for clock, seconds in took.items():
            best[clock] = max(best.get(clock, 0), round(len(starts) * batch / seconds))
    drafted = {}
    if traces:
        # Once over all of them first: a long run finds every response parsed already.
        chosen = [sampler.filling(i) for i in range(traces)]
        _, first = timed(lambda: [of_filling(w, f, compiled) for w, f in chosen])
        _, again = timed(lambda: [of_filling(w, f, compiled) for w, f in chosen])
        drafted = {
            "first": {clock: round(traces / s) for clock, s in first.items()},
            "again": {clock: round(traces / s) for clock, s in again.items()},
        }
    counts = [filler.distinct_count for filler in fillers]
    known = [count for count in counts if count is not None]
    return {
        "cache_entries": len(cache),
        "workflows": len(workflows),
        "fillable": len(fillers),
        "not_fillable": len(faults),
        "calls": dict(sorted(collections.Counter(len(w.slots) for w in workflows).items())),
        "kinds": dict(collections.Counter(filler.kind for filler in fillers)),
        "distinct_fillings": {
            "least": min(known, default=None),
            "median": sorted(known)[len(known) // 2] if known else None,
            "most": max(known, default=None),
            "all": sum(known),
            "not_worked_out": counts.count(None),
        },
        "grow_s": rounded(growing),
        "compile_s": rounded(compile_s),
        "fillings_per_s": best,
        "drafts_per_s": drafted,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "machine": machine(),
        "numpy": np.__version__,
        "first_fault": faults[0] if faults else "",
    }


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--cache", required=True)
    flags.add_argument("--views", action="store_true", help="only what the views show counts")
    flags.add_argument("--grow", type=int, default=0, help="workflows grown of each size")
    flags.add_argument("--fillings", type=int, default=1_000_000)
    flags.add_argument("--traces", type=int, default=0, help="fillings made into gold calls")
    given = flags.parse_args()
    found = measure(given.cache, given.views, given.grow, given.fillings, given.traces)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
