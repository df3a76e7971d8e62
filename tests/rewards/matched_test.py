"""The `matched` reward: worked vectors, the properties of DESIGN.md section 6, and that
it is the same jitted or not, batched or alone, on one device or eight, as the plain twin."""

import functools

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.rewards.cases import (
    MALFORMED,
    gold_from,
    golds,
    play,
    read_lines,
    record_from,
    row,
    trajectories,
)
from tooltrain.calls.encoder import encode_calls, encode_gold, take_gold
from tooltrain.rewards import plain
from tooltrain.rewards.reward import (
    _score_rows,
    atomic_only,
    binary,
    matched,
    orchestration_only,
    rewards_to_go,
    score_batch,
)
from tooltrain.types import Binding, Call, CallRecord, GoldCall, ObservationKind, turns

OK, FAILED = ObservationKind.OK, ObservationKind.NOT_RECORDED
SHAPE = {"num_calls": 12, "num_arguments": 6}
GOLD_SHAPE = {"num_steps": 8, "num_arguments": 6}
BATCH = 16
relaxed = functools.partial(
    settings,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def scores(trajectories_, golds_, reward_fn=matched):
    """Rewards and terms of a few trajectories, padded to one batch so that one shape is
    compiled."""
    few = len(trajectories_)
    assert few <= BATCH
    padding = BATCH - few
    calls = encode_calls([*trajectories_, *[[]] * padding], **SHAPE)
    gold = encode_gold([*golds_, *[()] * padding], **GOLD_SHAPE)
    reward, terms = score_batch(reward_fn, calls, gold)
    return np.asarray(reward)[:few], {key: np.asarray(term)[:few] for key, term in terms.items()}


def score(records, gold, reward_fn=matched):
    return float(scores([records], [gold], reward_fn)[0][0])


@pytest.fixture(scope="module")
def vectors(reference_dir):
    return read_lines(reference_dir / "matched_vectors.jsonl")


def test_worked_vectors_are_matched_to_1e_6(vectors):
    calls = encode_calls([[record_from(call) for call in case["calls"]] for case in vectors])
    gold = encode_gold([[gold_from(step) for step in case["gold"]] for case in vectors])
    reward, terms = score_batch(matched, calls, gold)
    for key, got in [
        ("score", reward),
        *((key, terms[key]) for key in ("atomic", "orchestration")),
    ]:
        want = [case["matched"][key] for case in vectors]
        np.testing.assert_allclose(got, want, atol=1e-6, err_msg=key)
    perfect = [case["matched"]["score"] == 1.0 for case in vectors]
    np.testing.assert_array_equal(np.asarray(reward) == 1.0, perfect)
    np.testing.assert_array_equal(np.asarray(terms["exact"]) == 1.0, perfect)


def test_worked_assignments_are_reproduced_unless_both_criteria_tie(vectors):
    for case in vectors:
        records = [record_from(call) for call in case["calls"]]
        gold = [gold_from(step) for step in case["gold"]]
        got = plain.matched(records, gold).assignment

        def worth(assignment, records=records, gold=gold):
            pairs = [(i, j) for j, i in enumerate(assignment) if i >= 0]
            total = sum(plain.compare(records[i], gold[j]).score for i, j in pairs)
            return total, sum(abs(i - j) for i, j in pairs)

        assert worth(got) == worth(case["matched"]["assignment"])


def test_a_worked_example_by_hand():
    # Gold: find(q) -> book(id from find, date). The policy books twice, once with a wrong
    # date, in one turn after the search; the first booking failed.
    gold = (
        GoldCall("find", {"q": "Rome"}),
        GoldCall("book", {"id": 7, "date": "May 1"}, (0,), (Binding("id", 0, ("id",)),)),
    )
    records = [
        CallRecord(Call("find", {"q": "rome"}), 0, OK),
        CallRecord(Call("book", {"id": 7, "date": "May 1"}), 1, FAILED),
        CallRecord(Call("book", {"id": 7, "date": "May 2"}), 1, OK),
    ]
    # pair(find) = 1; pair(book 1) = (1 + 0) / 2 = 0.5;
    # pair(book 2) = (0.33 + 0.33 * 2/2 + 0.34 * 1/2 + 1) / 2 = 0.915: book 2 is matched.
    # atomic = 1.915 / 3; orchestration = (1 + 1/2 * 1) / 2.
    reward, terms = scores([records], [gold])
    assert terms["assignment"][0][:2].tolist() == [0, 2]
    assert terms["atomic"][0] == pytest.approx(1.915 / 3, abs=1e-6)
    assert terms["orchestration"][0] == pytest.approx(0.75, abs=1e-6)
    assert reward[0] == pytest.approx((1.915 / 3 + 0.75) / 2, abs=1e-6)
    assert terms["dependencies_met"][0] == 1.0
    assert terms["execution_rate"][0] == pytest.approx(2 / 3)


def check_equals_the_plain_twin(data):
    gold = [data.draw(golds()) for _ in range(BATCH)]
    records = [data.draw(trajectories(g)) for g in gold]
    reward, terms = scores(records, gold)
    for index in range(BATCH):
        want = plain.matched(records[index], gold[index])
        assert terms["atomic"][index] == pytest.approx(float(want.atomic), abs=1e-6)
        got = terms["assignment"][index][: len(gold[index])]
        pairs = {
            (i, j): plain.compare(records[index][i], gold[index][j]).score
            for j, i in enumerate(got)
            if i >= 0
        }
        assert sum(pairs.values()) == want.atomic * max(len(records[index]), len(gold[index]))
        apart = sum(abs(i - j) for j, i in enumerate(want.assignment) if i >= 0)
        assert sum(abs(i - j) for i, j in pairs) == apart
        if tuple(got) == want.assignment:  # ties in both criteria may fall either way
            assert reward[index] == pytest.approx(want.reward(), abs=1e-6)
        assert 0.0 <= reward[index] <= 1.0
        assert (reward[index] == 1.0) == (want.reward() == 1.0) == (terms["exact"][index] == 1.0)


@relaxed(max_examples=60)
@given(st.data())
def test_it_equals_the_plain_twin(data):
    check_equals_the_plain_twin(data)


@pytest.mark.slow
@relaxed(max_examples=10_000 // BATCH)
@given(st.data())
def test_it_equals_the_plain_twin_10_000_times(data):
    check_equals_the_plain_twin(data)


def check_gold_scores_exactly_one_and_damage_lowers_it(data):
    gold = data.draw(golds(distinct=True))
    ideal = play(gold)
    last = max(turns(gold)) + 1
    damaged = {}
    dropped = data.draw(st.integers(0, len(gold) - 1))
    damaged["a gold call dropped"] = ideal[:dropped] + ideal[dropped + 1 :]
    extra = data.draw(st.sampled_from([*ideal, CallRecord(Call("other", {}), 0, OK)]))
    damaged["a call added"] = [*ideal, extra]
    damaged["a malformed call added"] = [
        *ideal,
        CallRecord(MALFORMED, last, ObservationKind.MALFORMED),
    ]
    hurt = data.draw(st.integers(0, len(gold) - 1))
    failed = list(ideal)
    failed[hurt] = CallRecord(ideal[hurt].call, ideal[hurt].turn, FAILED)
    damaged["a call that fails"] = failed
    renamed = list(ideal)
    renamed[hurt] = CallRecord(Call("other", ideal[hurt].call.arguments), ideal[hurt].turn, OK)
    damaged["a wrong tool"] = renamed
    wrong = list(ideal)
    name = data.draw(st.sampled_from(sorted(ideal[hurt].call.arguments)))
    fields = {**ideal[hurt].call.arguments, name: "something else"}
    wrong[hurt] = CallRecord(Call(ideal[hurt].call.name, fields), ideal[hurt].turn, OK)
    damaged["a wrong value"] = wrong
    dependent = [j for j, step in enumerate(gold) if step.depends_on]
    if dependent:
        early = data.draw(st.sampled_from(dependent))
        source = data.draw(st.sampled_from(gold[early].depends_on))
        same_turn = list(ideal)
        same_turn[early] = CallRecord(ideal[early].call, ideal[source].turn, OK)
        damaged["a call issued together with its source"] = same_turn

    names = list(damaged)
    reward, _ = scores([ideal, *damaged.values()], [gold] * (1 + len(damaged)))
    assert reward[0] == 1.0
    for name, value in zip(names, reward[1:], strict=True):
        assert value < 1.0, name


@relaxed(max_examples=80)
@given(st.data())
def test_gold_scores_exactly_one_and_every_damage_lowers_it(data):
    check_gold_scores_exactly_one_and_damage_lowers_it(data)


@pytest.mark.slow
@relaxed(max_examples=10_000)
@given(st.data())
def test_gold_scores_exactly_one_and_every_damage_lowers_it_10_000_times(data):
    check_gold_scores_exactly_one_and_damage_lowers_it(data)


def check_calls_commute(data):
    gold = data.draw(golds(distinct=True))
    # Any order in which sources come first: one call a turn, in that order.
    left, order = set(range(len(gold))), []
    while left:
        free = sorted(j for j in left if not left & set(gold[j].depends_on))
        order.append(data.draw(st.sampled_from(free)))
        left.discard(order[-1])
    alone = [CallRecord(play(gold)[j].call, turn, OK) for turn, j in enumerate(order)]
    # And calls of one turn in any order.
    together = data.draw(st.permutations(play(gold)))
    together.sort(key=lambda record: record.turn)
    reward, _ = scores([alone, together], [gold, gold])
    assert reward.tolist() == [1.0, 1.0]


@relaxed(max_examples=60)
@given(st.data())
def test_calls_that_do_not_depend_on_each_other_commute(data):
    check_calls_commute(data)


@pytest.mark.slow
@relaxed(max_examples=10_000)
@given(st.data())
def test_calls_that_do_not_depend_on_each_other_commute_10_000_times(data):
    check_calls_commute(data)


def test_a_trace_without_gold_calls_is_right_when_nothing_is_called():
    assert score([], ()) == 1.0
    assert score([CallRecord(Call("find", {}), 0, OK)], ()) == 0.0
    assert score([], (GoldCall("find", {}),)) == 0.0


def test_component_rewards_are_matched_s_terms():
    gold = (GoldCall("find", {"q": 1}), GoldCall("book", {"id": 2}, (0,)))
    records = [CallRecord(Call("find", {"q": 2}), 0, OK)]
    reward, terms = scores([records], [gold])
    assert score(records, gold, atomic_only) == terms["atomic"][0]
    assert score(records, gold, orchestration_only) == terms["orchestration"][0]
    assert score(records, gold, binary) == 0.0
    assert score(play(gold), gold, binary) == 1.0
    assert reward[0] == pytest.approx((terms["atomic"][0] + terms["orchestration"][0]) / 2)


@pytest.fixture(scope="module")
def sample():
    """A fixed batch of varied trajectories."""
    rng = np.random.default_rng(0)
    records, gold = [], []
    for _ in range(BATCH):
        steps = []
        for j in range(int(rng.integers(1, 6))):
            depends = tuple(k for k in range(j) if rng.random() < 0.4)
            fields = {key: int(rng.integers(3)) for key in "abc" if rng.random() < 0.8}
            steps.append(GoldCall(str(rng.choice(["find", "book"])), fields, depends))
        ideal = play(steps)
        keep = [record for record in ideal if rng.random() < 0.8]
        keep += [ideal[k] for k in rng.integers(0, len(ideal), 2)]
        records.append(keep)
        gold.append(tuple(steps))
    return encode_calls(records, **SHAPE), encode_gold(gold, **GOLD_SHAPE)


def test_batch_equals_single_and_jit_equals_no_jit(sample):
    calls, gold = sample
    together, terms = score_batch(matched, calls, gold)
    alone = jax.jit(matched)
    for index in range(BATCH):
        reward, single = alone(row(calls, index), row(gold, index))
        np.testing.assert_allclose(reward, together[index], atol=1e-6)
        for key, value in single.items():
            np.testing.assert_allclose(value, terms[key][index], atol=1e-6, err_msg=key)
    with jax.disable_jit():
        reward, _ = matched(row(calls, 0), row(gold, 0))
    np.testing.assert_allclose(reward, together[0], atol=1e-6)


def test_a_turn_earns_what_its_calls_add():
    # Two dependent steps: each right call adds 1/2 to the whole reward of 1; a wrong first
    # call costs the second its dependency; a call too many takes from what was there.
    gold = (GoldCall("find", {"q": "a"}), GoldCall("book", {"id": 7}, (0,)))
    right = play(gold)
    wrong_first = [CallRecord(Call("find", {"q": "b"}), 0, ObservationKind.OK), right[1]]
    extra = [*right, CallRecord(Call("find", {"q": "c"}), 2, ObservationKind.OK)]
    played = [right, wrong_first, extra, []]
    whole, (to_go, _) = score_batch(
        functools.partial(rewards_to_go, matched, 3),
        encode_calls(played, **SHAPE),
        encode_gold([gold] * 4, **GOLD_SHAPE),
    )
    for i, records in enumerate(played):
        before = [score([r for r in records if r.turn < n], gold) for n in range(3)]
        np.testing.assert_allclose(to_go[i], score(records, gold) - np.array(before), atol=1e-6)
        np.testing.assert_allclose(whole[i], score(records, gold), atol=1e-6)
    np.testing.assert_allclose(to_go[0], [1.0, 0.5, 0.0], atol=1e-6)
    assert to_go[2, 2] < 0


def test_eight_devices_give_what_one_gives_and_do_not_talk(sample):
    calls, gold = sample
    want, _ = score_batch(matched, calls, gold)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    spread = jax.device_put((calls, gold), rows)
    got, _ = score_batch(matched, *spread)
    np.testing.assert_array_equal(got, want)
    assert len(got.sharding.device_set) == 8
    scored = jax.jit(functools.partial(_score_rows, matched, spread[0].mask.sharding))
    text = scored.lower(*spread).compile().as_text()
    for word in ("all-gather", "all-reduce", "all-to-all", "collective-permute"):
        assert word not in text


def test_shapes_in_a_bucket_are_compiled_once():
    traces = []

    def counted(calls, gold):
        traces.append(calls.name.shape)
        return matched(calls, gold)

    rng = np.random.default_rng(1)
    for _ in range(100):
        gold = [
            tuple(GoldCall("find", {"q": k}) for k in range(int(rng.integers(1, 9))))
            for _ in range(4)
        ]
        records = [play(steps)[: int(rng.integers(0, 9))] for steps in gold]
        calls = encode_calls(records, num_calls=8)
        score_batch(counted, calls, take_gold(encode_gold(gold, num_steps=8), range(4)))
    assert len(traces) == 1
