"""What the atlas tools answer, against facts that can be looked up elsewhere."""

from __future__ import annotations

import datetime
import itertools
import math

import pytest

from tooltrain.env.recorder.backend import ToolFailure
from tooltrain.env.suites.atlas.data import cities
from tooltrain.env.suites.atlas.suite import pairs

TOOLS = {tool.name: function for tool, function in pairs()}


def ask(name, **arguments):
    return TOOLS[name](**arguments)


def of(elements, field):
    return [element[field] for element in elements]


# --- cities ---------------------------------------------------------------------------


def test_a_name_shared_by_cities_gives_the_largest_first():
    found = ask("search_cities", query="Springfield")["cities"]
    assert of(found, "admin1_code")[:3] == ["MO", "MA", "IL"]  # by the 2020 census
    assert found[2]["geoname_id"] == 4250542  # geonames.org/4250542: Springfield, Illinois
    assert of(found, "population") == sorted(of(found, "population"), reverse=True)


@pytest.mark.parametrize("query", ["Zürich", "zurich", "ZURICH", "Zurigo"])
def test_a_city_is_found_whatever_its_accents_case_and_language(query):
    assert ask("search_cities", query=query)["cities"][0]["geoname_id"] == 2657896


def test_a_city_has_its_coordinates_and_zone():
    berlin = ask("get_city", geoname_id=2950159)
    assert (berlin["name"], berlin["country_code"]) == ("Berlin", "DE")
    assert berlin["latitude"] == pytest.approx(52.52, abs=0.01)
    assert berlin["longitude"] == pytest.approx(13.41, abs=0.01)
    assert berlin["timezone"] == "Europe/Berlin"


def test_the_largest_swiss_cities():
    found = ask("list_cities", country_code="CH")["cities"]
    assert of(found, "name") == ["Zürich", "Geneva", "Basel", "Lausanne", "Bern"]


def test_the_southernmost_argentine_city_is_ushuaia():
    found = ask("list_cities", country_code="AR", order="southernmost", limit=1)["cities"]
    assert found[0]["name"] == "Ushuaia"


