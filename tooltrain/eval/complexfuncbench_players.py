"""Who plays ComplexFuncBench: scripted baselines, and transcripts made elsewhere.

A player has an identity, which says all that its episodes depend on, and plays samples in
any order, handing out each as it is finished.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import orjson

from tooltrain.calls.transcript import records_of_messages
from tooltrain.errors import UserError
from tooltrain.eval import baselines
from tooltrain.eval.complexfuncbench_samples import BenchmarkEnvironment, BenchmarkSample
from tooltrain.types import CallRecord, EndReason, Json


class Played(NamedTuple):
    """A finished sample: every call in order, and why the episode ended."""

    sample: BenchmarkSample
    records: tuple[CallRecord, ...]
    end: EndReason


class Player(Protocol):
    """identity: JSON; episodes of equal identity may stand in one journal."""

    identity: dict[str, Json]

    def play(
        self, samples: Sequence[BenchmarkSample], environment: BenchmarkEnvironment
    ) -> Iterator[Played]: ...


class Script:
    """A player of `eval.baselines`, which sees the trace and stops when it has said its part."""

    def __init__(self, name: str):
        self.identity = {"player": name}
        self._player = baselines.PLAYERS[name]

    def play(
        self, samples: Sequence[BenchmarkSample], environment: BenchmarkEnvironment
    ) -> Iterator[Played]:
        for sample in samples:
            played = self._player(sample.trace, environment)
            records = tuple(
                CallRecord(call, turn, environment.execute(call, sample.offered).kind)
                for turn, calls in enumerate(played)
                for call in calls
            )
            yield Played(sample, records, EndReason.FINISHED)


class Transcripts:
    """Episodes as chat messages, one sample a line: {"id": ..., "messages": [...]}.

    Messages are OpenAI's; calls are read from `tool_calls`, or from <tool_call> tags in the
    text. Each call is executed anew: what a transcript says that a tool answered is not
    believed. An episode is finished if its last message is the assistant's, without a call.
    """

    def __init__(self, path: str | os.PathLike[str]):
        """Reads the file. Raises UserError for a file that is missing or not such lines."""
        path = pathlib.Path(path)
        if not path.is_file():
            raise UserError(f"no transcripts at {path}; it holds one sample a line as JSON")
        data = path.read_bytes()
        self.messages: dict[str, list[dict[str, Any]]] = {}
        for number, line in enumerate(data.splitlines(), start=1):
            try:
                row = orjson.loads(line)
                id_, messages = row["id"], row["messages"]
                records_of_messages(messages)
            except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
                raise UserError(
                    f'{path}, line {number} is not {{"id": ..., "messages": [...]}} with chat '
                    f"messages: {type(error).__name__}: {error}"
                ) from None
            if id_ in self.messages:
                raise UserError(f"{path}, line {number}: sample {id_!r} was there before")
            self.messages[id_] = messages
        self._path = path
        self.identity = {"player": "transcript", "sha256": hashlib.sha256(data).hexdigest()}

    def play(
        self, samples: Sequence[BenchmarkSample], environment: BenchmarkEnvironment
    ) -> Iterator[Played]:
        """Raises UserError, before anything is played, for samples that are not in the file."""
        missing = [sample.id for sample in samples if sample.id not in self.messages]
        if missing:
            raise UserError(
                f"{self._path} lacks {len(missing)} of {len(samples)} samples "
                f"({', '.join(missing[:5])} ...); add them, or choose fewer"
            )
        for sample in samples:
            messages = self.messages[sample.id]
            records = tuple(
                dataclasses.replace(
                    record, kind=environment.execute(record.call, sample.offered).kind
                )
                for record in records_of_messages(messages)
            )
            yield Played(sample, records, _end(messages))


def _end(messages: Sequence[dict[str, Any]]) -> EndReason:
    last = messages[-1] if messages else {}
    answered = last.get("role") == "assistant" and not records_of_messages([last])
    return EndReason.FINISHED if answered else EndReason.MAX_TURNS
