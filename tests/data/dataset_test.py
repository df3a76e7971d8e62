"""Datasets on disk: what is written is read, whole or not at all, the same bytes each time."""

from __future__ import annotations

import hashlib
import pathlib

import pytest

from tooltrain.data.dataset import open_traces, replacing, write_traces
from tooltrain.errors import UserError
from tooltrain.types import Binding, GoldCall, Trace


def _trace(name: str) -> Trace:
    calls = (
        GoldCall("find", {"q": "Zürich \N{SNOWMAN}", "n": 1.5, "deep": {"a": [None, True]}}),
        GoldCall("stay", {"id": 7}, (0,), (Binding("id", 0, ("list", 0, "id"), "first"),)),
    )
    return Trace(name, "s", "find>stay", f"Query of {name}", ("stay", "find"), calls, ())


TRAIN = [_trace(f"train-{i}") for i in range(7)]
TEST = [_trace("test-0")]


def _files(directory: pathlib.Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> pathlib.Path:
    directory = tmp_path_factory.mktemp("traces")
    write_traces(directory, {"train": TRAIN, "test": TEST, "validation": []}, "seven and one")
    return directory


def test_what_was_written_is_read_in_order(directory):
    traces = open_traces(directory, "train")
    assert len(traces) == 7
    assert list(traces) == TRAIN
    assert list(open_traces(directory, "test")) == TEST


def test_traces_are_read_by_index_and_by_slice(directory):
    traces = open_traces(directory, "train")
    assert traces[-1] == TRAIN[-1]
    assert traces[2:5] == TRAIN[2:5]
    assert traces[::-3] == TRAIN[::-3]
    for index in (7, -8):
        with pytest.raises(IndexError, match=f"trace {index} of 7"):
            traces[index]


def test_an_unknown_split_is_one_clear_error(directory):
    with pytest.raises(UserError, match=r"no split 'dev'; they have (test, train|train, test)$"):
        open_traces(directory, "dev")


def test_no_dataset_is_one_clear_error(tmp_path):
    with pytest.raises(UserError, match=r"no traces at .*cli.synthesize"):
        open_traces(tmp_path, "train")


def test_the_same_traces_give_the_same_bytes(directory, tmp_path):
    write_traces(tmp_path, {"train": TRAIN, "test": TEST}, "seven and one")
    assert _files(tmp_path) == _files(directory)
    assert sum(".array_record" in name for name in _files(tmp_path)) == 2


def test_a_dataset_is_replaced_whole(tmp_path):
    write_traces(tmp_path, {"train": TRAIN, "test": TEST}, "")
    write_traces(tmp_path, {"train": TEST}, "")
    assert list(open_traces(tmp_path, "train")) == TEST
    with pytest.raises(UserError, match="no split 'test'"):
        open_traces(tmp_path, "test")
    assert [path.name for path in tmp_path.iterdir()] == ["tool_traces"]


def test_an_error_while_writing_leaves_the_old_dataset(tmp_path):
    write_traces(tmp_path, {"train": TEST}, "")
    before = _files(tmp_path)
    broken = _trace("broken").__class__("b", "s", "w", "q", (), (GoldCall("f", {"x": {1}}),), ())
    with pytest.raises(TypeError):
        write_traces(tmp_path, {"train": [*TRAIN, broken]}, "")
    assert _files(tmp_path) == before


def test_replacing_moves_in_what_was_made_and_keeps_the_rest(tmp_path):
    for name in ("kept", "changed"):
        (tmp_path / name).write_text("old")
    with replacing(tmp_path) as beside:
        (beside / "changed").write_text("new")
        (beside / "added").mkdir()
        assert (tmp_path / "changed").read_text() == "old"
    assert (tmp_path / "kept").read_text() == "old"
    assert (tmp_path / "changed").read_text() == "new"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["added", "changed", "kept"]
