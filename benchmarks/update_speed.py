"""A GRPO update beside google-tunix's, at the same weights and the same batch.

    python -m benchmarks.update_speed --tunix=PYTHON [--repeats=5] [--updates=5]

PYTHON: an interpreter with google-tunix==0.1.7. Both processes load the same random Qwen3 and
the same fixed groups of rollouts; they are timed in turn, and time and memory stand as ratios.
The values that both report at the first update, and how far they are apart, stand beside them.
Memory is what the compiled step holds at once. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.machine import machine
from benchmarks.peer import Peer
from tooltrain import sharding
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.export import export_safetensors
from tooltrain.policy.transformer import Transformer, init_params
from tooltrain.train import objectives
from tooltrain.train.rollout_batch import pack_rollouts
from tooltrain.train.state import make_grpo_step, state_of_params, state_shardings
from tooltrain.types import EndReason, GRPOBatch, Rollout

PEER = os.path.join(os.path.dirname(__file__), "tunix_update.py")
TINY_QWEN3 = PolicyConfig(
    vocab_size=512,
    num_layers=4,
    d_model=256,
    num_heads=4,
    num_kv_heads=2,
    head_dim=64,
    d_ff=768,
    rope_theta=1e6,
)
# Ours and Tunix's names of the same mean.
AGGREGATIONS = {"token_mean": "token-mean", "sequence_mean": "sequence-mean-token-mean"}
BETA, EPSILON, LEARNING_RATE = 0.04, 0.2, 1e-4


class Tunix(Peer):
    """google-tunix, which updates when it is asked to.

    script: what it runs, with `arguments`; see tunix_update.py and tunix_agentic.py.
    """

    def __init__(self, python: str, *arguments: str, script: str = PEER):
        # The huge pages that speed up this side (Makefile) slow that one down: an agentic step
        # took 10.9 s with them and 8.5 to 10.3 s without.
        super().__init__(python, script, *arguments, without=("XLA_FLAGS", "GLIBC_TUNABLES"))
        self.first = self.read()

    def update(self, count: int) -> dict:
        return self.ask(str(count))


class Ours:
    """The trainer's own step on one device."""

    def __init__(self, config: PolicyConfig, params, batch: GRPOBatch, **options):
        model = Transformer(config)
        params = jax.tree.map(jnp.copy, params)  # the step consumes them
        self._mesh = sharding.make_mesh({"data": 1, "fsdp": 1, "tensor": 1}, jax.devices()[:1])
        optimizer = optax.adamw(LEARNING_RATE)
        shardings = state_shardings(self._mesh, params, optimizer)
        step = make_grpo_step(
            lambda params, *rest: model.apply({"params": params}, *rest, method="features"),
            optimizer,
            self._mesh,
            shardings,
            **options,
        )
        with jax.set_mesh(self._mesh):
            self._state = state_of_params(self._mesh, params, optimizer)
            self._batch = sharding.shard_batch(self._mesh, batch)
            self._step = step.lower(self._state, self._batch).compile()
        memory = self._step.memory_analysis()
        self.peak_bytes = (
            memory.argument_size_in_bytes
            + memory.output_size_in_bytes
            + memory.temp_size_in_bytes
            - memory.alias_size_in_bytes
        )
        self.first = jax.device_get(self._once())

    def _once(self):
        self._state, metrics = self._step(self._state, self._batch)
        return metrics

    def update(self, count: int) -> dict[str, float]:
        start = np.array([time.perf_counter(), time.process_time()])
        for _ in range(count):
            jax.block_until_ready((self._once(), self._state.params))
        wall, cpu = np.array([time.perf_counter(), time.process_time()]) - start
        return {"wall_s": wall, "cpu_s": cpu}


# --- beside google-tunix --------------------------------------------------------------------


