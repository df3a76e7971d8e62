"""google-tunix's GRPO update on given inputs, measured on request; see update_speed.py.

    python benchmarks/tunix_update.py DIRECTORY INPUTS

DIRECTORY: config.json and model.safetensors of a Qwen3. INPUTS: an .npz of prompt [B, P] (padded
at the left), completion [B, C] (padded at the right; 0 is padding), old, ref [B, C] (nats), adv
[B], and `settings`, a JSON string: epsilon, beta, aggregation, learning_rate. Prints one line of
JSON with the values at those inputs and the memory of the compiled step, then, for every number
n that it reads, one line {"wall_s": …, "cpu_s": …} of n further updates. Imports nothing of
tooltrain: it runs in an environment of google-tunix==0.1.7.
"""

from __future__ import annotations

import json
import sys
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from rollout_peers import tunix_shape
from tunix.models.qwen3 import model as qwen3
from tunix.models.qwen3 import params as qwen3_params
from tunix.rl import algo_core, common
from tunix.sft import peft_trainer


def load(directory: str) -> nnx.Module:
    shape, tied = tunix_shape(directory)
    config = qwen3.ModelConfig(**shape, use_tied_embedding=tied)
    auto = (jax.sharding.AxisType.Auto,) * 2
    mesh = jax.make_mesh((1, 1), ("fsdp", "tp"), axis_types=auto)
    return qwen3_params.create_model_from_safe_tensors(directory, config, mesh)


def peak_bytes(trainer: peft_trainer.PeftTrainer, example: common.TrainExample) -> int:
    """What the compiled step holds at once: arguments, results and temporaries, an array that
    is donated counted once. The same program as the trainer's, as a function of arrays."""
    model, optimizer = trainer.model, trainer.optimizer
    parts = [nnx.split(each) for each in (model, optimizer)]

    def step(model_state, optimizer_state, example):
        both = [
            nnx.merge(graph, state)
            for (graph, _), state in zip(parts, (model_state, optimizer_state), strict=True)
        ]
        out = trainer.create_train_step_fn()(*both, example)
        return out, [nnx.state(each) for each in both]

    compiled = jax.jit(step, donate_argnums=1).lower(*(s for _, s in parts), example).compile()
    memory = compiled.memory_analysis()
    return (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
        - memory.alias_size_in_bytes
    )


def main() -> None:
    directory, inputs = sys.argv[1:]
    with np.load(inputs) as given:
        given = dict(given)
    settings = json.loads(str(given["settings"]))
    prompt, completion = (jnp.asarray(given[k], jnp.int32) for k in ("prompt", "completion"))
    example = common.TrainExample(
        prompt_ids=prompt,
        prompt_mask=prompt != 0,
        completion_ids=completion,
        completion_mask=completion != 0,
        advantages=jnp.asarray(given["adv"]),
        ref_per_token_logps=jnp.asarray(given["ref"]),
        old_per_token_logps=jnp.asarray(given["old"]),
    )
    algorithm = types.SimpleNamespace(
        beta=settings["beta"],
        epsilon=settings["epsilon"],
        loss_algo="grpo",
        loss_agg_mode=settings["aggregation"],
        kl_loss_mode="low_var_kl",
        kl_clamp_value=None,
        temperature=1.0,
    )
    model = load(directory)
    logprobs = common.compute_per_token_logps(
        *nnx.split(model), prompt_tokens=prompt, completion_tokens=completion, pad_id=0, eos_id=2
    )
    trainer = peft_trainer.PeftTrainer(
        model,
        optax.adamw(settings["learning_rate"]),
        peft_trainer.TrainingConfig(eval_every_n_steps=10**9),
    )
    trainer.with_loss_fn(
        lambda model, example: algo_core.grpo_loss_fn(model, example, algorithm, 0, 2),
        has_aux=True,
    ).with_gen_model_input_fn(lambda example: {"example": example})
    memory = peak_bytes(trainer, example)
    # As its `train` calls it: the graph cached, the optimizer donated.
    step, _ = trainer.jit_train_and_eval_step(cache_nnx_graph=True)
    loss, aux, grad_norm = step(example)
    values = {
        "loss": loss,
        "policy_loss": aux["pg_loss"],
        "kl": aux["kl_loss"],
        "clip_fraction": aux["pg_clipfrac"],
        "entropy": aux["entropy"],
        "grad_norm": grad_norm,
        "logprob_sum": jnp.sum(logprobs * (completion != 0)),
    }
    values = {name: float(value) for name, value in values.items()}
    versions = {module.__name__: module.__version__ for module in (jax, optax)}
    print(json.dumps({"values": values, "peak_bytes": memory, **versions}), flush=True)
    for line in sys.stdin:
        start = np.array([time.perf_counter(), time.process_time()])
        for _ in range(int(line)):
            jax.block_until_ready(step(example))
        wall, cpu = np.array([time.perf_counter(), time.process_time()]) - start
        print(json.dumps({"wall_s": wall, "cpu_s": cpu}), flush=True)


if __name__ == "__main__":
    main()
