"""How many trajectories a second does the reward score, and where does the time go?

Text to reward on one core: parse, encode, score, over 4,096 trajectories made of real
rollouts (`--reference`, a folder with reward_vectors.jsonl and matched_vectors.jsonl) or,
without it, of the strategies of reward_strategies.py. Gold is encoded once and picked by
row. Prints one JSON object; rates are trajectories a second: by wall clock, and by CPU
seconds where the core is shared. The best of `--repeats`.

    python -m benchmarks.reward_speed --reference DIR
"""

from __future__ import annotations

import argparse
import json
import pathlib
import time
from collections.abc import Callable

from benchmarks import one_core

if __name__ == "__main__":
    one_core.keep()

import jax
import numpy as np

from benchmarks import reward_strategies
from benchmarks.machine import machine
from tooltrain.calls.encoder import encode_calls, encode_gold, take_gold
from tooltrain.calls.parser import parse_calls
from tooltrain.rewards.compat import read_gold
from tooltrain.rewards.reference import reference
from tooltrain.rewards.reward import matched, score_batch
from tooltrain.types import Call, CallRecord, EncodedCalls, ObservationKind


def load(folder: pathlib.Path | None) -> tuple[list[str], list, np.ndarray]:
    """Texts, gold traces, and for each text the row of its gold."""
    if folder is None:
        texts = [reward_strategies.play(s)[1] for s in reward_strategies.STRATEGIES]
        return texts, [reward_strategies.GOLD], np.zeros(len(texts), int)
    lines = (folder / "reward_vectors.jsonl").read_text().splitlines()
    texts = [json.loads(line)["rollout"] for line in lines]
    lines = (folder / "matched_vectors.jsonl").read_text().splitlines()
    return texts, [read_gold(json.loads(line)["gold"]) for line in lines], np.arange(len(texts))


def records(text: str) -> list[CallRecord]:
    """A text's calls; well-formed ones count as executed, which costs the most to score."""
    return [
        CallRecord(call, turn, ObservationKind.OK if type(call) is Call else _BAD)
        for turn, call in enumerate(parse_calls(text))
    ]


_BAD = ObservationKind.MALFORMED


def rate(work: Callable[[], object], count: int, repeats: int) -> dict[str, float]:
    wall, cpu = [], []
    for _ in range(repeats):
        start = time.perf_counter(), time.process_time()
        jax.block_until_ready(work())
        wall.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
    return {"wall": round(count / min(wall)), "cpu": round(count / min(cpu))}


def measure(folder: pathlib.Path | None, count: int, repeats: int) -> dict[str, object]:
    texts, traces, rows = load(folder)
    chosen = np.arange(count) % len(texts)
    texts, rows = [texts[i] for i in chosen], rows[chosen]
    gold = encode_gold(traces)
    parsed = [records(text) for text in texts]
    calls = encode_calls(parsed)
    device = jax.device_put((calls, take_gold(gold, rows)))
    jax.block_until_ready([score_batch(fn, *device) for fn in (matched, reference)])

    def everything():
        emitted = encode_calls([records(text) for text in texts])
        return score_batch(matched, emitted, take_gold(gold, rows))

    result = {
        "trajectories": count,
        "calls": sum(map(len, parsed)),
        "shape": {
            "C": calls.mask.shape[1],
            "S": gold.mask.shape[1],
            "A": calls.argument_mask.shape[2],
        },
        "parse": rate(lambda: [records(text) for text in texts], count, repeats),
        "encode": rate(lambda: encode_calls(parsed), count, repeats),
        "score_matched": rate(lambda: score_batch(matched, *device), count, repeats),
        "score_reference": rate(lambda: score_batch(reference, *device), count, repeats),
        "parse_encode_score": rate(everything, count, repeats),
    }
    return result | {
        "compilations_over_100_mixed_batches": compilations(parsed, gold, rows),
        "machine": machine(),
    }


def compilations(parsed: list[list[CallRecord]], gold, rows: np.ndarray) -> int:
    """Traces of the reward over 100 batches of 64 random trajectories, shapes held by
    floors as a trainer holds them."""
    traced = 0

    def counted(calls: EncodedCalls, steps):
        nonlocal traced
        traced += 1
        return matched(calls, steps)

    rng = np.random.default_rng(0)
    for _ in range(100):
        picked = rng.integers(0, len(parsed), 64)
        emitted = encode_calls([parsed[i] for i in picked], num_calls=12, num_arguments=12)
        score_batch(counted, emitted, take_gold(gold, rows[picked]))
    return traced


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--reference", type=pathlib.Path, help="folder of the worked vectors")
    flags.add_argument("--trajectories", type=int, default=4096)
    flags.add_argument("--repeats", type=int, default=7)
    given = flags.parse_args()
    print(json.dumps(measure(given.reference, given.trajectories, given.repeats), indent=2))


if __name__ == "__main__":
    main()
