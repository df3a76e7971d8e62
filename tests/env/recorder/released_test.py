"""The release's cache and traces come in whole, and its failures stay out."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from tooltrain.env.recorder.released import data_of, import_cache, import_traces
from tooltrain.env.recording import Recording
from tooltrain.env.schema import Tool
from tooltrain.env.suites import complexfuncbench
from tooltrain.errors import UserError

STRING = {"type": "string"}
TOOLS = {
    "Search": Tool(
        "Search", "", {"type": "object", "properties": {"q": STRING, "n": {"type": "number"}}}
    ),
    "Get_It": Tool("Get_It", "", {"type": "object", "properties": {"id": STRING}}),
}


def _ok(data: object) -> dict:
    return {"status": True, "message": "Success", "timestamp": 1, "data": data}


def test_a_released_cache_comes_in_without_wrappers_nulls_and_failures(tmp_path):
    path = tmp_path / "booking_api_cache.json"
    entries = {
        "Search": [
            {
                "arguments": {"q": "a", "n": None},
                "response": _ok({"x": [1, 2.5, None, {"item": {}}]}),
            },
            {"arguments": {"q": "b", "n": "3"}, "response": {"plain": "é"}},
            {"arguments": {"n": 3, "q": "b"}, "response": {"plain": "later"}},
            {"arguments": {"q": "c"}, "response": {"status": False, "message": "bad date"}},
            {
                "arguments": {"q": "d"},
                "response": {"status": True, "message": "Something went wrong"},
            },
            {"arguments": {"q": "e"}, "response": []},
            {"response": {"lost": 1}},
        ],
        "Get(It)": [],
        "Get_It": [{"arguments": {"id": "1"}, "response": _ok([])}],
        "Other": [{"arguments": {}, "response": {}}],
    }
    path.write_text(json.dumps(entries))
    with Recording.open(tmp_path / "recording") as recording:
        counts = import_cache(path, TOOLS, recording, progress=False)
        found = {a["q"]: (a, r) for a, r in recording.entries("Search")}
        assert found["a"] == ({"q": "a"}, {"x": [1, 2.5, None, {"item": {}}]})
        assert found["b"] == ({"q": "b", "n": 3}, {"plain": "é"})
        assert sorted(found) == ["a", "b"]
        assert list(recording.entries("Get_It")) == [({"id": "1"}, [])]
        again = import_cache(path, TOOLS, recording, progress=False)
    assert (counts.read, counts.recorded, counts.again) == (9, 3, 1)
    assert (again.recorded, again.again) == (0, 4)
    assert dict(counts.left_out) == {
        "the API refused the request": 1,
        "the server failed": 1,
        "empty response": 1,
        "arguments that are no object": 1,
        "no tool Other": 1,
    }


def test_a_large_cache_is_streamed(tmp_path):
    path = tmp_path / "cache.json"
    text = "x" * 20_000
    with path.open("w") as file:
        file.write('{"Get_It": [')
        for i in range(1000):
            entry = {"arguments": {"id": str(i)}, "response": {"text": text, "id": i}}
            file.write(("," if i else "") + json.dumps(entry))
        file.write("]}")
    assert path.stat().st_size > 20e6
    tracemalloc.start()
    with Recording.open(tmp_path / "recording") as recording:
        assert import_cache(path, TOOLS, recording, progress=False).recorded == 1000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6


def test_a_cut_off_cache_is_one_clear_error_and_its_whole_entries_stay(tmp_path):
    path = tmp_path / "cache.json"
    path.write_text('{"Get_It": [{"arguments": {"id": "1"}, "response": {"a": 1}}, {"argum')
    with Recording.open(tmp_path / "recording") as recording:
        with pytest.raises(UserError, match="cut off"):
            import_cache(path, TOOLS, recording, progress=False)
        assert recording.count() == 1


def test_a_line_that_is_no_trace_is_named(tmp_path):
    path = tmp_path / "traces.jsonl"
    path.write_text('{"steps": []}\n{"stops": []}\n')
    with (
        Recording.open(tmp_path / "recording") as recording,
        pytest.raises(UserError, match="line 2 is no released trace"),
    ):
        import_traces(path, TOOLS, recording, progress=False)


def test_the_released_traces_are_imported(tmp_path, reference_dir, booking_wheel):
    with (
        complexfuncbench.WHEEL.open(booking_wheel) as archive,
        archive.open(complexfuncbench.TOOLS_MEMBER) as file,
    ):
        tools = {tool.name: tool for tool in complexfuncbench.read_tools(file)}
    with Recording.open(tmp_path / "recording") as recording:
        training = import_traces(
            reference_dir / "train_traces.jsonl", tools, recording, progress=False
        )
        assert (training.read, training.recorded + training.again) == (442, 442)
        evaluation = import_traces(
            reference_dir / "eval_traces.jsonl", tools, recording, progress=False
        )
        # 151 of the 246 evaluation calls were released without their response.
        assert evaluation.read == 246
        assert evaluation.left_out == {"empty response": 151}
        found = dict_of(recording, "Search_Attraction_Location")
        assert found["Paris"]["destinations"][0]["id"] == "eyJ1ZmkiOi0xNDU2OTI4fQ=="


def dict_of(recording: Recording, tool: str) -> dict[str, dict]:
    return {arguments["query"]: response for arguments, response in recording.entries(tool)}


def test_a_negative_answer_is_an_answer():
    assert data_of(_ok([])) == []
    assert data_of(_ok({"status": False})) == {"status": False}
    assert data_of({"status": "open", "name": "x"}) == {"status": "open", "name": "x"}
