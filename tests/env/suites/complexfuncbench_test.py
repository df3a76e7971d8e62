"""The import of ComplexFuncBench: every count, every reference, whole chains."""

from __future__ import annotations

import collections
import functools
import io
import json
import pathlib
import subprocess
import sys

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooltrain.env.cache import Cache, Sample
from tooltrain.env.projection import generic
from tooltrain.env.suites.complexfuncbench import (
    DOMAINS,
    SAMPLES_MEMBER,
    WHEEL,
    ImportCounts,
    merge,
    read_samples,
    read_tools,
    resolve,
)
from tooltrain.errors import UserError
from tooltrain.synthesis.provenance import mine, value_text
from tooltrain.synthesis.sampler import produced

# --- by hand ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("id", [7]),
        ("place.name", ["Rome"]),
        ("rooms.id", [1, 2]),
        ("rooms.beds.size", ["s", "m", "l"]),
        ("grid.x", [1, 2, 3]),
        ("rooms.none", []),
        ("id.deeper", []),
        ("empty", [[]]),
        ("empty.x", []),
    ],
)
def test_a_path_through_a_list_means_its_elements(path, values):
    response = {
        "id": 7,
        "place": {"name": "Rome"},
        "rooms": [
            {"id": 1, "beds": [{"size": "s"}, {"size": "m"}]},
            {"id": 2, "beds": [{"size": "l"}]},
        ],
        "grid": [[{"x": 1}, {"x": 2}], [{"x": 3}]],
        "empty": [],
    }
    assert resolve(response, path) == values


def test_merging_unites_keys_and_elements_and_keeps_the_first_scalar():
    first = {"a": 1, "list": [{"x": 1}, {"x": 2}], "deep": {"k": [1]}, "null": None}
    second = {"a": 2, "list": [{"x": 3}, {"x": 1}], "deep": {"k": [2], "new": 0}, "b": 3}
    assert merge(first, second) == {
        "a": 1,
        "list": [{"x": 1}, {"x": 2}, {"x": 3}],
        "deep": {"k": [1, 2], "new": 0},
        "null": None,
        "b": 3,
    }


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
)


@given(_json, _json)
def test_a_merge_loses_nothing_of_the_first_and_again_changes_nothing(first, second):
    merged = merge(first, second)
    assert merge(merged, second) == merged or not isinstance(first, type(second))
    assert merge(first, first) == first


def _samples(*outputs) -> io.BytesIO:
    return io.BytesIO(json.dumps([{"input": " q ", "output": o} for o in outputs]).encode())


def _call(label: str, arguments: dict, response) -> dict:
    return {"name": "Find(It)", "arguments": arguments, "label": label, "response": response}


def test_a_reference_takes_the_first_of_several_values_and_marks_the_sample():
    counts = ImportCounts()
    several = [
        _call("var1", {"q": "Rome"}, [{"id": 5}, {"id": 6}]),
        _call("var2", {"id": "$var1.id$", "cost": "$5.00"}, {}),
    ]
    alike = [_call("var1", {}, [{"id": 5}, {"id": 5}]), _call("var2", {"id": "$var1.id$"}, {})]
    first, second = read_samples(_samples(several, alike), counts)
    assert first.calls[1].arguments == {"id": 5, "cost": "$5.00"}
    assert first.calls[1].references == (("id", 0, "id"),)
    assert (first.ambiguous, second.ambiguous) == (True, False)
    assert (counts.references, counts.references_ambiguous, counts.samples_ambiguous) == (2, 1, 1)
    assert first.query == "q"
    assert first.calls[0].name == "Find_It"


def test_a_reference_to_nothing_is_an_error_that_names_it():
    broken = [_call("var1", {}, {}), _call("var2", {"id": "$var1.id$"}, {})]
    with pytest.raises(UserError, match=r"sample 0: \$var1\.id\$ resolves to nothing"):
        list(read_samples(_samples(broken), ImportCounts()))


def test_the_wheel_that_differs_is_refused(tmp_path):
    wheel = tmp_path / "nestful_wrapper-0.1.7-py3-none-any.whl"
    wheel.write_bytes(b"not the one")
    with pytest.raises(UserError, match=r"has sha256 .*, expected 7e7b34b0"):
        WHEEL.open(wheel)
    assert wheel.read_bytes() == b"not the one"
    with pytest.raises(UserError, match=r"no wheel at .*it is nestful-wrapper==0.1.7"):
        WHEEL.open(tmp_path / "none.whl")


# --- the real file ------------------------------------------------------------------


@pytest.fixture(scope="module")
def samples(booking_cache: pathlib.Path) -> list[Sample]:
    return list(Cache.open(booking_cache).samples())


def test_the_cache_holds_what_the_wheel_holds(booking_cache, samples):
    cache = Cache.open(booking_cache)
    calls = [call for sample in samples for call in sample.calls]
    assert len(samples) == 1000
    assert len(calls) == 5070
    assert len(cache) == 3877
    assert len(cache.tools()) == 40
    assert len({call.name for call in calls}) == 38


def test_references_are_counted(booking_wheel):
    counts = ImportCounts()
    with WHEEL.open(booking_wheel) as archive, archive.open(SAMPLES_MEMBER) as file:
        for _ in read_samples(file, counts):
            pass
    assert (counts.samples, counts.calls) == (1000, 5070)
    assert counts.references == 3068
    assert counts.references - counts.references_ambiguous == 3024
    assert counts.references_ambiguous == 44
    assert counts.samples_ambiguous == 25


def test_references_hold_in_the_sample_s_own_responses(samples):
    held = 0
    for sample in samples:
        for i, call in enumerate(sample.calls):
            for argument, source, path in call.references:
                assert source < i
                assert call.arguments[argument] == resolve(sample.calls[source].response, path)[0]
                held += 1
    assert held == 3068
    assert sum(sample.ambiguous for sample in samples) == 25