def test_cities_nearby_are_those_of_a_search_over_all():
    def km(city, latitude, longitude):  # haversine, on a sphere
        a, b, c, d = map(math.radians, (city.latitude, city.longitude, latitude, longitude))
        h = math.sin((c - a) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((d - b) / 2) ** 2
        return 2 * 6371.0088 * math.asin(math.sqrt(h))

    for latitude, longitude in [(48.2, 16.37), (-33.9, 151.2), (64.1, -21.9), (-17.7, 179.9)]:
        found = ask("cities_nearby", latitude=latitude, longitude=longitude, radius_km=300)
        nearest = sorted(cities().values(), key=lambda c: km(c, latitude, longitude))
        expected = [c for c in nearest[:5] if km(c, latitude, longitude) < 300]
        assert of(found["cities"], "geoname_id") == [c.geoname_id for c in expected]
        for element, city in zip(found["cities"], expected, strict=True):
            assert element["distance_km"] == pytest.approx(
                km(city, latitude, longitude), rel=0.006, abs=0.1
            )


# --- countries ------------------------------------------------------------------------


def test_four_countries_are_called_guinea():
    found = ask("search_countries", query="guinea")["countries"]
    assert set(of(found, "country_code")) == {"GN", "GQ", "GW", "PG"}
    assert found[0]["country_code"] == "GN"  # the name itself comes first


def test_countries_of_a_continent_by_population_and_area():
    assert ask("list_countries", continent_code="SA")["countries"][0]["country_code"] == "BR"
    small = ask("list_countries", continent_code="EU", order="smallest_area", limit=3)
    assert of(small["countries"], "country_code")[:2] == ["VA", "MC"]
    first = ask("list_countries", continent_code="EU", limit=10)["countries"]
    second = ask("list_countries", continent_code="EU", limit=5, page=2)["countries"]
    assert second == first[5:]


def test_japan_and_its_codes():
    japan = ask("get_country", country_code="JP")
    assert japan["iso3"] == "JPN"
    assert japan["iso_numeric"] == "392"
    assert japan["capital"] == {"name": "Tokyo", "geoname_id": 1850147}
    assert japan["currency_code"] == "JPY"
    assert japan["calling_code"] == "81"


def test_portugal_borders_spain_alone_and_iceland_nothing():
    found = ask("list_neighbours", country_code="PT")["neighbours"]
    assert of(found, "country_code") == ["ES"]
    with pytest.raises(ToolFailure, match="no land border"):
        ask("list_neighbours", country_code="IS")


def test_switzerland_has_26_cantons_on_six_pages():
    pages = [ask("list_subdivisions", country_code="CH", page=page) for page in range(1, 7)]
    codes = [c for page in pages for c in of(page["subdivisions"], "subdivision_code")]
    assert len(codes) == len(set(codes)) == pages[0]["total"] == 26
    assert "CH-ZH" in codes
    with pytest.raises(ToolFailure, match="no page 7"):
        ask("list_subdivisions", country_code="CH", page=7)


# --- airports -------------------------------------------------------------------------


def test_an_iata_code_comes_before_a_part_of_a_name():
    assert ask("search_airports", query="JFK")["airports"][0]["icao"] == "KJFK"
    london = ask("search_airports", query="London", limit=10)["airports"]
    assert {"EGLL", "EGKK", "EGLC"} <= set(of(london, "icao"))
    heathrow = ask("search_airports", query="heathrow")["airports"]
    assert heathrow[0]["icao"] == "EGLL"  # a heliport of the name has no IATA code


def test_zurich_airport_as_published():
    zurich = ask("get_airport", icao="LSZH")
    assert (zurich["iata"], zurich["elevation_ft"]) == ("ZRH", 1416)
    assert zurich["latitude"] == pytest.approx(47.46, abs=0.01)
    assert zurich["timezone"] == "Europe/Zurich"


def test_heathrow_is_the_airport_nearest_to_heathrow():
    at = ask("get_airport", icao="EGLL")
    found = ask("airports_nearby", latitude=at["latitude"], longitude=at["longitude"])["airports"]
    assert (found[0]["icao"], found[0]["distance_km"]) == ("EGLL", 0)
    assert of(found, "distance_km") == sorted(of(found, "distance_km"))


def test_el_alto_is_the_highest_airport_of_bolivia():
    found = ask("list_airports", country_code="BO")["airports"]
    assert found[0]["icao"] == "SLLP"
    assert found[0]["elevation_ft"] == pytest.approx(13_325, abs=50)


@pytest.mark.parametrize(
    ("origin", "destination", "miles"),
    # Great Circle Mapper (gcmap.com), WGS 84.
    [("KJFK", "EGLL", 3451), ("EGLL", "YSSY", 10573)],
)
def test_routes_are_as_long_as_published(origin, destination, miles):
    route = ask("airport_route", origin_icao=origin, destination_icao=destination)
    assert route["distance_km"] / 1.609344 == pytest.approx(miles, abs=1)
    assert route["cruise_minutes"] == round(route["distance_km"] / 850 * 60)
    slow = ask(
        "airport_route", origin_icao=origin, destination_icao=destination, cruise_speed_kmh=425
    )
    assert slow["cruise_minutes"] == pytest.approx(2 * route["cruise_minutes"], abs=1)


def test_waypoints_cut_a_route_into_equal_legs():
    found = ask("route_waypoints", origin_icao="LSZH", destination_icao="KJFK", legs=5)
    ends = [ask("get_airport", icao=icao) for icao in ("LSZH", "KJFK")]
    points = [ends[0], *found["waypoints"], ends[1]]
    assert len(points) == 6
    for a, b in itertools.pairwise(points):
        leg = ask(
            "geodesic_distance",
            latitude_1=a["latitude"],
            longitude_1=a["longitude"],
            latitude_2=b["latitude"],
            longitude_2=b["longitude"],
        )
        assert leg["distance_km"] == pytest.approx(found["leg_km"], abs=0.2)


# --- geodesy --------------------------------------------------------------------------


def test_wellington_to_salamanca_as_karney_works_it_out():
    """Karney (2013), the paper's example: 19959.679 km, 161.0677 and 18.8252 degrees."""
    found = ask(
        "geodesic_distance", latitude_1=-41.32, longitude_1=174.81, latitude_2=40.96,
        longitude_2=-5.50,
    )  # fmt: skip
    assert found["distance_km"] == 19959.7
    assert (found["initial_bearing_deg"], found["final_bearing_deg"]) == (161.1, 18.8)


def test_the_pole_is_a_quarter_meridian_from_the_equator():
    """10,001.966 km on WGS 84."""
    pole = ask("project_point", latitude=0, longitude=30, bearing_deg=0, distance_km=10001.966)
    assert pole["latitude"] == pytest.approx(90, abs=1e-4)


# --- clocks ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("latitude", "longitude", "timezone", "at_sea"),
    [
        (40.4168, -3.7038, "Europe/Madrid", False),
        (-31.68, 128.88, "Australia/Eucla", False),
        (27.7, 85.3, "Asia/Kathmandu", False),
        (0, -30, "Etc/GMT+2", True),
    ],
)
def test_zones_of_places(latitude, longitude, timezone, at_sea):
    found = ask("timezone_at", latitude=latitude, longitude=longitude)
    assert (found["timezone"], found["at_sea"]) == (timezone, at_sea)


