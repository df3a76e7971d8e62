"""A merge holds what its sources hold; what they disagree on goes by an explicit rule."""

from __future__ import annotations

import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tooltrain.env.cache import Cache, CacheWriter, Edge, Sample, SampleCall
from tooltrain.env.merge import merge
from tooltrain.env.schema import Tool
from tooltrain.env.verify import verify
from tooltrain.errors import UserError

PARAMETERS = {"type": "object", "properties": {"n": {"type": "integer"}}}


def _write(path: pathlib.Path, entries: dict[int, object], tool: str = "t", **meta: str) -> Cache:
    with CacheWriter.create(path) as writer:
        writer.add_tool(Tool(tool, f"of {path.name}", PARAMETERS))
        for n, response in entries.items():
            writer.add_entry(tool, {"n": n}, response)
        for name, value in meta.items():
            writer.add_meta(name, value)
    return Cache.open(path)


def _content(path: pathlib.Path, tool: str = "t") -> dict[int, object]:
    return {arguments["n"]: response for arguments, response in Cache.open(path).entries(tool)}


def test_different_tools_and_requests_are_united(tmp_path):
    _write(tmp_path / "a", {1: "x", 2: "y"}, source="here", seed="0")
    _write(tmp_path / "b", {2: "y", 3: "z"}, source="there", seed="0")
    _write(tmp_path / "c", {1: "w"}, "u")
    done = merge([tmp_path / "a", tmp_path / "b", tmp_path / "c"], tmp_path / "m")
    assert (done.tools, done.entries, done.same, done.conflicts) == (2, 4, 1, 0)
    assert _content(tmp_path / "m") == {1: "x", 2: "y", 3: "z"}
    assert _content(tmp_path / "m", "u") == {1: "w"}
    merged = Cache.open(tmp_path / "m")
    assert merged.tools()["t"].description == "of a"
    assert merged.meta("seed") == "0"
    with pytest.raises(KeyError):  # they do not agree on it
        merged.meta("source")


def test_a_conflict_is_an_error_unless_a_rule_is_given(tmp_path):
    sources = [tmp_path / name for name in "abc"]
    for i, source in enumerate(sources):
        _write(source, {1: i, 2: "same"})
    with pytest.raises(UserError, match=r'b answers t {"n":1} differently .*--conflict=first'):
        merge(sources, tmp_path / "m")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c"]
    done = merge(sources, tmp_path / "first", "first")
    assert (done.conflicts, done.same) == (2, 2)
    assert _content(tmp_path / "first") == {1: 0, 2: "same"}
    merge(sources, tmp_path / "last", "last")
    assert _content(tmp_path / "last") == {1: 2, 2: "same"}
    with pytest.raises(UserError, match="unknown conflict rule 'best'; allowed: error, first"):
        merge(sources, tmp_path / "m", "best")


def test_other_parameters_of_a_tool_are_an_error(tmp_path):
    _write(tmp_path / "a", {})
    with CacheWriter.create(tmp_path / "b") as writer:
        writer.add_tool(Tool("t", "", {}))
    with pytest.raises(UserError, match="has tool t with other parameters"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "m", "first")


def test_samples_and_edges_are_united(tmp_path):
    def sample(id_: str, query: str) -> Sample:
        return Sample(id_, 0, "d", query, (SampleCall("t", {"n": 1}, 0),))

    def edge(count: int) -> Edge:
        return Edge("t", ("[]", "id"), "t", "n", count)

    for name, samples, count in (
        ("a", [sample("1", "x"), sample("2", "y")], 3),
        ("b", [sample("2", "z"), sample("3", "y")], 5),
    ):
        with CacheWriter.create(tmp_path / name) as writer:
            writer.add_tool(Tool("t", "", PARAMETERS))
            for one in samples:
                writer.add_sample(one)
            writer.add_edges([edge(count)])
    sources = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(UserError, match="answers sample 2 differently"):
        merge(sources, tmp_path / "m")
    merge(sources, tmp_path / "first", "first")
    merge(sources, tmp_path / "last", "last")
    first, last = Cache.open(tmp_path / "first"), Cache.open(tmp_path / "last")
    assert [(s.id, s.query) for s in first.samples()] == [("1", "x"), ("2", "y"), ("3", "y")]
    assert [(s.id, s.query) for s in last.samples()] == [("1", "x"), ("2", "z"), ("3", "y")]
    assert first.edges() == last.edges() == (edge(5),)


_entries = st.dictionaries(st.integers(0, 30), st.just(0), max_size=20)


@settings(max_examples=20, deadline=None)
@given(_entries, _entries)
def test_without_conflicts_the_order_changes_nothing_and_a_merge_with_itself_too(
    tmp_path_factory, one, two
):
    directory = tmp_path_factory.mktemp("merge")
    a = _write(directory / "a", {n: f"response {n}" for n in one})
    _write(directory / "b", {n: f"response {n}" for n in two})
    merge([directory / "a", directory / "b"], directory / "ab")
    merge([directory / "b", directory / "a"], directory / "ba")
    merge([directory / "a", directory / "a"], directory / "aa")
    assert Cache.open(directory / "ab").digest == Cache.open(directory / "ba").digest
    assert (directory / "aa").read_bytes() == a.path.read_bytes()
    assert _content(directory / "ab").keys() == one.keys() | two.keys()
    assert verify(directory / "ab").faults == []
