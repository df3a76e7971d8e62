"""GRPO: roll out groups against the environment, reward, compare within groups, update."""

from __future__ import annotations

import functools
import itertools
import json
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from tooltrain import sharding
from tooltrain.calls.encoder import encode_calls, encode_gold, take_gold
from tooltrain.data.dataset import open_traces
from tooltrain.data.pipeline import prompt_batches
from tooltrain.env.environment import open_environment
from tooltrain.errors import UserError
from tooltrain.eval.evaluate import score
from tooltrain.policy.lora import lora_of
from tooltrain.policy.transformer import Params, Transformer
from tooltrain.policy.weights import parameter_shapes
from tooltrain.rewards import reward
from tooltrain.rollout.engine import Engine
from tooltrain.rollout.episode import prompt_of, rollouts
from tooltrain.rollout.sampling import GREEDY, warn_if_truncated
from tooltrain.train import hosts
from tooltrain.train.ahead import Ahead
from tooltrain.train.checkpoint import (
    Checkpoints,
    claim_directory,
    load_params,
    read_config,
    recorded_config,
    saved_step,
    traces_digest,
    truncate_lines,
)
from tooltrain.train.credit import choose_credit, choose_reward
from tooltrain.train.draws import minibatch_groups, step_seed
from tooltrain.train.groups import Groups, Judged, draw_until_enough_teach
from tooltrain.train.metrics import Clock, MetricsWriter
from tooltrain.train.optimizer import make_optimizer, make_schedule
from tooltrain.train.options import check_grpo, make_sampling
from tooltrain.train.rollout_batch import fill, pack_rollouts, padding_of_fills
from tooltrain.train.rollout_metrics import episode_line, rollout_metrics
from tooltrain.train.start import start
from tooltrain.train.state import (
    abstract_state,
    create_state,
    make_correction,
    make_grpo_step,
    make_logprobs_step,
    state_of_params,
    state_shardings,
)
from tooltrain.train.trained import Trained

# Sections of the config that this stage does not read, or that do not change its numbers.
UNREAD = ("sft", "eval", "init_from", "mesh", "cache", "traces", "synthesis")


