"""How much of what later calls need does a policy still see in the projected responses?

On ComplexFuncBench: every gold call must be answered by the cache. Of the arguments whose
value stands in an earlier response of their sample and not in its query, the share whose
value is still a leaf of an earlier call's view, for each token budget; by the tool whose
response the value is taken from; and the least budget of --grid that keeps 99%.

    python -m benchmarks.projection_visibility --cache=runs/demo/cache/booking.sqlite
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import pathlib
import statistics
import time

from benchmarks.machine import machine
from tooltrain.env.cache import Sample
from tooltrain.env.environment import Environment, open_environment
from tooltrain.env.projection import leaf_values
from tooltrain.synthesis.provenance import Link, candidates, mine, value_text
from tooltrain.types import Call

BUDGETS = (256, 512, 1024, 4096)
GRID = (64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 640, 768, 1024, 1536, 2048, 3072, 4096)
WANTED = 0.99


def hits(environment: Environment, samples: list[Sample]) -> dict[str, int]:
    """What becomes of every gold call."""
    return collections.Counter(
        environment.execute(Call(call.name, call.arguments)).kind.value
        for sample in samples
        for call in sample.calls
    )


@dataclasses.dataclass
class Needed:
    """A sample's arguments that earlier responses explain: every way, and the mined one."""

    sample: Sample
    ways: list[list[Link]]
    best: list[Link]


def needed_values(environment: Environment) -> list[Needed]:
    samples = list(environment.cache.samples())
    links, _ = mine(samples)
    return [Needed(s, candidates(s), best) for s, best in zip(samples, links, strict=True)]


def visibility(
    found: list[Needed], path: pathlib.Path, budget: int, items: int, value_chars: int
) -> dict[str, object]:
    """Share of needed values that views of `budget` tokens show, together and by tool."""
    environment = open_environment(
        str(path), max_tokens=budget, max_items=items, max_value_chars=value_chars
    )
    needed: collections.Counter[str] = collections.Counter()
    seen: collections.Counter[str] = collections.Counter()
    leaves: dict[str, set[str | None]] = {}
    seconds: list[float] = []
    for one in found:
        views = []
        for call in one.sample.calls:
            request = Call(call.name, call.arguments)
            answer = environment.execute(request)
            start = time.perf_counter()
            view = environment.show(request, answer)
            if view not in leaves:
                seconds.append(time.perf_counter() - start)
                leaves[view] = {value_text(leaf) for _, leaf in leaf_values(json.loads(view))}
            views.append(view)
        for ways, link in zip(one.ways, one.best, strict=True):
            text = value_text(one.sample.calls[link.target].arguments[link.argument])
            tool = one.sample.calls[link.source].name
            needed[tool] += 1
            seen[tool] += any(text in leaves[views[way.source]] for way in ways)
    tokens = [environment.projection.count_tokens(view) for view in leaves]
    return {
        "needed": needed.total(),
        "share": round(seen.total() / needed.total(), 5),
        "mean_tokens": round(statistics.mean(tokens), 1),
        "max_tokens": max(tokens),
        "median_view_us": round(statistics.median(seconds) * 1e6),
        "by_tool": {
            tool: [round(seen[tool] / count, 4), count] for tool, count in sorted(needed.items())
        },
    }


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--cache", type=pathlib.Path, required=True, help="of complexfuncbench")
    flags.add_argument("--items", type=int, default=20, help="elements shown of a list, at most")
    flags.add_argument("--value_chars", type=int, default=1024, help="of a text shown, at most")
    given = flags.parse_args()
    environment = open_environment(str(given.cache))
    needed = needed_values(environment)

    def at(budget: int) -> dict[str, object]:
        return visibility(needed, given.cache, budget, given.items, given.value_chars)

    found = {budget: at(budget) for budget in BUDGETS}
    # A greater budget shows more, so the least one is found by halving.
    tried = {budget: found.get(budget) for budget in GRID}
    low, high = 0, len(GRID)
    while low < high:
        middle = (low + high) // 2
        tried[GRID[middle]] = tried[GRID[middle]] or at(GRID[middle])
        if tried[GRID[middle]]["share"] >= WANTED:
            high = middle
        else:
            low = middle + 1
    least = GRID[low] if low < len(GRID) else None
    result = {
        "gold_calls": hits(environment, list(environment.cache.samples())),
        "max_items": given.items,
        "max_value_chars": given.value_chars,
        "budgets": found,
        "least_budget_with_99_percent": least,
        "share_by_budget": {b: shown["share"] for b, shown in tried.items() if shown},
        "machine": machine(),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
