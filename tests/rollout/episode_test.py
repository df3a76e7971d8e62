import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tooltrain.calls.parser import parse_calls
from tooltrain.policy.transformer import Transformer
from tooltrain.rollout import decode
from tooltrain.rollout import engine as engine_module
from tooltrain.rollout.engine import Engine
from tooltrain.rollout.episode import rollouts
from tooltrain.rollout.sampling import GREEDY, Sampling
from tooltrain.types import EndReason, ObservationKind

MAX_LEN = 192
SAMPLED = Sampling(temperature=1.3)


def _engine(world, learned, num_slots, **options):
    return Engine(
        learned.config,
        num_slots=num_slots,
        max_len=MAX_LEN,
        eos_id=world.template.eos_id,
        steps=16,
        chunks=(32,),
        **options,
    )


@pytest.fixture(scope="module")
def play(world, learned):
    def run(engine, prompts=world.prompts, **options):
        return rollouts(
            learned.params,
            prompts,
            engine=engine,
            environment=world.environment,
            template=world.template,
            **{"max_turns": 5, "max_turn_tokens": 60} | options,
        )

    return run


@pytest.fixture(scope="module")
def engine(world, learned):
    return _engine(world, learned, 4)


@pytest.fixture(scope="module")
def sampled(play, engine):
    """6 generations of each of 4 prompts on 4 slots: every slot is refilled many times."""
    return play(engine, generations=6, sampling=SAMPLED, seed=3)


def _same(a, b):
    np.testing.assert_array_equal(a.tokens, b.tokens)
    np.testing.assert_array_equal(a.completion_mask, b.completion_mask)
    np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-4)
    assert dataclasses.replace(a, tokens=0, completion_mask=0, logprobs=0) == dataclasses.replace(
        b, tokens=0, completion_mask=0, logprobs=0
    )


def test_a_policy_that_knows_the_episode_plays_it_token_for_token(play, engine, world):
    played = play(engine, sampling=GREEDY)
    for rollout, gold in zip(played, world.episodes, strict=True):
        np.testing.assert_array_equal(rollout.tokens, gold)
        assert rollout.end is EndReason.FINISHED
        assert rollout.num_turns == 3
        assert [(r.call.name, r.turn, r.kind) for r in rollout.records] == [
            ("find_place", 0, ObservationKind.OK),
            ("get_weather", 1, ObservationKind.OK),
        ]


def test_the_mask_is_that_of_the_drawn_episode(play, engine, world):
    # P prompt, c sampled (E its end), r tool response and the tags around it:
    #   P..P c..cE r..r c..cE r..r c..cE
    rollout = play(engine, world.prompts[:1], sampling=GREEDY)[0]
    template, eos = world.template, world.template.eos_id
    tokens, mask = rollout.tokens.tolist(), rollout.completion_mask
    starts = np.flatnonzero(np.diff(mask.astype(int)) == 1) + 1
    ends = [*(np.flatnonzero(np.diff(mask.astype(int)) == -1) + 1), len(tokens)]
    assert starts[0] == len(world.prompts[0].tokens)
    assert [tokens[end - 1] for end in ends] == [eos] * 3
    turns = [template.text(tokens[a : b - 1]) for a, b in zip(starts, ends, strict=True)]
    assert [len(parse_calls(turn)) for turn in turns] == [1, 1, 0]
    responses = [template.text(tokens[b:a]) for b, a in zip(ends, starts[1:], strict=False)]
    assert '"id": 11' in responses[0]
    assert '"sky": "clear"' in responses[1]
    assert (rollout.logprobs[~mask] == 0).all()
    assert (rollout.logprobs[mask] < 0).all()


@pytest.mark.parametrize("num_slots", [1, 16])
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_the_number_of_slots_changes_no_rollout(play, engine, world, learned, num_slots, sampling):
    options = {"generations": 3, "sampling": sampling, "seed": 5}
    want = play(engine, world.prompts[:2], **options)
    got = play(_engine(world, learned, num_slots), world.prompts[:2], **options)
    for a, b in zip(want, got, strict=True):
        _same(a, b)


def test_a_rollout_does_not_depend_on_the_prompts_beside_it(play, engine, world, sampled):
    alone = play(engine, world.prompts[2:3], generations=6, sampling=SAMPLED, seed=3)
    for a, b in zip(alone, sampled[12:18], strict=True):
        _same(a, b)


def test_recorded_logprobs_are_those_of_a_full_forward(sampled, learned):
    length = max(len(r.tokens) for r in sampled)
    tokens = np.stack([np.pad(r.tokens, (0, length - len(r.tokens))) for r in sampled])
    positions = np.broadcast_to(np.arange(length, dtype=np.int32), tokens.shape)

    @jax.jit
    def score(params):
        logits = Transformer(learned.config).apply({"params": params}, tokens, positions)
        logprobs = jax.nn.log_softmax(logits[:, :-1] / SAMPLED.temperature)
        return jnp.take_along_axis(logprobs, tokens[:, 1:, None], axis=-1)[..., 0]

    scored = np.asarray(score(learned.params))
    for row, rollout in enumerate(sampled):
        at = np.flatnonzero(rollout.completion_mask)
        np.testing.assert_allclose(rollout.logprobs[at], scored[row, at - 1], atol=1e-4)


def test_sampled_rollouts_of_a_group_differ_and_follow_the_seed(play, engine, world, sampled):
    assert len({r.tokens.tobytes() for r in sampled[:6]}) > 1
    assert [(r.prompt, r.generation) for r in sampled[:7]] == [
        *((100, g) for g in range(6)),
        (101, 0),
    ]
    other = play(engine, world.prompts[:1], generations=6, sampling=SAMPLED, seed=4)
    assert {r.tokens.tobytes() for r in other} != {r.tokens.tobytes() for r in sampled[:6]}


