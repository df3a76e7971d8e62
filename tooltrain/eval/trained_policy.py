"""A trained policy of a workdir, ready to be rolled out on any prompts."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from tooltrain import sharding
from tooltrain.env.environment import Environment
from tooltrain.errors import UserError
from tooltrain.policy.weights import parameter_shapes
from tooltrain.rollout.engine import Engine
from tooltrain.rollout.episode import Prompt, rollouts
from tooltrain.rollout.sampling import GREEDY, Sampling
from tooltrain.train.checkpoint import NEWEST, identity, latest_step, load_params
from tooltrain.train.options import EPISODE, check_least
from tooltrain.train.start import start
from tooltrain.types import Json, Rollout

Item = TypeVar("Item")

# Slots' worth of items that are played, and so finished, together: what a killed evaluation
# may lose against the rows that stand idle at the end of each round.
_ROUND = 4


PRETRAINED = "pretrained"


class TrainedPolicy:
    """A checkpoint of WORKDIR/`stage`, within the turns and tokens of config.grpo.

    stage: "sft", "grpo", or `PRETRAINED`: the model that training starts from, as it is.
    checkpoint: which of the stage, `NEWEST` or `BEST`. coarse: `Engine`'s.
    identity: JSON; what its greedy rollouts depend on beside prompts and environment.
    """

    def __init__(
        self,
        config: ConfigDict,
        workdir: str,
        stage: str,
        *,
        checkpoint: str = NEWEST,
        coarse: bool = False,
    ):
        """Raises UserError where there is no such checkpoint, or one of another policy, and for
        limits that nothing can be played in."""
        grpo = config.grpo
        check_least("grpo", grpo, EPISODE)
        check_least("eval", config.eval, {"slots": 1})
        directory = pathlib.Path(workdir) / stage
        if stage != PRETRAINED and latest_step(directory) is None:
            raise UserError(f"{directory} holds no checkpoint; run `train_{stage}` first")
        begin = start(config, workdir)
        self.policy, self.template, self.source = begin.policy, begin.template, begin.source
        self.mesh = sharding.make_mesh(config.mesh)
        if stage == PRETRAINED:
            self.params, step = begin.params(self.mesh), 0
            played = {"checkpoint": config.policy.pretrained}
        else:
            shapes = parameter_shapes(begin.policy)
            abstract = sharding.abstract_parameters(self.mesh, shapes)
            self.params, step = load_params(directory, abstract, checkpoint)
            played = identity(directory, step)
        if self.mesh.size == 1:
            # Uncommitted, as a fresh cache is: placed on a mesh, they would make a program's
            # outputs differ from its inputs in sharding, and each shape compile twice.
            self.params = jax.tree.map(lambda p: jnp.asarray(np.asarray(p)), self.params)
        self.max_len, self._num_slots = grpo.max_len, config.eval.slots
        self._chunks = tuple(config.eval.get("chunks", (32, 128)))
        if not self._chunks or min(self._chunks) < 1:
            raise UserError(
                f"config.eval.chunks is {self._chunks}; allowed: one length or more, in tokens"
            )
        self._coarse = coarse
        self._limits = {"max_turns": grpo.max_turns, "max_turn_tokens": grpo.max_turn_tokens}
        self.identity: dict[str, Json] = {
            "player": stage,
            "step": int(step),
            **played,
            "dtype": self.policy.dtype,
            "attention": self.policy.attention,
            "max_len": grpo.max_len,
            **self._limits,
        }

    @functools.cached_property
    def engine(self) -> Engine:
        """Its cache takes memory from the first use on."""
        return Engine(
            self.policy,
            num_slots=self._num_slots,
            max_len=self.max_len,
            eos_id=self.template.eos_id,
            chunks=self._chunks,
            coarse=self._coarse,
        )

    def play(
        self,
        items: Sequence[Item],
        prompt: Callable[[Item], Prompt],
        environment: Environment,
        *,
        max_turns: int | None = None,
    ) -> Iterator[tuple[Item, Rollout]]:
        """A greedy rollout of each item, in rounds of several items a slot."""
        size = _ROUND * self.engine.num_slots
        for first in range(0, len(items), size):
            batch = items[first : first + size]
            prompts = [prompt(item) for item in batch]
            played = self.rollouts(prompts, environment, max_turns=max_turns)
            yield from zip(batch, played, strict=True)

    def rollouts(
        self,
        prompts: Sequence[Prompt],
        environment: Environment,
        *,
        sampling: Sampling = GREEDY,
        seed: int = 0,
        max_turns: int | None = None,
    ) -> list[Rollout]:
        """One rollout of each prompt, in their order."""
        limits = self._limits | ({} if max_turns is None else {"max_turns": max_turns})
        with jax.set_mesh(self.mesh) if self.mesh.size > 1 else nullcontext():
            return rollouts(
                self.params,
                prompts,
                engine=self.engine,
                environment=environment,
                template=self.template,
                sampling=sampling,
                seed=seed,
                **limits,
            )
