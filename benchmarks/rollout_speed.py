"""The rollout engine beside other implementations' generation, in one run.

    python -m benchmarks.rollout_speed --model=SmolLM2-135M-Instruct.Q4_1.gguf
        [--peer=transformers:PYTHON] [--peer=tunix:PYTHON] [--batches=1,8,32] [--repeats=3]

PYTHON: an interpreter that has the peer (rollout_peers.py says what is installed there). Greedy,
256 prompt and 64 new tokens, float32, the same weights and prompts in every process, one
measurement of each in turn, the least of `--repeats` kept, and the roofline (roofline.py) beside
them. Prints one JSON object. rollout_parts.py measures the engine beside itself.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time

import numpy as np

from benchmarks import roofline
from benchmarks.machine import machine
from benchmarks.peer import Peer
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.export import export_safetensors
from tooltrain.policy.pretrained import from_pretrained
from tooltrain.policy.transformer import Params
from tooltrain.rollout.engine import Engine, Request
from tooltrain.rollout.sampling import GREEDY

PROMPT, NEW, NO_EOS = 256, 64, -1
CLOCKS = ("wall_s", "cpu_s")
PEERS = os.path.join(os.path.dirname(__file__), "rollout_peers.py")


class Generator(Peer):
    def __init__(self, name: str, python: str, directory: str):
        super().__init__(python, PEERS, name, directory)

    def measure(self, prompts: list[list[int]], new: int) -> dict[str, object]:
        return self.ask(json.dumps([prompts, new]))


class Ours:
    def __init__(self, config: PolicyConfig, params: Params, batch: int):
        self._params = params
        self._engine = Engine(
            config,
            num_slots=batch,
            max_len=PROMPT + NEW,
            eos_id=NO_EOS,
            steps=NEW,
            chunks=(PROMPT,),
        )

    def measure(self, prompts: list[list[int]], new: int) -> dict[str, object]:
        start = np.array([time.perf_counter(), time.process_time()])
        self._engine.lengths[:] = 0
        self._engine.prefill(self._params, {s: p[:-1] for s, p in enumerate(prompts)})
        requests = {s: Request(p[-1], new, 0, s) for s, p in enumerate(prompts)}
        sampled = self._engine.decode(self._params, requests, sampling=GREEDY, seed=0)
        wall, cpu = np.array([time.perf_counter(), time.process_time()]) - start
        return {"wall_s": wall, "cpu_s": cpu, "ids": [sampled[s][0].tolist() for s in requests]}


def side_by_side(
    config: PolicyConfig,
    params: Params,
    peers: dict[str, Generator],
    batch: int,
    repeats: int,
    rates: dict[str, object],
) -> dict[str, object]:
    """Of each: seconds of the whole, of prefill and first token, and of the other tokens."""
    rng = np.random.default_rng(0)
    prompts = rng.integers(1000, config.vocab_size, (batch, PROMPT)).tolist()
    players = {"tooltrain": Ours(config, params, batch), **peers}
    taken: dict[str, dict[int, list[dict[str, float]]]] = {n: {1: [], NEW: []} for n in players}
    made: dict[str, np.ndarray] = {}
    for repeat in range(repeats + 1):  # the first compiles
        for new in (1, NEW):
            for name, player in players.items():
                measured = player.measure(prompts, new)
                made[name] = np.array(measured["ids"])
                if repeat:
                    taken[name][new].append(measured)

    report: dict[str, object] = {}
    for name, by_new in taken.items():
        least = {
            new: {clock: round(float(min(one[clock] for one in each)), 4) for clock in CLOCKS}
            for new, each in by_new.items()
        }
        report[name] = {
            "whole": least[NEW],
            "prefill and first token": least[1],
            "decoding": {clock: round(least[NEW][clock] - least[1][clock], 4) for clock in CLOCKS},
            "new_tokens_per_second": round(batch * NEW / least[NEW]["wall_s"], 1),
        }
    prefill_s = roofline.prefill(config, batch, PROMPT, rates)
    decode_s, bound = roofline.decode(config, batch, NEW - 1, PROMPT + NEW / 2, rates)
    report["roofline"] = {
        "whole": round(prefill_s + decode_s, 4),
        "prefill": round(prefill_s, 4),
        "decoding": round(decode_s, 4),
        "decoding_is_bound_by": bound,
    }
    for name in peers:
        report[f"times as fast as {name}"] = {
            part: {
                clock: round(report[name][part][clock] / report["tooltrain"][part][clock], 2)
                for clock in CLOCKS
            }
            for part in ("whole", "prefill and first token", "decoding")
        }
        # Rounding may part two greedy continuations, and what follows then differs.
        same = np.cumprod(made[name] == made["tooltrain"], axis=1)
        report[f"tokens equal to {name}"] = round(float(same.mean()), 3)
    return report


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--model", required=True, help="directory, .gguf file or hub id")
    flags.add_argument("--peer", action="append", default=[], help="NAME:PYTHON")
    flags.add_argument("--batches", default="1,8,32")
    flags.add_argument("--repeats", type=int, default=3)
    given = flags.parse_args()
    config, params = from_pretrained(given.model)
    report: dict[str, object] = {"machine": machine()}
    with tempfile.TemporaryDirectory() as directory:
        export_safetensors(directory, config, params, max_len=2048)
        peers = {}
        for name, python in (peer.split(":", 1) for peer in given.peer):
            peers[name] = Generator(name, python, directory)
        for batch in map(int, given.batches.split(",")):
            found = side_by_side(config, params, peers, batch, given.repeats, report["machine"])
            report[f"batch {batch}"] = found
            print(f"batch {batch}: {json.dumps(found)}", file=sys.stderr, flush=True)
        for peer in peers.values():
            peer.close()
    report["machine"]["load_average_after"] = round(os.getloadavg()[0], 2)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
