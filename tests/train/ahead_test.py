import threading

import jax.numpy as jnp
import pytest

from tooltrain.train.ahead import Ahead


def test_the_caller_goes_on_while_rollouts_are_played():
    updated = threading.Event()

    def play(step, params):
        assert updated.wait(60)  # set by the caller, after it has started this
        return step, float(params["w"]), threading.current_thread() is threading.main_thread()

    with Ahead(play, own=lambda params: params) as ahead:
        ahead.wait()  # nothing is played yet
        ahead.start(3, {}, {"w": jnp.ones(())})
        updated.set()
        ahead.wait()
        assert ahead.take() == (3, 1.0, False)


def test_what_was_started_can_be_started_again():
    """Neither an update that consumes the parameters nor the data that move on change it."""
    place, params = {"position": 1}, {"w": jnp.ones(())}

    def play(step, params):
        place["position"] += 1
        return step + float(params["w"])

    with Ahead(play, own=lambda params: {"w": params["w"] * 2}) as ahead:
        ahead.start(1, place, params)
        params["w"].delete()  # as a step does that is given them
        assert ahead.take() == 3.0
        assert ahead.place == {"position": 1}
        ahead.start(1, ahead.place, ahead.behaviour)
        assert ahead.take() == 3.0


def test_what_playing_raises_is_raised_where_it_is_taken():
    def play(step, params):
        raise ValueError(f"no traces at step {step}")

    with Ahead(play, own=lambda params: params) as ahead:
        ahead.start(2, None, {})
        ahead.wait()
        with pytest.raises(ValueError, match="no traces at step 2"):
            ahead.take()