def fixed_inputs(
    config: PolicyConfig, params, *, prompts: int, generations: int, length: int
) -> dict[str, np.ndarray]:
    """Groups of completions of one prompt each, prompts padded at the left and completions at
    the right, with behaviour and reference log-probabilities that are the policy's own but for
    noise, so that clipping is seen. Every other completion is shorter and earns more: advantages
    of a group add up to 0, and a loss near 0 could not be compared to 1e-5 of itself."""
    rng = np.random.default_rng(0)
    rows = prompts * generations
    prompt = rng.integers(3, config.vocab_size, (prompts, length), dtype=np.int32)
    prompt[:, : length // 8] = 0
    prompt = np.repeat(prompt, generations, axis=0)
    completion = rng.integers(3, config.vocab_size, (rows, length), dtype=np.int32)
    completion[::2, length * 3 // 4 :] = 0
    given = {"prompt": prompt, "completion": completion}
    own = _own_logprobs(config, params, given)
    drift, apart = np.array([0.3, 0.1])[:, None, None] * rng.normal(0, 1, (2, *own.shape))
    # Not on the clip's border, where rounding would decide whether a token has a gradient.
    borders = -np.log([1 - EPSILON, 1 + EPSILON])
    drift[np.abs(drift[..., None] - borders).min(axis=-1) < 1e-3] += 0.01
    rewards = rng.random((prompts, generations), np.float32)
    rewards[:, ::2] += 1
    advantages = np.asarray(objectives.group_advantages(jnp.asarray(rewards))).reshape(-1)
    old, reference = ((own + noise).astype(np.float32) for noise in (drift, apart))
    return {**given, "old": old, "ref": reference, "adv": advantages}


def _own_logprobs(config: PolicyConfig, params, given: dict[str, np.ndarray]) -> np.ndarray:
    zeros = np.zeros(given["completion"].shape, np.float32)
    batch = rows_of({**given, "old": zeros, "ref": zeros, "adv": zeros[:, 0]})
    logits = Transformer(config).apply(
        {"params": params}, batch.tokens, batch.positions, at=jnp.asarray(batch.predictors)
    )
    return np.asarray(objectives.target_statistics(logits, jnp.asarray(batch.targets)).logprobs)


def rows_of(given: dict[str, np.ndarray]) -> GRPOBatch:
    """A row a rollout, as wide as Tunix's and padded only at its end."""
    prompt, completion = given["prompt"], given["completion"]
    length = prompt.shape[1]
    padding = (prompt == 0).sum(axis=1, keepdims=True)
    where = np.arange(2 * length)[None] + padding
    tokens = np.pad(np.concatenate([prompt, completion], axis=1), ((0, 0), (0, length)))
    tokens = np.take_along_axis(tokens, where, axis=1)
    at = np.broadcast_to(np.arange(2 * length, dtype=np.int32), tokens.shape)
    sampled = (completion != 0).astype(np.float32)
    return GRPOBatch(
        tokens=tokens,
        positions=at,
        visible_to=np.full(tokens.shape, 2 * length, np.int32),
        predictors=(np.arange(length - 1, 2 * length - 1)[None] - padding).astype(np.int32),
        targets=completion,
        completion_mask=sampled,
        rollout_ids=np.zeros(completion.shape, np.int32),
        old_logprobs=given["old"] * sampled,
        ref_logprobs=given["ref"] * sampled,
        advantages=given["adv"][:, None] * sampled,
    )


def packed_of(given: dict[str, np.ndarray]) -> GRPOBatch:
    """The same rollouts as the trainer packs them: what they have in common stands once."""

    def pack(logprobs: np.ndarray) -> GRPOBatch:
        rollouts = [
            _rollout(*each) for each in zip(given["prompt"], completions, logprobs, strict=True)
        ]
        return pack_rollouts(
            rollouts,
            given["adv"][:, None],
            rows=prompts,
            # A group of whole rollouts.
            row_len=(1 + len(rollouts) // prompts) * given["prompt"].shape[1],
            microbatch_rows=1,
            pad_id=0,
        )

    completions = given["completion"]
    prompts = len(np.unique(given["prompt"], axis=0))
    # Packed twice: the reference's are asked for only when a batch is packed.
    return pack(given["old"])._replace(ref_logprobs=pack(given["ref"]).old_logprobs)


def _rollout(prompt: np.ndarray, completion: np.ndarray, logprobs: np.ndarray) -> Rollout:
    prompt, sampled = prompt[prompt != 0], completion[completion != 0]
    before = np.zeros(len(prompt), np.float32)
    return Rollout(
        prompt=0,
        generation=0,
        tokens=np.concatenate([prompt, sampled]),
        completion_mask=np.concatenate([before, np.ones(len(sampled))]) > 0,
        logprobs=np.concatenate([before, logprobs[: len(sampled)]]),
        records=(),
        num_turns=1,
        end=EndReason.FINISHED,
    )


def beside_tunix(
    python: str,
    *,
    config: PolicyConfig = TINY_QWEN3,
    aggregation: str = "token_mean",
    prompts: int = 4,
    generations: int = 4,
    length: int = 64,
    microbatch_rows: int = 4,
    repeats: int = 5,
    updates: int = 5,
) -> dict[str, object]:
    """Values at the same inputs, and time and memory of the update, ours and Tunix's.

    "rows": a row a rollout, as Tunix has them, `microbatch_rows` of them at a time; "packed":
    as `train_grpo` lays out the same rollouts.
    """
    params = init_params(config, jax.random.key(0))
    given = fixed_inputs(config, params, prompts=prompts, generations=generations, length=length)
    settings = {
        "beta": BETA,
        "epsilon": EPSILON,
        "learning_rate": LEARNING_RATE,
        "aggregation": AGGREGATIONS[aggregation],
    }
    with tempfile.TemporaryDirectory() as directory:
        export_safetensors(directory, config, params, max_len=2 * length)
        inputs = pathlib.Path(directory) / "inputs.npz"
        np.savez(inputs, settings=np.array(json.dumps(settings)), **given)
        tunix = Tunix(python, directory, str(inputs))
    options = {
        "aggregation": aggregation,
        "kl_coefficient": BETA,
        "epsilon_low": EPSILON,
        "epsilon_high": EPSILON,
    }
    ours = {
        "rows": Ours(config, params, rows_of(given), microbatch_rows=microbatch_rows, **options),
        "packed": Ours(config, params, packed_of(given), microbatch_rows=1, **options),
    }
    values = {
        name: {
            "tunix": theirs,
            **{layout: float(each.first[name]) for layout, each in ours.items()},
            "relative_difference": max(
                abs(float(each.first[name]) - theirs) / abs(theirs) for each in ours.values()
            ),
        }
        for name, theirs in tunix.first["values"].items()
        if name in ours["rows"].first
    }
    players = {"tunix": tunix, **ours}
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in players}
    for repeat in range(repeats + 1):  # Tunix compiles once more in the first
        for name, player in players.items():
            measured = player.update(updates)
            if repeat:
                taken[name].append(measured)
    tunix.close()
    speed = {
        clock: {name: min(one[clock] for one in each) / updates for name, each in taken.items()}
        for clock in ("wall_s", "cpu_s")
    }
    memory = {"tunix": tunix.first["peak_bytes"], **{n: o.peak_bytes for n, o in ours.items()}}
    return {
        "parameters": sum(p.size for p in jax.tree.leaves(params)),
        "rollouts": prompts * generations,
        "tokens_a_rollout": 2 * length,
        "values": values,
        "seconds_an_update": speed,
        "times_as_fast_as_tunix": {
            layout: {clock: round(s["tunix"] / s[layout], 2) for clock, s in speed.items()}
            for layout in ours
        },
        "peak_bytes": memory,
        # Memory grows with them: --microbatch_rows=16 compares equal ones.
        "rows_at_a_time": {"tunix": prompts * generations, "rows": microbatch_rows, "packed": 1},
        "share_of_tunix_memory": {n: round(memory[n] / memory["tunix"], 3) for n in ours},
    }


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument(
        "--tunix", metavar="PYTHON", required=True, help="an interpreter with google-tunix"
    )
    flags.add_argument("--microbatch_rows", type=int, default=4, help="of the layout 'rows'")
    flags.add_argument("--repeats", type=int, default=5)
    flags.add_argument("--updates", type=int, default=5)
    given = flags.parse_args()
    report = beside_tunix(
        given.tunix,
        microbatch_rows=given.microbatch_rows,
        repeats=given.repeats,
        updates=given.updates,
    )
    print(json.dumps({**report, "machine": machine()}, indent=2))


if __name__ == "__main__":
    main()
