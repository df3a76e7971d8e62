"""A whole multi-turn GRPO step beside google-tunix's agentic learner: rollout, reward, update.

    python -m benchmarks.agentic_step --tunix=PYTHON [--steps=4] [--row_len=496]
        [--microbatch_rows=2]

PYTHON: an interpreter with google-tunix==0.1.7. Both processes hold the same random Qwen3 and play
the same numbers: 4 prompts of 64 tokens, 4 episodes each, 4 turns of 32 sampled tokens, a tool's
response of 100 tokens between two turns. Here: engine, environment over a recorded cache, reward,
packing, the reference's log-probabilities and the trainer's step, as `train_grpo` strings them
together. There: `GRPOLearner.train`; what it had to be given is told in tunix_agentic.py. Steps in
turn, the first two of each are not counted; of the others the fastest. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import tempfile
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.machine import machine
from benchmarks.update_speed import BETA, EPSILON, LEARNING_RATE, TINY_QWEN3, Tunix
from tooltrain import sharding
from tooltrain.calls.encoder import encode_calls, encode_gold, take_gold
from tooltrain.data.chat_template import ChatTemplate
from tooltrain.data.tokenizer import train_tokenizer
from tooltrain.env.cache import Cache, CacheWriter
from tooltrain.env.environment import Environment
from tooltrain.env.projection import Projection
from tooltrain.env.schema import Tool
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.export import export_safetensors
from tooltrain.policy.transformer import Params, Transformer, init_params
from tooltrain.rewards import reward
from tooltrain.rollout.engine import Engine
from tooltrain.rollout.episode import rollouts
from tooltrain.rollout.turns import Prompt
from tooltrain.train import objectives
from tooltrain.train.rollout_batch import pack_rollouts
from tooltrain.train.state import (
    make_grpo_step,
    make_logprobs_step,
    state_of_params,
    state_shardings,
)
from tooltrain.types import Call, GoldCall, Rollout

PEER = os.path.join(os.path.dirname(__file__), "tunix_agentic.py")
PROMPTS, GENERATIONS, TURNS = 4, 4, 4
PROMPT, TURN, RESPONSE = 64, 32, 100  # tokens
UNCOUNTED = 2  # both compile in the first step; Tunix again in the second
LONGEST = PROMPT + TURNS * TURN + (TURNS - 1) * RESPONSE
ROW = -(-LONGEST // 16) * 16  # an episode a row: longer rows of two or four episodes took longer
LOOK_UP = Tool(
    "look_up",
    "Looks up a number.",
    {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]},
)


class EveryTurnCalls(ChatTemplate):
    """A random policy writes no calls: any turn is read as one, which depends on its text."""

    def calls(self, text: str) -> list[Call]:
        super().calls(text)  # the reading is part of the work
        return [Call(LOOK_UP.name, {"id": sum(text.encode()) % TURNS})]


class WholeTurns(Engine):
    """Every turn is as long as it may be, and ends there: its last token becomes the end token."""

    def __init__(self, config: PolicyConfig, end: int, **options):
        super().__init__(config, eos_id=-1, **options)
        self._end = end

    def decode(self, params, requests, **options):
        sampled = super().decode(params, requests, **options)
        return {
            slot: (np.append(ids[:-1], self._end), logprobs)
            for slot, (ids, logprobs) in sampled.items()
        }


@contextlib.contextmanager
def world() -> Iterator[tuple[Environment, EveryTurnCalls]]:
    """One tool that knows the numbers of the turns; an observation is RESPONSE tokens."""
    template = EveryTurnCalls(train_tokenizer([], 300))
    empty = len(template.observations([json.dumps({"text": ""})]))
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "one.sqlite")
        with CacheWriter.create(path) as writer:
            writer.add_tool(LOOK_UP)
            for turn in range(TURNS):
                text = str(turn) * (RESPONSE - empty)
                writer.add_entry(LOOK_UP.name, {"id": turn}, {"text": text})
        environment = Environment(Cache.open(path), Projection())
        call = Call(LOOK_UP.name, {"id": 0})
        shown = environment.show(call, environment.execute(call))
        assert len(template.observations([shown])) == RESPONSE, shown
        yield environment, template


class Ours:
    """Steps of GRPO on one device."""

    def __init__(
        self,
        config: PolicyConfig,
        params: Params,
        prompts: list[Prompt],
        environment: Environment,
        template: ChatTemplate,
        *,
        row_len: int,
        microbatch_rows: int,
    ):
        model = Transformer(config)
        params = jax.tree.map(jnp.copy, params)  # the step consumes them
        self._mesh = sharding.make_mesh({"data": 1, "fsdp": 1, "tensor": 1}, jax.devices()[:1])
        self._reference = jax.tree.map(jnp.copy, params)
        self._template = template
        self._steps = 0
        engine = WholeTurns(
            config, template.eos_id, num_slots=PROMPTS * GENERATIONS, max_len=LONGEST, steps=TURN
        )
        self._play = functools.partial(
            rollouts,
            prompts=prompts,
            engine=engine,
            environment=environment,
            template=template,
            generations=GENERATIONS,
            max_turns=TURNS,
            max_turn_tokens=TURN,
        )
        gold = [GoldCall(LOOK_UP.name, {"id": turn}) for turn in range(TURNS)]
        self._gold = take_gold(encode_gold([tuple(gold)]), np.zeros(PROMPTS * GENERATIONS, int))
        self._reward = functools.partial(reward.rewards_to_go, reward.matched, TURNS)
        self._pack = functools.partial(
            pack_rollouts,
            # As many rows as its rollouts can need: one that holds nothing costs nothing.
            rows=-(-PROMPTS * GENERATIONS // microbatch_rows) * microbatch_rows,
            row_len=row_len,
            microbatch_rows=microbatch_rows,
            pad_id=template.pad_id,
        )
        optimizer = optax.adamw(LEARNING_RATE)
        shardings = state_shardings(self._mesh, params, optimizer)

        def apply_fn(params, *inputs):
            return model.apply({"params": params}, *inputs, method="features")

        self._logprobs = make_logprobs_step(
            apply_fn, self._mesh, shardings.params, microbatch_rows=microbatch_rows
        )
        self._step = make_grpo_step(
            apply_fn,
            optimizer,
            self._mesh,
            shardings,
            microbatch_rows=microbatch_rows,
            kl_coefficient=BETA,
            epsilon_low=EPSILON,
            epsilon_high=EPSILON,
        )
        with jax.set_mesh(self._mesh):
            self._state = state_of_params(self._mesh, params, optimizer)

    def update(self, count: int) -> dict:
        """`count` steps: seconds, and what they are made of. The name is the peer's."""
        parts = dict.fromkeys(("rollout", "reward", "pack", "reference", "update"), 0.0)
        start = np.array([time.perf_counter(), time.process_time()])
        with jax.set_mesh(self._mesh):
            for _ in range(count):
                self._one(parts)
        wall, cpu = np.array([time.perf_counter(), time.process_time()]) - start
        turns = [turn for rollout in self._played for turn in _turns(rollout)]
        return {
            "wall_s": wall,
            "cpu_s": cpu,
            "parts": parts,
            "turns": len(turns),
            "distinct_turns": len(set(turns)),
        }

    def _one(self, parts: dict[str, float]) -> None:
        before = time.perf_counter()

        def lap(name: str, *arrays) -> None:
            nonlocal before
            jax.block_until_ready(arrays)
            now = time.perf_counter()
            parts[name] += now - before
            before = now

        self._steps += 1
        self._played = self._play(self._state.params, seed=self._steps)
        lap("rollout")
        rewards, _ = jax.device_get(
            reward.score_batch(
                self._reward, encode_calls([r.records for r in self._played]), self._gold
            )
        )
        advantages = np.asarray(
            objectives.group_advantages(jnp.asarray(rewards.reshape(PROMPTS, GENERATIONS)))
        )
        lap("reward")
        packed = self._pack(self._played, advantages.reshape(-1, 1))
        batch = sharding.shard_batch(self._mesh, packed)
        lap("pack")
        batch = batch._replace(ref_logprobs=self._logprobs(self._reference, batch))
        lap("reference", batch.ref_logprobs)
        self._state, _ = self._step(self._state, batch)
        lap("update", self._state.params)


