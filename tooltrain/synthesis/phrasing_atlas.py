"""Phrasings of the atlas tools."""

from __future__ import annotations

from collections.abc import Mapping

from tooltrain.synthesis.phrasing import Modifier, Phrasing, Suite

_LIMIT: Modifier = ("up to {limit} of them", "at most {limit}", "no more than {limit}")
_PAGE: Modifier = ("on page {page}", "page {page} of the list")
_COUNT: Modifier = ("{count} of them", "{count} in all", "listing {count}")
_POPULATION: Modifier = (
    "of at least {min_population} inhabitants",
    "with {min_population} inhabitants or more",
)
_RADIUS: Modifier = ("within {radius_km} km", "at most {radius_km} kilometres away")
_IN_COUNTRY: tuple[Modifier, ...] = (
    ("in {@country_code}", "of {@country_code}", "for {@country_code}"),
    ("in the country {=country_code}", "for the country code {=country_code}"),
)
_IN_YEAR: Modifier = ("in {year}", "for the year {year}", "of {year}", "during {year}")
_ON_DATE: Modifier = ("on {date}", "for {date}", "as of {date}")
_AT_POINT: tuple[Modifier, ...] = (
    ("at {@latitude}", "for {@latitude}", "in {@latitude}"),
    ("at latitude {=latitude} and longitude {=longitude}", "at {=latitude}, {=longitude}"),
)
_AROUND: tuple[Modifier, ...] = (
    ("around {@latitude}", "near {@latitude}", "close to {@latitude}"),
    ("around latitude {=latitude} and longitude {=longitude}",),
)
_IN_ZONE: tuple[Modifier, ...] = (
    ("in {@timezone}", "by the clocks of {@timezone}", "in the local time of {@timezone}"),
    ("in the time zone {=timezone}", "by the clocks of {=timezone}"),
)
_ROUTE: tuple[Modifier, ...] = (
    (
        "from {@origin_icao} to {@destination_icao}",
        "to {@destination_icao} from {@origin_icao}",
        "between {@origin_icao} and, at the far end, {@destination_icao}",
    ),
    ("from {=origin_icao} to {=destination_icao}",),
    ("from {=origin_icao}",),
    ("to {=destination_icao}",),
    ("from {@origin_icao}",),
    ("to {@destination_icao}",),
)
_CURRENCY: tuple[Modifier, ...] = (
    ("of {@currency_code}", "for {@currency_code}"),
    ("of {=currency_code}", "for the currency {=currency_code}"),
)
_LANGUAGE: tuple[Modifier, ...] = (
    ("of {@language_code}", "for {@language_code}"),
    ("of the language {=language_code}", "for the language code {=language_code}"),
)
_LOCALE: tuple[Modifier, ...] = (
    ("in {@locale}", "as written in {@locale}", "in the manner of {@locale}"),
    ("in the locale {=locale}", "as written in {=locale}"),
)
_AREA: Mapping[str, Mapping[str, Modifier]] = {
    "order": {
        "largest": ("largest first", "beginning with the largest"),
        "smallest": ("smallest first", "beginning with the smallest"),
        "northernmost": ("northernmost first", "beginning with the northernmost"),
        "southernmost": ("southernmost first", "beginning with the southernmost"),
        "most_populous": ("most populous first", "beginning with the most populous"),
        "least_populous": ("least populous first", "beginning with the least populous"),
        "largest_area": ("by area, largest area first", "the largest area first"),
        "smallest_area": ("by area, smallest area first", "the smallest area first"),
        "highest": ("highest first", "beginning with the highest"),
        "lowest": ("lowest first", "beginning with the lowest"),
    },
    "iata_only": {
        "True": ("with an IATA code", "that have an IATA code"),
        "False": ("no IATA code needed", "not just IATA ones"),
    },
}
_CONTINENTS: Mapping[str, Modifier] = {
    code: (f"in {name}", f"of {name}", f"on the map of {name}")
    for code, name in {
        **{"AF": "Africa", "AN": "Antarctica", "AS": "Asia", "EU": "Europe"},
        **{"NA": "North America", "OC": "Oceania", "SA": "South America"},
    }.items()
}


def _search(things: Modifier, element: str) -> Phrasing:
    said = ("called {query}", "named {query}", "matching {query}", "that go by {query}")
    return Phrasing(things, (said, _LIMIT), (element,), place=True)


def _of_country(
    *things: str, elements: Modifier = (), more: tuple[Modifier, ...] = (), **choices
) -> Phrasing:
    return Phrasing(things, (*_IN_COUNTRY, *more), elements, choices=choices)


