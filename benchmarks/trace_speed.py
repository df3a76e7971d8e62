"""How many complete traces a second, and how many of their queries are alike?

A trace is complete when its filling has words, passed the derivability check and is JSON.
One core; rates are traces a CPU second (other work on the machine does not count) and by
wall clock. Variety: queries with a blank for every value, over the same fillings.

    python -m benchmarks.trace_speed --cache runs/demo/cache/booking.sqlite
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable

from benchmarks import one_core

if __name__ == "__main__":
    one_core.keep()

from benchmarks.machine import machine
from tooltrain.data.traces import trace_to_json
from tooltrain.env.environment import open_environment
from tooltrain.synthesis.derive import underivable
from tooltrain.synthesis.generate import TRAIN, Settings, plan, streams
from tooltrain.synthesis.varied import write_varied


def rate(work: Callable[[int], object], count: int, repeats: int = 4) -> dict[str, float]:
    """The best of `repeats`: the others tell of other work on the machine."""
    walls, cpus = [], []
    for _ in range(repeats):
        start = time.perf_counter(), time.process_time()
        for i in range(count):
            work(i)
        walls.append(time.perf_counter() - start[0])
        cpus.append(time.process_time() - start[1])
    return {"wall": round(count / min(walls)), "cpu": round(count / min(cpus))}


def measure(cache: str, suite: str, traces: int, queries: int, more: dict) -> dict[str, object]:
    environment = open_environment(cache, max_tokens=80, max_items=2, max_value_chars=64)
    settings = Settings(suite, train_traces=max(traces, queries), **more)
    start = time.process_time()
    planned = plan(environment, settings, progress=False)
    stream = streams(planned, environment, settings)[TRAIN]
    planned_s = time.process_time() - start
    made = [stream[i] for i in range(traces)]  # views and responses are read once
    rejected = dict(stream.rejected.most_common(8))
    views = [stream.draft(i).views for i in range(traces)]

    def whole(i: int) -> str:
        return json.dumps(trace_to_json(stream[i]), ensure_ascii=False)

    parts = {
        "complete": rate(whole, traces),
        "query": rate(lambda i: write_varied(made[i].calls, suite, random.Random(i)), traces),
        "serialisation": rate(
            lambda i: json.dumps(trace_to_json(made[i]), ensure_ascii=False), traces
        ),
    }
    played = [i for i in range(traces) if made[i].calls == stream.draft(i).calls]
    parts["check"] = rate(
        lambda i: underivable(made[played[i]], views[played[i]], environment.tools), len(played)
    )
    blanks = set()
    for i in range(queries):
        calls = made[i % traces].calls
        blanks.add(write_varied(calls, suite, random.Random(f"blank/{i}"), blank=True))
    return {
        "fillings": len(planned.splits[TRAIN]),
        "workflows": len(planned.workflows),
        "plan_cpu_s": round(planned_s, 1),
        "traces_a_second": parts,
        "queries": queries,
        "repeated_without_values": 1 - len(blanks) / queries,
        "rejected_wordings": rejected,
        "machine": machine(),
    }


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--cache", required=True, help="SQLite file of recorded responses")
    flags.add_argument("--suite", default="booking")
    flags.add_argument("--traces", type=int, default=10_000)
    flags.add_argument("--queries", type=int, default=100_000)
    flags.add_argument("--settings", type=json.loads, default={}, help="JSON of Settings fields")
    given = flags.parse_args()
    found = measure(given.cache, given.suite, given.traces, given.queries, given.settings)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
