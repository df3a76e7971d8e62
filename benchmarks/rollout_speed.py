"""The rollout engine beside transformers', and beside itself with parts left out.

    python -m benchmarks.rollout_speed --model=SmolLM2-135M-Instruct.Q4_1.gguf
        [--peer=transformers:PYTHON] [--batches=1,8,32] [--layers=30]
        [--parts=peers,turns,groups,slots] [--repeats=2]

PYTHON: an interpreter that has the peer (`pip install 'tooltrain[peers]'`). Prints one JSON
object. Parts:

* peers: 256 prompt and 64 new tokens, greedy, float32, the same weights in every process, one
  measurement of each in turn, the least of `--repeats` kept.
* turns: a ten-turn episode in a live cache, beside reading the conversation anew every turn.
* groups: eight generations of one prompt, beside eight prompts that share nothing.
* slots: episodes of uneven length that take a free slot at once, beside batches that wait.

CPU seconds stand beside wall seconds: other processes on a machine inflate them less. Roofline:
the seconds that the bytes (weights once a step, keys and values of every row) take at the measured
bandwidth or the operations at the measured matmul rate, whichever is longer.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.prefill_speed import operations, seconds
from tooltrain.data.chat_template import ChatTemplate
from tooltrain.data.tokenizer import train_tokenizer
from tooltrain.env.cache import Cache, CacheWriter
from tooltrain.env.environment import Environment
from tooltrain.env.projection import Projection
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.export import export_safetensors
from tooltrain.policy.pretrained import from_pretrained
from tooltrain.policy.transformer import Params, init_params
from tooltrain.rollout.engine import Engine, Request
from tooltrain.rollout.episode import rollouts
from tooltrain.rollout.sampling import GREEDY, Sampling
from tooltrain.rollout.turns import Prompt

PROMPT, NEW, NO_EOS = 256, 64, -1
TURNS, RESPONSE, TURN = 10, 160, 24
PEERS = os.path.join(os.path.dirname(__file__), "rollout_peers.py")


def timed(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, dict[str, float]]:
    """Least wall and CPU seconds of each, run in turn after a run that compiles."""
    for run in runs.values():
        run()
    taken: dict[str, list[np.ndarray]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            taken[name].append(seconds(run))
    return {
        name: dict(zip(("wall_s", "cpu_s"), np.min(each, axis=0).round(3).tolist(), strict=True))
        for name, each in taken.items()
    }


def machine() -> dict[str, float]:
    """Bytes read a second and operations a second, the best that was seen."""
    big = jnp.ones(1 << 27, jnp.float32)
    read, product = jax.jit(jnp.sum), jax.jit(jnp.matmul)
    squares = [jnp.ones((n, n), jnp.float32) for n in (1024, 2048)]
    jax.block_until_ready([read(big), *(product(x, x) for x in squares)])
    reads = [seconds(lambda: read(big))[0] for _ in range(5)]
    rates = [2 * len(x) ** 3 / seconds(lambda x=x: product(x, x)) for x in squares * 4]
    wall, cpu = np.max(rates, axis=0)
    return {
        "gigabytes_per_second": round(big.nbytes / min(reads) / 1e9, 1),
        "gflop_per_second": round(wall / 1e9, 1),
        "gflop_per_cpu_second": round(cpu / 1e9, 1),
    }


def requests(engine: Engine, budget: int) -> dict[int, Request]:
    return {slot: Request(1, budget, 0, slot) for slot in range(engine.num_slots)}


# --- beside peers ---------------------------------------------------------------------------


class Peer:
    """Another implementation in a process of its own, which measures when it is asked to."""

    def __init__(self, name: str, python: str, directory: str):
        self._process = subprocess.Popen(
            [python, PEERS, name, directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self, batch: int, prompt: int, new: int) -> dict[str, float]:
        self._process.stdin.write(json.dumps([batch, prompt, new]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the peer process ended with status {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def beside_peers(
    config: PolicyConfig,
    params: Params,
    peers: dict[str, Peer],
    batch: int,
    repeats: int,
    rates: dict[str, float],
) -> dict[str, object]:
    engine = Engine(
        config, num_slots=batch, max_len=PROMPT + NEW, eos_id=NO_EOS, steps=NEW, chunks=(PROMPT,)
    )
    rng = np.random.default_rng(0)
    prompts = rng.integers(1000, config.vocab_size, (batch, PROMPT - 1)).tolist()

    def ours(new: int) -> dict[str, float]:
        start = np.array([time.perf_counter(), time.process_time()])
        engine.lengths[:] = 0
        engine.prefill(params, dict(enumerate(prompts)))
        engine.decode(params, requests(engine, new), sampling=GREEDY, seed=0)
        wall, cpu = np.array([time.perf_counter(), time.process_time()]) - start
        return {"wall_s": wall, "cpu_s": cpu}

    players = {"tooltrain": ours} | {
        name: lambda new, peer=peer: peer.measure(batch, PROMPT, new)
        for name, peer in peers.items()
    }
    taken: dict[str, dict[int, list[dict[str, float]]]] = {n: {1: [], NEW: []} for n in players}
    for repeat in range(repeats + 1):  # the first compiles
        for new in (1, NEW):
            for name, play in players.items():
                measured = play(new)
                if repeat:
                    taken[name][new].append(measured)
    report: dict[str, object] = {}
    for name, by_new in taken.items():
        least = {
            new: {clock: min(one[clock] for one in each) for clock in ("wall_s", "cpu_s")}
            for new, each in by_new.items()
        }
        whole = least[NEW]
        decoding = {clock: whole[clock] - least[1][clock] for clock in whole}
        report[name] = {
            "whole": _rounded(whole),
            "prefill and first token": _rounded(least[1]),
            "decoding": _rounded(decoding),
            "new_tokens_per_second": round(batch * NEW / whole["wall_s"], 1),
            "decoded_tokens_per_cpu_second": round(batch * (NEW - 1) / decoding["cpu_s"], 1),
        }
    weights = sum(p.size for p in jax.tree.leaves(params))
    cached = 2 * config.num_layers * config.num_kv_heads * config.head_dim * (PROMPT + NEW / 2)
    step_bytes = 4 * (weights + batch * cached)
    step_operations = 2 * batch * (weights + cached * config.num_heads / config.num_kv_heads)
    step_s = max(
        step_bytes / rates["gigabytes_per_second"], step_operations / rates["gflop_per_second"]
    )
    prefill_s = operations(config, batch, PROMPT) / rates["gflop_per_second"]
    report["roofline"] = {
        "prefill_s": round(prefill_s / 1e9, 3),
        "decoding_s": round(step_s * (NEW - 1) / 1e9, 3),
        "decoding_is_bound_by": "bytes"
        if step_bytes * rates["gflop_per_second"] > step_operations * rates["gigabytes_per_second"]
        else "operations",
    }
    for name in peers:
        report[f"times as fast as {name}"] = {
            part: {
                clock: round(report[name][part][clock] / report["tooltrain"][part][clock], 2)
                for clock in ("wall_s", "cpu_s")
            }
            for part in ("whole", "prefill and first token", "decoding")
        }
    return report


def _rounded(seconds_by_clock: dict[str, float]) -> dict[str, float]:
    return {clock: round(float(value), 3) for clock, value in seconds_by_clock.items()}


# --- parts left out -------------------------------------------------------------------------


def ten_turns(config: PolicyConfig, params: Params, repeats: int) -> dict[str, object]:
    """Episodes of ten turns: 256 prompt tokens, 24 sampled a turn, responses of 160."""
    max_len = PROMPT + TURNS * (TURN + RESPONSE)
    engine = Engine(
        config, num_slots=4, max_len=max_len, eos_id=NO_EOS, steps=TURN, chunks=(32, 128)
    )
    rng = np.random.default_rng(0)
    read = [rng.integers(1000, config.vocab_size, PROMPT - 1).tolist()]
    read += [rng.integers(1000, config.vocab_size, RESPONSE).tolist() for _ in range(TURNS - 1)]

    def episode(anew: bool) -> None:
        engine.lengths[:] = 0
        past: list[int] = []
        for response in read:
            past += response
            if anew:
                engine.lengths[:] = 0
            slots = range(engine.num_slots)
            unread = past[int(engine.lengths[0]) :]
            engine.prefill(params, dict.fromkeys(slots, unread))
            sampled = engine.decode(params, requests(engine, TURN), sampling=GREEDY, seed=0)
            past += [1, *sampled[0][0].tolist()[:-1]]

    taken = timed(
        {"live cache": lambda: episode(False), "read anew": lambda: episode(True)}, repeats
    )
    return {"layers": config.num_layers, "rows": 4} | _ratio(taken, "live cache", "read anew")


def groups(config: PolicyConfig, params: Params, repeats: int) -> dict[str, object]:
    """Eight generations of a prompt of 256 tokens, one turn of 16 tokens each."""
    environment, template = world()
    engine = Engine(config, num_slots=8, max_len=384, eos_id=template.eos_id, steps=16)
    tokens = tuple(np.random.default_rng(0).integers(20, 300, PROMPT).tolist())

    def play(prompts: list[Prompt], generations: int) -> None:
        rollouts(
            params,
            prompts,
            engine=engine,
            environment=environment,
            template=template,
            generations=generations,
            max_turn_tokens=16,
        )

    taken = timed(
        {
            "one prompt, 8 generations": lambda: play([Prompt(0, tokens)], 8),
            "8 prompts": lambda: play([Prompt(i, tokens) for i in range(8)], 1),
        },
        repeats,
    )
    return {"layers": config.num_layers} | _ratio(taken, "one prompt, 8 generations", "8 prompts")


def uneven(repeats: int) -> dict[str, object]:
    """64 episodes on 16 slots, of 1 to 512 tokens (a random policy ends a turn now and then)."""
    environment, template = world()
    config = PolicyConfig(
        vocab_size=template.tokenizer.vocab_size,
        num_layers=4,
        d_model=128,
        num_heads=2,
        num_kv_heads=2,
        head_dim=64,
        d_ff=352,
    )
    params = init_params(config, jax.random.key(0))
    engine = Engine(config, num_slots=16, max_len=544, eos_id=template.eos_id)
    prompts = [Prompt(i, tuple(template.prompt(f"{i}?", []))) for i in range(64)]
    lengths: dict[str, list[int]] = {}

    def play(name: str, batch: int) -> None:
        played = []
        for first in range(0, len(prompts), batch):
            played += rollouts(
                params,
                prompts[first : first + batch],
                engine=engine,
                environment=environment,
                template=template,
                sampling=Sampling(),
                max_turns=1,
                max_turn_tokens=512,
            )
        lengths[name] = [int(rollout.completion_mask.sum()) for rollout in played]

    taken = timed(
        {"refilled": lambda: play("refilled", 64), "batches": lambda: play("batches", 16)}, repeats
    )
    if lengths["refilled"] != lengths["batches"]:
        raise SystemExit("scheduling changed the episodes")
    tokens = lengths["refilled"]
    shape = {"shortest": min(tokens), "mean": float(np.mean(tokens)), "longest": max(tokens)}
    return {"sampled_tokens": shape} | _ratio(taken, "refilled", "batches")


def world() -> tuple[Environment, ChatTemplate]:
    """No tools and a tokenizer of bytes: what is sampled is no call."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "none.sqlite")
        with CacheWriter.create(path):
            pass
        return Environment(Cache.open(path), Projection()), ChatTemplate(train_tokenizer([], 300))


