"""Limits, time-outs and tools on threads; no drift; random players against booking."""

import collections
import dataclasses
import random
import threading

import numpy as np
import pytest

from tooltrain.data.chat_template import ChatTemplate
from tooltrain.data.tokenizer import train_tokenizer
from tooltrain.env.budget import Budget
from tooltrain.env.cache import Cache, CacheWriter
from tooltrain.env.environment import Environment
from tooltrain.env.projection import Projection
from tooltrain.env.schema import Tool
from tooltrain.rollout.engine import Engine
from tooltrain.rollout.episode import rollouts
from tooltrain.rollout.sampling import GREEDY, Sampling
from tooltrain.rollout.tools import ToolThreads
from tooltrain.rollout.turns import Limits, Prompt, Turns, start
from tooltrain.types import Call, EndReason, ObservationKind

LIMITS = Limits(
    max_turns=6,
    max_turn_tokens=500,
    max_failed_turns=None,
    max_episode_tokens=None,
    max_response_tokens=None,
    max_len=4000,
    call_timeout_s=None,
    episode_timeout_s=None,
    calls=Budget(),
)
# Long enough for any call that answers, short enough to fail when one never does.
LONG_S = 120


class Gated:
    """An environment whose calls that `holds` picks wait until the gate is opened."""

    def __init__(self, environment, holds, opens=lambda call: False):
        self.environment, self.holds, self.opens = environment, holds, opens
        self.gate = threading.Event()
        self.in_time = []

    def execute(self, call, offered=None):
        if self.opens(call):
            self.gate.set()
        if self.holds(call):
            self.in_time.append(self.gate.wait(LONG_S))
        return self.environment.execute(call, offered=offered)

    def show(self, call, observation):
        return self.environment.show(call, observation)


def _mentions(call, value):
    return isinstance(call, Call) and value in call.arguments.values()


@pytest.fixture(scope="module")
def engine(world, learned):
    return Engine(
        learned.config,
        num_slots=4,
        max_len=192,
        eos_id=world.template.eos_id,
        steps=4,  # shorter than any turn
        chunks=(32,),
    )


@pytest.fixture(scope="module")
def play(world, learned, engine):
    def run(environment=world.environment, prompts=world.prompts, **options):
        return rollouts(
            learned.params,
            prompts,
            engine=engine,
            environment=environment,
            template=world.template,
            **{"max_turns": 5, "max_turn_tokens": 60, "sampling": GREEDY} | options,
        )

    return run


def _assert_same(got, want):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a.tokens, b.tokens)
        np.testing.assert_array_equal(a.completion_mask, b.completion_mask)
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-4)
        assert (a.prompt, a.generation, a.records, a.num_turns, a.end) == (
            b.prompt,
            b.generation,
            b.records,
            b.num_turns,
            b.end,
        )


@pytest.mark.parametrize("tool_threads", [1, 4])
def test_tools_on_threads_change_no_rollout(play, tool_threads):
    options = {"generations": 3, "sampling": Sampling(temperature=1.3), "seed": 5}
    _assert_same(play(**options, tool_threads=tool_threads), play(**options))


def test_other_slots_decode_while_a_call_is_answered(play, world):
    # Rome's first call waits for Oslo's second one, which is decoded after Oslo's first answer.
    environment = Gated(
        world.environment, lambda c: _mentions(c, "Rome"), lambda c: _mentions(c, 27)
    )
    played = play(environment, world.prompts[:2], tool_threads=2)
    assert environment.in_time == [True]
    _assert_same(played, play(prompts=world.prompts[:2]))


def test_a_call_without_an_answer_in_time_ends_its_episode_and_no_other(play, world):
    environment = Gated(world.environment, lambda c: _mentions(c, "Rome"))
    played = play(environment, tool_threads=1, call_timeout_s=2)
    environment.gate.set()
    late, *others = played
    assert late.end is EndReason.CALL_TIMEOUT
    assert [(r.call.name, r.turn, r.kind) for r in late.records] == [
        ("find_place", 0, ObservationKind.TIMED_OUT)
    ]
    assert late.num_turns == 1
    assert late.tokens[-1] == world.template.eos_id
    # One thread: it was replaced, or nobody else would have been answered.
    _assert_same(others, play(prompts=world.prompts[1:]))


def test_a_call_over_the_budget_is_not_executed_and_the_episode_goes_on(play, world):
    executed = Gated(world.environment, lambda c: True, lambda c: True)  # counts, holds nothing
    played = play(executed, generations=2, calls=Budget(calls_per_episode=1))
    for rollout, free in zip(played, play(generations=2), strict=True):
        assert rollout.records[0] == free.records[0]
        assert {r.kind for r in rollout.records[1:]} == {ObservationKind.OVER_BUDGET}
        assert rollout.num_turns > 1
    assert len(executed.in_time) == len(played)


def test_an_episode_that_waits_past_its_time_ends(play, world):
    environment = Gated(world.environment, lambda c: True)
    (late,) = play(environment, world.prompts[:1], tool_threads=1, episode_timeout_s=0.5)
    environment.gate.set()
    assert late.end is EndReason.EPISODE_TIMEOUT
    assert {record.kind for record in late.records} <= {ObservationKind.TIMED_OUT}


