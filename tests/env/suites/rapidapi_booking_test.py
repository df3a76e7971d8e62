"""The Booking table against a local server that answers from ComplexFuncBench's recordings."""

from __future__ import annotations

import datetime
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator

import pytest

from tooltrain.env.cache import Cache
from tooltrain.env.recorder.explore import Explorer
from tooltrain.env.recorder.limits import Limits
from tooltrain.env.recorder.plan import Plan, ToolPlan, Values
from tooltrain.env.recorder.run import record
from tooltrain.env.recording import Recording
from tooltrain.env.suites import rapidapi_booking
from tooltrain.errors import UserError

_KEY = "rapid-secret-key"


@pytest.fixture
def cache(booking_cache) -> Iterator[Cache]:
    cache = Cache.open(booking_cache)
    yield cache
    cache.close()


@pytest.fixture
def server(cache, monkeypatch) -> Iterator[http.server.ThreadingHTTPServer]:
    monkeypatch.setenv(rapidapi_booking.KEY_VARIABLE, _KEY)
    tools, names = cache.tools(), {path: name for name, path in rapidapi_booking.PATHS.items()}

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            parts = urllib.parse.urlsplit(self.path)
            tool = tools[names[parts.path.removeprefix("/api/v1/")]]
            arguments = dict(urllib.parse.parse_qsl(parts.query))
            if "legs" in arguments:
                arguments["legs"] = json.loads(arguments["legs"])
            found, response = cache.lookup(tool.name, tool.canonical(arguments))
            body = {"status": found, "message": "Success" if found else "Not Found"}
            text = json.dumps(body | {"data": response}).encode()
            known = self.headers["X-RapidAPI-Key"] == _KEY
            known &= self.headers["X-RapidAPI-Host"] == rapidapi_booking.HOST
            self.send_response(200 if known else 401)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_what_the_table_records_is_what_the_benchmark_recorded(server, cache, tmp_path):
    tools = cache.tools()
    assert set(rapidapi_booking.PATHS) == set(tools)
    asked = {"Search_Hotels_By_Coordinates", "Search_Flights_Multi_Stops", "Location_to_Lat_Long"}
    expected = {name: dict_of(cache.entries(name), tools[name]) for name in asked}
    with (
        rapidapi_booking.backend(tools.values(), server.url) as backend,
        Recording.open(tmp_path) as recording,
    ):
        for name in asked:
            for arguments, _ in list(cache.entries(name))[:20]:
                values = {n: Values((value,)) for n, value in arguments.items()}
                plan = Plan((ToolPlan(name, values, optional_probability=1.0),))
                assert record(backend, plan, recording, progress=False).total("failed") == 0
            got = dict_of(recording.entries(name), tools[name])
            assert len(got) == min(20, len(expected[name]))
            assert got.items() <= expected[name].items()


def dict_of(entries, tool) -> dict[str, str]:
    return {tool.canonical(a): json.dumps(r, sort_keys=True) for a, r in entries}


def test_the_plan_reaches_chains_from_city_names_on(server, cache, tmp_path):
    plan = rapidapi_booking.plan(datetime.date(2024, 11, 1), breadth=30)
    tools = cache.tools()
    assert {tool.tool for tool in plan.tools} == set(tools)
    Explorer(tools, plan)  # every argument fits its tool
    with (
        rapidapi_booking.backend(tools.values(), server.url) as backend,
        Recording.open(tmp_path) as recording,
    ):
        report = record(backend, plan, recording, Limits(concurrency=4), progress=False)
        # Look-ups of cities are recorded; what was never recorded is "Not Found", not cached.
        assert recording.count("Search_Attraction_Location") >= 5
        # One step down the chain, with ids out of those responses.
        assert report.tools["Search_Attractions"].planned > 5
        assert recording.count("Search_Attractions") >= 3
        failures = {m for tool in report.tools.values() for m in tool.failures}
    assert failures == {"the server failed"}


def test_without_the_key_it_is_one_clear_error(cache, monkeypatch):
    monkeypatch.delenv(rapidapi_booking.KEY_VARIABLE, raising=False)
    with pytest.raises(UserError, match="RAPID_API_KEY is not set"):
        rapidapi_booking.backend(cache.tools().values())