def test_ids_are_positions_in_a_domain(samples):
    assert [s.position for s in samples] == list(range(1000))
    sizes = collections.Counter(s.domain for s in samples)
    assert sizes == {
        "Car-Rental": 150,
        "Cross": 400,
        "Hotels": 150,
        "Attraction": 150,
        "Flights": 150,
    }
    for sample in samples:
        assert sample.id == f"{sample.domain}-{sample.position - DOMAINS[sample.domain]}"
    assert samples[150].id == "Cross-0"
    assert samples[999].id == "Flights-149"


def test_both_names_of_a_tool_are_kept(booking_cache):
    tools = Cache.open(booking_cache).tools()
    assert tools["Get_Hotel_Reviews_Tips"].original_name == "Get_Hotel_Reviews(Tips)"
    assert all(name == tool.name for name, tool in tools.items())


def test_the_schemas_are_those_of_the_paper(booking_cache, reference_dir):
    tools = Cache.open(booking_cache).tools()
    released = [
        json.loads(line) for line in (reference_dir / "booking_api.jsonl").open(encoding="utf-8")
    ]
    assert {r["name"] for r in released} == set(tools)
    for record in released:
        ours = tools[record["name"]].parameters
        assert set(record["parameters"]["properties"]) == set(ours["properties"])
        assert set(record["parameters"].get("required", ())) == set(ours["required"])


def _requests(cache: Cache, samples: list[Sample]):
    """Recordings of each request, in order, and the request of each call."""
    tools = cache.tools()
    recordings: dict[tuple[str, str], list] = {}
    for sample in samples:
        for call in sample.calls:
            key = (call.name, tools[call.name].canonical(call.arguments))
            recordings.setdefault(key, []).append(call.response)
    return recordings


def test_204_requests_were_recorded_with_different_responses(booking_cache, samples):
    cache = Cache.open(booking_cache)
    recordings = _requests(cache, samples)
    sort = orjson.OPT_SORT_KEYS
    different = {
        key
        for key, found in recordings.items()
        if len({orjson.dumps(r, option=sort) for r in found}) > 1
    }
    assert len(recordings) == 3877
    assert len(different) == 204
    for key in different:
        merged = recordings[key][0]
        for response in recordings[key][1:]:
            merged = merge(merged, response)
        assert cache.lookup(*key) == (True, merged)


@pytest.fixture(scope="module")
def broken(booking_cache, samples):
    """Samples in which a reference, and in which a mined link, no longer holds where each
    request has one response, combined from its recordings."""
    cache = Cache.open(booking_cache)
    tools, requests, links = cache.tools(), _requests(cache, samples), mine(samples)[0]

    def count(combine) -> tuple[int, int]:
        held = {key: combine(found) for key, found in requests.items()}
        references = linked = 0
        for sample, sample_links in zip(samples, links, strict=True):
            responses = [held[c.name, tools[c.name].canonical(c.arguments)] for c in sample.calls]
            references += any(
                call.arguments[argument] not in resolve(responses[source], path)
                for call in sample.calls
                for argument, source, path in call.references
            )
            linked += any(
                value_text(sample.calls[link.target].arguments[link.argument])
                not in produced(responses[link.source], generic(link.path))
                for link in sample_links
            )
        return references, linked

    return count


def _longest(found):
    return max(found, key=lambda response: len(orjson.dumps(response)))


def test_under_the_deep_merge_every_chain_holds(broken):
    assert broken(lambda found: functools.reduce(merge, found)) == (0, 0)


def test_taking_the_first_or_the_longest_response_breaks_a_fifth_of_the_chains(broken):
    assert broken(lambda found: found[0]) == (211, 231)
    assert broken(_longest) == (202, 212)


def test_tools_keep_their_defaults_enums_and_required_arguments():
    parameter = {"type": "string", "description": "d", "enum": [], "default": None}
    spec = {
        "name": "Find(It)",
        "description": "Finds.",
        "query_parameters": {
            "q": parameter | {"required": True},
            "n": parameter | {"type": "number", "default": 0, "required": False},
            "sort": parameter | {"enum": ["a", "b"], "required": False},
        },
    }
    (tool,) = read_tools(io.BytesIO(json.dumps([spec]).encode()))
    assert (tool.name, tool.original_name, tool.required) == ("Find_It", "Find(It)", ("q",))
    assert dict(tool.properties) == {
        "q": {"type": "string", "description": "d"},
        "n": {"type": "number", "description": "d", "default": 0},
        "sort": {"type": "string", "description": "d", "enum": ["a", "b"]},
    }


_PEAK = """
import resource, sys
from tooltrain.env.cache import CacheWriter
from tooltrain.env.suites.complexfuncbench import WHEEL, import_samples
with WHEEL.open(sys.argv[1]) as archive, CacheWriter.create(sys.argv[2]) as writer:
    counts = import_samples(writer, archive, progress=False)
print("\\n".join(counts.lines()))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_an_import_takes_less_than_1_gb_and_says_what_it_saw(booking_wheel, tmp_path):
    command = [sys.executable, "-c", _PEAK, str(booking_wheel), str(tmp_path / "c.sqlite")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *lines, peak_kb = done.stdout.splitlines()
    assert int(peak_kb) < 1_000_000
    assert lines == [
        "40 tools (38 called), 1,000 samples, 5,070 calls",
        "3,877 unique requests (30.6 MB of responses), 204 of them merged from different "
        "recordings",
        "3,068 references: 3,024 to one value, 44 to several (the first is taken; 25 samples "
        "marked)",
    ]
