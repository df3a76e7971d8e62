"""Does the cache stay as fast at a million entries as at ten thousand, beside plain JSON?

Takes a recorded cache, repeats its responses under varied keys (one more integer argument
on every tool) up to 10k, 100k and 1M entries, and measures, each in a fresh process:

  open_first_call_ms  from a path to the first answer, imports done: file in the page cache
                      ("warm") or dropped from it before ("cold")
  memory_mb           resident memory of the reader: at start, and after all its calls
  microseconds        median over random calls, sizes in turn so that they share the machine's
                      load: execute; with the parsing of the policy's text and the check
                      against the schema besides; or, in place of the check, the view of the
                      response made
  readers             8 processes on one file: calls a second together, memory of each
  json                {tool: {key: response}} as one file, json.load, dict lookups

Prints one JSON object. A million entries need 3 to 6 GB of disk in --directory and minutes.

    python -m benchmarks.cache_scale --source=runs/atlas/cache/atlas.sqlite
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import pathlib
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

import orjson

from benchmarks.machine import machine
from tooltrain.calls.parser import parse_calls
from tooltrain.env.cache import Cache
from tooltrain.env.environment import open_environment
from tooltrain.env.recording import Recording
from tooltrain.types import Call, Json, ObservationKind

SIZES = (10_000, 100_000, 1_000_000)
JSON_SIZES = (10_000, 100_000)
PROJECTION = {"max_tokens": 512, "max_items": 5, "max_value_chars": 256}
_ROUND = 250  # calls on one size before the next has its turn
_VARIANT = "variant"


def varied(source: Cache, count: int) -> Iterator[tuple[str, dict[str, Json], Json]]:
    """`count` entries: the recorded ones in one random order, again and again with another
    variant, so that every count has responses of the same kinds and sizes."""
    recorded = [
        (tool, arguments, response)
        for tool in source.tools()
        for _, arguments, response in source.rows(tool)
    ]
    random.Random(0).shuffle(recorded)
    for i in range(count):
        variant, at = divmod(i, len(recorded))
        tool, arguments, response = recorded[at]
        yield tool, orjson.loads(arguments) | {_VARIANT: variant}, orjson.loads(response)


def build(source: Cache, count: int, path: pathlib.Path) -> dict[str, float]:
    """Records and seals `count` entries at `path`; seconds and bytes of it."""
    start = time.perf_counter()
    with Recording.open(path.with_suffix(".recording")) as recording:
        for tool in source.tools().values():
            schema = dict(tool.parameters)
            schema["properties"] = {**tool.properties, _VARIANT: {"type": "integer"}}
            recording.add_tool(dataclasses.replace(tool, parameters=schema))
        for entry in varied(source, count):
            recording.add(*entry)
        recording.commit()
        recorded = time.perf_counter()
        recording.seal(path).close()
        sealed = time.perf_counter()
        recording_path = recording.path
    recording_path.unlink()
    return {
        "entries": count,
        "record_s": round(recorded - start, 1),
        "seal_s": round(sealed - recorded, 1),
        "file_mb": round(path.stat().st_size / 1e6, 1),
    }


def calls_of(cache: Cache, num_calls: int, seed: int) -> list[Call]:
    """Recorded calls drawn at random over the whole file."""
    rng = random.Random(seed)
    tools = {tool: count for tool, (count, _) in cache.sizes().items()}
    drawn = rng.choices(list(tools), list(tools.values()), k=num_calls)
    # By rowid: the offset of `Cache.entry` would walk over millions of keys.
    first, last = {}, {}
    for tool in set(drawn):
        first[tool], last[tool] = cache._db.execute(
            "SELECT min(rowid), max(rowid) FROM entries WHERE tool = ?", (tool,)
        ).fetchone()
    read = cache._db.execute
    return [
        Call(
            tool,
            json.loads(read("SELECT arguments FROM entries WHERE rowid = ?", (row,)).fetchone()[0]),
        )
        for tool in drawn
        for row in [rng.randint(first[tool], last[tool])]
    ]


def resident_mb() -> float:
    """Resident memory of this process now."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def forget(path: pathlib.Path) -> None:
    """Drops the file from the machine's page cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def first_call(path: pathlib.Path, call: Call) -> float:
    """Milliseconds from the path to the answer."""
    start = time.perf_counter()
    found = open_environment(str(path), **PROJECTION).execute(call)
    took = time.perf_counter() - start
    assert found.kind is ObservationKind.OK, found
    return took * 1000


def read(path: pathlib.Path, num_calls: int, seed: int) -> dict[str, float]:
    """One reader's life: opens, makes random calls, and says what it took."""
    before = resident_mb()
    start = time.perf_counter()
    environment = open_environment(str(path), **PROJECTION)
    calls = calls_of(environment.cache, num_calls, seed)
    begun = time.perf_counter()
    for call in calls:
        assert environment.execute(call).ok
    took = time.perf_counter() - begun
    for call in calls[: num_calls // 4]:
        environment.show(call, environment.execute(call))
    return {
        "start_mb": before,
        "end_mb": resident_mb(),
        "draw_s": round(begun - start, 2),
        "calls_per_s": round(num_calls / took),
    }


def microseconds(paths: dict[int, pathlib.Path], num_calls: int) -> dict[str, dict[int, float]]:
    """Medians by what is timed and by size."""
    worlds = {n: open_environment(str(path), **PROJECTION) for n, path in paths.items()}
    calls = {n: calls_of(world.cache, num_calls, 0) for n, world in worlds.items()}
    texts = {
        n: [
            "<tool_call>\n"
            + json.dumps({"name": c.name, "arguments": c.arguments}, ensure_ascii=False)
            + "\n</tool_call>"
            for c in some
        ]
        for n, some in calls.items()
    }

    def execute(n: int, i: int) -> None:
        worlds[n].execute(calls[n][i])

    def parse_validate_execute(n: int, i: int) -> None:
        (call,) = parse_calls(texts[n][i])
        worlds[n].tools[call.name].validate(call.arguments)
        worlds[n].execute(call)

    def parse_execute_project(n: int, i: int) -> None:
        (call,) = parse_calls(texts[n][i])  # `show` would remember the views that it made
        worlds[n].projection(call.name, worlds[n].execute(call).content)

    found: dict[str, dict[int, float]] = {}
    for work in (execute, parse_validate_execute, parse_execute_project):
        times: dict[int, list[float]] = {n: [] for n in paths}
        for begin in range(0, num_calls, _ROUND):
            for n in paths:
                _time(work, n, range(begin, min(begin + _ROUND, num_calls)), times[n])
        found[work.__name__] = {n: round(statistics.median(t) * 1e6, 1) for n, t in times.items()}
    return found


def _time(work: Callable[[int, int], None], size: int, indices: range, times: list[float]) -> None:
    for i in indices:
        start = time.perf_counter()
        work(size, i)
        times.append(time.perf_counter() - start)


def write_json(source: pathlib.Path, path: pathlib.Path) -> None:
    """The same entries as one JSON file."""
    cache = Cache.open(source)
    whole = {
        tool: {key: orjson.loads(response) for key, _, response in cache.rows(tool)}
        for tool in cache.tools()
    }
    path.write_bytes(orjson.dumps(whole))


def read_json(path: pathlib.Path, call: Call, key: str) -> dict[str, float]:
    """Time of load and first lookup, and memory, of a plain JSON cache."""
    before = resident_mb()
    start = time.perf_counter()
    with path.open("rb") as file:
        index = json.load(file)
    assert index[call.name][key] is not None
    loaded = time.perf_counter()
    return {
        "file_mb": round(path.stat().st_size / 1e6, 1),
        "load_first_call_ms": round((loaded - start) * 1000, 1),
        "start_mb": before,
        "end_mb": resident_mb(),
    }


def fresh(function: Callable[..., object], *arguments: object):
    """The result of a call in a new process."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        return pool.submit(function, *arguments).result()


def together(num_readers: int, path: pathlib.Path, num_calls: int) -> dict[str, object]:
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(num_readers, context) as pool:
        list(pool.map(time.sleep, [0.5] * num_readers))  # all have started
        ends = list(
            pool.map(read, [path] * num_readers, [num_calls] * num_readers, range(num_readers))
        )
    return {
        "processes": num_readers,
        "calls_per_s_together": sum(end["calls_per_s"] for end in ends),
        "largest_end_mb": max(end["end_mb"] for end in ends),
        "largest_growth_mb": round(max(end["end_mb"] - end["start_mb"] for end in ends), 1),
    }


def measure(given: argparse.Namespace, directory: pathlib.Path) -> dict[str, object]:
    source = Cache.open(given.source)
    sizes = [n for n in SIZES if n <= given.entries]
    paths = {n: directory / f"{source.digest[:16]}-{n}.sqlite" for n in sizes}
    result: dict[str, object] = {
        "source": {"entries": len(source), "digest": source.digest[:16]},
        "built": [build(source, n, paths[n]) for n in sizes if not paths[n].exists()],
        "machine": fresh(machine),
    }
    opened = {}
    for n, path in paths.items():
        (call,) = calls_of(Cache.open(path), 1, 1)
        warm = [fresh(first_call, path, call) for _ in range(5)]
        cold = []
        for _ in range(5):
            forget(path)
            cold.append(fresh(first_call, path, call))
        opened[n] = {
            "warm": round(statistics.median(warm), 2),
            "cold": round(statistics.median(cold), 2),
        }
    result["open_first_call_ms"] = opened
    result["memory_mb"] = {n: fresh(read, path, given.calls, 0) for n, path in paths.items()}
    result["microseconds"] = fresh(microseconds, paths, given.calls)
    result["readers"] = together(8, paths[sizes[-1]], given.calls // 4)
    plain = {}
    for n in (n for n in JSON_SIZES if n in paths):
        target = directory / f"{n}.json"
        fresh(write_json, paths[n], target)
        cache = Cache.open(paths[n])
        (call,) = calls_of(cache, 1, 1)
        key = cache.tools()[call.name].canonical(call.arguments)
        plain[n] = fresh(read_json, target, call, key)
        target.unlink()
    result["json"] = plain
    return result


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--source", type=pathlib.Path, required=True, help="a recorded cache")
    flags.add_argument("--entries", type=int, default=SIZES[-1], help="of the largest cache")
    flags.add_argument("--calls", type=int, default=20_000, help="random calls timed")
    flags.add_argument(
        "--directory", type=pathlib.Path, help="keeps the caches, and uses those it has of --source"
    )
    given = flags.parse_args()
    if given.directory:
        given.directory.mkdir(parents=True, exist_ok=True)
        print(json.dumps(measure(given, given.directory), indent=1))
        return
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(measure(given, pathlib.Path(directory)), indent=1))


if __name__ == "__main__":
    main()
