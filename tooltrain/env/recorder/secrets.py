"""Credentials: read from environment variables, and kept out of everything that is written."""

from __future__ import annotations

import base64
import json
import os
import urllib.parse
from collections.abc import Iterable

from tooltrain.errors import UserError

REMOVED = "[credential removed]"
_MIN_CHARS = 4  # shorter ones occur in ordinary text by chance


def from_environment(variable: str) -> str:
    """The credential in an environment variable. Raises UserError when it is not set."""
    value = os.environ.get(variable, "").strip()
    if not value:
        raise UserError(f"the environment variable {variable} is not set; export {variable}=…")
    if len(value) < _MIN_CHARS or not value.isprintable():
        raise UserError(
            f"the environment variable {variable} holds no usable credential: at least "
            f"{_MIN_CHARS} printable characters are needed"
        )
    return value


class Secrets:
    """Texts that must reach no cache, log or error, in each spelling a server may echo:
    plain, percent-encoded, base64, escaped as JSON."""

    def __init__(self, values: Iterable[str] = ()):
        spellings: set[str] = set()
        for value in values:
            spellings |= {value, urllib.parse.quote(value, safe=""), urllib.parse.quote(value)}
            spellings.add(urllib.parse.quote_plus(value))
            spellings.add(base64.b64encode(value.encode()).decode().rstrip("="))
            spellings |= {json.dumps(s)[1:-1] for s in tuple(spellings)}
        # Longest first: a spelling may contain a shorter one.
        self._spellings = sorted(spellings, key=lambda s: (-len(s), s))

    def __repr__(self) -> str:
        return "Secrets(…)"  # a traceback or a debugger's line must not show them

    def __bool__(self) -> bool:
        return bool(self._spellings)

    def found_in(self, text: str) -> bool:
        return any(spelling in text for spelling in self._spellings)

    def redact(self, text: str) -> str:
        for spelling in self._spellings:
            text = text.replace(spelling, REMOVED)
        return text
