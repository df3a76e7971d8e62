"""Multi-turn rollouts: the policy writes a turn, the environment answers, until it ends.

Token in, token out: the ids that were sampled are the ids that are kept, and what the
environment says is appended as ids by the chat template. Nothing is tokenized twice.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from tooltrain.calls.parser import parse_calls
from tooltrain.data.chat_template import ChatTemplate
from tooltrain.env.environment import Environment
from tooltrain.policy.transformer import Params
from tooltrain.rollout.engine import Engine, Request
from tooltrain.rollout.sampling import Sampling
from tooltrain.types import CallRecord, EndReason, Rollout, Trace


@dataclasses.dataclass(frozen=True)
class Prompt:
    """What an episode starts from.

    id: names the prompt in `Rollout.prompt` and in every random draw, so give a trace the
    same id wherever it is rolled out. tokens: through the generation prompt. tools: names
    offered; a call of any other is answered as unknown. None offers the whole suite.
    """

    id: int
    tokens: tuple[int, ...]
    tools: tuple[str, ...] | None = None


def prompt_of(index: int, trace: Trace, template: ChatTemplate, environment: Environment) -> Prompt:
    """The prompt that a trace is played from: its query, under the tools that it offers."""
    tools = [environment.tools[name] for name in trace.tools]
    return Prompt(index, tuple(template.prompt(trace.query, tools)), trace.tools)


@dataclasses.dataclass
class _Episode:
    """An episode under way. tokens[-1] is pending: the cache holds those before it."""

    prompt: Prompt
    generation: int
    tokens: list[int]
    mask: list[bool]
    logprobs: list[float]
    records: list[CallRecord] = dataclasses.field(default_factory=list)
    num_turns: int = 0
    num_failed_turns: int = 0
    turn_start: int = 0
    end: EndReason | None = None

    def extend(self, ids: Sequence[int], logprobs: Sequence[float] | None = None) -> None:
        self.tokens.extend(ids)
        self.mask.extend([logprobs is not None] * len(ids))
        self.logprobs.extend([0.0] * len(ids) if logprobs is None else logprobs)

    def finished(self) -> Rollout:
        return Rollout(
            prompt=self.prompt.id,
            generation=self.generation,
            tokens=np.array(self.tokens, np.int32),
            completion_mask=np.array(self.mask, bool),
            logprobs=np.array(self.logprobs, np.float32),
            records=tuple(self.records),
            num_turns=self.num_turns,
            end=self.end,
        )


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
) -> list[Rollout]:
    """`generations` episodes of each prompt: prompt 0's generations first, and so on.

    An episode is a pure function of (params, prompt, generation, seed, sampling): it does
    not depend on the engine's slots or on the other episodes. A prompt that leaves no room
    in `engine.max_len` ends at once, CONTEXT_FULL, with its tokens and nothing sampled.
    max_failed_turns: an episode ends with so many turns in which a call failed; None: it
    always goes on, so that the policy can recover.

    Raises ValueError for an empty prompt, or two prompts of one id.
    """
    if len({prompt.id for prompt in prompts}) < len(prompts) or not all(p.tokens for p in prompts):
        raise ValueError(
            "every prompt needs tokens and an id of its own (the random draws are keyed by it); "
            f"got ids {[p.id for p in prompts][:20]}."
        )
    episodes = [_start(prompt, g) for prompt in prompts for g in range(generations)]
    for episode in episodes:
        if len(episode.tokens) >= engine.max_len:
            episode.end = EndReason.CONTEXT_FULL

    engine.reset()
    waiting = collections.deque(episode for episode in episodes if episode.end is None)
    slots: list[_Episode | None] = [None] * engine.num_slots
    while waiting or any(_live(slots)):
        copies = _admit(waiting, slots, engine)
        live = dict(_live(slots))
        unread = {s: e.tokens[engine.lengths[s] : -1] for s, e in live.items() if s not in copies}
        engine.prefill(params, unread)
        engine.copy(copies, {slot: len(live[slot].tokens) - 1 for slot in copies})
        requests = {
            slot: Request(
                token=episode.tokens[-1],
                budget=min(
                    max_turn_tokens - (len(episode.tokens) - episode.turn_start),
                    engine.max_len - len(episode.tokens),
                ),
                prompt=episode.prompt.id,
                generation=episode.generation,
            )
            for slot, episode in live.items()
        }
        for slot, (ids, logprobs) in engine.decode(
            params, requests, sampling=sampling, seed=seed
        ).items():
            episode = live[slot]
            episode.extend(ids.tolist(), logprobs.tolist())
            if ids[-1] == engine.eos_id or len(ids) == requests[slot].budget:
                _end_turn(
                    episode,
                    engine,
                    environment,
                    template,
                    max_turns,
                    max_turn_tokens,
                    max_failed_turns,
                )
    return [episode.finished() for episode in episodes]


def _start(prompt: Prompt, generation: int) -> _Episode:
    length = len(prompt.tokens)
    return _Episode(
        prompt,
        generation,
        list(prompt.tokens),
        [False] * length,
        [0.0] * length,
        turn_start=length,
    )


def _live(slots: Sequence[_Episode | None]) -> Iterator[tuple[int, _Episode]]:
    return ((s, e) for s, e in enumerate(slots) if e is not None and e.end is None)


def _admit(
    waiting: collections.deque[_Episode], slots: list[_Episode | None], engine: Engine
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


def _end_turn(
    episode: _Episode,
    engine: Engine,
    environment: Environment,
    template: ChatTemplate,
    max_turns: int,
    max_turn_tokens: int,
    max_failed_turns: int | None,
) -> None:
    """Executes the turn's calls, then ends the episode or appends the observations.

    Calls of a turn that ends the episode are executed all the same: the reward counts every
    call that was emitted, also those of a turn that was cut short.
    """
    turn = episode.tokens[episode.turn_start :]
    stopped = turn[-1] == engine.eos_id
    calls = parse_calls(template.text(turn[:-1] if stopped else turn))
    observations = [environment.execute(call, offered=episode.prompt.tools) for call in calls]
    episode.records.extend(
        CallRecord(call, episode.num_turns, observation.kind)
        for call, observation in zip(calls, observations, strict=True)
    )
    episode.num_turns += 1
    episode.num_failed_turns += not all(observation.ok for observation in observations)
    if not stopped:
        full = len(turn) < max_turn_tokens
        episode.end = EndReason.CONTEXT_FULL if full else EndReason.MAX_TURN_TOKENS
    elif not calls:
        episode.end = EndReason.FINISHED
    elif episode.num_failed_turns == max_failed_turns:
        episode.end = EndReason.MAX_FAILED_TURNS
    elif episode.num_turns == max_turns:
        episode.end = EndReason.MAX_TURNS
    else:
        shown = [environment.show(c, o) for c, o in zip(calls, observations, strict=True)]
        ids = template.observations(shown)
        if len(episode.tokens) + len(ids) >= engine.max_len:
            episode.end = EndReason.CONTEXT_FULL
        else:
            episode.extend(ids)
            episode.turn_start = len(episode.tokens)
