"""What becomes of requests while a batcher starts, serves from kept keys, and stops."""

import queue
import threading

import jax
import pytest

from tests.serve.served import Served
from tooltrain.data.chat_template import ChatTemplate
from tooltrain.data.tokenizer import train_tokenizer
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.transformer import init_params
from tooltrain.rollout import decode
from tooltrain.rollout.engine import Engine
from tooltrain.rollout.sampling import GREEDY
from tooltrain.serve.batcher import Batcher, Busy, Closed, Status, Ticket

POLICY = PolicyConfig(
    vocab_size=320, num_layers=1, d_model=16, num_heads=1, num_kv_heads=1, head_dim=16, d_ff=16
)
MAX_LEN = 128
NO_END = -1  # no token ends an answer: each has the tokens of its budget


class HeldUp(Engine):
    """Its warm-up waits for a word, so that a test can look at a server that is starting; its
    decode loop fails once it is told to, when it has taken the cache."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.go = threading.Event()
        self.fail = False

    def warm_up(self, params, sampling):
        self.go.wait()
        super().warm_up(params, sampling)

    def _decode(self, *args):
        sampled = super()._decode(*args)
        if self.fail:
            self.fail = False
            raise RuntimeError("a fault on the device")
        return sampled


@pytest.fixture(scope="module")
def params():
    return init_params(POLICY, jax.random.key(0))


@pytest.fixture
def start(params):
    """A batcher of so many slots, and its engine; stopped after the test."""
    mesh = jax.make_mesh((1, 1, 1), ("data", "fsdp", "tensor"), devices=jax.devices()[:1])
    started = []

    def start(num_slots, *, warm_up=False):
        engine = HeldUp(
            POLICY, num_slots=num_slots, max_len=MAX_LEN, eos_id=NO_END, steps=8, chunks=(32,)
        )
        started.append(Batcher(params, engine, mesh, max_waiting=8, warm_up=warm_up))
        if not warm_up:
            started[-1].wait_until_warm()
        return started[-1], engine

    yield start
    for batcher in started:
        batcher.close(drain=False)


class Asked:
    """A ticket with what was delivered; `held` keeps the batcher at the first piece."""

    def __init__(self, batcher, tokens, budget=8):
        self.pieces, self.ended, self.held = [], threading.Event(), threading.Event()
        self.held.set()
        self.ticket = Ticket(tokens, budget, GREEDY, 0, self.deliver)
        self.submit = lambda: batcher.submit(self.ticket)

    def deliver(self, piece):
        self.pieces.append(piece)
        if piece is None or isinstance(piece, Exception):
            self.ended.set()
        else:
            self.held.wait()

    def answer(self):
        assert self.ended.wait(120)
        assert self.pieces[-1] is None
        return [token for piece in self.pieces[:-1] for token in piece]


def answered(batcher, tokens, budget=8):
    asked = Asked(batcher, tokens, budget)
    asked.submit()
    return asked.answer(), asked.ticket


# --- starting ------------------------------------------------------------------------------


def test_nothing_is_taken_before_everything_is_compiled(start):
    batcher, engine = start(1, warm_up=True)
    tokenizer = train_tokenizer(["Where is Rome?"], 300)
    served = Served(batcher, ChatTemplate(tokenizer))
    try:
        assert served.get("/health") == (503, '{"status":"starting"}')
        status, body = served.post({"messages": []})
        assert (status, body["error"]["code"]) == (503, "starting")
        with pytest.raises(Closed):
            Asked(batcher, [1, 2, 3]).submit()
        engine.go.set()
        batcher.wait_until_warm()
        assert served.get("/health") == (200, '{"status":"ok"}')
        traced = dict(decode.TRACES)
        assert len(answered(batcher, list(range(100)), 20)[0]) == 20
        assert dict(decode.TRACES) == traced
    finally:
        served.stop()


def test_a_warm_up_that_fails_says_why(start):
    batcher, engine = start(1, warm_up=True)
    engine.config = None
    engine.go.set()
    with pytest.raises(AttributeError):
        batcher.wait_until_warm()
    assert batcher.status is Status.FAILED
    with pytest.raises(Closed):
        Asked(batcher, [1, 2, 3]).submit()


def test_clients_of_a_server_that_failed_are_told_so(start):
    batcher, engine = start(1, warm_up=True)
    served = Served(batcher, ChatTemplate(train_tokenizer(["Where is Rome?"], 300)))
    try:
        engine.config = None
        engine.go.set()
        with pytest.raises(AttributeError):
            batcher.wait_until_warm()
        assert served.get("/health") == (503, '{"status":"failed"}')
        status, body = served.post({"messages": []})
        assert (status, body["error"]["code"]) == (503, "failed")
    finally:
        served.stop()


# --- waiting -------------------------------------------------------------------------------


class Stepped(Asked):
    """A ticket that holds the batcher at each piece until it is let go."""

    def __init__(self, batcher, tokens, budget):
        self._written, self._free = queue.Queue(), threading.Semaphore(0)
        super().__init__(batcher, tokens, budget)

    def deliver(self, piece):
        self._written.put(piece)
        self._free.acquire(timeout=120)

    def wait(self):
        """Until the batcher is held at the next piece."""
        self._written.get(timeout=120)

    def let_go(self):
        self._free.release()


def test_cancelled_requests_take_no_place_of_those_who_wait(start):
    batcher, _ = start(1)
    live = Stepped(batcher, [1, 2, 3], 24)  # three segments
    live.submit()
    live.wait()
    asked = [Asked(batcher, [4, 5, 6]) for _ in range(8)]  # as many as may wait
    for one in asked:
        one.submit()
    with pytest.raises(Busy):
        Asked(batcher, [7, 8, 9]).submit()
    for one in asked[1:]:
        one.ticket.cancel()
    last = Asked(batcher, [7, 8, 9])
    last.submit()
    assert batcher.waiting == 2  # the first and the last
    asked[0].ticket.cancel()
    live.let_go()
    live.wait()  # between two segments who was cancelled is dropped, also while no slot is free
    assert (batcher.live, batcher.waiting) == (1, 1)
    for _ in range(3):
        live.let_go()
    assert len(last.answer()) == 8
    assert not any(one.pieces for one in asked)


# --- kept keys -----------------------------------------------------------------------------


def test_what_a_conversation_had_before_is_not_read_again(start):
    batcher, _ = start(2)
    prompt = list(range(40))
    answer, first = answered(batcher, prompt)
    longer = [*prompt, *answer, *range(50, 60)]
    again, second = answered(batcher, longer)
    assert (first.reused, second.reused) == (0, len(prompt) + len(answer) - 1)
    batcher.close(drain=True)
    assert answered(start(1)[0], longer)[0] == again  # of one that reads it all
    assert batcher.reused_tokens == second.reused


def test_another_conversation_copies_a_common_beginning_and_leaves_its_owner_the_rest(start):
    batcher, _ = start(2)
    tools = list(range(20))
    first, _ = answered(batcher, [*tools, *range(40, 80)])
    other, copied = answered(batcher, [*tools, *range(90, 100)])
    assert copied.reused == len(tools)
    _, back = answered(batcher, [*tools, *range(40, 80), *first, 7, 8])
    assert back.reused == len(tools) + 40 + len(first) - 1
    assert answered(start(1)[0], [*tools, *range(90, 100)])[0] == other


def test_the_same_prompt_again_gets_the_same_answer(start):
    batcher, _ = start(2)
    prompt = list(range(30))
    (first, _), (second, ticket) = answered(batcher, prompt), answered(batcher, prompt)
    assert first == second
    assert ticket.reused == len(prompt) - 1  # the last is fed again: it has to be answered


# --- faults --------------------------------------------------------------------------------


def test_after_a_fault_that_took_the_cache_along_requests_are_answered_as_before(start):
    batcher, engine = start(2)
    prompt = list(range(30))
    want, _ = answered(batcher, prompt)
    programs = decode.decode._cache_size()
    engine.fail = True
    hit = Asked(batcher, prompt)
    hit.submit()
    assert hit.ended.wait(120)
    assert isinstance(hit.pieces[-1], RuntimeError)
    again, ticket = answered(batcher, prompt)
    assert again == want
    assert ticket.reused == 0  # nothing of before is kept
    assert batcher.status is Status.READY
    assert decode.decode._cache_size() == programs


# --- stopping ------------------------------------------------------------------------------


def held_up(batcher):
    """A request in the only slot, kept there, and one that waits for it."""
    asked = [Asked(batcher, [1, 2, 3], 20), Asked(batcher, [4, 5, 6], 20)]
    asked[0].held.clear()
    for one in asked:
        one.submit()
    return asked


def test_a_stop_finishes_what_was_taken_and_takes_no_more(start):
    batcher, _ = start(1)
    asked = held_up(batcher)
    stopping = threading.Thread(target=batcher.close, kwargs={"drain": True})
    stopping.start()
    while batcher.status is not Status.STOPPING:
        pass
    with pytest.raises(Closed):
        Asked(batcher, [1]).submit()
    asked[0].held.set()
    assert [len(one.answer()) for one in asked] == [20, 20]
    stopping.join()


def test_a_stop_that_takes_too_long_ends_what_is_left(start):
    batcher, _ = start(1)
    asked = held_up(batcher)
    stopping = threading.Thread(target=batcher.close, kwargs={"drain": True, "timeout_s": 0.0})
    stopping.start()
    for one in asked:
        assert one.ended.wait(120)
        assert isinstance(one.pieces[-1], Closed)
    asked[0].held.set()
    stopping.join()
    assert batcher.live == batcher.waiting == 0