def train(config: ConfigDict, workdir: str) -> None:
    """Improves the policy of WORKDIR/sft on WORKDIR/traces; writes WORKDIR/grpo, or resumes it.

    Raises UserError for a missing dataset or SFT checkpoint, a directory of another config or
    process, a mesh or batch that does not fit, and when the loss is no longer finite.
    """
    directory = pathlib.Path(workdir) / "grpo"
    grpo = config.grpo
    check_grpo(grpo)

    # --- mesh -----------------------------------------------------------------------
    mesh = sharding.make_mesh(config.mesh)
    # What this process does of each step: all of it, when it is the only one.
    num_prompts = hosts.share(grpo.prompts_per_step, "config.grpo.prompts_per_step")
    microbatch_rows = hosts.share(grpo.microbatch_rows, "config.grpo.microbatch_rows")
    sharding.check_batch_size(mesh, grpo.microbatch_rows, "config.grpo.microbatch_rows")
    largest_minibatch = -(-num_prompts // grpo.minibatches) * grpo.generations
    pack = functools.partial(
        pack_rollouts,
        # One shape for all batches: rows that hold nothing cost nothing.
        rows=-(-largest_minibatch // microbatch_rows) * microbatch_rows,
        row_len=grpo.row_len,
        microbatch_rows=microbatch_rows,
        share_prefixes=grpo.share_prefixes,
    )

    # --- data -----------------------------------------------------------------------
    cache_path = config.cache or f"{workdir}/cache/{config.suite}.sqlite"
    traces_dir = pathlib.Path(config.traces or f"{workdir}/traces")
    environment = open_environment(cache_path, **config.projection)
    begin = start(config, workdir)
    policy, template = begin.policy, begin.template
    traces = open_traces(traces_dir, grpo.split)
    prompt_indices = iter(
        prompt_batches(len(traces), prompts_per_step=grpo.prompts_per_step, seed=config.seed)
    )
    validation = open_traces(traces_dir, "validation")
    held_out = [validation[i] for i in range(min(grpo.eval_episodes, len(validation)))]

    # --- policy ---------------------------------------------------------------------
    model = Transformer(policy)

    def apply_fn(params, *inputs):
        return model.apply({"params": params}, *inputs, method="features")

    engine = Engine(policy, num_slots=grpo.slots, max_len=grpo.max_len, eos_id=template.eos_id)
    play = functools.partial(
        rollouts,
        engine=engine,
        environment=environment,
        template=template,
        max_turns=grpo.max_turns,
        max_turn_tokens=grpo.max_turn_tokens,
    )
    sampling = make_sampling(
        "grpo", temperature=grpo.temperature, top_k=grpo.top_k, top_p=grpo.top_p
    )
    if sampling.temperature == 0:
        raise UserError("config.grpo.temperature is 0: greedy rollouts of a prompt are all equal")
    # A truncated distribution is not the one that is updated: ask the policy itself.
    warn_if_truncated(sampling)
    recompute_old = sampling.truncated or grpo.importance_cap > 0
    # Shapes that hold every usual step, so that the reward is compiled once.
    gold_floors = {
        "num_arguments": max(len(tool.properties) for tool in environment.tools.values()),
        "num_steps": config.synthesis.max_calls,
    }
    floors = {"num_arguments": gold_floors["num_arguments"], "num_calls": 16}

    # --- shardings and steps --------------------------------------------------------
    updates_per_step = grpo.updates_per_batch * grpo.minibatches
    schedule = make_schedule(
        grpo.learning_rate,
        steps=grpo.steps * updates_per_step,
        warmup_steps=grpo.warmup_steps * updates_per_step,
        final_fraction=grpo.final_lr_fraction,
        decay=grpo.decay,
    )
    optimizer = make_optimizer(grpo.optimizer, schedule, **config.optimizer)
    trained = Trained(mesh, parameter_shapes(policy), lora_of(config))
    step_fn = make_grpo_step(
        trained.apply_fn(apply_fn),
        optimizer,
        mesh,
        state_shardings(mesh, trained.shapes, optimizer),
        frozen=trained.frozen_shardings,
        temperature=grpo.temperature,
        aggregation=grpo.loss_aggregation,
        max_tokens=grpo.max_turns * grpo.max_turn_tokens,
        microbatch_rows=grpo.microbatch_rows,
        share_prefixes=grpo.share_prefixes,
        epsilon_low=grpo.epsilon_low,
        epsilon_high=grpo.epsilon_high,
        kl_coefficient=grpo.kl_coefficient,
        entropy_coefficient=grpo.entropy_coefficient,
        sequence_ratio=grpo.sequence_ratio,
    )
    logprobs_fn = make_logprobs_step(
        apply_fn,
        mesh,
        trained.policy_shardings,
        temperature=grpo.temperature,
        microbatch_rows=grpo.microbatch_rows,
        share_prefixes=grpo.share_prefixes,
    )
    correct = make_correction(grpo.importance_cap)
    credit = choose_credit(grpo)
    reward_fn = functools.partial(reward.rewards_to_go, choose_reward(grpo), grpo.max_turns)

    # --- rollouts -------------------------------------------------------------------
    # What is played beside an update has a device to itself.
    alone = functools.partial(hosts.alone, always=grpo.staleness > 0)

    def play_groups(
        step: int, params: Params
    ) -> tuple[Groups, Judged, dict[str, float], dict[str, float]]:
        """The groups of a step, drawn and played by `params`, and what they are worth; metrics of
        the drawing, and seconds."""
        clock = Clock()

        def draw(number: int) -> Groups:
            drawn = next(prompt_indices)
            mine = hosts.mine(len(drawn))
            batch_traces = [traces[int(drawn[i])] for i in mine]
            # Numbered within the step: an epoch's last trace may be the next one's first.
            prompts = [
                prompt_of(number * len(drawn) + i, trace, template, environment)
                for i, trace in zip(mine, batch_traces, strict=True)
            ]
            with alone():
                played = play(
                    params,
                    prompts,
                    generations=grpo.generations,
                    sampling=sampling,
                    max_failed_turns=grpo.max_failed_turns or None,
                    seed=step_seed(config.seed, step),
                )
                clock.lap("rollout_seconds")
                group_of = np.repeat(np.arange(len(batch_traces)), grpo.generations)
                gold = encode_gold([trace.calls for trace in batch_traces], **gold_floors)
                calls = encode_calls([rollout.records for rollout in played], **floors)
                rewards, (to_go, terms) = jax.device_get(
                    reward.score_batch(reward_fn, calls, take_gold(gold, group_of))
                )
            clock.lap("reward_seconds")
            numbers = {name: values for name, values in terms.items() if values.ndim == 1}
            return Groups(batch_traces, played, rewards, to_go, numbers)

        found = draw_until_enough_teach(draw, credit, grpo.dynamic_sampling_rounds)
        clock.lap("reward_seconds")
        return *found, clock.laps

    # --- checkpoint -----------------------------------------------------------------
    init_from = pathlib.Path(config.init_from or f"{workdir}/sft")
    data = {
        "cache": environment.cache.digest,
        "traces": traces_digest(traces_dir),
        "init_step": saved_step(init_from),
        "init_config": read_config(init_from),
    }
    with (
        hosts.first_holds(claim_directory(directory, recorded_config(config, UNREAD, data))),
        jax.set_mesh(mesh),
        Checkpoints(directory) as checkpoints,
    ):
        resumed = checkpoints.latest_step
        first_params = None
        # A resumed run has all of it but the reference policy, and with LoRA that too.
        if resumed is None or (grpo.kl_coefficient and trained.lora is None):
            first_params, _ = load_params(init_from, trained.abstract_policy)
        frozen = trained.frozen(
            directory, lambda base=first_params: base, resumed=resumed is not None
        )
        ref_params = None
        if grpo.kl_coefficient:
            ref_params = frozen[0] if frozen else jax.tree.map(jnp.copy, first_params)
        if resumed is not None:
            abstract = abstract_state(mesh, trained.shapes, optimizer)
            state, run = checkpoints.restore(abstract, behaviour=grpo.staleness > 0)
            if "num_processes" in run:  # older checkpoints do not say
                hosts.check_count(run["num_processes"])
            prompt_indices.set_state(run["data"])
        elif trained.lora is not None:
            state = create_state(mesh, lambda: trained.fresh_lora(config.seed), optimizer)
        else:
            state = state_of_params(mesh, first_params, optimizer)
        del first_params

        def own_policy(params: Params) -> Params:
            """The whole policy of what is trained, where it is played."""
            whole = trained.whole(params, frozen)
            return hosts.own_copy(mesh, whole, always=grpo.staleness > 0)

        hosts.first_does(lambda: truncate_lines(directory / "episodes.jsonl", resumed))

        with (
            MetricsWriter(
                directory,
                "grpo",
                resumed_step=resumed,
                total_steps=grpo.steps,
                log_every_steps=grpo.log_every_steps,
                show=("reward", "success", "eval/strict_turn_accuracy", "entropy"),
                quiet=not hosts.is_first(),
            ) as writer,
            (directory / "episodes.jsonl").open("a") as episodes_file,
            Ahead(play_groups, own_policy) as ahead,
        ):
            # --- evaluation ---------------------------------------------------------
            def evaluate(step: int) -> float:
                """Plays the held-out traces greedily; returns their strict turn accuracy."""
                started = time.perf_counter()
                mine = [held_out[i] for i in hosts.mine(len(held_out))]
                prompts = [prompt_of(i, t, template, environment) for i, t in enumerate(mine)]
                ahead.wait()  # the engine serves one at a time
                params = own_policy(state.params)
                with alone():
                    played = play(params, prompts, sampling=GREEDY)
                    scored = score(mine, played)
                parts = hosts.gather([episode.row() for episode in scored])
                rows = list(itertools.chain.from_iterable(parts))
                means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
                writer.evaluation(step, means, time.perf_counter() - started)
                return means["strict_turn_accuracy"]

            if resumed is None:
                evaluate(0)

            first_step = (resumed or 0) + 1
            if grpo.staleness and first_step <= grpo.steps:
                behaviour = run["behaviour"] if resumed else state.params
                ahead.start(first_step, prompt_indices.get_state(), behaviour)

            for step in range(first_step, grpo.steps + 1):
                # --- rollouts -------------------------------------------------------
                clock = Clock()
                if grpo.staleness:
                    groups, judged, drawn, seconds = ahead.take()
                    clock.lap("wait_seconds")
                    if step < grpo.steps:
                        ahead.start(step + 1, prompt_indices.get_state(), state.params)
                else:
                    groups, judged, drawn, seconds = play_groups(step, own_policy(state.params))
                    clock = Clock()

                # --- update ---------------------------------------------------------
                # The rollouts of a group stay together: they share most of their tokens.
                everyone = np.arange(num_prompts)
                kept = np.flatnonzero(judged.teaches) if grpo.filter_zero_variance else everyone
                parts = minibatch_groups(
                    kept, grpo.updates_per_batch, grpo.minibatches, step_seed(config.seed, step)
                )
                sizes = np.sum(hosts.gather([len(part) for part in parts]), axis=0)
                whole = trained.whole(state.params, frozen) if recompute_old else None
                batches, fills = [], []
                for part in (part for part, size in zip(parts, sizes, strict=True) if size):
                    chosen = groups.rollouts_of(part)
                    host_batch = pack(
                        [groups.played[i] for i in chosen],
                        judged.advantages[chosen],
                        pad_id=template.pad_id,
                    )
                    batch = sharding.shard_batch(mesh, host_batch)
                    fills.append(fill(host_batch, microbatch_rows))
                    mismatch = {}
                    if recompute_old:
                        logprobs = logprobs_fn(whole, batch)
                        if grpo.importance_cap:
                            batch, mismatch = correct(batch, logprobs)
                        batch = batch._replace(old_logprobs=logprobs)
                    if ref_params is not None:
                        batch = batch._replace(ref_logprobs=logprobs_fn(ref_params, batch))
                    batches.append((batch, mismatch))
                del whole  # with LoRA a copy
                learning_rate = schedule(state.step)  # of the step's first update
                updates = []
                for batch, mismatch in batches:
                    state, update_metrics = step_fn(state, batch, *frozen)
                    updates.append(update_metrics | mismatch)

                # While the devices work: what the rollouts were like.
                metrics = drawn | rollout_metrics(groups, judged.no_variance)
                if step % grpo.log_every_steps == 0 and hosts.is_first():
                    for g in range(num_prompts)[: grpo.sample_episodes]:
                        line = episode_line(
                            groups, judged.advantages, g * grpo.generations, environment, template
                        )
                        episodes_file.write(json.dumps({"step": step, **line}) + "\n")
                    episodes_file.flush()
                metrics = hosts.mean(metrics)
                own = [fills, sum(len(r.tokens) for r in groups.played)]
                fills, tokens = zip(*hosts.gather(own), strict=True)
                jax.block_until_ready(state.params)  # the next rollouts need them anyway
                clock.lap("update_seconds")
                if updates:
                    metrics["padding"] = padding_of_fills(fills)
                    for name in updates[0]:
                        metrics[name] = sum(u[name] for u in updates) / len(updates)
                writer.step(
                    step,
                    {**metrics, "learning_rate": learning_rate},
                    {**seconds, **clock.laps, "tokens": sum(tokens)},
                )

                accuracy = None
                if step % grpo.eval_every_steps == 0 or step == grpo.steps:
                    writer.flush()
                    accuracy = evaluate(step)

                # --- checkpoint -----------------------------------------------------
                if step % grpo.checkpoint_every_steps == 0 or step == grpo.steps:
                    writer.flush()  # a state that is not finite is never saved
                    # Of rollouts in flight, what it takes to play them again.
                    place = ahead.place if grpo.staleness else prompt_indices.get_state()
                    run = {"seed": config.seed, "data": place, "num_processes": hosts.count()}
                    checkpoints.save(state, step, run, score=accuracy, behaviour=ahead.behaviour)
