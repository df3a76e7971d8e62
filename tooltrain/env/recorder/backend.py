"""The one interface of live tools, whatever they speak: `tools` and `call`."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from tooltrain.env.recorder.secrets import Secrets
from tooltrain.env.schema import Tool
from tooltrain.types import Json


class ToolFailure(Exception):
    """A tool gave no response worth recording: counted, never cached.

    Raised as such it is final: the same request would fail again.
    """


class Unavailable(ToolFailure):
    """A failure that may pass (429, 5xx, time-out, cut connection): worth a retry.

    retry_after_s: how long the server asked to be left alone, if it said so.
    """

    def __init__(self, message: str, retry_after_s: float | None = None):
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Denied(ToolFailure):
    """The credentials are missing, wrong or used up: no retry, and others will fail alike."""


class Backend(abc.ABC):
    """Live tools. `call` may run in several threads at once, up to `max_concurrency`.

    read_only: names of the tools known to change nothing at their end; only those are
    asked when the user gives no plan.
    """

    tools: Mapping[str, Tool]
    secrets: Secrets = Secrets()
    read_only: frozenset[str] = frozenset()
    max_concurrency: int = 64

    @abc.abstractmethod
    def call(self, tool: str, arguments: Mapping[str, Json]) -> Json:
        """The tool's response. Raises ToolFailure, of which Unavailable is worth a retry."""

    def close(self) -> None:  # noqa: B027  most backends hold nothing open
        """Ends connections and processes; `call` fails afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
