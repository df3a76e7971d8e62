import pytest

from experiments.selection import Selection, write_selection
from tests.train.conftest import recorded_workdir  # noqa: F401  a fixture
from tooltrain.data.dataset import open_traces
from tooltrain.errors import UserError
from tooltrain.train.checkpoint import traces_digest
from tooltrain.types import GoldCall, Trace


def trace(filling, wording=0, calls=2):
    gold = tuple(GoldCall("find", {"name": f"{filling}/{i}"}) for i in range(calls))
    return Trace(f"{filling}-{wording}", "weather", f"{calls}", f"{wording}", (), gold, ())


def test_a_workflow_keeps_its_first_fillings_in_all_their_wordings():
    traces = [trace(f, w, calls) for w in (0, 1) for f in "abc" for calls in (2, 3)]
    kept = Selection(fillings=2)("train", traces)
    assert [(t.id, t.workflow) for t in kept] == [
        (f"{f}-{w}", workflow) for w in (0, 1) for f in "ab" for workflow in ("2", "3")
    ]
    # What fewer keep is among what more keep, and nothing else than training is thinned.
    assert all(t in kept for t in Selection(fillings=1)("train_rl", traces))
    for split in ("validation", "test", "test_workflows"):
        assert Selection(fillings=1)(split, traces) == traces
    assert Selection()("train", traces) == traces


def test_training_keeps_the_short_traces_and_the_test_the_long_ones():
    traces = [trace("a", calls=calls) for calls in (2, 3, 4, 5)]
    selection = Selection(most_train_calls=3, least_test_calls=4)
    for split, wanted in (("train", (2, 3)), ("validation", (2, 3)), ("test", (4, 5))):
        assert tuple(len(t.calls) for t in selection(split, traces)) == wanted


def test_a_selection_is_tested_on_the_same_bytes(recorded_workdir, tmp_path):  # noqa: F811
    whole = recorded_workdir / "traces"
    write_selection(whole, tmp_path / "one", Selection(fillings=1))
    write_selection(whole, tmp_path / "all", Selection())
    train, test = (open_traces(tmp_path / "one", split) for split in ("train", "test"))
    assert [t.id for t in train] == ["chain-0"]
    assert test[:] == open_traces(whole, "test")[:]
    # Tokenizer and all: what is kept whole is the dataset itself.
    assert traces_digest(tmp_path / "all") == traces_digest(whole)
    with pytest.raises(UserError, match="keeps none of the 2 test traces"):
        write_selection(whole, tmp_path / "none", Selection(least_test_calls=4))
    assert not (tmp_path / "none" / "tokenizer.json").exists()