def _turns(rollout: Rollout) -> list[tuple[int, ...]]:
    """The sampled tokens of each turn."""
    borders = np.flatnonzero(np.diff(rollout.completion_mask.astype(np.int8), prepend=0, append=0))
    return [
        tuple(rollout.tokens[first:end].tolist())
        for first, end in zip(borders[::2], borders[1::2], strict=True)
    ]


def beside_tunix(python: str, steps: int, row_len: int, microbatch_rows: int) -> dict[str, object]:
    with world() as (environment, template), tempfile.TemporaryDirectory() as directory:
        config = dataclasses.replace(TINY_QWEN3, vocab_size=template.tokenizer.vocab_size)
        params = init_params(config, jax.random.key(0))
        rng = np.random.default_rng(0)
        ids = rng.integers(20, config.vocab_size, (PROMPTS, PROMPT)).tolist()
        settings = {
            "prompts": ids,
            "responses": rng.integers(20, config.vocab_size, RESPONSE).tolist(),
            "turns": TURNS,
            "turn_tokens": TURN,
            "generations": GENERATIONS,
            "beta": BETA,
            "epsilon": EPSILON,
            "learning_rate": LEARNING_RATE,
        }
        export_safetensors(directory, config, params, max_len=LONGEST)
        path = pathlib.Path(directory) / "settings.json"
        path.write_text(json.dumps(settings))
        tunix = Tunix(python, directory, str(path), script=PEER)
        ours = Ours(
            config,
            params,
            [Prompt(i, tuple(tokens)) for i, tokens in enumerate(ids)],
            environment,
            template,
            row_len=row_len,
            microbatch_rows=microbatch_rows,
        )
        players = {"tunix": tunix, "ours": ours}
        taken: dict[str, list[dict]] = {name: [] for name in players}
        for _ in range(UNCOUNTED + steps):
            for name, player in players.items():
                taken[name].append(player.update(1))
        tunix.close()
    clocks = ("wall_s", "cpu_s")
    # Whatever else runs on the machine makes steps slower, never faster.
    counted = {name: each[UNCOUNTED:] for name, each in taken.items()}
    least = {n: {c: min(one[c] for one in each) for c in clocks} for n, each in counted.items()}
    fastest = {name: min(each, key=lambda one: one["wall_s"]) for name, each in counted.items()}
    return {
        "parameters": sum(p.size for p in jax.tree.leaves(params)),
        "episodes": PROMPTS * GENERATIONS,
        "tokens_an_episode": LONGEST,
        "row_len": row_len,
        "microbatch_rows": microbatch_rows,  # Tunix's update has all episodes at once
        "seconds_a_step": {
            n: {c: round(s, 3) for c, s in each.items()} for n, each in least.items()
        },
        "seconds_of_parts": {
            name: {part: round(s, 3) for part, s in one["parts"].items()}
            for name, one in fastest.items()
        },
        "wall_seconds_of_all_steps": {
            name: [round(one["wall_s"], 2) for one in each] for name, each in taken.items()
        },
        "turns_of_a_step": {
            name: {key: one[key] for key in ("turns", "distinct_turns")}
            for name, one in fastest.items()
        },
        "times_as_fast_as_tunix": {
            c: round(least["tunix"][c] / least["ours"][c], 2) for c in clocks
        },
    }


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--tunix", metavar="PYTHON", required=True, help="with google-tunix")
    flags.add_argument("--steps", type=int, default=4)
    flags.add_argument("--row_len", type=int, default=ROW, help="tokens of a row of the update")
    flags.add_argument("--microbatch_rows", type=int, default=2)
    given = flags.parse_args()
    report = beside_tunix(given.tunix, given.steps, given.row_len, given.microbatch_rows)
    print(json.dumps({**report, "machine": machine()}, indent=2))


if __name__ == "__main__":
    main()
