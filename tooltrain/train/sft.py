"""Supervised fine-tuning on gold traces: the loss is on what the policy is to write."""

from __future__ import annotations

import functools
import itertools
import pathlib
import time

import jax
import numpy as np
from ml_collections import ConfigDict

from tooltrain import sharding
from tooltrain.data.dataset import open_traces
from tooltrain.data.order import Curriculum, Shard
from tooltrain.data.pipeline import Lengths, sft_batches
from tooltrain.env.environment import open_environment
from tooltrain.policy.lora import lora_of
from tooltrain.policy.transformer import Transformer
from tooltrain.policy.weights import parameter_shapes
from tooltrain.train import hosts
from tooltrain.train.checkpoint import Checkpoints, claim_directory, recorded_config, traces_digest
from tooltrain.train.metrics import MetricsWriter
from tooltrain.train.optimizer import make_optimizer, make_schedule
from tooltrain.train.options import check_sft
from tooltrain.train.start import start
from tooltrain.train.state import (
    abstract_state,
    create_state,
    make_sft_evaluation,
    make_sft_step,
    state_shardings,
)
from tooltrain.train.trained import Trained
from tooltrain.types import SFTBatch

# Sections of the config that this stage does not read, or that do not change its numbers.
UNREAD = ("grpo", "eval", "init_from", "mesh", "cache", "traces", "synthesis")


def train(config: ConfigDict, workdir: str) -> None:
    """Trains a policy, fresh or pretrained (`train.start`), on WORKDIR/traces; writes
    WORKDIR/sft, or resumes it.

    config.sft.curriculum, if it is there: fields of `data.order.Curriculum`. Queries of
    augmented traces are written as those of the traces were (config.synthesis.variety).
    Raises UserError for a missing dataset or model, a directory of another config or process, a
    mesh that does not fit, and when the loss is no longer finite.
    """
    directory = pathlib.Path(workdir) / "sft"
    sft = config.sft
    check_sft(sft)

    # --- mesh -----------------------------------------------------------------------
    mesh = sharding.make_mesh(config.mesh)
    sharding.check_batch_size(mesh, sft.batch_size // sft.microbatches, "config.sft.batch_size")

    # --- data -----------------------------------------------------------------------
    cache_path = config.cache or f"{workdir}/cache/{config.suite}.sqlite"
    traces_dir = pathlib.Path(config.traces or f"{workdir}/traces")
    environment = open_environment(cache_path, **config.projection)
    begin = start(config, workdir)
    template = begin.template
    traces = open_traces(traces_dir, "train")
    # Each process reads its own share of the traces and makes its own rows of each batch.
    shape = {
        "batch_size": hosts.share(sft.batch_size, "config.sft.batch_size"),
        "seq_len": sft.seq_len,
        "shard": Shard(hosts.index(), hosts.count()),
    }
    lengths = Lengths()
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
            variety=config.synthesis.variety,
            curriculum=Curriculum(**sft.curriculum) if sft.get("curriculum") else None,
            lengths=lengths,
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
    model = Transformer(begin.policy)

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

    trained = Trained(mesh, parameter_shapes(begin.policy), lora_of(config))
    step_fn = make_sft_step(
        trained.apply_fn(apply_fn),
        optimizer,
        mesh,
        state_shardings(mesh, trained.shapes, optimizer),
        microbatches=sft.microbatches,
        frozen=trained.frozen_shardings,
    )
    evaluate_fn = make_sft_evaluation(apply_fn, mesh, trained.policy_shardings)

    # --- checkpoint -----------------------------------------------------------------
    data = {
        "cache": environment.cache.digest,
        "traces": traces_digest(traces_dir),
        "variety": config.synthesis.variety,
    }
    with (
        hosts.first_holds(claim_directory(directory, recorded_config(config, UNREAD, data))),
        jax.set_mesh(mesh),
        Checkpoints(directory) as checkpoints,
    ):
        first_step = checkpoints.latest_step or 0
        first_params = functools.partial(begin.first_params, mesh, seed=config.seed)
        frozen = trained.frozen(directory, first_params, resumed=first_step > 0)
        if first_step:
            state, run = checkpoints.restore(abstract_state(mesh, trained.shapes, optimizer))
            own = hosts.own(run["processes"])
            batches.set_state(own["data"])
            lengths.taken, lengths.left_out = own["lengths"]
        elif trained.lora is not None:
            state = create_state(mesh, lambda: trained.fresh_lora(config.seed), optimizer)
        else:
            state = begin.state(mesh, optimizer, seed=config.seed)

        with MetricsWriter(
            directory,
            "sft",
            resumed_step=checkpoints.latest_step,
            total_steps=sft.steps,
            log_every_steps=sft.log_every_steps,
            show=("loss", "token_accuracy", "eval/loss", "eval/token_accuracy"),
            quiet=not hosts.is_first(),
        ) as writer:
            for step in range(first_step + 1, sft.steps + 1):
                # --- step -----------------------------------------------------------
                batch = next(batches)
                state, metrics = step_fn(state, sharding.shard_batch(mesh, batch), *frozen)
                metrics["learning_rate"] = schedule(step - 1)
                if writer.writes(step):  # not oftener: it waits for the other processes
                    metrics |= _data_metrics(batch, lengths)
                writer.step(step, metrics, {"tokens": batch.tokens.size * hosts.count()})

                # --- evaluation -----------------------------------------------------
                if step % sft.eval_every_steps == 0 or step == sft.steps:
                    writer.flush()
                    started = time.perf_counter()
                    params = trained.whole(state.params, frozen)
                    sums = [
                        evaluate_fn(params, sharding.shard_batch(mesh, batch)) for batch in held_out
                    ]
                    del params  # with LoRA a copy
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
                    own = {
                        "data": batches.get_state(),
                        "lengths": [lengths.taken, lengths.left_out],
                    }
                    run = {"seed": config.seed, "processes": hosts.gather(own)}
                    checkpoints.save(state, step, run)


def _data_metrics(batch: SFTBatch, lengths: Lengths) -> dict[str, float]:
    """What all processes drew. All of them have to ask."""
    padding = float(np.mean(batch.segment_ids == 0))
    paddings, *counts = zip(*hosts.gather([padding, lengths.taken, lengths.left_out]), strict=True)
    all_lengths = Lengths(*map(sum, counts))
    return {
        "padding": np.mean(paddings),  # of as many rows each
        "examples": all_lengths.taken,
        "left_out": all_lengths.left_out_share,
    }