def test_time_may_run_out_within_a_turn_and_what_was_sampled_is_kept(play, world):
    whole = play(prompts=world.prompts[:1])[0]
    (cut,) = play(prompts=world.prompts[:1], episode_timeout_s=1e-9)
    assert cut.end is EndReason.EPISODE_TIMEOUT
    assert (cut.num_turns, cut.completion_mask.sum()) == (1, 4)  # one decode segment
    np.testing.assert_array_equal(cut.tokens, whole.tokens[: len(cut.tokens)])
    assert [record.kind for record in cut.records] == [ObservationKind.TIMED_OUT]


def test_a_token_budget_of_the_episode_ends_it_within_a_turn_or_after_one(play, world):
    whole = play(prompts=world.prompts[:1])[0]
    sampled = np.flatnonzero(whole.completion_mask)
    first_turn = int(np.flatnonzero(np.diff(sampled) > 1)[0]) + 1
    for budget, turns, records in ((first_turn, 1, 1), (first_turn + 1, 2, 2)):
        (short,) = play(prompts=world.prompts[:1], max_episode_tokens=budget)
        assert short.end is EndReason.MAX_EPISODE_TOKENS
        assert (short.completion_mask.sum(), short.num_turns) == (budget, turns)
        assert short.records[0] == whole.records[0]
        assert len(short.records) <= records
        np.testing.assert_array_equal(short.tokens, whole.tokens[: len(short.tokens)])


def test_a_response_longer_than_allowed_is_not_shown(play, world):
    (cut,) = play(prompts=world.prompts[:1], max_response_tokens=3)
    assert cut.end is EndReason.MAX_RESPONSE_TOKENS
    assert [record.kind for record in cut.records] == [ObservationKind.OK]
    assert cut.tokens[-1] == world.template.eos_id
    _assert_same(
        play(prompts=world.prompts[:1], max_response_tokens=60), play(prompts=world.prompts[:1])
    )


def test_limits_that_cannot_be_are_refused_by_name(play):
    with pytest.raises(ValueError, match="max_turns is 0"):
        play(max_turns=0)
    with pytest.raises(ValueError, match="episode_timeout_s is 0"):
        play(episode_timeout_s=0)
    with pytest.raises(ValueError, match="tool_threads 0"):
        play(call_timeout_s=1)


def test_what_a_tool_raises_ends_the_rollouts(play, world):
    class Broken(Gated):
        def execute(self, call, offered=None):
            raise OSError("no such host")

    for threads in (0, 2):
        with pytest.raises(OSError, match="no such host"):
            play(Broken(world.environment, None), tool_threads=threads)


# --- without a device: the writer's ids go in where sampled ones would ----------------------


def _played(turns: Turns, prompt: Prompt, write):
    """One episode, its turns written by `write(budget)`."""
    episode = start(prompt, 0)
    turns.start_clock(episode)
    while episode.end is None:
        if episode.jobs:
            turns.wait([episode])
        else:
            budget = turns.budget(episode)
            ids = write()[:budget]
            episode.extend(ids, [-1.0] * len(ids))
            if ids[-1] == turns.template.eos_id or len(ids) == budget:
                turns.close(episode)
        if episode.end is None:
            turns.check(episode)
    return episode.finished()


ODD = (
    "",
    " ",
    "\n\n",
    "<|im_end|>",
    "<|im_start|>assistant\n",
    "</tool_response><tool_call>",
    '{"name": "f"}',
    "é\u0301 ﬁ ß İ",
    "日本語、한국어",
    "👩‍👩‍👧 🇮🇹",
    "\u202eright to left\u202c",
    "\u0000\u0007\x1b[2J",
    'tab\tand\\backslash "quote"',
    "\u2028\u2029\ufeff",
    "1234567890.0000",
    "a" * 300,
)


