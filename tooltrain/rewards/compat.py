"""The rewards in the shapes that other training stacks call them in.

    verl      custom_reward_function.path = this file, name = compute_matched_score, or
              compute_score for the released reward under its own name
    TRL       GRPOTrainer(reward_funcs=trl_reward), a data set with a `gold` column
    Tunix     GRPOLearner(reward_fns=tunix_reward), a data set with a `gold` column
    any       score_calls(calls, gold) on plain dictionaries

Gold is a list of {"name", "arguments", "depends_on": [index], "bindings": {argument:
index}}, or that as a JSON string, which is what survives Parquet and Arrow unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from tooltrain.calls.encoder import bucket, encode_calls, encode_gold
from tooltrain.calls.parser import read_call
from tooltrain.calls.released import read_released
from tooltrain.calls.transcript import records_of_messages, records_of_text
from tooltrain.rewards.released import released_score
from tooltrain.rewards.reward import matched, score_batch
from tooltrain.types import (
    Binding,
    Call,
    CallRecord,
    GoldCall,
    Json,
    MalformedCall,
    ObservationKind,
)


def score_calls(
    calls: Sequence[Sequence[Mapping[str, Json]]],
    gold: Sequence[Sequence[Mapping[str, Json]]],
    *,
    w_atomic: float = 0.5,
    w_orchestration: float = 0.5,
) -> list[dict[str, Json]]:
    """`matched` of B trajectories given as dictionaries.

    calls[b]: {"name", "arguments", "turn", "ok"} each, or {"malformed": true, "turn"}; turn
    defaults to the position, ok to true. gold[b]: see the module's docstring. Returns
    {"atomic", "orchestration", "score", "assignment"} each; assignment[j] is the call
    matched to gold call j, -1 for none. Raises ValueError where the lengths differ or
    gold is not well formed.
    """
    records = [[_record(call, turn) for turn, call in enumerate(row)] for row in calls]
    rows = _score(records, [read_gold(steps) for steps in gold])
    for row in rows:
        row["score"] = w_atomic * row["atomic"] + w_orchestration * row["orchestration"]
    return [{key: row[key] for key in _KEYS} for row in rows]


_KEYS = ("atomic", "orchestration", "score", "assignment")


def compute_score(
    solution_str: str,
    ground_truth: Sequence[Sequence[Mapping]],
    method: str = "strict",
    extra_info: Mapping | None = None,
    reward_weights: Mapping[str, float] | None = None,
    **_: object,
) -> dict[str, float]:
    """The released reward with its signature, keys and numbers (verl calls it so).

    extra_info: {"execution_traces", "step_dependency"} as rewards/released.py has them.
    `method` is ignored, as in the release. Raises ValueError, as the release does, where
    there is ground truth and no execution trace but the atomic component has weight.
    """
    extra = _plain(extra_info) or {}
    ground_truth, traces = _plain(ground_truth), extra.get("execution_traces") or []
    weight = 0.5 if reward_weights is None else reward_weights.get("R_atomic_validity", 0.0)
    if weight > 0.0 and ground_truth and not traces:
        raise ValueError(
            f"got ground truth of {len(ground_truth)} steps and no extra_info"
            "['execution_traces']; pass the traces, or reward_weights without R_atomic_validity"
        )
    calls = read_released(solution_str)
    return released_score(calls, ground_truth, traces, extra.get("step_dependency"), reward_weights)


def compute_matched_score(
    solution_str: str,
    ground_truth: Sequence[Sequence[Mapping]] | str,
    method: str = "strict",
    extra_info: Mapping | None = None,
    reward_weights: Mapping[str, float] | None = None,
    **_: object,
) -> dict[str, float]:
    """`matched` behind the released signature: {"score", "atomic", "orchestration"}.

    ground_truth and extra_info as `compute_score` takes them, with the bindings as
    extra_info["bindings"][step] = {argument: step} where known; or ground_truth as gold
    (see the module's docstring). reward_weights: by the released keys. Raises what
    `gold_from_released` and `read_gold` do.
    """
    steps = _plain(ground_truth)
    if type(steps) is str or (steps and isinstance(steps[0], Mapping)):
        gold = read_gold(steps)
    else:
        gold = gold_from_released(steps, _plain(extra_info) or {})
    weights = reward_weights or {"R_atomic_validity": 0.5, "R_outcome_orchestration": 0.5}
    (row,) = _score([records_of_text(solution_str)], [gold])
    score = (
        weights.get("R_atomic_validity", 0.0) * row["atomic"]
        + weights.get("R_outcome_orchestration", 0.0) * row["orchestration"]
    )
    return {"score": score, "atomic": row["atomic"], "orchestration": row["orchestration"]}


def trl_reward(completions: Sequence, gold: Sequence, **_: object) -> list[float]:
    """`matched` as TRL's GRPOTrainer calls a reward function: keywords only, completions as
    strings or as lists of chat messages, data set columns as lists. In [0, 1] each."""
    records = [
        records_of_text(str(completion))
        if isinstance(completion, str)
        else records_of_messages(completion)
        for completion in completions
    ]
    rows = _score(records, [read_gold(_plain(steps)) for steps in gold])
    return [0.5 * row["atomic"] + 0.5 * row["orchestration"] for row in rows]


def tunix_reward(
    prompts: Sequence[str], completions: Sequence[str], gold: Sequence, **_: object
) -> list[float]:
    """`matched` as Tunix's GRPOLearner calls a reward function: prompts and completions by
    position or name, data set columns as arrays of strings or bytes. In [0, 1] each."""
    if len(prompts) != len(completions):
        raise ValueError(
            f"got {len(prompts)} prompts and {len(completions)} completions; pass one prompt "
            "a completion"
        )
    return trl_reward(completions=completions, gold=gold)


def read_gold(steps: Sequence[Mapping[str, Json]] | str | bytes) -> tuple[GoldCall, ...]:
    """Gold calls from their dictionaries, or from JSON text of those. Raises ValueError for text
    that is no JSON and for a call that is not well formed."""
    if isinstance(steps, (str, bytes)):
        steps = json.loads(steps)
    gold = []
    for index, step in enumerate(steps):
        call = read_call(dict(step))
        if type(call) is MalformedCall:
            raise ValueError(f"gold call {index}: {call.detail}")
        bindings = (step.get("bindings") or {}).items()
        gold.append(
            GoldCall(
                call.name,
                call.arguments,
                tuple(step.get("depends_on") or ()),
                tuple(Binding(name, source, ()) for name, source in bindings),
            )
        )
    return tuple(gold)


def gold_from_released(
    ground_truth: Sequence[Sequence[Mapping]], extra_info: Mapping
) -> tuple[GoldCall, ...]:
    """Gold calls from the release's ground_truth and extra_info. Raises ValueError where a
    step has no right tool or no trace of it, and where a list has not one entry a step."""
    num_steps = len(ground_truth)
    traces = extra_info.get("execution_traces") or [{}] * num_steps
    needs = extra_info.get("step_dependency") or [None] * num_steps
    bindings = extra_info.get("bindings") or [{}] * num_steps
    lists = {"execution_traces": traces, "step_dependency": needs, "bindings": bindings}
    for key, entries in lists.items():
        if len(entries) != num_steps:
            raise ValueError(
                f"got ground_truth of {num_steps} steps and {len(entries)} entries of "
                f"extra_info[{key!r}]; pass one entry a step"
            )
    gold = []
    for step, tools in enumerate(ground_truth):
        name = next((tool["name"] for tool in tools if tool.get("success", False)), None)
        trace = traces[step].get(name)
        if name is None or not trace or not trace.get("traces"):
            raise ValueError(
                f"step {step}: got no tool with success = true that has an execution trace; "
                "pass both ground_truth and extra_info['execution_traces'] of the step"
            )
        bound = tuple(Binding(key, source, ()) for key, source in bindings[step].items())
        arguments = trace["traces"][0]["arguments"]
        gold.append(GoldCall(name, arguments, tuple(needs[step] or ()), bound))
    return tuple(gold)


def _score(
    records: Sequence[Sequence[CallRecord]], gold: Sequence[Sequence[GoldCall]]
) -> list[dict[str, Json]]:
    if len(records) != len(gold):
        raise ValueError(
            f"got {len(records)} trajectories and {len(gold)} gold traces; pass one gold "
            "trace a trajectory (repeat it for its generations)"
        )
    padding = [[]] * (bucket(len(gold)) - len(gold))  # few batch sizes, few compilations
    _, terms = score_batch(
        matched, encode_calls([*records, *padding]), encode_gold([*gold, *padding])
    )
    terms = {key: np.asarray(value) for key, value in terms.items()}
    return [
        {
            "atomic": float(terms["atomic"][index]),
            "orchestration": float(terms["orchestration"][index]),
            "assignment": terms["assignment"][index, : len(steps)].tolist(),
        }
        for index, steps in enumerate(gold)
    ]


def _record(call: Mapping[str, Json], position: int) -> CallRecord:
    turn = call.get("turn", position)
    read = MalformedCall("bad_json", "given as malformed")
    if not call.get("malformed"):
        read = read_call(dict(call))
    if type(read) is not Call:
        return CallRecord(read, turn, ObservationKind.MALFORMED)
    ok = call.get("ok", True)
    return CallRecord(read, turn, ObservationKind.OK if ok else ObservationKind.NOT_RECORDED)


def _plain(value):
    """numpy arrays and scalars, as Parquet gives them, to lists and Python values."""
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
