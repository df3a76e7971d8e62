"""Where the plan's values come from: which fields of which answers are the same kind of thing.

search_cities ──cities.[].geoname_id──▶ get_city ──latitude, longitude──▶ airports_nearby
get_city ──timezone──▶ convert_time ──utc_time──▶ sun_position
"""

from __future__ import annotations

from collections.abc import Sequence

from tooltrain.env.recorder.plan import Field, Range, Together

FIRST_DAY, LAST_DAY = "2024-01-01", "2031-12-31"
YEARS = Range(2018, 2034)


def fields(*sources: tuple[str, str]) -> tuple[Field, ...]:
    """Sources from (tool, path with dots)."""
    return tuple(Field(tool, tuple(path.split("."))) for tool, path in sources)


COUNTRY = fields(
    ("search_countries", "countries.[].country_code"),
    ("list_countries", "countries.[].country_code"),
    ("list_neighbours", "neighbours.[].country_code"),
    ("get_city", "country_code"),
    ("get_airport", "country_code"),
)
CITY_ID = fields(
    ("search_cities", "cities.[].geoname_id"),
    ("list_cities", "cities.[].geoname_id"),
    ("cities_nearby", "cities.[].geoname_id"),
    ("get_country", "capital.geoname_id"),
)
AIRPORT = fields(
    ("search_airports", "airports.[].icao"),
    ("airports_nearby", "airports.[].icao"),
    ("list_airports", "airports.[].icao"),
)
TIMEZONE = fields(
    ("get_city", "timezone"),
    ("get_airport", "timezone"),
    ("timezone_at", "timezone"),
    ("list_timezones", "timezones.[].timezone"),
    ("parse_phone_number", "timezones.[]"),
)
DATE = (
    Range(FIRST_DAY, LAST_DAY),
    *fields(
        ("list_holidays", "holidays.[].date"),
        ("list_regional_holidays", "holidays.[].date"),
        ("next_holidays", "holidays.[].date"),
        ("long_breaks", "breaks.[].start_date"),
        ("timezone_changes", "changes.[].date"),
        ("moon_phases", "phases.[].date"),
    ),
)
DELIVERY_DATE = fields(("next_working_day", "date"), ("add_working_days", "date"))
CURRENCY = fields(
    ("get_country", "currency_code"),
    ("list_neighbours", "neighbours.[].currency_code"),
    ("list_currencies", "currencies.[].currency_code"),
)
LOCALE = fields(("list_languages", "languages.[].locale"))
LANGUAGE = fields(
    ("list_languages", "languages.[].language_code"),
    ("get_locale", "language_code"),
)
UTC_TIME = fields(
    ("convert_time", "utc_time"),
    ("timezone_changes", "changes.[].utc_time"),
    ("shared_working_hours", "start_utc_time"),
)


def points(
    *elements: tuple[str, str], names: Sequence[str] = ("latitude", "longitude")
) -> tuple[Together, ...]:
    """Coordinates (and what else `names` begins with) of one element, as these arguments."""
    paths = tuple((name.rstrip("_12"),) for name in names)
    return tuple(
        Together(tuple(names), tool, tuple(path.split(".")) if path else (), paths)
        for tool, path in elements
    )


PLACES = (("get_city", ""), ("get_airport", ""))
LISTED = (("list_cities", "cities.[]"), ("list_airports", "airports.[]"))
ON_THE_WAY = (
    ("airport_route", "midpoint"),
    ("route_waypoints", "waypoints.[]"),
    ("geodesic_distance", "midpoint"),
    ("project_point", ""),
)
WITH_ZONE = (
    *PLACES,
    ("route_waypoints", "waypoints.[]"),
    ("list_timezones", "timezones.[]"),
)
ZONED = ("latitude", "longitude", "timezone")