@pytest.mark.parametrize(
    ("timezone", "date", "offset", "saving"),
    [
        ("Asia/Kathmandu", "2026-05-01", "+05:45", False),
        ("Europe/Zurich", "2026-07-01", "+02:00", True),
        ("America/New_York", "2026-01-01", "-05:00", False),
        ("America/St_Johns", "2026-01-01", "-03:30", False),
    ],
)
def test_offsets_of_zones(timezone, date, offset, saving):
    found = ask("get_timezone", timezone=timezone, date=date)
    assert (found["utc_offset"], found["daylight_saving"]) == (offset, saving)


@pytest.mark.parametrize("name", ["Europe", "zone.tab", "../Europe/Berlin", "Mars/Base", "", "/"])
def test_what_is_no_zone_is_said_to_be_none(name):
    with pytest.raises(ToolFailure, match="no IANA time zone"):
        ask("get_timezone", timezone=name, date="2026-05-01")


def test_clocks_change_when_the_law_says():
    """US: second Sunday of March, first of November, at 2:00. Lord Howe: by half an hour."""
    changes = ask("timezone_changes", timezone="America/New_York", year=2025)["changes"]
    assert of(changes, "date") == ["2025-03-09", "2025-11-02"]
    assert of(changes, "utc_time") == ["2025-03-09T07:00", "2025-11-02T06:00"]
    lord_howe = ask("timezone_changes", timezone="Australia/Lord_Howe", year=2026)["changes"]
    assert of(lord_howe, "shift_minutes") == [-30, 30]
    with pytest.raises(ToolFailure, match="do not change"):
        ask("timezone_changes", timezone="Asia/Tokyo", year=2026)


def test_russia_spans_ten_hours():
    zones = ask("list_timezones", country_code="RU", date="2026-01-15")["timezones"]
    offsets = of(zones, "utc_offset_minutes")
    assert (min(offsets), max(offsets)) == (120, 720)  # Kaliningrad, Kamchatka
    moscow = next(z for z in zones if z["timezone"] == "Europe/Moscow")
    assert moscow["latitude"] == pytest.approx(55.7558, abs=0.01)


def test_times_cross_the_date_line():
    found = ask(
        "convert_time",
        local_time="2026-01-01T23:30",
        from_timezone="Pacific/Honolulu",
        to_timezone="Pacific/Kiritimati",
    )
    assert found["local_time"] == "2026-01-02T23:30"
    assert (found["difference_minutes"], found["day_shift"]) == (24 * 60, 1)
    assert found["utc_time"] == "2026-01-02T09:30"


def test_a_time_that_clocks_skip_has_no_answer():
    with pytest.raises(ToolFailure, match="skip"):
        ask(
            "convert_time",
            local_time="2025-03-30T02:30",
            from_timezone="Europe/Berlin",
            to_timezone="UTC",
        )


def test_zurich_and_new_york_share_two_hours():
    found = ask(
        "shared_working_hours",
        date="2026-07-01",
        timezone_1="Europe/Zurich",
        timezone_2="America/New_York",
    )
    assert found["shared_minutes"] == 120
    assert found["start_local_time_1"] == "2026-07-01T15:00"
    assert found["start_local_time_2"] == "2026-07-01T09:00"


# --- sun and moon ---------------------------------------------------------------------


def minutes(text):
    return int(text[:2]) * 60 + int(text[3:])


@pytest.mark.parametrize(
    ("latitude", "longitude", "date", "timezone", "sunrise", "sunset"),
    # timeanddate.com; they may differ by a minute.
    [
        (47.37, 8.55, "2027-06-21", "Europe/Zurich", "05:29", "21:26"),
        (40.7128, -74.006, "2025-06-21", "America/New_York", "05:25", "20:31"),
        (-33.8688, 151.2093, "2025-12-22", "Australia/Sydney", "05:41", "20:06"),
    ],
)
def test_the_sun_rises_and_sets_as_published(latitude, longitude, date, timezone, sunrise, sunset):
    found = ask("sun_times", latitude=latitude, longitude=longitude, date=date, timezone=timezone)
    assert abs(minutes(found["sunrise"]) - minutes(sunrise)) <= 1
    assert abs(minutes(found["sunset"]) - minutes(sunset)) <= 1
    assert found["dawn"] < found["sunrise"] < found["noon"] < found["sunset"] < found["dusk"]


