"""Import of what the paper's authors released: their cache and their trace files.

The cache is `{"Tool_Name": [{"arguments": {…}, "response": …}, …], …}`, up to 25 GB: it is
streamed, one entry in memory at a time. A trace file has a trace a line, whose steps carry
a call and its response (horizon-rl/ToolOrchestrationReward, commit 5c4ea42). Both hold
responses as the API gave them, `{"status": true, "message": "Success", "data": …}`, or
`data` alone: `data` is recorded, as the booking suite's samples have it.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import IO

import ijson
import orjson
import tqdm

from tooltrain.env.recorder.backend import ToolFailure
from tooltrain.env.recording import Recording
from tooltrain.env.schema import Tool, safe_name
from tooltrain.errors import UserError
from tooltrain.types import Json

_ENVELOPE = {"status", "message", "data", "timestamp"}
# The texts by which the release itself tells a failed server from a negative answer.
_SERVER_FAILURES = ("Something went wrong", "Server down", "<!doctype html>", "Not Found")


@dataclasses.dataclass
class Imported:
    """Counts of one import. again: requests met before, whose first response stays."""

    read: int = 0
    recorded: int = 0
    again: int = 0
    left_out: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def lines(self) -> list[str]:
        lines = [
            f"read {self.read:,} calls: {self.recorded:,} recorded, {self.again:,} were there "
            "already"
        ]
        return lines + [f"  {n:,} left out: {why}" for why, n in self.left_out.most_common()]


def data_of(response: Json) -> Json:
    """The `data` of a booking response. Raises ToolFailure for one that reports a failure."""
    if response is None or response in ("", [], {}):
        raise ToolFailure("empty response")
    if not isinstance(response, Mapping) or "status" not in response:
        return response
    message = str(response.get("message", ""))
    if any(text in message for text in _SERVER_FAILURES):
        raise ToolFailure("the server failed")
    if response["status"] is False:
        raise ToolFailure("the API refused the request")
    if not set(response) <= _ENVELOPE or "data" not in response:
        return response
    if response["data"] is None:
        raise ToolFailure("empty response")
    return response["data"]


def import_cache(
    path: str | os.PathLike[str],
    tools: Mapping[str, Tool],
    recording: Recording,
    *,
    progress: bool = True,
) -> Imported:
    """Streams a released `booking_api_cache.json` into a recording.

    Raises UserError when the file is no such JSON; what was read before stays recorded.
    """
    return _import(_entries(pathlib.Path(path), progress), tools, recording)


def import_traces(
    path: str | os.PathLike[str],
    tools: Mapping[str, Tool],
    recording: Recording,
    *,
    progress: bool = True,
) -> Imported:
    """Streams the calls of a released trace file (JSON lines) into a recording.

    Raises UserError on a line that is no trace, naming it.
    """
    return _import(_steps(pathlib.Path(path), progress), tools, recording)


def _import(
    calls: Iterator[tuple[str, Json, Json]], tools: Mapping[str, Tool], recording: Recording
) -> Imported:
    counts = Imported()
    for tool in sorted(tools.values(), key=lambda tool: tool.name):
        recording.add_tool(tool)
    for name, arguments, response in calls:
        counts.read += 1
        tool = tools.get(safe_name(name))
        if tool is None:
            counts.left_out[f"no tool {safe_name(name)[:80]}"] += 1
            continue
        try:
            if not isinstance(arguments, dict):
                raise ToolFailure("arguments that are no object")
            # None stands for an argument that was not sent.
            arguments = {n: value for n, value in arguments.items() if value is not None}
            new = recording.add(tool.name, tool.coerced(arguments), data_of(response))
        except ToolFailure as failure:
            counts.left_out[str(failure)] += 1
            continue
        except (ValueError, TypeError):
            counts.left_out["arguments or a response that JSON cannot hold"] += 1
            continue
        counts.recorded += new
        counts.again += not new
    recording.commit()
    return counts


def _entries(path: pathlib.Path, progress: bool) -> Iterator[tuple[str, Json, Json]]:
    """(tool, arguments, response) of a cache file, whose lists are read as they come."""
    with _open(path) as file, _bar(path, progress) as bar:
        name = ""
        try:
            builder, depth = None, 0
            for prefix, event, value in ijson.parse(file, use_float=True):
                if builder is None and event == "map_key" and prefix == "":
                    name = value
                elif builder is None and event == "start_map" and prefix == f"{name}.item":
                    builder, depth = ijson.ObjectBuilder(), 0
                if builder is not None:
                    builder.event(event, value)
                    depth += (event in ("start_map", "start_array")) - (
                        event in ("end_map", "end_array")
                    )
                    if depth == 0:
                        yield name, builder.value.get("arguments"), builder.value.get("response")
                        builder = None
                        bar.update(file.tell() - bar.n)
        except ijson.JSONError as error:
            raise UserError(
                f"{path} is not a released cache, or is cut off ({error}); what was read before "
                "is recorded"
            ) from None


def _steps(path: pathlib.Path, progress: bool) -> Iterator[tuple[str, Json, Json]]:
    with _open(path) as file, _bar(path, progress) as bar:
        for number, line in enumerate(file, 1):
            bar.update(len(line))
            try:
                for step in orjson.loads(line)["steps"]:
                    done = step["execution_result"]
                    yield done["function"], done["arguments"], done["execution_result"]
            except (orjson.JSONDecodeError, KeyError, TypeError) as error:
                raise UserError(f"{path}, line {number} is no released trace ({error})") from None


def _open(path: pathlib.Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror})") from None


def _bar(path: pathlib.Path, progress: bool) -> tqdm.tqdm:
    size = path.stat().st_size
    return tqdm.tqdm(
        desc="import", total=size, unit="B", unit_scale=True, disable=not progress, miniters=1
    )
