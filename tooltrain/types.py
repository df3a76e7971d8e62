"""What crosses the borders between parts.

Host types are frozen dataclasses of plain Python; array types are NamedTuples, so
they are pytrees without this module importing jax. Axis letters, used everywhere:

    B samples · G generations of one prompt · T tokens · C emitted calls
    S gold calls (steps) · A arguments of a call · V vocabulary · L layers
    D model width · N query heads · K key/value heads · H head width

One two-turn episode, as every mask in this package sees it (P prompt, c sampled,
E the sampled end-of-turn token, r tool response and the tags around it, 0 padding):

    tokens            P P P P c c c E r r r r c c E 0
    completion_mask   0 0 0 0 1 1 1 1 0 0 0 0 1 1 1 0
    old_logprobs      0 0 0 0 * * * * 0 0 0 0 * * * 0      (* = log p(token | before), nats)
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

Json = Any  # None | bool | int | float | str | list[Json] | dict[str, Json]


# --- calls and what became of them (host) -------------------------------------------


@dataclasses.dataclass(frozen=True)
class Call:
    """One well-formed tool call, as the policy wrote it."""

    name: str
    arguments: dict[str, Json]


@dataclasses.dataclass(frozen=True)
class MalformedCall:
    """A tool call that could not be read; it earns nothing and still counts.

    kind: one of `calls.parser.PARSE_ERRORS`; detail: what was wrong, for the policy.
    """

    kind: str
    detail: str


class ObservationKind(enum.StrEnum):
    """What became of a call. The reward reads this, never the text."""

    OK = "ok"
    MALFORMED = "malformed"
    UNKNOWN_TOOL = "unknown_tool"
    INVALID_ARGUMENTS = "invalid_arguments"
    NOT_RECORDED = "not_recorded"
    OVER_BUDGET = "over_budget"  # not executed: see env.budget
    TIMED_OUT = "timed_out"  # no answer when its time, or the episode's, was up


@dataclasses.dataclass(frozen=True)
class Observation:
    """The environment's answer: the recorded response, or `{"error": ...}`."""

    kind: ObservationKind
    content: Json

    @property
    def ok(self) -> bool:
        return self.kind is ObservationKind.OK


@dataclasses.dataclass(frozen=True)
class CallRecord:
    """An emitted call, the turn (from 0) it was emitted in, and what became of it."""

    call: Call | MalformedCall
    turn: int
    kind: ObservationKind

    @property
    def executed(self) -> bool:
        return self.kind is ObservationKind.OK


# --- gold (host) --------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Binding:
    """Where the value of `argument` came from: a field of gold call `source`'s response.

    path: field path with list positions as selectors already applied to this trace,
    e.g. `("data", 0, "id")`. selector: how the element of the innermost list was
    chosen: "" (no list), "first", "argmin(field)", "argmax(field)", "where(field=value)".
    """

    argument: str
    source: int
    path: tuple[str | int, ...]
    selector: str = ""


@dataclasses.dataclass(frozen=True)
class GoldCall:
    """One gold step. `depends_on` holds indices of earlier gold calls."""

    name: str
    arguments: dict[str, Json]
    depends_on: tuple[int, ...] = ()
    bindings: tuple[Binding, ...] = ()


@dataclasses.dataclass(frozen=True)
class Trace:
    """A filled workflow: what is asked, what is offered, what is right.

    tools: names offered in the prompt, in prompt order, distractors among them.
    responses: the recorded response of each gold call, whole (not projected).
    difficulty: what makes it hard, by name, each a number (see `synthesis.difficulty`);
    empty where nobody measured it.
    """

    id: str
    suite: str
    workflow: str
    query: str
    tools: tuple[str, ...]
    calls: tuple[GoldCall, ...]
    responses: tuple[Json, ...]
    difficulty: Mapping[str, int | float] = dataclasses.field(default_factory=dict)


def turns(calls: tuple[GoldCall, ...]) -> list[int]:
    """Turn of each gold call: its dependency level, 0 for calls that need nothing."""
    levels: list[int] = []
    for call in calls:
        levels.append(1 + max((levels[j] for j in call.depends_on), default=-1))
    return levels


# --- rollouts (host) ----------------------------------------------------------------


