"""What rollouts are compared by: the reward, and the advantages that are made of it."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from tooltrain.errors import UserError
from tooltrain.rewards import reference, reward
from tooltrain.train import hosts, objectives

ADVANTAGES = ("reward", "components")
COMPONENTS = ("atomic", "orchestration")  # terms of `reward.matched`

# (rewards [P, G], rewards to go [P, G, N], turns played [P, G], terms {name: [P, G]}) ->
# advantages [P, G, N or 1], and bool [P]: whether the rollouts of a group all earned the same.
Credit = Callable[..., tuple[np.ndarray, np.ndarray]]


def choose_reward(grpo: ConfigDict) -> reward.RewardFn:
    """The reward function that config.grpo names, weighted as it says."""
    functions = {
        "matched": functools.partial(
            reward.matched, w_atomic=grpo.w_atomic, w_orchestration=grpo.w_orchestration
        ),
        "reference": reference.reference,
        "binary": reward.binary,
        "atomic_only": reward.atomic_only,
        "orchestration_only": reward.orchestration_only,
    }
    if grpo.reward not in functions:
        raise UserError(f"config.grpo.reward is {grpo.reward!r}; allowed: {', '.join(functions)}")
    return functions[grpo.reward]


def choose_credit(grpo: ConfigDict) -> Credit:
    """Advantages as config.grpo says: of the whole rollout or of each turn of it (credit), from
    the reward or from its components, each normalised by itself (advantages).

    With components, the rollouts that all processes play are normalised together: all of them
    have to ask.
    """
    check_advantages(grpo)
    if grpo.advantages == "components":
        return functools.partial(
            _of_components, np.array([grpo.w_atomic, grpo.w_orchestration], np.float32)
        )

    def of_rollout(to_go, num_turns):
        del num_turns
        return objectives.group_advantages(to_go[..., 0], normalize_std=grpo.normalize_std)[
            ..., None
        ]

    def of_turn(to_go, num_turns):
        played = jnp.arange(to_go.shape[-1])[None, None] < num_turns[..., None]
        return objectives.turn_advantages(to_go, played, normalize_std=grpo.normalize_std)

    choices = {"rollout": of_rollout, "turn": of_turn}
    if grpo.credit not in choices:
        raise UserError(f"config.grpo.credit is {grpo.credit!r}; allowed: {', '.join(choices)}")
    compare = jax.jit(choices[grpo.credit])

    def of_reward(rewards, to_go, num_turns, terms):
        del terms
        with hosts.alone():
            no_variance = np.asarray(objectives.zero_variance(rewards))
            return np.asarray(compare(to_go, num_turns)), no_variance

    return of_reward


def _of_components(weights, rewards, to_go, num_turns, terms) -> tuple[np.ndarray, np.ndarray]:
    del rewards, to_go, num_turns
    components = np.stack([terms[name] for name in COMPONENTS], axis=-1)
    everyone = hosts.gather(components.tolist())
    first = hosts.index() * len(components)
    with hosts.alone():
        advantages = _compare_components(np.concatenate(everyone, dtype=np.float32), weights)
        of_each = [objectives.zero_variance(x) for x in np.moveaxis(components, -1, 0)]
    mine = np.asarray(advantages)[first : first + len(components), :, None]
    return mine, np.all(of_each, axis=0)


_compare_components = jax.jit(objectives.component_advantages)


def check_advantages(grpo: ConfigDict) -> None:
    """Raises UserError for advantages that are not known, or that the rest does not fit."""
    if grpo.advantages not in ADVANTAGES:
        raise UserError(
            f"config.grpo.advantages is {grpo.advantages!r}; allowed: {', '.join(ADVANTAGES)}"
        )
    needed = {"reward": "matched", "credit": "rollout", "normalize_std": True}
    other = [f"{k}={grpo[k]!r}" for k, value in needed.items() if grpo[k] != value]
    if grpo.advantages == "components" and other:
        raise UserError(
            "config.grpo.advantages='components' compares whole rollouts by each of "
            f"{' and '.join(COMPONENTS)}, divided by its std, with the weights that the reward "
            f"'matched' gives them; got config.grpo.{', '.join(other)}. Set reward='matched', "
            "credit='rollout' and normalize_std=True, or advantages='reward'"
        )