def test_tromso_has_polar_day_and_polar_night():
    at = {"latitude": 69.6492, "longitude": 18.9553, "timezone": "Europe/Oslo"}
    summer, winter = (
        ask("sun_times", date="2026-06-21", **at),
        ask("sun_times", date="2026-12-21", **at),
    )
    assert (summer["sunrise"], summer["daylight_minutes"]) == (None, 1440)
    assert (winter["sunrise"], winter["daylight_minutes"]) == (None, 0)
    assert winter["dawn"] is not None  # it is not dark at noon


def test_a_calendar_has_the_rows_of_single_days():
    at = {"latitude": 47.37, "longitude": 8.55, "timezone": "Europe/Zurich"}
    days = ask("sun_calendar", start_date="2026-03-01", step_days=30, count=3, **at)["days"]
    assert of(days, "date") == ["2026-03-01", "2026-03-31", "2026-04-30"]
    for row in days:
        single = ask("sun_times", date=row["date"], **at)
        assert row == {name: single[name] for name in row}


def test_the_sun_stands_over_the_equator_at_the_equinox():
    noon = ask("sun_position", latitude=0, longitude=0, utc_time="2025-03-20T12:07")
    assert noon["elevation_deg"] == pytest.approx(90, abs=0.3)
    midnight = ask("sun_position", latitude=0, longitude=0, utc_time="2025-03-20T00:07")
    assert midnight["above_horizon"] is False
    # At the pole the sun's height is its declination: 23.44 degrees at the solstice.
    pole = ask("sun_position", latitude=90, longitude=0, utc_time="2025-06-21T02:42")
    assert pole["elevation_deg"] == pytest.approx(23.4, abs=0.2)


@pytest.mark.parametrize(
    ("date", "phase"),
    # Days of eclipses (eclipse.gsfc.nasa.gov): of the moon at full moon, of the sun at new.
    [
        ("2025-03-14", "full moon"),
        ("2025-09-07", "full moon"),
        ("2026-03-03", "full moon"),
        ("2024-04-08", "new moon"),
        ("2026-08-12", "new moon"),
        ("2027-08-02", "new moon"),
    ],
)
def test_eclipses_fall_on_the_phases_they_need(date, phase):
    start = datetime.date.fromisoformat(date) - datetime.timedelta(days=3)
    found = ask("moon_phases", start_date=start.isoformat(), count=1)["phases"][0]
    assert (found["phase"], found["date"], found["days_from_start"]) == (phase, date, 3)


# --- working days ---------------------------------------------------------------------


def test_holidays_of_germany_in_2027():
    """Easter Sunday is March 28, 2027."""
    found = ask("list_holidays", country_code="DE", year=2027)["holidays"]
    by_name = {h["name"]: h["date"] for h in found}
    assert by_name["Good Friday"] == "2027-03-26"
    assert by_name["Easter Monday"] == "2027-03-29"
    assert by_name["German Unity Day"] == "2027-10-03"
    assert len(found) == 9


def test_regions_have_holidays_of_their_own():
    bavaria = ask("list_regional_holidays", subdivision_code="DE-BY", year=2027)["holidays"]
    berlin = ask("list_regional_holidays", subdivision_code="DE-BE", year=2027)["holidays"]
    assert "2027-01-06" in of(bavaria, "date")  # Epiphany
    assert "2027-01-06" not in of(berlin, "date")
    assert "2027-03-08" in of(berlin, "date")  # International Women's Day
    with pytest.raises(ToolFailure, match="of its own"):
        ask("list_regional_holidays", subdivision_code="DE-XX", year=2027)


def test_the_golden_week_begins_with_showa_day():
    found = ask("next_holidays", country_code="JP", date="2027-04-20")["holidays"]
    assert of(found, "date") == ["2027-04-29", "2027-05-03", "2027-05-04"]
    assert of(found, "days_until") == [9, 13, 14]


def test_working_days_skip_christmas_and_the_weekend_of_the_country():
    found = ask("next_working_day", country_code="DE", date="2026-12-24")
    assert (found["date"], found["days_away"]) == ("2026-12-28", 4)
    assert of(found["skipped"], "date") == ["2026-12-25", "2026-12-26", "2026-12-27"]
    before = ask("next_working_day", country_code="DE", date="2026-12-28", direction="before")
    assert before["date"] == "2026-12-24"
    # In Saudi Arabia the weekend is Friday and Saturday.
    assert ask("next_working_day", country_code="SA", date="2026-11-19")["date"] == "2026-11-22"


