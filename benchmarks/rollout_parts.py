"""The rollout engine beside itself with one part left out, in one run.

    python -m benchmarks.rollout_parts --model=SmolLM2-135M-Instruct.Q4_1.gguf
        [--layers=30] [--parts=turns,groups,slots] [--repeats=2]

Prints one JSON object. Parts:

* turns: a ten-turn episode in a live cache, beside reading the conversation anew every turn.
* groups: eight generations of one prompt, beside eight prompts that share nothing.
* slots: episodes of uneven length that take a free slot at once, beside batches that wait.

Least of `--repeats` runs, taken in turn; roofline.py beside each.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile

import jax
import numpy as np

from benchmarks import roofline
from benchmarks.machine import in_turn, machine
from tooltrain.data.chat_template import ChatTemplate
from tooltrain.data.tokenizer import train_tokenizer
from tooltrain.env.cache import Cache, CacheWriter
from tooltrain.env.environment import Environment
from tooltrain.env.projection import Projection
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.pretrained import from_pretrained
from tooltrain.policy.transformer import Params, init_params
from tooltrain.rollout.engine import Engine, Request
from tooltrain.rollout.episode import rollouts
from tooltrain.rollout.sampling import GREEDY, Sampling
from tooltrain.rollout.turns import Prompt

PROMPT, NO_EOS = 256, -1
ROWS, TURNS, RESPONSE, TURN = 4, 10, 160, 24
GENERATIONS, GROUP_TURN = 8, 16
SLOTS, EPISODES, LONGEST = 16, 64, 512


def ten_turns(
    config: PolicyConfig, params: Params, repeats: int, rates: roofline.Rates
) -> dict[str, object]:
    """Episodes of ten turns: 256 prompt tokens, 24 sampled a turn, responses of 160."""
    max_len = PROMPT + TURNS * (TURN + RESPONSE)
    engine = Engine(
        config, num_slots=ROWS, max_len=max_len, eos_id=NO_EOS, steps=TURN, chunks=(32, 128)
    )
    slots = range(ROWS)
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
            unread = past[int(engine.lengths[0]) :]
            engine.prefill(params, dict.fromkeys(slots, unread))
            requests = {slot: Request(1, TURN, 0, slot) for slot in slots}
            sampled = engine.decode(params, requests, sampling=GREEDY, seed=0)
            past += [1, *sampled[0][0].tolist()[:-1]]

    taken = in_turn(
        {"live cache": lambda: episode(False), "read anew": lambda: episode(True)}, repeats
    )
    live = anew = decoding = 0.0
    length = 0
    for response in read:
        live += roofline.prefill(config, ROWS, len(response), rates, cached=length)
        length += len(response)
        anew += roofline.prefill(config, ROWS, length, rates)
        decoding += roofline.decode(config, ROWS, TURN, length + TURN / 2, rates)[0]
        length += TURN
    least = {"live cache": live + decoding, "read anew": anew + decoding}
    return _beside(taken, least) | {"layers": config.num_layers, "rows": ROWS}


def groups(
    config: PolicyConfig, params: Params, repeats: int, rates: roofline.Rates
) -> dict[str, object]:
    """Eight generations of a prompt of 256 tokens, one turn of 16 tokens each."""
    environment, template = world()
    engine = Engine(
        config, num_slots=GENERATIONS, max_len=384, eos_id=template.eos_id, steps=GROUP_TURN
    )
    tokens = tuple(np.random.default_rng(0).integers(20, 300, PROMPT).tolist())

    def play(prompts: list[Prompt], generations: int) -> None:
        rollouts(
            params,
            prompts,
            engine=engine,
            environment=environment,
            template=template,
            generations=generations,
            max_turn_tokens=GROUP_TURN,
        )

    taken = in_turn(
        {
            "one prompt, 8 generations": lambda: play([Prompt(0, tokens)], GENERATIONS),
            "8 prompts": lambda: play([Prompt(i, tokens) for i in range(GENERATIONS)], 1),
        },
        repeats,
    )
    decoding, _ = roofline.decode(config, GENERATIONS, GROUP_TURN, PROMPT + GROUP_TURN / 2, rates)
    least = {
        name: roofline.prefill(config, rows, PROMPT, rates) + decoding
        for name, rows in zip(taken, (1, GENERATIONS), strict=True)
    }
    return _beside(taken, least) | {"layers": config.num_layers}


def uneven(config: PolicyConfig, repeats: int, rates: roofline.Rates) -> dict[str, object]:
    """64 episodes on 16 slots, of 1 to 512 tokens: a random policy of the model's width, with four
    layers and a vocabulary of bytes, ends a turn now and then."""
    environment, template = world()
    vocab_size = template.tokenizer.vocab_size
    config = dataclasses.replace(config, vocab_size=vocab_size, num_layers=4)
    params = init_params(config, jax.random.key(0))
    engine = Engine(config, num_slots=SLOTS, max_len=LONGEST + 32, eos_id=template.eos_id)
    prompts = [Prompt(i, tuple(template.prompt(f"{i}?", []))) for i in range(EPISODES)]
    lengths: dict[str, list[int]] = {}

    def play(name: str, batch: int) -> None:
        played = []
        for first in range(0, EPISODES, batch):
            played += rollouts(
                params,
                prompts[first : first + batch],
                engine=engine,
                environment=environment,
                template=template,
                sampling=Sampling(),
                max_turns=1,
                max_turn_tokens=LONGEST,
            )
        lengths[name] = [int(rollout.completion_mask.sum()) for rollout in played]

    taken = in_turn(
        {
            "refilled": lambda: play("refilled", EPISODES),
            "batches": lambda: play("batches", SLOTS),
        },
        repeats,
    )
    if lengths["refilled"] != lengths["batches"]:
        raise SystemExit("scheduling changed the episodes")
    tokens = lengths["refilled"]
    waiting = sum(max(tokens[i : i + SLOTS]) for i in range(0, EPISODES, SLOTS))
    least = {
        name: roofline.decode(config, SLOTS, steps, np.mean(tokens) / 2, rates)[0]
        for name, steps in (("refilled", sum(tokens) / SLOTS), ("batches", waiting))
    }
    shape = {"shortest": min(tokens), "mean": float(np.mean(tokens)), "longest": max(tokens)}
    return _beside(taken, least) | {"sampled_tokens": shape}


def world() -> tuple[Environment, ChatTemplate]:
    """No tools and a tokenizer of bytes: what is sampled is no call."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "none.sqlite")
        with CacheWriter.create(path):
            pass
        return Environment(Cache.open(path), Projection()), ChatTemplate(train_tokenizer([], 300))