def _ratio(taken: dict[str, dict[str, float]], fast: str, slow: str) -> dict[str, object]:
    return taken | {
        "times_as_fast": {
            clock: round(taken[slow][clock] / taken[fast][clock], 2) for clock in taken[fast]
        }
    }


def first_layers(config: PolicyConfig, params: Params, layers: int) -> tuple[PolicyConfig, Params]:
    cut = jax.tree.map(lambda p: p[:layers], params["layers"])
    return dataclasses.replace(config, num_layers=layers), {**params, "layers": cut}


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--model", required=True, help="directory, .gguf file or hub id")
    flags.add_argument("--peer", action="append", default=[], help="NAME:PYTHON")
    flags.add_argument("--batches", default="1,8,32")
    flags.add_argument("--layers", type=int, default=30, help="of the model, the first ones")
    flags.add_argument("--parts", default="peers,turns,groups,slots")
    flags.add_argument("--repeats", type=int, default=2)
    given = flags.parse_args()
    config, params = first_layers(*from_pretrained(given.model), given.layers)
    parts = given.parts.split(",")
    rates = machine()
    report: dict[str, object] = {
        "machine": {
            "device": jax.devices()[0].device_kind,
            "processor": platform.processor() or platform.machine(),
            "cpus": os.cpu_count(),
            "load_average": round(os.getloadavg()[0], 2),
            "jax": jax.__version__,
            **rates,
        },
        "layers": config.num_layers,
    }
    if "peers" in parts:
        with tempfile.TemporaryDirectory() as directory:
            export_safetensors(directory, config, params, max_len=2048)
            peers = {}
            for name, python in (peer.split(":", 1) for peer in given.peer):
                peers[name] = Peer(name, python, directory)
            for batch in map(int, given.batches.split(",")):
                found = beside_peers(config, params, peers, batch, given.repeats, rates)
                report[f"batch {batch}"] = found
                print(f"batch {batch}: {found}", file=sys.stderr, flush=True)
            for peer in peers.values():
                peer.close()
    for part, run in (("turns", ten_turns), ("groups", groups)):
        if part in parts:
            report[part] = run(config, params, given.repeats)
            print(f"{part}: {report[part]}", file=sys.stderr, flush=True)
    if "slots" in parts:
        report["slots"] = uneven(given.repeats)
    report["machine"]["load_average_after"] = round(os.getloadavg()[0], 2)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
