"""Supervised fine-tuning on gold traces: the loss is on what the policy is to write."""

from __future__ import annotations

import itertools
import pathlib
import time

import jax
import numpy as np
from ml_collections import ConfigDict

from tooltrain import sharding
from tooltrain.data.chat_template import ChatTemplate
from tooltrain.data.dataset import open_traces
from tooltrain.data.pipeline import sft_batches
from tooltrain.data.tokenizer import Tokenizer
from tooltrain.env.environment import open_environment
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.transformer import Transformer, init_params
from tooltrain.train.checkpoint import Checkpoints, claim_directory, recorded_config, traces_digest
from tooltrain.train.metrics import MetricsWriter
from tooltrain.train.optimizer import make_optimizer, make_schedule
from tooltrain.train.state import (
    abstract_state,
    create_state,
    make_sft_evaluation,
    make_sft_step,
    state_shardings,
)

# Sections of the config that this stage does not read, or that do not change its numbers.
UNREAD = ("grpo", "eval", "init_from", "mesh", "cache", "traces", "synthesis")


def train(config: ConfigDict, workdir: str) -> None:
    """Trains a fresh policy on WORKDIR/traces; writes WORKDIR/sft, or resumes it.

    Raises UserError for a missing dataset, a directory of another config, a mesh that does
    not fit, and when the loss is no longer finite.
    """
    directory = pathlib.Path(workdir) / "sft"
    sft = config.sft

    # --- mesh -----------------------------------------------------------------------
    mesh = sharding.make_mesh(config.mesh)
    sharding.check_batch_size(mesh, sft.batch_size // sft.microbatches, "config.sft.batch_size")

    # --- data -----------------------------------------------------------------------
    cache_path = config.cache or f"{workdir}/cache/{config.suite}.sqlite"
    traces_dir = pathlib.Path(config.traces or f"{workdir}/traces")
    environment = open_environment(cache_path, **config.projection)
    template = ChatTemplate(Tokenizer.load(traces_dir / "tokenizer.json"))
    traces = open_traces(traces_dir, "train")
    shape = {"batch_size": sft.batch_size, "seq_len": sft.seq_len}
    batches = iter(
        sft_batches(
            traces,
            template,
            environment,
            **shape,
            seed=config.seed,
            copy_fraction=sft.copy_fraction,
            copy_warmup_examples=sft.copy_warmup_examples,
            augment_fraction=sft.augment_fraction,
            context_loss_weight=sft.context_loss_weight,
        )
    )
    held_out = list(
        itertools.islice(
            sft_batches(
                open_traces(traces_dir, "validation"), template, environment, **shape, seed=0
            ),
            sft.eval_batches,
        )
    )

    # --- policy ---------------------------------------------------------------------
    policy = PolicyConfig(vocab_size=template.tokenizer.vocab_size, **config.policy.to_dict())
    model = Transformer(policy)

    def apply_fn(params, *inputs):
        return model.apply({"params": params}, *inputs, method="features")

    # --- shardings and steps --------------------------------------------------------
    schedule = make_schedule(
        sft.learning_rate,
        steps=sft.steps,
        warmup_steps=sft.warmup_steps,
        final_fraction=sft.final_lr_fraction,
        decay=sft.decay,
    )
    optimizer = make_optimizer(sft.optimizer, schedule, **config.optimizer)

    def fresh_params():
        return init_params(policy, jax.random.key(config.seed))

    shapes = jax.eval_shape(fresh_params)
    shardings = state_shardings(mesh, shapes, optimizer)
    step_fn = make_sft_step(apply_fn, optimizer, mesh, shardings, microbatches=sft.microbatches)
    evaluate_fn = make_sft_evaluation(apply_fn, mesh, shardings.params)

    # --- checkpoint -----------------------------------------------------------------
    claim_directory(
        directory,
        recorded_config(
            config, UNREAD, {"cache": environment.cache.digest, "traces": traces_digest(traces_dir)}
        ),
    )
    with jax.set_mesh(mesh), Checkpoints(directory) as checkpoints:
        first_step = checkpoints.latest_step or 0
        if first_step:
            state, run = checkpoints.restore(abstract_state(mesh, shapes, optimizer))
            batches.set_state(run["data"])
        else:
            state = create_state(mesh, fresh_params, optimizer)

        with MetricsWriter(
            directory,
            "sft",
            resumed_step=checkpoints.latest_step,
            total_steps=sft.steps,
            log_every_steps=sft.log_every_steps,
            show=("loss", "token_accuracy", "eval/loss", "eval/token_accuracy"),
        ) as writer:
            for step in range(first_step + 1, sft.steps + 1):
                # --- step -----------------------------------------------------------
                batch = next(batches)
                state, metrics = step_fn(state, sharding.shard_batch(mesh, batch))
                writer.step(
                    step,
                    {
                        **metrics,
                        "learning_rate": schedule(step - 1),
                        "padding": np.mean(batch.segment_ids == 0),
                    },
                    {"tokens": batch.tokens.size},
                )

                # --- evaluation -----------------------------------------------------
                if step % sft.eval_every_steps == 0 or step == sft.steps:
                    writer.flush()
                    started = time.perf_counter()
                    sums = [
                        evaluate_fn(state.params, sharding.shard_batch(mesh, batch))
                        for batch in held_out
                    ]
                    total = {k: sum(float(s[k]) for s in sums) for k in sums[0]}
                    weight = total.pop("weight")
                    writer.evaluation(
                        step,
                        {name: value / weight for name, value in total.items()},
                        time.perf_counter() - started,
                    )

                # --- checkpoint -----------------------------------------------------
                if step % sft.checkpoint_every_steps == 0 or step == sft.steps:
                    writer.flush()  # a state that is not finite is never saved
                    run = {"seed": config.seed, "data": batches.get_state()}
                    checkpoints.save(state, step, run)