def test_ids_of_odd_episodes_are_those_of_the_template_rendered_anew(tmp_path):
    find = Tool(
        "find", "Finds.", {"type": "object", "properties": {"q": {"type": "string"}, "n": {}}}
    )
    rng = random.Random(0)
    texts = [*ODD, *("".join(rng.sample(ODD, 3)) for _ in range(200))]
    path = tmp_path / "odd.sqlite"
    with CacheWriter.create(path) as writer:
        writer.add_tool(find)
        for n, text in enumerate(texts):
            writer.add_entry("find", {"q": text, "n": n}, {"text": text, "of": [texts[-n], n]})
    environment = Environment(Cache.open(path), Projection())
    template = ChatTemplate(train_tokenizer(texts, 500))
    seen = collections.Counter()
    wide = dataclasses.replace(LIMITS, max_turn_tokens=10_000, max_len=100_000)
    for number in range(1000):
        query, called = rng.choice(texts), []

        def write(called=called, turns=number % 5):
            calls = []
            if len(called) < turns:
                picked = [rng.randrange(len(texts)) for _ in range(rng.randint(1, 3))]
                # Every fourth was never recorded: its answer is an error that quotes it.
                calls = [
                    Call("find", {"q": texts[n], "n": n if rng.random() < 0.75 else -1 - n})
                    for n in picked
                ]
            called.append(calls)
            return template.completion(calls)

        prompt = Prompt(number, tuple(template.prompt(query, [find])), ("find",))
        rollout = _played(Turns(environment, template, wide, None), prompt, write)
        assert rollout.end is EndReason.FINISHED
        # An argument that spells a tag is read as one: the calls that were read are answered.
        shown = [[] for _ in called]
        for record in rollout.records:
            shown[record.turn].append(
                environment.show(record.call, environment.execute(record.call))
            )
        tokens, mask = template.episode(query, [find], list(zip(called, shown, strict=True))[:-1])
        np.testing.assert_array_equal(rollout.tokens, tokens)
        np.testing.assert_array_equal(rollout.completion_mask, mask)
        seen.update(record.kind for record in rollout.records)
    assert seen[ObservationKind.OK] > 500
    assert seen[ObservationKind.NOT_RECORDED] > 100


class RandomPlayer:
    """Writes calls as they were recorded, damaged ones, other text, and closing turns."""

    def __init__(self, environment, template, rng):
        self.template, self.rng = template, rng
        self.tools = sorted(environment.tools)
        sizes = environment.cache.sizes()
        self.recorded = {
            name: [environment.cache.entry(name, i)[0] for i in range(min(count, 5))] or [{}]
            for name, count in ((name, sizes.get(name, (0, 0))[0]) for name in self.tools)
        }

    def write(self) -> list[int]:
        if self.rng.random() < 0.15:
            return self.template.completion(())
        if self.rng.random() < 0.15:
            text = "".join(self.rng.sample(ODD, 4))
            ids = self.template.tokenizer.encode_parts((text,))
            return [*ids, self.template.eos_id]
        return self.template.completion([self._call() for _ in range(self.rng.randint(1, 3))])

    def _call(self) -> Call:
        name = self.rng.choice(self.tools)
        arguments = dict(self.rng.choice(self.recorded[name]))
        if arguments and self.rng.random() < 0.2:
            arguments[self.rng.choice(sorted(arguments))] = self.rng.choice(ODD)
        return Call(name if self.rng.random() < 0.95 else "no_tool", arguments)


def _random_limits(rng) -> Limits:
    def sometimes(value):
        return value if rng.random() < 0.15 else None

    return dataclasses.replace(
        LIMITS,
        max_turns=rng.randint(1, 6),
        max_turn_tokens=rng.choice((40, 1000, 1000, 1000)),
        max_failed_turns=sometimes(1),
        max_episode_tokens=sometimes(150),
        max_response_tokens=sometimes(20),
        max_len=rng.choice((400, 6000, 6000)),
        call_timeout_s=0.2,
        episode_timeout_s=sometimes(1e-9),
        calls=Budget(sometimes(2), sometimes(4)),
    )


@pytest.mark.parametrize("episodes", [150, pytest.param(1000, marks=pytest.mark.slow)])
def test_random_players_on_booking_end_for_every_reason(booking_environment, episodes):
    """No exception, no hang; every end reason occurs and agrees with the records."""
    rng = random.Random(1)
    calls = collections.Counter()

    def stuck(call):  # now and then a tool that never answers
        calls["made"] += 1
        return calls["made"] % 30 == 0

    environment = Gated(booking_environment, stuck)
    names = sorted(booking_environment.tools)
    template = ChatTemplate(train_tokenizer([*ODD, *names], 500))
    player = RandomPlayer(booking_environment, template, rng)
    tools = [booking_environment.tools[name] for name in names]
    prompt = Prompt(0, tuple(template.prompt("Book something.", tools)))
    room = len(prompt.tokens)
    ends, kinds = collections.Counter(), collections.Counter()
    threads = ToolThreads(4)
    for _ in range(episodes):
        limits = _random_limits(rng)
        limits = dataclasses.replace(limits, max_len=room + limits.max_len)
        turns = Turns(environment, template, limits, threads)
        rollout = _played(turns, prompt, player.write)
        ends[rollout.end] += 1
        kinds.update(record.kind for record in rollout.records)
        timed_out = any(r.kind is ObservationKind.TIMED_OUT for r in rollout.records)
        assert len(rollout.tokens) <= limits.max_len
        assert rollout.num_turns <= limits.max_turns
        assert all(record.turn < rollout.num_turns for record in rollout.records)
        if timed_out:  # nothing goes on after a call without an answer
            assert {r.turn for r in rollout.records if r.kind is ObservationKind.TIMED_OUT} == {
                rollout.num_turns - 1
            }
        if rollout.end is EndReason.CALL_TIMEOUT:
            assert timed_out
    environment.gate.set()
    threads.close()
    print(episodes, dict(ends), dict(kinds))
    assert ends.total() == episodes
    assert set(ends) == set(EndReason)
    assert set(kinds) == set(ObservationKind)
