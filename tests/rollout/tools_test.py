"""Calls on threads: answered, raised, given up; stuck ones hold up nobody."""

import threading

import pytest

from tooltrain.rollout.tools import Answer, ToolThreads, wait
from tooltrain.types import Observation, ObservationKind


def _answer(text):
    return Answer(Observation(ObservationKind.OK, text), text)


@pytest.fixture
def one():
    threads = ToolThreads(1)
    yield threads
    threads.close()


def test_a_call_is_answered_by_another_thread(one):
    job = one.submit(lambda: _answer(threading.current_thread().name))
    assert job.future.result(60).text == "tools"
    assert job.started_s is not None


def test_what_a_tool_raises_is_raised_where_its_answer_is_read(one):
    job = one.submit(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        job.future.result(60)
    assert one.submit(lambda: _answer("next")).future.result(60).text == "next"


def test_a_stuck_call_that_is_given_up_leaves_its_place_to_the_next(one):
    gate, begun = threading.Event(), threading.Event()

    def stuck():
        begun.set()
        gate.wait(60)
        return _answer("late")

    job, queued = one.submit(stuck), one.submit(lambda: _answer("queued"))
    assert begun.wait(60)
    wait([job, queued], 0.01)
    assert not job.future.done()
    assert not queued.future.done()  # the only thread is stuck
    one.give_up(job)
    assert queued.future.result(60).text == "queued"
    gate.set()
    job.future.result(60)
    # The late thread went away: there is one thread again, and it works.
    assert one.submit(lambda: _answer("after")).future.result(60).text == "after"


def test_a_call_that_is_given_up_in_the_queue_is_never_made(one):
    gate, made = threading.Event(), []
    first = one.submit(lambda: (gate.wait(60), _answer("first"))[1])
    dropped = one.submit(lambda: made.append(1))
    last = one.submit(lambda: _answer("last"))
    one.give_up(dropped)
    gate.set()
    assert [job.future.result(60).text for job in (first, last)] == ["first", "last"]
    assert made == []


def test_no_threads_are_refused():
    with pytest.raises(ValueError, match="tool_threads is 0"):
        ToolThreads(0)
