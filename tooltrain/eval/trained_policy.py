"""A trained policy of a workdir, ready to be rolled out on any prompts."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import jax
from ml_collections import ConfigDict

from tooltrain import sharding
from tooltrain.data.chat_template import ChatTemplate
from tooltrain.data.tokenizer import Tokenizer
from tooltrain.env.environment import Environment
from tooltrain.errors import UserError
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.transformer import init_params
from tooltrain.rollout.engine import Engine
from tooltrain.rollout.episode import Prompt, rollouts
from tooltrain.rollout.sampling import GREEDY, Sampling
from tooltrain.train.checkpoint import latest_step, load_params
from tooltrain.types import Json, Rollout

Item = TypeVar("Item")


class TrainedPolicy:
    """The newest checkpoint of WORKDIR/`stage`, within the turns and tokens of config.grpo.

    identity: JSON; what its greedy rollouts depend on beside prompts and environment.
    """

    def __init__(self, config: ConfigDict, workdir: str, stage: str):
        """Raises UserError where there is no checkpoint, or one of another policy."""
        directory = pathlib.Path(workdir) / stage
        if latest_step(directory) is None:
            raise UserError(f"{directory} holds no checkpoint; run `train_{stage}` first")
        traces = pathlib.Path(config.traces or f"{workdir}/traces")
        self.template = ChatTemplate(Tokenizer.load(traces / "tokenizer.json"))
        policy = PolicyConfig(
            vocab_size=self.template.tokenizer.vocab_size, **config.policy.to_dict()
        )
        self.mesh = sharding.make_mesh(config.mesh)
        shapes = jax.eval_shape(lambda: init_params(policy, jax.random.key(0)))
        abstract = jax.tree.map(
            lambda shape, where: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=where),
            shapes,
            sharding.parameter_shardings(self.mesh, shapes),
        )
        self.params, step = load_params(directory, abstract)
        grpo = config.grpo
        self._limits = {"max_turns": grpo.max_turns, "max_turn_tokens": grpo.max_turn_tokens}
        self.engine = Engine(
            policy,
            num_slots=config.eval.slots,
            max_len=grpo.max_len,
            eos_id=self.template.eos_id,
        )
        self.identity: dict[str, Json] = {
            "player": stage,
            "step": int(step),
            "checkpoint": str(directory.resolve()),
            "max_len": grpo.max_len,
            **self._limits,
        }

    def play(
        self,
        items: Sequence[Item],
        prompt: Callable[[Item], Prompt],
        environment: Environment,
        *,
        max_turns: int | None = None,
    ) -> Iterator[tuple[Item, Rollout]]:
        """A greedy rollout of each item: as many at a time as there are slots, and those are
        finished together."""
        for start in range(0, len(items), self.engine.num_slots):
            batch = items[start : start + self.engine.num_slots]
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
        with jax.set_mesh(self.mesh):
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