def test_the_united_states_have_249_working_days_in_2027():
    """261 weekdays, 12 federal holidays on them (New Year's Day of 2028 kept on December 31)."""
    found = ask("count_working_days", country_code="US", start_date="2027-01-01", days=365)
    assert found["working_days"] == 249
    assert found["end_date"] == "2027-12-31"


def test_adding_working_days_and_counting_them_agree():
    found = ask("add_working_days", country_code="FR", start_date="2026-04-30", working_days=10)
    span = found["calendar_days"]
    counted = ask("count_working_days", country_code="FR", start_date="2026-05-01", days=span)
    assert (counted["working_days"], counted["end_date"]) == (10, found["date"])


def test_germany_and_france_share_these_days():
    found = ask("shared_holidays", country_code_1="DE", country_code_2="FR", year=2027)
    assert of(found["holidays"], "date") == [
        "2027-01-01", "2027-03-29", "2027-05-01", "2027-05-06", "2027-05-17", "2027-12-25",
    ]  # fmt: skip


def test_easter_is_the_longest_break_of_germany_in_2027():
    found = ask("long_breaks", country_code="DE", year=2027)["breaks"]
    longest = max(found, key=lambda b: b["days"])
    assert (longest["start_date"], longest["end_date"]) == ("2027-03-26", "2027-03-29")


# --- money, languages, numbers --------------------------------------------------------


def test_the_yen_has_no_decimals():
    yen = ask("get_currency", currency_code="JPY")
    assert (yen["iso_numeric"], yen["decimals"], yen["name"]) == ("392", 0, "Yen")
    assert of(yen["used_in"], "country_code") == ["JP"]
    euro = ask("get_currency", currency_code="EUR")
    assert {"DE", "FR", "IT", "ES"} < set(of(euro["used_in"], "country_code"))


def test_croatia_took_the_euro_in_2023():
    found = ask("list_currencies", country_code="HR", since_year=2020)["currencies"]
    assert of(found, "currency_code") == ["HRK", "EUR"]
    assert found[1]["from_date"] == "2023-01-01"
    assert of(found, "in_use") == [False, True]


def test_amounts_are_written_as_the_locale_does():
    german = ask("format_amount", amount=1234.5, currency_code="EUR", locale="de_DE")
    assert german["text"] == "1.234,50\xa0€"
    assert ask("format_amount", amount=0.1, currency_code="USD")["text"] == "$0.10"


def test_languages_of_switzerland_by_share():
    found = ask("list_languages", country_code="CH", limit=10)["languages"]
    official = {f["language_code"] for f in found if f["official_status"] == "official"}
    assert official == {"de", "fr", "it"}
    assert found[0]["locale"] == "de_CH"


def test_swiss_german_is_a_living_language_of_switzerland():
    found = ask("get_language", language_code="gsw")
    assert (found["iso639_3"], found["type"]) == ("gsw", "living")
    assert found["spoken_in"][0]["country_code"] == "CH"


def test_names_are_translated():
    assert ask("translate_country", country_code="DE", locale="ja")["name"] == "ドイツ"
    assert ask("translate_language", language_code="de", locale="fr")["name"] == "allemand"
    assert ask("translate_currency", currency_code="CHF", locale="de")["name"] == (
        "Schweizer Franken"
    )


def test_arabic_is_written_from_right_to_left():
    assert ask("get_locale", locale="ar_EG")["text_direction"] == "right to left"
    german, american = ask("get_locale", locale="de_DE"), ask("get_locale", locale="en_US")
    assert (german["decimal_symbol"], german["first_day_of_week"]) == (",", "Monday")
    assert (american["decimal_symbol"], american["first_day_of_week"]) == (".", "Sunday")


def test_a_date_in_french():
    found = ask("format_date", date="2027-03-05", locale="fr_FR", style="full")
    assert found["text"] == "vendredi 5 mars 2027"
    assert (found["week_of_year"], found["day_of_year"]) == (9, 64)


def test_every_example_of_a_phone_number_is_a_number_of_its_country():
    found = ask("phone_examples", country_code="CH")
    assert found["calling_code"] == "41"
    for example in found["examples"]:
        parsed = ask("parse_phone_number", number=example["number"])
        assert (parsed["country_code"], parsed["type"]) == ("CH", example["type"])


def test_a_number_in_zurich():
    """The example of libphonenumber's README."""
    found = ask("parse_phone_number", number="+41446681800")
    assert found["international_format"] == "+41 44 668 18 00"
    assert (found["location"], found["timezones"]) == ("Zurich", ["Europe/Zurich"])
    with pytest.raises(ToolFailure, match="not a valid number"):
        ask("parse_phone_number", number="+4112")