class EndReason(enum.StrEnum):
    """Why an episode ended."""

    FINISHED = "finished"  # a turn without calls
    MAX_TURNS = "max_turns"
    MAX_FAILED_TURNS = "max_failed_turns"  # turns in which a call failed
    MAX_TURN_TOKENS = "max_turn_tokens"  # a turn ran into its token limit
    MAX_EPISODE_TOKENS = "max_episode_tokens"  # all its turns together ran into theirs
    MAX_RESPONSE_TOKENS = "max_response_tokens"  # a tool's response was longer than allowed
    CONTEXT_FULL = "context_full"  # no room for the next turn in the cache
    CALL_TIMEOUT = "call_timeout"  # a call was not answered in time
    EPISODE_TIMEOUT = "episode_timeout"  # the whole episode took too long


@dataclasses.dataclass(frozen=True)
class Rollout:
    """What the policy did on one prompt (see the drawn example above).

    tokens: int32 [T], unpadded; completion_mask: bool [T], True only on sampled tokens;
    logprobs: float32 [T], nats under the sampling distribution, 0 where not sampled;
    records: every emitted call in order.
    """

    prompt: int
    generation: int
    tokens: np.ndarray
    completion_mask: np.ndarray
    logprobs: np.ndarray
    records: tuple[CallRecord, ...]
    num_turns: int
    end: EndReason


# --- arrays (device) ----------------------------------------------------------------


class EncodedCalls(NamedTuple):
    """Emitted calls of one trajectory (or a batch, with a leading B).

    Names, argument names and canonical values are 64-bit hashes as two uint32, so that
    unknown ones need no vocabulary and device integers may stay 32-bit. A malformed
    call is in `mask` with `well_formed` False.
    """

    name: Int[Any, "*B C 2"]
    argument_name: Int[Any, "*B C A 2"]
    argument_value: Int[Any, "*B C A 2"]
    argument_type: Int[Any, "*B C A"]
    argument_mask: Bool[Any, "*B C A"]
    turn: Int[Any, "*B C"]
    executed: Bool[Any, "*B C"]
    well_formed: Bool[Any, "*B C"]
    mask: Bool[Any, "*B C"]


class EncodedGold(NamedTuple):
    """Gold calls of one trace (or a batch). `source[s, a]` is the gold call that
    argument `a` of step `s` is bound to, -1 when it is not bound."""

    name: Int[Any, "*B S 2"]
    argument_name: Int[Any, "*B S A 2"]
    argument_value: Int[Any, "*B S A 2"]
    argument_type: Int[Any, "*B S A"]
    argument_mask: Bool[Any, "*B S A"]
    source: Int[Any, "*B S A"]
    depends_on: Bool[Any, "*B S S"]
    mask: Bool[Any, "*B S"]


class GRPOBatch(NamedTuple):
    """One GRPO update: trees of rollouts in rows, see `train.rollout_batch.pack_rollouts`.

    What the policy reads, [B, T]: token s is seen by the tokens s to visible_to[s] of its row;
    positions count from the start of the prompt. What it learns from, [B, E]: targets[e], one
    sampled token of one rollout, predicted at predictors[e] of the row. completion_mask: 0
    where an entry is padding; rollout_ids: number of the rollout in its row; advantages: the
    same number at all tokens of a turn. Log-probabilities are nats, float32.
    """

    tokens: Int[Any, "B T"]
    positions: Int[Any, "B T"]
    visible_to: Int[Any, "B T"]
    predictors: Int[Any, "B E"]
    targets: Int[Any, "B E"]
    completion_mask: Float[Any, "B E"]
    rollout_ids: Int[Any, "B E"]
    old_logprobs: Float[Any, "B E"]
    ref_logprobs: Float[Any, "B E"]
    advantages: Float[Any, "B E"]


class SFTBatch(NamedTuple):
    """One SFT step. loss_weight weighs the loss of predicting tokens[b, t] (at t >= 1);
    segment_ids: 0 padding, equal ids attend to each other (packing)."""

    tokens: Int[Any, "B T"]
    loss_weight: Float[Any, "B T"]
    segment_ids: Int[Any, "B T"]
    positions: Int[Any, "B T"]