def test_malformed_calls_are_answered_counted_and_the_episode_goes_on(sampled, world):
    kept_going = [
        (rollout, record.turn)
        for rollout in sampled
        for record in rollout.records
        if record.kind is ObservationKind.MALFORMED and record.turn + 1 < rollout.num_turns
    ]
    assert kept_going
    text = world.template.text(kept_going[0][0].tokens.tolist())
    assert '"kind": "malformed"' in text


def test_limits_on_turns_tokens_and_context_end_an_episode(play, engine, world):
    first = world.prompts[:1]
    assert play(engine, first, sampling=GREEDY, max_turns=1)[0].end is EndReason.MAX_TURNS
    cut = play(engine, first, sampling=GREEDY, max_turn_tokens=7)[0]
    assert cut.end is EndReason.MAX_TURN_TOKENS
    assert cut.completion_mask.sum() == 7
    assert [record.kind for record in cut.records] == [ObservationKind.MALFORMED]

    # One token of room: the turn has begun and cannot go on.
    long = dataclasses.replace(first[0], tokens=(first[0].tokens * 10)[1 - MAX_LEN :])
    full = play(engine, [long], sampling=GREEDY)[0]
    assert full.end is EndReason.CONTEXT_FULL
    assert full.completion_mask.sum() == 1

    too_long = dataclasses.replace(first[0], tokens=first[0].tokens * 10)
    unread = play(engine, [too_long], sampling=GREEDY)[0]
    assert unread.end is EndReason.CONTEXT_FULL
    assert (unread.num_turns, unread.records) == (0, ())


def test_a_limit_on_failed_turns_ends_an_episode_at_the_failure_and_changes_nothing_before(
    play, engine, sampled
):
    limited = play(engine, generations=6, sampling=SAMPLED, seed=3, max_failed_turns=1)
    ended = [r for r in limited if r.end is EndReason.MAX_FAILED_TURNS]
    assert ended
    for short, long in zip(limited, sampled, strict=True):
        np.testing.assert_array_equal(short.tokens, long.tokens[: len(short.tokens)])
        assert short.records == long.records[: len(short.records)]
        failed = {r.turn for r in short.records if r.kind is not ObservationKind.OK}
        assert failed <= {short.num_turns - 1}


def test_a_tool_that_was_not_offered_is_unknown(play, engine, world):
    prompt = dataclasses.replace(world.prompts[0], tools=("get_weather",))
    rollout = play(engine, [prompt], sampling=GREEDY)[0]
    assert rollout.records[0].kind is ObservationKind.UNKNOWN_TOOL


def test_a_warm_engine_compiles_nothing_whatever_the_lengths(play, engine, world, learned):
    engine.warm_up(learned.params, SAMPLED)
    before = dict(decode.TRACES)
    ends = set()
    for batch in range(50):
        few = world.prompts[batch % 3 :]
        played = play(
            engine,
            few,
            generations=1 + batch % 5,
            sampling=SAMPLED,
            seed=batch,
            max_turn_tokens=5 + batch,
        )
        ends |= {rollout.end for rollout in played}
    assert dict(decode.TRACES) == before
    assert len(ends) >= 3


def test_a_coarse_engine_plays_the_same_from_fewer_shapes(play, world, learned, sampled):
    def shapes(engine):
        """How many `warm_up` compiles."""
        moves = len(engine._rows) * (len(engine._copy_prefixes) + len(engine._prefixes))
        return moves + len(engine._prefill_shapes) * len(engine._prefixes)

    sizes = {"num_slots": 64, "max_len": 640, "chunks": (32, 128)}
    fine, coarse = (
        shapes(Engine(learned.config, eos_id=world.template.eos_id, coarse=coarse, **sizes))
        for coarse in (False, True)
    )
    assert (fine, coarse) == (84, 24)

    coarse = _engine(world, learned, 4, coarse=True)
    coarse.warm_up(learned.params, SAMPLED)
    warm = dict(decode.TRACES)
    for ours, theirs in zip(
        play(coarse, generations=6, sampling=SAMPLED, seed=3), sampled, strict=True
    ):
        _same(ours, theirs)
    for few in range(1, 4):
        play(coarse, world.prompts[:few], generations=few, sampling=SAMPLED, seed=few)
    assert dict(decode.TRACES) == warm


def test_an_engine_of_small_prefill_calls_plays_the_same(
    play, world, learned, sampled, monkeypatch
):
    monkeypatch.setattr(engine_module, "_CPU_PREFILL_BYTES", 0)  # the smallest shape is kept
    small = _engine(world, learned, 4)
    assert small._prefill_shapes == [(1, 32)]
    played = play(small, generations=6, sampling=SAMPLED, seed=3)
    for ours, theirs in zip(played, sampled, strict=True):
        _same(ours, theirs)


@pytest.mark.parametrize("wrong", ["twice", "empty"])
def test_prompts_that_cannot_be_told_apart_or_started_are_refused(play, engine, world, wrong):
    prompt = world.prompts[0]
    bad = [prompt, prompt] if wrong == "twice" else [dataclasses.replace(prompt, tokens=())]
    with pytest.raises(ValueError, match="every prompt needs tokens and an id"):
        play(engine, bad)


def test_a_prompt_that_is_refused_is_named(play, engine, world):
    first, second, third = world.prompts[:3]
    empty = dataclasses.replace(second, tokens=())
    named = r"no tokens for ids \[101\], and ids \[100\] more than once"
    with pytest.raises(ValueError, match=named):
        play(engine, [first, empty, third, first])


def test_fewer_than_no_tool_threads_are_refused(play, engine):
    with pytest.raises(ValueError, match="tool_threads is -1"):
        play(engine, tool_threads=-1)
