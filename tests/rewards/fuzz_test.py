"""Whatever a policy writes, its reward is a number in [0, 1]."""

import random

import numpy as np
import pytest

from tests.calls.parser_test import TEXTS, mutated
from tests.rewards.cases import read_lines
from tooltrain.calls.encoder import encode_calls, encode_gold, take_gold
from tooltrain.calls.parser import parse_calls
from tooltrain.calls.released import released_records
from tooltrain.rewards.reference import reference
from tooltrain.rewards.reward import matched, score_batch
from tooltrain.types import Call, CallRecord, GoldCall, ObservationKind

GOLD = (
    GoldCall("find", {"q": "Rome"}),
    GoldCall("a", {"time": "11:00", "x": [1, {"y": None}]}, (0,)),
    GoldCall("Größe", {"q": "é😀", "n": -1500.0}, (0, 1)),
)


def check(count, texts, seed):
    random_ = random.Random(seed)
    gold = encode_gold([GOLD])
    for start in range(0, count, 1000):
        spoiled = [mutated(random_, random_.choice(texts)) for _ in range(min(1000, count - start))]
        read = [
            [
                CallRecord(
                    call,
                    turn // 2,
                    ObservationKind.OK if type(call) is Call else ObservationKind.MALFORMED,
                )
                for turn, call in enumerate(parse_calls(text))
            ]
            for text in spoiled
        ]
        rows = take_gold(gold, np.zeros(len(read), int))
        floors = {"num_calls": 16, "num_arguments": 12}
        for reward_fn, records in (
            (matched, read),
            (reference, [released_records(text)[:16] for text in spoiled]),
        ):
            reward, terms = score_batch(reward_fn, encode_calls(records, **floors), rows)
            for value in (
                reward,
                *(terms[k] for k in terms if np.asarray(terms[k]).dtype.kind == "f"),
            ):
                value = np.asarray(value)
                assert np.isfinite(value).all()
                assert (value >= 0).all()
                assert (value <= 1 + 1e-6).all()


def test_rewards_of_mutated_rollouts_are_in_0_1():
    check(2_000, TEXTS, 0)


@pytest.mark.slow
def test_rewards_of_200_000_mutated_rollouts_are_in_0_1(reference_dir):
    lines = read_lines(reference_dir / "reward_vectors.jsonl")
    check(200_000, TEXTS + [line["rollout"] for line in lines], 1)
