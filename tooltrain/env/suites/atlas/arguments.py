"""What the atlas tools' arguments look like in a schema, and how they are read.

Ranges that JSON schema states here are checked by the functions, whose failure says what
was got: the same words whoever calls.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from tooltrain.env.recorder.backend import ToolFailure
from tooltrain.types import Json

# Beyond them the calendars of some countries are not known.
FIRST_YEAR, LAST_YEAR = 2000, 2040

COUNTRY_CODE = {
    "type": "string",
    "description": "ISO 3166-1 alpha-2 code of a country, such as CH",
}
CURRENCY_CODE = {"type": "string", "description": "ISO 4217 code of a currency, such as CHF"}
LATITUDE = {
    "type": "number",
    "minimum": -90,
    "maximum": 90,
    "description": "Degrees north of the equator (WGS 84)",
}
LONGITUDE = {
    "type": "number",
    "minimum": -180,
    "maximum": 180,
    "description": "Degrees east of Greenwich (WGS 84)",
}
DATE = {"type": "string", "description": f"A day as YYYY-MM-DD, {FIRST_YEAR} to {LAST_YEAR}"}
YEAR = {
    "type": "integer",
    "minimum": FIRST_YEAR,
    "maximum": LAST_YEAR,
    "description": f"A year, {FIRST_YEAR} to {LAST_YEAR}",
}
TIMEZONE = {"type": "string", "description": "Name of an IANA time zone, such as Europe/Zurich"}
LOCALE = {
    "type": "string",
    "description": "CLDR locale: a language and, if wanted, script and territory, such as de_CH",
}
ICAO = {"type": "string", "description": "Four-character ICAO code of an airport, such as LSZH"}


def limit(default: int, most: int, what: str) -> Json:
    """Schema of a count of elements, 1 to `most`."""
    return {
        "type": "integer",
        "minimum": 1,
        "maximum": most,
        "default": default,
        "description": f"How many {what} to give, 1 to {most}",
    }


def choice(values: tuple[str, ...], description: str, default: str | None = None) -> Json:
    """Schema of one word of several."""
    schema = {"type": "string", "enum": list(values), "description": description}
    return schema if default is None else {**schema, "default": default}


def parameters(
    required: Mapping[str, Json], optional: Mapping[str, Json] | None = None
) -> dict[str, Json]:
    """A tool's `parameters`. An optional argument without a default is simply not applied."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
    }


def in_range(name: str, value: float, low: float, high: float) -> float:
    """`value`. Raises ToolFailure when it is not in [low, high]."""
    if not low <= value <= high:
        raise ToolFailure(f"{name} must be in [{low}, {high}], got {value}")
    return value


def coordinates(latitude: float, longitude: float) -> tuple[float, float]:
    """Both, in degrees. Raises ToolFailure when one is out of range."""
    return in_range("latitude", latitude, -90, 90), in_range("longitude", longitude, -180, 180)


def day(name: str, text: str) -> datetime.date:
    """The day that `text` names. Raises ToolFailure unless it is YYYY-MM-DD in range."""
    try:
        date = datetime.datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise ToolFailure(f"{name} must be a day as YYYY-MM-DD, got {text!r}") from None
    in_range(f"the year of {name}", date.year, FIRST_YEAR, LAST_YEAR)
    return date


def moment(name: str, text: str) -> datetime.datetime:
    """The naive moment that `text` names. Raises ToolFailure unless it is YYYY-MM-DDTHH:MM."""
    try:
        time = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M")
    except ValueError:
        raise ToolFailure(f"{name} must be a time as YYYY-MM-DDTHH:MM, got {text!r}") from None
    in_range(f"the year of {name}", time.year, FIRST_YEAR, LAST_YEAR)
    return time


def one_of(name: str, value: str, values: tuple[str, ...]) -> str:
    """`value`. Raises ToolFailure when it is not one of `values`."""
    if value not in values:
        raise ToolFailure(f"{name} must be one of {', '.join(values)}, got {value!r}")
    return value
