"""Another's agent, written on the official client, in the environment, over a served policy.

The policy has learned its four episodes by heart (tests/rollout/conftest.py), so that the
conversations have calls, tool responses and an end.
"""

import concurrent.futures
import json

import jax
import pytest

from tests.rollout.conftest import FIND, PLACES, WEATHER, learned, world  # noqa: F401 (fixtures)
from tests.serve.served import Served
from tooltrain.rollout.engine import Engine
from tooltrain.serve.batcher import Batcher
from tooltrain.types import Call

TOOLS = [
    {
        "type": "function",
        "function": {"name": t.name, "description": t.description, "parameters": t.parameters},
    }
    for t in (FIND, WEATHER)
]


@pytest.fixture(scope="module")
def serving(world, learned):  # noqa: F811
    """A server with so many slots, stopped when the tests are over."""
    mesh = jax.make_mesh((1, 1, 1), ("data", "fsdp", "tensor"), devices=jax.devices()[:1])
    started = []

    def start(num_slots):
        engine = Engine(
            learned.config,
            num_slots=num_slots,
            max_len=192,
            eos_id=world.template.eos_id,
            steps=16,
            chunks=(32,),
        )
        batcher = Batcher(learned.params, engine, mesh, max_waiting=64, warm_up=False)
        batcher.wait_until_warm()
        limits = {"timeout_s": 200.0, "max_tokens": 60}
        started.append((batcher, Served(batcher, world.template, limits=limits)))
        return started[-1][1]

    yield start
    for batcher, served in started:
        served.stop()
        batcher.close(drain=True)


@pytest.fixture(scope="module")
def served(serving):
    return serving(4)


def asked(client, messages):
    """(assistant message, usage) of one answer."""
    answer = client.chat.completions.create(
        model="tiny", messages=messages, tools=TOOLS, temperature=0
    )
    return answer.choices[0].message.model_dump(exclude_none=True), answer.usage


def streamed(client, messages):
    """The same, put together from the pieces of a stream."""
    content, calls, usage = "", {}, None
    chunks = client.chat.completions.create(
        model="tiny",
        messages=messages,
        tools=TOOLS,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in chunks:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            content += choice.delta.content or ""
            for call in choice.delta.tool_calls or ():
                calls[call.index] = call.model_dump(exclude={"index"})
    message = {"role": "assistant", "content": content}
    return (message | {"tool_calls": list(calls.values())} if calls else message), usage


def converse(client, world, place, ask):  # noqa: F811
    """The whole conversation, and the usage of each answer: calls are executed until there are
    none."""
    messages = [{"role": "user", "content": f"How is the weather in {place}?"}]
    usages = []
    for _ in range(5):
        message, usage = ask(client, messages)
        messages.append(message)
        usages.append(usage)
        if "tool_calls" not in message:
            return messages, usages
        for called in message["tool_calls"]:
            function = called["function"]
            call = Call(function["name"], json.loads(function["arguments"]))
            shown = world.environment.show(call, world.environment.execute(call))
            answer = {"role": "tool", "tool_call_id": called["id"], "content": shown}
            messages.append(answer)
    raise AssertionError(f"no end in 5 turns: {messages}")


def said(messages):
    """What a conversation says, without the ids of its calls."""
    return [
        (
            message["role"],
            message.get("content") or "",
            [call["function"] for call in message.get("tool_calls", ())],
        )
        for message in messages
    ]


@pytest.mark.parametrize("ask", [asked, streamed])
@pytest.mark.parametrize("place", ["Rome", "Lima"])
def test_an_agent_completes_a_conversation_of_several_turns(served, world, place, ask):  # noqa: F811
    messages, _ = converse(served.client(), world, place, ask)
    roles = [message["role"] for message in messages]
    assert roles == ["user", "assistant", "tool", "assistant", "tool", "assistant"]
    found, weather = messages[1]["tool_calls"][0], messages[3]["tool_calls"][0]
    assert found["function"]["name"] == "find_place"
    assert json.loads(weather["function"]["arguments"]) == {"id": PLACES[place]}
    assert json.loads(messages[4]["content"])["degrees"] == PLACES[place]
    assert messages[5]["content"]


def test_many_agents_at_once_hold_the_conversations_of_one(served, world):  # noqa: F811
    client = served.client()
    alone = {place: said(converse(client, world, place, asked)[0]) for place in PLACES}
    places = list(PLACES) * 3
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        together = pool.map(lambda place: said(converse(client, world, place, asked)[0]), places)
    assert list(together) == [alone[place] for place in places]


def test_a_conversation_that_comes_back_is_not_read_again(served, world):  # noqa: F811
    _, usages = converse(served.client(), world, "Oslo", asked)
    _, second, third = (usage.prompt_tokens_details.cached_tokens for usage in usages)
    # All but the last token that was sampled, which no step has fed yet; more where a slot still
    # holds the same conversation of another test.
    assert second >= usages[0].total_tokens - 1
    assert third >= usages[1].total_tokens - 1


@pytest.mark.slow
def test_conversations_that_crowd_each_other_out_are_answered_alike(serving, world, served):  # noqa: F811
    """One slot for four conversations: each turn finds another's keys in it."""
    single = serving(1)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        played = pool.map(
            lambda place: said(converse(single.client(), world, place, asked)[0]), PLACES
        )
    wanted = [said(converse(served.client(), world, place, asked)[0]) for place in PLACES]
    assert list(played) == wanted
