"""Locales of CLDR, each with data of its own.

babel keeps what it resolved for one locale in dictionaries that other locales share, so a
name can depend on which locale was asked before (python-babel/babel issue 1234: German
months in Hebrew). A tool must answer the same whatever was asked before it.
"""

from __future__ import annotations

import functools
from typing import Any

from tooltrain.env.recorder.backend import ToolFailure
from tooltrain.env.suites.atlas.data import package


@functools.cache
def known_locales() -> frozenset[str]:
    """Identifiers of the locales that CLDR describes."""
    return frozenset(package("babel.localedata").locale_identifiers())


@functools.cache
def locale(identifier: str) -> Any:
    """The babel Locale. Pass it on where babel takes a name: by name it uses shared data.

    Raises ToolFailure for a locale that CLDR does not describe.
    """
    core, localedata = package("babel.core"), package("babel.localedata")
    try:
        found = core.Locale.parse(identifier, sep="_", resolve_likely_subtags=False)
    except (ValueError, core.UnknownLocaleError):
        raise ToolFailure(f"no CLDR locale {identifier!r}") from None
    own = localedata.LocaleDataDict(_unshared(localedata.load(str(found)), localedata.Alias))
    found._Locale__data = own  # where Locale keeps it once loaded; there is no public way
    return found


def _unshared(data: dict, alias: type) -> dict:
    """A copy down to the dictionaries that babel never writes to: those of plain values."""
    if not any(isinstance(value, dict | tuple | alias) for value in data.values()):
        return data
    return {
        key: _unshared(value, alias) if isinstance(value, dict) else value
        for key, value in data.items()
    }
