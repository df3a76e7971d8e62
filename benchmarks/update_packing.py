"""A GRPO update on rollouts of a trained policy: as trees, side by side, and one a row.

    python -m benchmarks.update_packing --workdir=runs/demo [--prompts=8] [--repeats=5]

Plays one step of the demo's groups with the policy of WORKDIR/sft, lays the same rollouts out
in three ways and times the same update of them in turn. Prints one JSON object: tokens, rows,
padding, seconds of each, and their ratios to the trees.
"""

from __future__ import annotations

import argparse
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.machine import in_turn, machine
from configs import tiny_cpu
from tooltrain import sharding
from tooltrain.data.chat_template import ChatTemplate
from tooltrain.data.dataset import open_traces
from tooltrain.data.tokenizer import Tokenizer
from tooltrain.env.environment import open_environment
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.transformer import Transformer
from tooltrain.policy.weights import parameter_shapes
from tooltrain.rollout.engine import Engine
from tooltrain.rollout.episode import prompt_of, rollouts
from tooltrain.rollout.sampling import Sampling
from tooltrain.train.checkpoint import load_params
from tooltrain.train.optimizer import make_optimizer
from tooltrain.train.rollout_batch import pack_rollouts, padding_share
from tooltrain.train.state import (
    abstract_state,
    make_grpo_step,
    state_of_params,
    state_shardings,
)


def measure(workdir: pathlib.Path, prompts: int, repeats: int) -> dict[str, object]:
    config = tiny_cpu.get_config()
    grpo = config.grpo

    # --- rollouts -------------------------------------------------------------------
    environment = open_environment(workdir / "cache" / "booking.sqlite", **config.projection)
    template = ChatTemplate(Tokenizer.load(workdir / "traces" / "tokenizer.json"))
    traces = open_traces(workdir / "traces", grpo.split)
    chosen = np.random.default_rng(0).choice(len(traces), prompts, replace=False)
    policy = PolicyConfig(vocab_size=template.tokenizer.vocab_size, **config.policy.to_dict())
    mesh = sharding.make_mesh(config.mesh)
    optimizer = make_optimizer(grpo.optimizer, lambda _: 0.0, **config.optimizer)
    shapes = parameter_shapes(policy)
    params, _ = load_params(workdir / "sft", abstract_state(mesh, shapes, optimizer).params)
    played = rollouts(
        params,
        [prompt_of(i, traces[int(n)], template, environment) for i, n in enumerate(chosen)],
        engine=Engine(policy, num_slots=grpo.slots, max_len=grpo.max_len, eos_id=template.eos_id),
        environment=environment,
        template=template,
        max_turns=grpo.max_turns,
        max_turn_tokens=grpo.max_turn_tokens,
        generations=grpo.generations,
        sampling=Sampling(temperature=grpo.temperature),
        seed=0,
    )
    advantages = np.random.default_rng(1).normal(size=(len(played), grpo.max_turns))

    # --- layouts --------------------------------------------------------------------
    layouts = {
        "trees": {"row_len": grpo.row_len, "share_prefixes": True},
        "side_by_side": {"row_len": grpo.row_len, "share_prefixes": False},
        # Each is packed by itself (`groups`); the longest decides the width.
        "one_a_row": {"row_len": max(len(r.tokens) for r in played), "share_prefixes": False},
    }
    report: dict[str, object] = {"machine": machine(), "rollouts": len(played)}
    runs = {}
    for name, layout in layouts.items():
        groups = [[r] for r in played] if name == "one_a_row" else [played]
        rows = len(played) if len(groups) == 1 else 1
        batches, start = [], 0
        for group in groups:
            batches.append(
                pack_rollouts(
                    group,
                    advantages[start : start + len(group)],
                    rows=rows,
                    microbatch_rows=min(rows, grpo.microbatch_rows),
                    pad_id=template.pad_id,
                    **layout,
                )
            )
            start += len(group)
        batch = jax.tree.map(lambda *x: np.concatenate(x), *batches)
        report[name] = {
            "row_len": layout["row_len"],
            "rows": int(batch.completion_mask.any(axis=1).sum()),
            "tokens": int((batch.visible_to < layout["row_len"]).sum()),
            "padding": round(padding_share(batch, grpo.microbatch_rows), 3),
        }
        model = Transformer(policy)
        step = make_grpo_step(
            lambda params, *inputs, model=model: model.apply(
                {"params": params}, *inputs, method="features"
            ),
            optimizer,
            mesh,
            state_shardings(mesh, shapes, optimizer),
            aggregation=grpo.loss_aggregation,
            microbatch_rows=grpo.microbatch_rows,
            share_prefixes=layout["share_prefixes"],
            kl_coefficient=grpo.kl_coefficient,
        )
        state = state_of_params(mesh, jax.tree.map(jnp.copy, params), optimizer)
        runs[name] = _Update(step, state, sharding.shard_batch(mesh, batch))

    # --- time -----------------------------------------------------------------------
    with jax.set_mesh(mesh):
        taken = in_turn(runs, repeats)
    for name, seconds in taken.items():
        report[name] |= seconds | {
            f"{clock}_over_trees": round(s / taken["trees"][clock], 2)
            for clock, s in seconds.items()
        }
    return report


class _Update:
    """The same update again and again: the learning rate is 0."""

    def __init__(self, step, state, batch):
        self._step, self._state, self._batch = step, state, batch

    def __call__(self):
        self._state, metrics = self._step(self._state, self._batch)
        return metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=pathlib.Path, required=True)
    parser.add_argument("--prompts", type=int, default=tiny_cpu.get_config().grpo.prompts_per_step)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    print(json.dumps(measure(given.workdir, given.prompts, given.repeats), indent=1))


if __name__ == "__main__":
    main()
