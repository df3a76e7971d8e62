"""Multi-turn rollouts: the policy writes a turn, the environment answers, until it ends.

Token in, token out: the ids that were sampled are the ids that are kept, and what the
environment says is appended as ids by the chat template. Nothing is tokenized twice.

    turns.py        what a turn's calls make of an episode: go on, or end and why
    this file       which episodes are in which slots, and what the device does next
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Iterator, Mapping, Sequence

from tooltrain.data.chat_template import ChatTemplate
from tooltrain.env.budget import Budget
from tooltrain.env.environment import Environment
from tooltrain.policy.transformer import Params
from tooltrain.rollout.engine import Engine, Request
from tooltrain.rollout.sampling import Sampling
from tooltrain.rollout.tools import ToolThreads
from tooltrain.rollout.turns import Episode, Limits, Prompt, Turns, start
from tooltrain.types import EndReason, Rollout, Trace


def prompt_of(index: int, trace: Trace, template: ChatTemplate, environment: Environment) -> Prompt:
    """The prompt that a trace is played from: its query, under the tools that it offers."""
    tools = [environment.tools[name] for name in trace.tools]
    return Prompt(index, tuple(template.prompt(trace.query, tools)), trace.tools)


def rollouts(
    params: Params,
    prompts: Sequence[Prompt],
    *,
    engine: Engine,
    environment: Environment,
    template: ChatTemplate,
    generations: int = 1,
    sampling: Sampling = Sampling(),  # noqa: B008 (frozen)
    seed: int = 0,
    max_turns: int = 20,
    max_turn_tokens: int = 256,
    max_failed_turns: int | None = None,
    max_episode_tokens: int | None = None,
    max_response_tokens: int | None = None,
    calls: Budget = Budget(),  # noqa: B008 (frozen)
    tool_threads: int = 0,
    call_timeout_s: float | None = None,
    episode_timeout_s: float | None = None,
) -> list[Rollout]:
    """`generations` episodes of each prompt: prompt 0's generations first, and so on.

    An episode is a pure function of (params, prompt, generation, seed, sampling): it does
    not depend on the engine's slots or on the other episodes; nor on tool_threads, while no
    time limit is reached. A prompt that leaves no room in `engine.max_len` ends at once,
    CONTEXT_FULL, with its tokens and nothing sampled.

    max_..., calls: see `Limits`. tool_threads: 0 answers calls between two decode segments,
    right for recorded responses (well under a millisecond each), and every run decodes the
    same rows together, so it repeats to the last bit; n > 0 answers them on n host threads
    while other slots decode, right for tools that take time. call_timeout_s: of one call, from
    when a thread takes it up (needs tool_threads); episode_timeout_s: from when an episode gets
    a slot. A call without an answer by then is recorded as TIMED_OUT and ends its episode.

    Raises ValueError for an empty prompt, two prompts of one id, a limit that `Limits` refuses,
    a call_timeout_s without tool_threads, or tool_threads below 0.
    """
    empty = [prompt.id for prompt in prompts if not prompt.tokens]
    counts = collections.Counter(prompt.id for prompt in prompts)
    repeated = [id_ for id_, count in counts.items() if count > 1]
    if empty or repeated:
        raise ValueError(
            "every prompt needs tokens and an id of its own (the random draws are keyed by it); "
            f"got no tokens for ids {empty[:20]}, and ids {repeated[:20]} more than once."
        )
    if call_timeout_s is not None and not tool_threads:
        raise ValueError(
            f"call_timeout_s is {call_timeout_s} and tool_threads 0: a call on this thread cannot "
            "be left behind; give tool_threads=1 or more."
        )
    limits = Limits(
        max_turns=max_turns,
        max_turn_tokens=max_turn_tokens,
        max_failed_turns=max_failed_turns,
        max_episode_tokens=max_episode_tokens,
        max_response_tokens=max_response_tokens,
        calls=calls,
        max_len=engine.max_len,
        call_timeout_s=call_timeout_s,
        episode_timeout_s=episode_timeout_s,
    )
    episodes = [start(prompt, g) for prompt in prompts for g in range(generations)]
    for episode in episodes:
        if len(episode.tokens) >= engine.max_len:
            episode.end = EndReason.CONTEXT_FULL

    engine.reset()
    waiting = collections.deque(episode for episode in episodes if episode.end is None)
    slots: list[Episode | None] = [None] * engine.num_slots
    threads = ToolThreads(tool_threads) if tool_threads else None
    turns = Turns(environment, template, limits, threads)
    with contextlib.closing(threads) if threads else contextlib.nullcontext():
        while waiting or any(_live(slots)):
            copies = _admit(waiting, slots, engine)
            for _, episode in _live(slots):
                turns.start_clock(episode)
            decoding = {slot: episode for slot, episode in _live(slots) if not episode.jobs}
            if decoding:
                _decode(params, engine, decoding, copies, turns, sampling, seed)
            else:
                turns.wait([episode for _, episode in _live(slots)])
            for _, episode in _live(slots):
                turns.check(episode)
    engine.reset()
    return [episode.finished() for episode in episodes]


def _decode(
    params: Params,
    engine: Engine,
    episodes: Mapping[int, Episode],
    copies: Mapping[int, int],
    turns: Turns,
    sampling: Sampling,
    seed: int,
) -> None:
    """One segment of the episodes by slot: read what is unread, sample, close finished turns."""
    unread = {s: e.tokens[engine.lengths[s] : -1] for s, e in episodes.items() if s not in copies}
    engine.prefill(params, unread)
    engine.copy(copies, {slot: len(episodes[slot].tokens) - 1 for slot in copies})
    requests = {
        slot: Request(
            token=episode.tokens[-1],
            budget=turns.budget(episode),
            prompt=episode.prompt.id,
            generation=episode.generation,
        )
        for slot, episode in episodes.items()
    }
    sampled = engine.decode(params, requests, sampling=sampling, seed=seed)
    for slot, (ids, logprobs) in sampled.items():
        episodes[slot].extend(ids.tolist(), logprobs.tolist())
        if ids[-1] == engine.eos_id or len(ids) == requests[slot].budget:
            turns.close(episodes[slot])


def _live(slots: Sequence[Episode | None]) -> Iterator[tuple[int, Episode]]:
    return ((s, e) for s, e in enumerate(slots) if e is not None and e.end is None)


def _admit(
    waiting: collections.deque[Episode], slots: list[Episode | None], engine: Engine
) -> dict[int, int]:
    """Puts waiting episodes into free slots; returns {slot: slot to copy the prompt from}.

    A prompt is read once: the first slot of a group prefills it, the others copy it, and a
    slot that has just finished an episode of the same prompt keeps that much of its cache.
    """
    holders = {episode.prompt.id: slot for slot, episode in _live(slots)}
    copies: dict[int, int] = {}
    for slot, previous in enumerate(slots):
        if not waiting or (previous is not None and previous.end is None):
            continue
        episode = slots[slot] = waiting.popleft()
        if previous is not None and previous.prompt.id == episode.prompt.id:
            engine.lengths[slot] = len(episode.tokens) - 1
            holders.setdefault(episode.prompt.id, slot)
            continue
        engine.lengths[slot] = 0
        holder = holders.setdefault(episode.prompt.id, slot)
        if holder != slot:
            copies[slot] = holder
    return copies
