"""A small world, and a policy that has learned its four episodes by heart.

The policy is trained for real (some seconds), so that rollouts have calls, tool responses
and several turns without any part being replaced.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tooltrain.data.chat_template import ChatTemplate
from tooltrain.data.tokenizer import train_tokenizer
from tooltrain.env.cache import Cache, CacheWriter
from tooltrain.env.environment import Environment
from tooltrain.env.projection import Projection
from tooltrain.env.schema import Tool
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.transformer import Params, Transformer, init_params
from tooltrain.rollout.episode import Prompt
from tooltrain.types import Call

PLACES = {"Rome": 11, "Oslo": 27, "Lima": 34, "Bern": 48}
FIND = Tool(
    "find_place",
    "Finds a place.",
    {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
)
WEATHER = Tool(
    "get_weather",
    "Weather of a place.",
    {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]},
)


class World(NamedTuple):
    environment: Environment
    template: ChatTemplate
    prompts: list[Prompt]
    episodes: list[np.ndarray]


class Learned(NamedTuple):
    config: PolicyConfig
    params: Params


def _query(place: str) -> str:
    return f"How is the weather in {place}?"


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> World:
    path = tmp_path_factory.mktemp("world") / "cache.sqlite"
    with CacheWriter.create(path) as writer:
        for tool in (FIND, WEATHER):
            writer.add_tool(tool)
        for place, number in PLACES.items():
            writer.add_entry("find_place", {"name": place}, {"id": number, "name": place})
            writer.add_entry("get_weather", {"id": number}, {"sky": "clear", "degrees": number})
    environment = Environment(Cache.open(path), Projection())
    tools = [FIND, WEATHER]

    def gold(template: ChatTemplate, place: str) -> np.ndarray:
        turns = []
        for call in (
            Call("find_place", {"name": place}),
            Call("get_weather", {"id": PLACES[place]}),
        ):
            shown = environment.show(
                call, environment.execute(call, offered=("find_place", "get_weather"))
            )
            turns.append(((call,), (shown,)))
        return template.episode(_query(place), tools, turns)[0]

    # The first tokenizer knows bytes only; it serves to render the corpus of the second.
    bytes_only = ChatTemplate(train_tokenizer([], 300))
    corpus = [bytes_only.text(gold(bytes_only, place)) for place in PLACES]
    template = ChatTemplate(train_tokenizer(corpus, 400))
    prompts = [
        Prompt(
            id=100 + i,
            tokens=tuple(template.prompt(_query(place), tools)),
            tools=("find_place", "get_weather"),
        )
        for i, place in enumerate(PLACES)
    ]
    return World(environment, template, prompts, [gold(template, place) for place in PLACES])


@pytest.fixture(scope="session")
def learned(world: World) -> Learned:
    config = PolicyConfig(
        vocab_size=world.template.tokenizer.vocab_size,
        num_layers=1,  # compile time: the tests of the cache have more
        d_model=64,
        num_heads=4,
        num_kv_heads=2,
        head_dim=16,
        d_ff=128,
    )
    length = max(len(episode) for episode in world.episodes)
    tokens = np.stack([np.pad(e, (0, length - len(e))) for e in world.episodes])
    segments = np.stack([np.arange(length) < len(e) for e in world.episodes]).astype(np.int32)
    positions = np.broadcast_to(np.arange(length, dtype=np.int32), tokens.shape)
    policy, optimizer = Transformer(config), optax.adam(3e-3)

    def loss(params):
        logits = policy.apply({"params": params}, tokens, positions, segments)
        nll = optax.softmax_cross_entropy_with_integer_labels(logits[:, :-1], tokens[:, 1:])
        return jnp.sum(nll * segments[:, 1:]) / segments[:, 1:].sum()

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    params = init_params(config, jax.random.key(0))
    state = optimizer.init(params)
    for _ in range(150):
        params, state = step(params, state)
    return Learned(config, params)
