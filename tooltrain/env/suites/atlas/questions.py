"""What a whole recording asks each atlas tool: words and dates first, then what was answered.

A person's words enter at a few tools (names, telephone numbers, dates, amounts); every id,
code, coordinate and zone is taken from an earlier response, so that a recorded world is
full of chains, and the plan's Field and Together sources are its tool graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tooltrain.env.recorder.plan import (
    Enumeration,
    Range,
    Source,
    Together,
    ToolPlan,
    Values,
)
from tooltrain.env.suites.atlas.chains import (
    AIRPORT,
    CITY_ID,
    COUNTRY,
    CURRENCY,
    DATE,
    DELIVERY_DATE,
    FIRST_DAY,
    LANGUAGE,
    LAST_DAY,
    LISTED,
    LOCALE,
    ON_THE_WAY,
    PLACES,
    TIMEZONE,
    UTC_TIME,
    WITH_ZONE,
    YEARS,
    ZONED,
    fields,
    points,
)
from tooltrain.env.suites.atlas.data import airports, cities, countries, plain


def _local_times() -> Values:
    """Times of day on days spread over the years."""
    days = Range(FIRST_DAY, LAST_DAY, 9)
    hours = ("06:45", "08:00", "09:30", "12:00", "14:15", "17:00", "20:30", "23:00")
    return Values(tuple(f"{day}T{hours[i % len(hours)]}" for i, day in enumerate(days)))


def _city_names(count: int) -> Values:
    """Names of the largest cities, as a person would type them."""
    largest = sorted(cities().values(), key=lambda c: (-c.population, c.geoname_id))
    names = dict.fromkeys(c.name for c in largest if len(plain(c.name)) > 2)
    return Values(tuple(names)[:count])


def _airport_words(count: int) -> Values:
    """Cities that have an airport with an IATA code, and such codes, in turn."""
    known = [a for a in airports().values() if a.iata]
    words = (w for a in known for w in (a.city, a.iata))
    return Values(tuple(dict.fromkeys(w for w in words if len(plain(w)) > 2))[:count])


def questions() -> Iterator[tuple[int, ToolPlan]]:
    """(requests of a whole recording, plan) of each tool, entries of the graph first."""

    def tool(
        requests: int,
        name: str,
        arguments: Mapping[str, Source | tuple[Source, ...]],
        *together: Together,
        optional: float = 0.3,
    ) -> tuple[int, ToolPlan]:
        return requests, ToolPlan(name, arguments, together, requests, optional)

    several = Values((3, 4, 8))
    radius = Values((25, 50, 200, 400))

    # --- names of places ------------------------------------------------------------
    country_names = Values(tuple(c.name for c in countries().values()))
    yield tool(5_000, "search_cities", {"query": _city_names(5_000), "limit": several})
    yield tool(
        600,
        "search_countries",
        {"query": (country_names, Values(("island", "united", "guinea", "republic", "new")))},
    )
    yield tool(
        500,
        "list_countries",
        {
            "continent_code": Enumeration(),
            "order": Enumeration(),
            "page": Range(1, 6),
            "limit": several,
        },
    )
    yield tool(4_500, "search_airports", {"query": _airport_words(6_000), "limit": several})

    # --- countries --------------------------------------------------------------------
    yield tool(
        300,
        "get_country",
        {
            "country_code": (
                *COUNTRY,
                *fields(
                    ("get_currency", "used_in.[].country_code"),
                    ("get_language", "spoken_in.[].country_code"),
                    ("parse_phone_number", "country_code"),
                ),
            )
        },
    )
    yield tool(300, "list_neighbours", {"country_code": COUNTRY})
    # Every page: whatever of it has holidays of its own is asked for them.
    pages = {"country_code": COUNTRY, "page": Range(2, 12)}
    yield tool(2_750, "list_subdivisions", pages, optional=0.9)
    yield tool(
        1_500,
        "list_currencies",
        {
            "country_code": COUNTRY,
            "since_year": Values((1950, 1970, 1990, 2000)),
        },
    )
    yield tool(1_500, "list_languages", {"country_code": COUNTRY, "limit": Values((2, 3, 4, 8))})
    yield tool(300, "phone_examples", {"country_code": COUNTRY})
    yield tool(
        2_000,
        "list_timezones",
        {
            "country_code": COUNTRY,
            "date": (*DATE, *DELIVERY_DATE),
        },
    )

    # --- cities and airports ------------------------------------------------------------
    yield tool(7_000, "get_city", {"geoname_id": CITY_ID})
    yield tool(
        3_500,
        "list_cities",
        {
            "country_code": COUNTRY,
            "order": Enumeration(),
            "min_population": Enumeration(),
            "limit": several,
        },
    )
    options = {"radius_km": radius, "limit": several}
    yield tool(
        6_000,
        "cities_nearby",
        {**options, "min_population": Values((50_000, 100_000))},
        *points(*PLACES, *LISTED, *ON_THE_WAY),
    )
    yield tool(6_000, "get_airport", {"icao": AIRPORT})
    yield tool(
        3_500,
        "list_airports",
        {
            "country_code": COUNTRY,
            "order": Enumeration(),
            "iata_only": Enumeration(),
            "limit": several,
        },
    )
    yield tool(
        6_000,
        "airports_nearby",
        {**options, "iata_only": Enumeration()},
        *points(*PLACES, *LISTED, *ON_THE_WAY),
    )
    ends = {"origin_icao": AIRPORT, "destination_icao": AIRPORT}
    speeds = Values((700, 800, 900, 950))
    yield tool(7_000, "airport_route", {**ends, "cruise_speed_kmh": speeds})
    yield tool(5_000, "route_waypoints", {**ends, "legs": Values((2, 3, 5, 6))})
    yield tool(
        5_000,
        "geodesic_distance",
        {},
        *points(*PLACES, *LISTED, names=("latitude_1", "longitude_1")),
        *points(*PLACES, *LISTED, names=("latitude_2", "longitude_2")),
    )
    yield tool(
        4_000,
        "project_point",
        {
            "bearing_deg": (
                Values(tuple(range(0, 360, 45))),
                *fields(
                    ("cities_nearby", "cities.[].bearing_deg"),
                    ("airports_nearby", "airports.[].bearing_deg"),
                    ("airport_route", "initial_bearing_deg"),
                ),
            ),
            "distance_km": Values((10, 25, 50, 100, 150, 250, 500, 1000, 2000)),
        },
        *points(*PLACES),
    )

    # --- clocks -------------------------------------------------------------------------
    yield tool(3_000, "timezone_at", {}, *points(*PLACES, *LISTED, *ON_THE_WAY))
    yield tool(5_000, "get_timezone", {"timezone": TIMEZONE, "date": (*DATE, *DELIVERY_DATE)})
    yield tool(4_500, "timezone_changes", {"timezone": TIMEZONE, "year": YEARS})
    yield tool(
        6_000,
        "convert_time",
        {
            "local_time": _local_times(),
            "from_timezone": TIMEZONE,
            "to_timezone": TIMEZONE,
        },
    )
    yield tool(
        6_500,
        "shared_working_hours",
        {
            "date": (*DATE, *DELIVERY_DATE),
            "timezone_1": TIMEZONE,
            "timezone_2": TIMEZONE,
            "start_hour": Values((7, 8)),
            "end_hour": Values((18, 20)),
        },
    )

    # --- sun and moon -------------------------------------------------------------------
    yield tool(
        8_000, "sun_times", {"date": (*DATE, *DELIVERY_DATE)}, *points(*WITH_ZONE, names=ZONED)
    )
    yield tool(
        5_000,
        "sun_calendar",
        {
            "start_date": DATE,
            "step_days": Values((1, 14, 30)),
            "count": Values((3, 5, 8)),
        },
        *points(*WITH_ZONE, names=ZONED),
    )
    yield tool(5_000, "sun_position", {"utc_time": UTC_TIME}, *points(*PLACES, *LISTED))
    yield tool(
        2_500,
        "moon_phases",
        {
            "start_date": (*DATE, *DELIVERY_DATE),
            "count": Values((1, 2, 3)),
        },
    )

    # --- working days -------------------------------------------------------------------
    yield tool(4_000, "list_holidays", {"country_code": COUNTRY, "year": YEARS})
    yield tool(
        5_000,
        "list_regional_holidays",
        {
            "subdivision_code": fields(("list_subdivisions", "subdivisions.[].holidays_code")),
            "year": YEARS,
        },
    )
    yield tool(
        5_000,
        "next_holidays",
        {
            "country_code": COUNTRY,
            "date": DATE,
            "count": Values((1, 2, 5)),
        },
    )
    yield tool(
        6_000,
        "next_working_day",
        {
            "country_code": COUNTRY,
            "date": DATE,
            "direction": Enumeration(),
        },
    )
    yield tool(
        5_000,
        "add_working_days",
        {
            "country_code": COUNTRY,
            "start_date": DATE,
            "working_days": Values((2, 3, 5, 10, 15, 30)),
        },
    )
    yield tool(
        5_000,
        "count_working_days",
        {
            "country_code": COUNTRY,
            "start_date": DATE,
            "days": Values((14, 30, 60, 90, 180, 365)),
        },
    )
    yield tool(
        4_000,
        "shared_holidays",
        {
            "country_code_1": COUNTRY,
            "country_code_2": COUNTRY,
            "year": YEARS,
        },
    )
    yield tool(3_500, "long_breaks", {"country_code": COUNTRY, "year": YEARS})

    # --- money, languages, numbers --------------------------------------------------------
    yield tool(250, "get_currency", {"currency_code": CURRENCY})
    amounts = Values((4.5, 19.99, 75, 149.9, 480, 1250, 3999.5, 12_000, 86_400, 250_000, 1_500_000))
    yield tool(
        4_000,
        "format_amount",
        {
            "amount": amounts,
            "currency_code": CURRENCY,
            "locale": LOCALE,
        },
    )
    yield tool(600, "get_language", {"language_code": LANGUAGE})
    yield tool(700, "get_locale", {"locale": LOCALE})
    yield tool(
        4_000,
        "format_date",
        {
            "date": (*DATE, *DELIVERY_DATE),
            "locale": LOCALE,
            "style": Enumeration(),
        },
    )
    yield tool(3_000, "translate_country", {"country_code": COUNTRY, "locale": LOCALE})
    yield tool(3_000, "translate_language", {"language_code": LANGUAGE, "locale": LOCALE})
    yield tool(3_000, "translate_currency", {"currency_code": CURRENCY, "locale": LOCALE})
    yield tool(
        1_500,
        "parse_phone_number",
        {
            "number": fields(("phone_examples", "examples.[].number")),
        },
    )