def _beside(taken: dict[str, dict[str, float]], least: dict[str, float]) -> dict[str, object]:
    """The first of `taken` has the part, the second goes without."""
    having, without = taken.values()
    report: dict[str, object] = {
        name: {**clocks, "roofline_s": round(float(least[name]), 4)}
        for name, clocks in taken.items()
    }
    report["times_as_fast"] = {clock: round(without[clock] / having[clock], 2) for clock in having}
    return report


def first_layers(config: PolicyConfig, params: Params, layers: int) -> tuple[PolicyConfig, Params]:
    cut = jax.tree.map(lambda p: p[:layers], params["layers"])
    return dataclasses.replace(config, num_layers=layers), {**params, "layers": cut}


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--model", required=True, help="directory, .gguf file or hub id")
    flags.add_argument("--layers", type=int, default=30, help="of the model, the first ones")
    flags.add_argument("--parts", default="turns,groups,slots")
    flags.add_argument("--repeats", type=int, default=2)
    given = flags.parse_args()
    config, params = first_layers(*from_pretrained(given.model), given.layers)
    report: dict[str, object] = {"machine": machine()}
    rates = report["machine"]
    runs = {
        "turns": lambda: ten_turns(config, params, given.repeats, rates),
        "groups": lambda: groups(config, params, given.repeats, rates),
        "slots": lambda: uneven(config, given.repeats, rates),
    }
    for part in given.parts.split(","):
        report[part] = runs[part]()
        print(f"{part}: {json.dumps(report[part])}", file=sys.stderr, flush=True)
    report["machine"]["load_average_after"] = round(os.getloadavg()[0], 2)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
