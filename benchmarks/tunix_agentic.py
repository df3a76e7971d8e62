"""google-tunix's agentic GRPO learner, a step on request; see agentic_step.py.

    python benchmarks/tunix_agentic.py DIRECTORY SETTINGS

DIRECTORY: config.json and model.safetensors of a Qwen3. SETTINGS: a JSON file with prompts (lists
of ids), responses (the ids that the tool answers with), turns, turn_tokens, generations, beta,
epsilon, learning_rate. For every line that it reads it plays, rewards and updates one step, and
prints {"wall_s": …, "cpu_s": …, "parts": {…}, "turns": …, "distinct_turns": …}. Imports
nothing of tooltrain: it runs in an environment of google-tunix==0.1.7.

What Tunix 0.1.7 cannot be told is wrapped here, in its favour where there was a choice:

* Its sampler starts every call from one seed, so a group would be one trajectory: each call gets
  a seed of its own.
* A turn may take what is left of the episode's tokens, and each such number is compiled anew:
  calls get the turn's length, so shapes repeat from the second step on. No token ends a turn.
* Text is ids in words, the chat has no template around them: rendering costs next to nothing,
  and what it tokenizes again is what was sampled.
* Its tool environment crashes on a call of `finish`, which is what text without calls becomes:
  the environment here answers any text with the response, as a user message.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import pathlib
import sys
import time

import jax
import numpy as np
import optax
from flax import nnx
from rollout_peers import Numbers
from tunix.rl import rl_cluster
from tunix.rl.agentic import agentic_grpo_learner
from tunix.rl.agentic.environments import base_environment
from tunix.rl.rollout import base_rollout
from tunix_update import load


class Words:
    """A chat of which nothing but the messages' ids is left."""

    def parse(self, messages, add_generation_prompt=False, is_first_msg=False) -> str:
        return " ".join(text for m in messages if (text := str(np.asarray(m["content"]).item())))


class Answers(base_environment.BaseTaskEnv):
    """Answers every turn with the response; the last one ends the episode."""

    def __init__(self, task, *, response: str, turns: int, **kwargs):
        super().__init__(task=task, max_steps=turns, **kwargs)
        self.response = response

    def _initial_observation(self):
        return self.task

    def _step_impl(self, action):
        return base_environment.EnvStepResult(self.response, 0.0, False, {})


def evens(prompts, completions, **_) -> list[float]:
    """Share of even ids in the first turn: what a reward costs here is its call."""
    return [float(np.mean([int(word) % 2 == 0 for word in text.split()])) for text in completions]


class Clock:
    """Seconds of a step's parts. Rollouts and log-probabilities of groups that are done
    overlap: "rollout" is until the last turn is sampled, "rest" what is neither it nor the
    update."""

    def __init__(self):
        self.last_turn = self.update = 0.0
        self.turns: list[tuple[int, ...]] = []
        self.start = np.array([time.perf_counter(), time.process_time()])

    def report(self) -> dict[str, object]:
        wall, cpu = np.array([time.perf_counter(), time.process_time()]) - self.start
        rollout = self.last_turn - self.start[0]
        parts = {"rollout": rollout, "update": self.update, "rest": wall - rollout - self.update}
        turns = {"turns": len(self.turns), "distinct_turns": len(set(self.turns))}
        return {"wall_s": wall, "cpu_s": cpu, "parts": parts, **turns}


def main() -> None:
    directory, path = sys.argv[1:]
    settings = json.loads(pathlib.Path(path).read_text())
    turns, turn_tokens = settings["turns"], settings["turn_tokens"]
    prompts = [" ".join(map(str, ids)) for ids in settings["prompts"]]
    read = len(settings["responses"])
    # Tunix ends an episode that has no room for another token.
    longest = turns * turn_tokens + (turns - 1) * read + 1
    prompt_len = len(settings["prompts"][0])
    mesh = jax.make_mesh((1, 1), ("fsdp", "tp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    actor, reference = load(directory), load(directory)
    cluster = rl_cluster.RLCluster(
        actor=actor,
        reference=reference,
        tokenizer=Numbers(),
        cluster_config=rl_cluster.ClusterConfig(
            role_to_mesh=dict.fromkeys(
                (rl_cluster.Role.ACTOR, rl_cluster.Role.REFERENCE, rl_cluster.Role.ROLLOUT), mesh
            ),
            rollout_engine="vanilla",
            training_config=rl_cluster.RLTrainingConfig(
                actor_optimizer=optax.adamw(settings["learning_rate"]),
                eval_every_n_steps=10**9,
                mini_batch_size=len(prompts),
            ),
            rollout_config=base_rollout.RolloutConfig(
                max_tokens_to_generate=longest,
                max_prompt_length=prompt_len,
                # A chat longer than max_prompt_length is padded to a power of 2.
                kv_cache_size=(1 << (prompt_len + longest).bit_length()) + turn_tokens,
                temperature=1.0,
                return_logprobs=True,
            ),
        ),
    )
    learner = agentic_grpo_learner.GRPOLearner(
        rl_cluster=cluster,
        reward_fns=evens,
        algo_config=agentic_grpo_learner.GRPOConfig(
            num_generations=settings["generations"],
            max_response_length=longest,
            max_concurrency=len(prompts) * settings["generations"],
            beta=settings["beta"],
            epsilon=settings["epsilon"],
            loss_agg_mode="token-mean",
            kl_loss_mode="low_var_kl",
        ),
        chat_parser=Words(),
        env_class=Answers,
        env_kwargs={"response": " ".join(map(str, settings["responses"])), "turns": turns},
    )
    clock = Clock()
    seeds = itertools.count()
    generate, update = cluster.rollout.generate, cluster.update_actor

    def generate_a_turn(prompts, rollout_config, **kwargs):
        config = dataclasses.replace(
            rollout_config, max_tokens_to_generate=turn_tokens, seed=next(seeds)
        )
        output = generate(prompts, config, **kwargs)
        clock.turns += [tuple(ids.tolist()) for ids in output.tokens]
        clock.last_turn = time.perf_counter()
        return output

    def timed_update(*args, **kwargs):
        start = time.perf_counter()
        update(*args, **kwargs)
        jax.block_until_ready(nnx.state(cluster.actor_trainer.model))
        clock.update += time.perf_counter() - start

    cluster.rollout.generate, cluster.update_actor = generate_a_turn, timed_update

    def batches(output):
        """A batch a line; the learner asks for the next one when a step is done."""
        nonlocal clock
        print(json.dumps({"ready": True}), file=output, flush=True)
        for _ in sys.stdin:
            clock = Clock()
            yield {"prompts": np.array(prompts)}
            report = clock.report()
            print(json.dumps(report), file=output, flush=True)

    output = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # Tunix prints
        learner.train(batches(output))


if __name__ == "__main__":
    main()
