"""Batches: the same seed the same bytes, resumed as if never stopped, loss where it belongs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tooltrain.data.chat_template import ChatTemplate
from tooltrain.data.corpus import corpus
from tooltrain.data.pipeline import gold_episode, gold_views, prompt_batches, sft_batches
from tooltrain.data.tokenizer import train_tokenizer
from tooltrain.types import SFTBatch, turns

SIZES = {"batch_size": 4, "seq_len": 512}


@pytest.fixture(scope="module")
def traces(booking_generated):
    return booking_generated.splits["validation"]


@pytest.fixture(scope="module")
def template(traces, booking_environment) -> ChatTemplate:
    return ChatTemplate(train_tokenizer(corpus(traces, booking_environment), 600))


@pytest.fixture(scope="module")
def batches(traces, template, booking_environment):
    def make(**more):
        more = {"seed": 0, "augment_fraction": 0.5, "copy_fraction": 0.2} | SIZES | more
        return sft_batches(traces, template, booking_environment, **more)

    return make


def _take(dataset, count: int) -> list[SFTBatch]:
    return list(itertools.islice(dataset, count))


def _same(one: list[SFTBatch], two: list[SFTBatch]) -> bool:
    return all(
        np.array_equal(a, b)
        for left, right in zip(one, two, strict=True)
        for a, b in zip(left, right, strict=True)
    )


def test_the_same_seed_gives_the_same_bytes_and_another_others(batches):
    one = _take(batches(), 3)
    assert _same(one, _take(batches(), 3))
    assert not _same(one, _take(batches(seed=1), 3))


def test_a_restored_iterator_goes_on_as_if_it_had_not_stopped(batches):
    iterator = iter(batches())
    for _ in range(2):
        next(iterator)
    state = iterator.get_state()
    want = [next(iterator) for _ in range(3)]
    fresh = iter(batches())
    fresh.set_state(state)
    assert _same([next(fresh) for _ in range(3)], want)


def test_batches_have_the_asked_shapes(batches):
    batch = _take(batches(), 1)[0]
    assert isinstance(batch, SFTBatch)
    for array, kind in zip(batch, ("int32", "float32", "int32", "int32"), strict=True):
        assert array.shape == (4, 512)
        assert array.dtype == kind


def test_segments_are_whole_episodes_and_the_rest_is_padding(batches, template):
    start = template.prompt("", [])[:2]
    for batch in _take(batches(context_loss_weight=0.25), 3):
        for tokens, weight, segments, positions in zip(*batch, strict=True):
            assert (weight[segments == 0] == 0).all()
            assert (positions[segments == 0] == 0).all()
            ids = [s for s, _ in itertools.groupby(segments)]
            assert ids == list(range(1, len(ids) + 1)) or ids == [*range(1, len(ids)), 0]
            for segment in set(segments) - {0}:
                at = np.flatnonzero(segments == segment)
                assert (positions[at] == np.arange(len(at))).all()
                assert list(tokens[at[:2]]) == start
                assert tokens[at[-1]] == template.eos_id
                assert weight[at[0]] == 0
                assert set(np.unique(weight[at[1:]])) == {0.25, 1.0}


def test_loss_is_on_what_the_policy_writes(batches, template):
    batch = _take(batches(), 1)[0]
    for tokens, weight, segments, _ in zip(*batch, strict=True):
        for segment in set(segments) - {0}:
            at = segments == segment
            text = template.text(tokens[at & (weight > 0)])
            assert text.startswith("<tool_call>")
            assert text.endswith("</tool_call><|im_end|>Done.<|im_end|>")
            assert "<tool_response>" not in text


def test_no_episode_is_cut(batches, traces, template, booking_environment):
    """Without copying and augmentation every segment is a gold episode, one that fits."""
    gold = set()
    for trace in traces:
        views = gold_views(trace, booking_environment)
        tokens, _ = gold_episode(trace, views, template, booking_environment)
        gold.add(tuple(tokens))
    longest = sorted(map(len, gold))[len(gold) // 2]
    seen = set()
    for batch in _take(batches(augment_fraction=0.0, copy_fraction=0.0, seq_len=longest), 4):
        for tokens, _, segments, _ in zip(*batch, strict=True):
            for segment in set(segments) - {0}:
                seen.add(tuple(tokens[segments == segment]))
    assert seen <= gold
    assert len(seen) > 5


def test_the_warmup_is_the_copy_task_alone(batches, template):
    batch = _take(batches(copy_fraction=0.0, copy_warmup_examples=10_000), 1)[0]
    recorded = _take(batches(copy_fraction=0.0), 1)[0]
    assert "Search_" not in template.text(batch.tokens.ravel())
    assert "Search_" in template.text(recorded.tokens.ravel())


def test_a_gold_episode_shows_each_turn_s_responses_in_order(traces, template, booking_environment):
    # Several turns, and several responses in one of them.
    trace = next(t for t in traces if 1 < len(set(turns(t.calls))) < len(t.calls))
    views = gold_views(trace, booking_environment)
    tokens, mask = gold_episode(trace, views, template, booking_environment)
    text = template.text(tokens)
    tools = [booking_environment.tools[name] for name in trace.tools]
    messages = template.prompt_messages(trace.query, tools)
    prompt = "".join(part for message in messages for part in message.parts)
    assert text.startswith(prompt)
    at = len(prompt)
    levels = turns(trace.calls)
    for i in sorted(range(len(levels)), key=lambda i: (levels[i], i)):
        assert f'"name": "{trace.calls[i].name}"' in template.text(tokens[mask])
        response = f"<tool_response>\n{views[i]}\n</tool_response>"
        at = text.index(response, at) + len(response)


def test_prompts_come_once_an_epoch():
    batches = list(itertools.islice(prompt_batches(12, prompts_per_step=4, seed=0), 6))
    assert sorted(np.concatenate(batches[:3])) == list(range(12))
    assert sorted(np.concatenate(batches[3:])) == list(range(12))
    again = list(itertools.islice(prompt_batches(12, prompts_per_step=4, seed=0), 6))
    assert np.array_equal(batches, again)
