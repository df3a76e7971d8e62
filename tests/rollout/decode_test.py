import jax
import numpy as np
import pytest

from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.kv_cache import init_cache
from tooltrain.policy.transformer import init_params
from tooltrain.rollout import decode
from tooltrain.rollout.engine import Engine, Request
from tooltrain.rollout.sampling import GREEDY, Sampling

CONFIG = PolicyConfig(
    vocab_size=61, num_layers=1, d_model=24, num_heads=4, num_kv_heads=2, head_dim=8, d_ff=32
)
NO_EOS = -1


@pytest.fixture(scope="module")
def params():
    return init_params(CONFIG, jax.random.key(0))


def _engine(**options):
    defaults = {"num_slots": 4, "max_len": 64, "eos_id": NO_EOS, "steps": 8, "chunks": (4, 16)}
    return Engine(CONFIG, **defaults | options)


def _request(token, budget=8):
    return Request(token=token, budget=budget, prompt=0, generation=0)


def test_a_segment_continues_where_the_last_one_stopped(params):
    whole, parts = _engine(steps=8), _engine(steps=4)
    for engine in (whole, parts):
        engine.prefill(params, {2: [5, 6, 7]})
    want = whole.decode(params, {2: _request(8)}, sampling=Sampling(), seed=1)[2]
    first = parts.decode(params, {2: _request(8)}, sampling=Sampling(), seed=1)[2]
    token = int(first[0][-1])
    second = parts.decode(params, {2: _request(token, 4)}, sampling=Sampling(), seed=1)[2]
    np.testing.assert_array_equal(want[0], np.concatenate([first[0], second[0]]))
    np.testing.assert_allclose(want[1], np.concatenate([first[1], second[1]]), atol=1e-5)
    assert whole.lengths.tolist() == parts.lengths.tolist() == [0, 0, 3 + 8, 0]


def test_rows_stop_at_their_own_budget_and_at_eos(params):
    free = _engine()
    sampled = free.decode(params, {0: _request(3, 2), 1: _request(3, 6)}, sampling=GREEDY, seed=0)
    assert [len(sampled[slot][0]) for slot in (0, 1)] == [2, 6]
    assert free.lengths.tolist() == [2, 6, 0, 0]
    stop = int(sampled[1][0][2])
    first = sampled[1][0].tolist().index(stop)
    stopped = _engine(eos_id=stop).decode(params, {1: _request(3, 6)}, sampling=GREEDY, seed=0)
    assert stopped[1][0].tolist() == sampled[1][0][: first + 1].tolist()


def test_how_a_prompt_is_cut_into_chunks_changes_nothing(params):
    prompt = list(range(1, 40))
    results = []
    for chunks in ((64,), (4,), (4, 16)):
        engine = _engine(chunks=chunks)
        # Other slots with other lengths, so that rows and chunks are padded.
        engine.prefill(params, {0: [1, 2], 3: prompt, 1: prompt[:17]})
        assert engine.lengths.tolist() == [2, 17, 0, 39]
        results.append(engine.decode(params, {3: _request(9)}, sampling=Sampling(), seed=0)[3])
    for ids, logprobs in results[1:]:
        np.testing.assert_array_equal(ids, results[0][0])
        np.testing.assert_allclose(logprobs, results[0][1], atol=1e-5)


def test_a_copied_prompt_is_a_prefilled_one(params):
    prefilled, copied = _engine(), _engine()
    prompt = list(range(1, 20))
    prefilled.prefill(params, {0: prompt, 3: prompt})
    copied.prefill(params, {0: prompt})
    copied.copy({3: 0}, {3: len(prompt)})
    want, got = (
        engine.decode(params, {3: _request(9)}, sampling=Sampling(), seed=0)[3]
        for engine in (prefilled, copied)
    )
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_allclose(got[1], want[1], atol=1e-5)


def test_the_cache_is_updated_in_place(params):
    cache = init_cache(CONFIG, 4, 64)
    pointers = [array.unsafe_buffer_pointer() for array in cache.keys + cache.values]
    ones = np.ones(4, np.int32)
    cache, _ = decode.decode(
        params,
        cache,
        np.arange(4, dtype=np.int32),
        *(ones,) * 4,
        np.uint32(0),
        config=CONFIG,
        sampling=GREEDY,
        eos_id=NO_EOS,
        prefix=64,
        steps=4,
    )
    assert pointers == [array.unsafe_buffer_pointer() for array in cache.keys + cache.values]


def test_more_tokens_than_a_slot_holds_are_refused_by_name(params):
    with pytest.raises(ValueError, match="slot 1 holds 0 tokens and 65 more"):
        _engine().prefill(params, {1: [1] * 65})


def test_an_engine_without_slots_is_refused():
    with pytest.raises(ValueError, match="num_slots=0"):
        _engine(num_slots=0)
