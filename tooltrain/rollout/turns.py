"""What becomes of an episode between two decode segments: its calls, its limits, its end.

    sampling --eos or budget--> close --calls--> answering --all answered--> check
        ^                                                                     | goes on
        +------------------------- observations appended ---------------------+ or ends

An episode whose calls are being answered keeps its slot and its cache.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Sequence

import numpy as np

from tooltrain.data.chat_template import ChatTemplate
from tooltrain.env.budget import Budget
from tooltrain.env.environment import Environment
from tooltrain.rollout import tools
from tooltrain.rollout.tools import Answer, Job, ToolThreads
from tooltrain.types import (
    Call,
    CallRecord,
    EndReason,
    MalformedCall,
    Observation,
    ObservationKind,
    Rollout,
)


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


@dataclasses.dataclass
class Episode:
    """An episode under way. tokens[-1] is pending: the cache holds those before it.

    calls, jobs: of the turn that is being answered, else empty. started_s: `time.monotonic`.
    """

    prompt: Prompt
    generation: int
    tokens: list[int]
    mask: list[bool]
    logprobs: list[float]
    turn_start: int
    records: list[CallRecord] = dataclasses.field(default_factory=list)
    num_turns: int = 0
    num_failed_turns: int = 0
    num_sampled: int = 0
    calls: list[Call | MalformedCall] = dataclasses.field(default_factory=list)
    jobs: list[Job] = dataclasses.field(default_factory=list)
    started_s: float | None = None
    end: EndReason | None = None

    def extend(self, ids: Sequence[int], logprobs: Sequence[float] | None = None) -> None:
        """Appends sampled tokens, or (logprobs None) tokens that others wrote."""
        self.tokens.extend(ids)
        self.mask.extend([logprobs is not None] * len(ids))
        self.logprobs.extend([0.0] * len(ids) if logprobs is None else logprobs)
        self.num_sampled += 0 if logprobs is None else len(ids)

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


def start(prompt: Prompt, generation: int) -> Episode:
    length = len(prompt.tokens)
    return Episode(
        prompt, generation, list(prompt.tokens), [False] * length, [0.0] * length, length
    )


@dataclasses.dataclass(frozen=True)
class Limits:
    """Where an episode ends, at the latest, and as what (`EndReason`); None: no such limit.

    max_turns. max_failed_turns: turns in which a call failed. max_turn_tokens,
    max_episode_tokens: sampled in a turn, in all turns. max_response_tokens: of the text of one
    call's response; a longer one is not shown (recorded responses are kept short by the
    projection). max_len: tokens of prompt, turns and responses. call_timeout_s,
    episode_timeout_s: seconds of wall time. calls: a call over it is answered with an error that
    says so, and the episode goes on.

    Raises ValueError, naming the field, for a count below 1 or a time that is not positive.
    """

    max_turns: int
    max_turn_tokens: int
    max_failed_turns: int | None
    max_episode_tokens: int | None
    max_response_tokens: int | None
    max_len: int
    call_timeout_s: float | None
    episode_timeout_s: float | None
    calls: Budget

    def __post_init__(self):
        for name, value in vars(self).items():
            if isinstance(value, int | float) and (
                value <= 0 if name.endswith("_s") else value < 1
            ):
                raise ValueError(f"{name} is {value}; a limit is above 0, and None is no limit.")


class Turns:
    """Ends turns, answers calls, ends episodes. threads: None answers calls at once."""

    def __init__(
        self,
        environment: Environment,
        template: ChatTemplate,
        limits: Limits,
        threads: ToolThreads | None,
    ):
        self.environment = environment
        self.template = template
        self.limits = limits
        self.threads = threads

    def start_clock(self, episode: Episode) -> None:
        """The episode has a slot: its time runs, if it does not yet."""
        if episode.started_s is None:
            episode.started_s = time.monotonic()

    def budget(self, episode: Episode) -> int:
        """How many tokens the turn may still sample."""
        limits = self.limits
        left = [
            limits.max_turn_tokens - (len(episode.tokens) - episode.turn_start),
            limits.max_len - len(episode.tokens),
        ]
        if limits.max_episode_tokens is not None:
            left.append(limits.max_episode_tokens - episode.num_sampled)
        return min(left)

    def close(self, episode: Episode) -> None:
        """The turn is written: has its calls answered, now or by threads (then see `check`).

        Calls of a turn that ends the episode are executed all the same: the reward counts
        every call that was emitted, also those of a turn that was cut short.
        """
        episode.calls = self._calls(episode)
        earlier, offered = len(episode.records), episode.prompt.tools
        answers = [
            functools.partial(self._answer, call, offered, self.limits.calls.over(earlier, number))
            for number, call in enumerate(episode.calls, 1)
        ]
        if self.threads is not None and answers:
            episode.jobs = [self.threads.submit(answer) for answer in answers]
        else:
            self._receive(episode, [answer() for answer in answers], self._overdue(episode))

    def check(self, episode: Episode) -> None:
        """Goes on with the answers, if all are there; ends the episode if its time is up."""
        # In this order: a call that counts as late has then no answer in `done`.
        done = [job.future.done() for job in episode.jobs]
        overdue = self._overdue(episode)
        if not episode.jobs:
            if overdue:
                self._cut(episode, overdue)
            return
        if all(done) or overdue:
            answers = []
            for job, ready in zip(episode.jobs, done, strict=True):
                answers.append(job.future.result() if ready else None)
                if not ready:
                    self.threads.give_up(job)
            self._receive(episode, answers, overdue)

    def wait(self, episodes: Sequence[Episode]) -> None:
        """Until a turn may have all its answers, or a time limit may have been reached."""
        unanswered = [[job for job in e.jobs if not job.future.done()] for e in episodes]
        if not all(unanswered):
            return
        jobs = [job for each in unanswered for job in each]
        now, left = time.monotonic(), []
        if self.limits.episode_timeout_s is not None:
            left += [e.started_s + self.limits.episode_timeout_s - now for e in episodes]
        if self.limits.call_timeout_s is not None:
            # A queued call's time has not begun; it may begin now.
            left += [(job.started_s or now) + self.limits.call_timeout_s - now for job in jobs]
        tools.wait(jobs, max(0.0, min(left)) if left else None)

    def _calls(self, episode: Episode) -> list[Call | MalformedCall]:
        turn = episode.tokens[episode.turn_start :]
        stopped = turn[-1] == self.template.eos_id
        return self.template.calls(self.template.text(turn[:-1] if stopped else turn))

    def _answer(
        self,
        call: Call | MalformedCall,
        offered: Sequence[str] | None,
        over_budget: Observation | None,
    ) -> Answer:
        observation = over_budget or self.environment.execute(call, offered=offered)
        return Answer(observation, self.environment.show(call, observation))

    def _overdue(self, episode: Episode) -> EndReason | None:
        """Whose time is up: the episode's, or that of a call without an answer."""
        now, limits = time.monotonic(), self.limits
        if (
            limits.episode_timeout_s is not None
            and now >= episode.started_s + limits.episode_timeout_s
        ):
            return EndReason.EPISODE_TIMEOUT
        late = limits.call_timeout_s is not None and any(
            job.started_s is not None
            and now >= job.started_s + limits.call_timeout_s
            and not job.future.done()
            for job in episode.jobs
        )
        return EndReason.CALL_TIMEOUT if late else None

    def _cut(self, episode: Episode, end: EndReason) -> None:
        """Ends an episode within a turn; calls that the turn holds so far are not executed."""
        if len(episode.tokens) > episode.turn_start:
            kind = ObservationKind.TIMED_OUT
            calls = self._calls(episode)
            episode.records += [CallRecord(call, episode.num_turns, kind) for call in calls]
            episode.num_turns += 1
        episode.end = end

    def _receive(
        self, episode: Episode, answers: Sequence[Answer | None], overdue: EndReason | None
    ) -> None:
        """Records what became of the turn's calls (None: no answer), then ends or goes on."""
        limits, calls = self.limits, episode.calls
        kinds = [
            ObservationKind.TIMED_OUT if answer is None else answer.observation.kind
            for answer in answers
        ]
        episode.records += [
            CallRecord(call, episode.num_turns, kind)
            for call, kind in zip(calls, kinds, strict=True)
        ]
        episode.num_turns += 1
        episode.num_failed_turns += any(kind is not ObservationKind.OK for kind in kinds)
        episode.calls, episode.jobs = [], []
        if episode.tokens[-1] != self.template.eos_id:
            episode.end = self._cut_by(episode)
        elif not calls:
            episode.end = EndReason.FINISHED
        elif overdue:
            episode.end = overdue
        elif episode.num_failed_turns == limits.max_failed_turns:
            episode.end = EndReason.MAX_FAILED_TURNS
        elif episode.num_turns == limits.max_turns:
            episode.end = EndReason.MAX_TURNS
        elif episode.num_sampled == limits.max_episode_tokens:
            episode.end = EndReason.MAX_EPISODE_TOKENS
        elif any(self._too_long(answer.text) for answer in answers):
            episode.end = EndReason.MAX_RESPONSE_TOKENS
        else:
            ids = self.template.observations([answer.text for answer in answers])
            if len(episode.tokens) + len(ids) >= limits.max_len:
                episode.end = EndReason.CONTEXT_FULL
            else:
                episode.extend(ids)
                episode.turn_start = len(episode.tokens)

    def _cut_by(self, episode: Episode) -> EndReason:
        """Which token limit a turn without an end ran into."""
        if len(episode.tokens) - episode.turn_start == self.limits.max_turn_tokens:
            return EndReason.MAX_TURN_TOKENS
        if episode.num_sampled == self.limits.max_episode_tokens:
            return EndReason.MAX_EPISODE_TOKENS
        return EndReason.CONTEXT_FULL

    def _too_long(self, text: str) -> bool:
        most = self.limits.max_response_tokens
        return most is not None and len(self.template.tokenizer.encode_parts((text,))) > most