TOOLS: Mapping[str, Phrasing] = {
    # --- cities and countries ---------------------------------------------------------
    "search_cities": _search(("cities", "towns and cities", "places", "city entries"), "city"),
    "get_city": Phrasing(
        ("facts", "coordinates and population", "particulars", "main figures"),
        (("of {@geoname_id}", "about {@geoname_id}", "for {@geoname_id}"),),
        ("{@geoname_id}",),
        {
            "timezone": ("the time zone of {@geoname_id}",),
            "country_code": ("the country of {@geoname_id}", "the country around {@geoname_id}"),
        },
        countable=False,
    ),
    "list_cities": _of_country(
        *("cities", "towns", "urban centres"),
        elements=("city", "town"),
        more=(_POPULATION, _LIMIT),
        order=_AREA["order"],
    ),
    "cities_nearby": Phrasing(
        ("cities", "towns", "inhabited places"),
        (*_AROUND, _RADIUS, _POPULATION, _LIMIT),
        ("city", "town"),
    ),
    "search_countries": _search(("countries", "states", "country entries"), "country"),
    "list_countries": Phrasing(
        ("countries", "states", "nations"),
        (_PAGE, _LIMIT),
        ("country",),
        choices={"order": _AREA["order"], "continent_code": _CONTINENTS},
    ),
    "get_country": Phrasing(
        ("facts", "key figures", "codes and figures", "particulars"),
        (("of {@country_code}", "about {@country_code}"), ("of the country {=country_code}",)),
        ("{@country_code}",),
        {
            "geoname_id": ("the capital of {@country_code}",),
            "currency_code": ("the currency of {@country_code}", "the money of {@country_code}"),
        },
        countable=False,
    ),
    "list_neighbours": _of_country(
        "neighbours", "neighbouring countries", "bordering states", elements=("neighbour",)
    ),
    "list_subdivisions": _of_country(
        *("subdivisions", "provinces or states", "administrative parts"),
        elements=("subdivision", "administrative part"),
        more=(_PAGE,),
    ),
    # --- airports ---------------------------------------------------------------------
    "search_airports": _search(("airports", "airfields", "airport entries"), "airport"),
    "get_airport": Phrasing(
        ("facts", "particulars", "place and elevation", "airport facts"),
        (("of {@icao}", "about {@icao}", "for {@icao}"), ("of the airport {=icao}",)),
        ("{@icao}",),
        {
            "timezone": ("the time zone of {@icao}", "the zone around {@icao}"),
            "country_code": ("the country of {@icao}",),
        },
        countable=False,
    ),
    "airports_nearby": Phrasing(
        ("airports", "airfields", "places to land"),
        (*_AROUND, _RADIUS, _LIMIT),
        ("airport", "airfield"),
        choices={"iata_only": _AREA["iata_only"]},
    ),
    "list_airports": _of_country(
        *("airports", "airfields"), elements=("airport", "airfield"), more=(_LIMIT,), **_AREA
    ),
    "airport_route": Phrasing(
        ("flight distances", "great-circle routes", "lengths and bearings of the route"),
        (*_ROUTE, ("at {cruise_speed_kmh} km/h", "cruising at {cruise_speed_kmh} km/h")),
        ("route",),
    ),
    "route_waypoints": Phrasing(
        ("waypoints", "points on the way", "legs of the great circle"),
        (*_ROUTE, ("cut into {legs} legs", "in {legs} equal legs", "over {legs} legs")),
        ("waypoint", "point on the way"),
    ),
    # --- points on the earth ----------------------------------------------------------
    "geodesic_distance": Phrasing(
        ("shortest distances", "distances over the ground", "lengths of the straight way"),
        (
            ("from {@latitude_1} to {@latitude_2}", "to {@latitude_2} from {@latitude_1}"),
            ("from latitude {=latitude_1} and longitude {=longitude_1}",),
            ("to latitude {=latitude_2} and longitude {=longitude_2}",),
            ("from {@latitude_1}",),
            ("to {@latitude_2}",),
        ),
        ("point half-way",),
    ),
    "project_point": Phrasing(
        ("coordinates reached", "end points", "coordinates of the place reached"),
        (
            ("starting at {@latitude}", "going from {@latitude}"),
            ("starting at latitude {=latitude} and longitude {=longitude}",),
            ("on a bearing of {bearing_deg} degrees", "heading {bearing_deg} degrees"),
            ("after {distance_km} km", "going {distance_km} kilometres"),
        ),
        ("point reached",),
    ),
    "timezone_at": Phrasing(
        ("time zones", "names of the time zone", "zones that hold"),
        _AT_POINT,
        ("time zone",),
    ),
    # --- clocks -----------------------------------------------------------------------
    "get_timezone": Phrasing(
        ("offsets from UTC", "clock offsets", "zone facts"),
        (*_IN_ZONE, _ON_DATE),
        countable=False,
    ),
    "timezone_changes": Phrasing(
        ("clock changes", "changes of the clocks", "daylight saving switches"),
        (*_IN_ZONE, _IN_YEAR),
        ("clock change", "change of the clocks"),
    ),
    "list_timezones": _of_country(
        "time zones", "zones of time", elements=("time zone",), more=(_ON_DATE,)
    ),
    "convert_time": Phrasing(
        ("clock times", "local times", "times on the clock"),
        (
            ("in {@to_timezone}", "over in {@to_timezone}"),
            ("in the time zone {=to_timezone}", "converted to {=to_timezone}"),
            (
                "when it is {local_time} in {@from_timezone}",
                "for {local_time} by the clocks of {@from_timezone}",
            ),
            ("when it is {local_time} in the time zone {=from_timezone}",),
        ),
        ("moment",),
    ),
    "shared_working_hours": Phrasing(
        ("shared working hours", "overlaps of the working day", "common office hours"),
        (
            ("of {@timezone_1} and {@timezone_2}", "between {@timezone_1} and {@timezone_2}"),
            ("of the zone {=timezone_1}", "for {=timezone_1}"),
            ("with the zone {=timezone_2}", "with {=timezone_2}"),
            ("of {@timezone_1}",),
            ("with {@timezone_2}",),
            ("on {date}", "for {date}"),
            ("working from {start_hour} to {end_hour} hours",),
            ("starting work at {start_hour} hours",),
            ("ending work at {end_hour} hours",),
        ),
        ("start of the overlap",),
    ),
    # --- sun and moon -----------------------------------------------------------------
    "sun_times": Phrasing(
        ("sunrise and sunset times", "sun times", "times of dawn and dusk"),
        (*_AT_POINT, _ON_DATE, *_IN_ZONE),
    ),
    "sun_calendar": Phrasing(
        ("sunrises and sunsets", "minutes of daylight", "lengths of the day"),
        (
            *_AT_POINT,
            ("from {start_date} on", "beginning {start_date}", "starting {start_date}"),
            *_IN_ZONE,
            ("every {step_days} day[s]", "in steps of {step_days} day[s]"),
            _COUNT,
        ),
    ),
    "sun_position": Phrasing(
        ("heights of the sun", "sun positions", "directions of the sun"),
        (*_AT_POINT, ("at {utc_time}", "at the moment of {utc_time}")),
    ),
    "moon_phases": Phrasing(
        ("moon phases", "phases of the moon", "moon dates"),
        (("from {start_date} on", "beginning {start_date}", "after {start_date}"), _COUNT),
        ("moon phase",),
    ),
    # --- days off ---------------------------------------------------------------------
    "list_holidays": _of_country(
        *("public holidays", "holidays", "bank holidays"),
        elements=("holiday", "public holiday"),
        more=(_IN_YEAR,),
    ),
    "list_regional_holidays": Phrasing(
        ("regional holidays", "public holidays", "days off"),
        (
            ("in {@subdivision_code}", "of {@subdivision_code}"),
            ("in the subdivision {=subdivision_code}",),
            _IN_YEAR,
        ),
        ("regional holiday", "holiday"),
    ),
    "next_holidays": _of_country(
        *("coming holidays", "upcoming public holidays", "following holidays"),
        elements=("coming holiday",),
        more=(("from {date} on", "on or after {date}", "counting from {date}"), _COUNT),
    ),
    "next_working_day": _of_country(
        *("nearest working days", "adjacent working days", "working days right beside"),
        elements=("working day",),
        more=(("to {date}", "as seen from {date}"),),
        direction={
            "after": ("after that day", "on the side after it"),
            "before": ("before that day", "on the side before it"),
        },
    ),
    "add_working_days": _of_country(
        *("delivery days", "due days", "resulting days"),
        elements=("due day", "resulting day"),
        more=(
            (
                "that is {working_days} working days after {start_date}",
                "lying {working_days} working days on from {start_date}",
            ),
        ),
    ),
    "count_working_days": _of_country(
        *("working day counts", "numbers of working days", "counts of working days"),
        more=(
            (
                "in the {days} days from {start_date}",
                "over {days} days beginning {start_date}",
                "within {days} days of {start_date}",
            ),
        ),
    ),
    "shared_holidays": Phrasing(
        ("shared holidays", "common days off", "holidays kept by both"),
        (
            (
                "of {@country_code_1} and {@country_code_2}",
                "in {@country_code_1} and {@country_code_2}",
            ),
            ("of the country {=country_code_1}",),
            ("and the country {=country_code_2}",),
            ("of {@country_code_1}",),
            ("with {@country_code_2}",),
            _IN_YEAR,
        ),
        ("shared holiday",),
    ),
    "long_breaks": _of_country(
        *("long weekends", "long breaks", "stretches of days off"),
        elements=("long break", "long weekend"),
        more=(_IN_YEAR,),
    ),
    # --- money ------------------------------------------------------------------------
    "get_currency": Phrasing(
        ("currency facts", "names and symbols", "particulars"),
        _CURRENCY,
        ("country of the users",),
        countable=False,
    ),
    "list_currencies": _of_country(
        *("currencies", "kinds of money", "currencies in use"),
        elements=("currency",),
        more=(("since {since_year}", "from {since_year} on", "used since {since_year}"),),
    ),
    "format_amount": Phrasing(
        ("written amounts", "amounts in local spelling", "spellings of the sum"),
        (
            ("of {amount} in {@currency_code}", "for {amount} in {@currency_code}"),
            ("of {amount} {=currency_code}", "for {amount} {=currency_code}"),
            *_LOCALE,
        ),
    ),
    # --- languages --------------------------------------------------------------------
    "list_languages": _of_country(
        *("languages", "spoken languages", "tongues"),
        elements=("language", "spoken language"),
        more=(_LIMIT,),
    ),
    "get_language": Phrasing(
        ("language facts", "names of the language", "particulars"),
        _LANGUAGE,
        ("country of the speakers",),
        countable=False,
    ),
    "translate_country": Phrasing(
        ("translated names", "names in translation", "local names"),
        (
            ("of {@country_code}", "for {@country_code}"),
            ("of the country {=country_code}",),
            *_LOCALE,
        ),
    ),
    "translate_language": Phrasing(
        ("translated names", "names in translation", "local names"), (*_LANGUAGE, *_LOCALE)
    ),
    "translate_currency": Phrasing(
        ("translated names", "names in translation", "local names"), (*_CURRENCY, *_LOCALE)
    ),
    "get_locale": Phrasing(
        ("writing habits", "number and date patterns", "conventions of writing"),
        (("of {@locale}", "for {@locale}"), ("of the locale {=locale}", "for {=locale}")),
        ("{@locale}",),
        countable=False,
    ),
    "format_date": Phrasing(
        ("written dates", "spellings of the day", "dates in local spelling"),
        (("of {date}", "for {date}"), *_LOCALE),
        choices={
            "style": {
                "short": ("in the short style", "in short form"),
                "medium": ("in the medium style", "in medium length"),
                "long": ("in the long style", "in long form"),
                "full": ("in the full style", "in full"),
            }
        },
    ),
    # --- telephones -------------------------------------------------------------------
    "phone_examples": _of_country(
        "telephone number examples", "sample phone numbers", elements=("sample number",)
    ),
    "parse_phone_number": Phrasing(
        ("owners' countries and kinds", "facts", "origin and kind"),
        (
            ("of the number {=number}", "behind {=number}", "for the phone number {=number}"),
            ("of {@number}", "behind {@number}"),
        ),
        ("phone number",),
        {"timezones": ("the time zone of the number {=number}",)},
        countable=False,
    ),
}

_CONTEXTS = (
    (
        *("I'm preparing", "I am working on", "We are writing", "I'm putting together"),
        *("I've started on", "We're finishing", "I have to deliver", "Our class is preparing"),
        *("My team is preparing", "I'm checking", "I'm revising", "We were asked for"),
    ),
    (
        *(" a report", " a spreadsheet", " a quiz", " a schedule", " a talk", " an article"),
        *(" a map", " a handbook", " a lesson", " a newsletter", " a puzzle", " a guide"),
        *(" a poster", " an almanac"),
    ),
    (
        *("", " with a colleague", " for school", " for work", " for a client", " on my own"),
        *(" for our magazine", " with my students", " for the board", " for a workshop"),
        *(" out of curiosity", " for an exhibition", " for the office abroad"),
    ),
    (
        *(".", " and need some help.", ", so I have a request.", " and want to get it right."),
        *(", and I could use a hand.", " and some facts are still missing.", ", roughly."),
        *(" and would rather not guess.", ", as usual in a hurry."),
    ),
)

ATLAS = Suite(TOOLS, _CONTEXTS)
