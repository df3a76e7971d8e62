"""What a query says, read back into values: dates, times, numbers, names, wordings.

    "Today is 4 November 2024. Two adults, from tomorrow for three nights, at 9 AM"
     dates     2024-11-04            relative dates  2024-11-05, 2024-11-07, ...
     numbers   2, 3                  times           09:00

What a date or a time is made of is no number: "2 November" states no 2. A date without a
year takes the year of the dates beside it; a relative date counts only from a today that
the query states. Ambiguous forms (03/04/2024, "next Friday") state nothing.
"""

from __future__ import annotations

import datetime
import functools
import re
import unicodedata
from collections.abc import Iterator

from tooltrain.env.schema import number_text
from tooltrain.synthesis.frames import PHRASES
from tooltrain.synthesis.wordings import MONTHS, NUMBER_WORDS, TENS, WEEKDAYS, WORDINGS, spaced
from tooltrain.types import Json

LITERAL, NAME, NUMBER, DATE = "literal", "name", "number", "date"
RELATIVE_DATE, TIME, WORDING, BOOLEAN = "relative date", "time", "wording", "boolean"
# The normalisations that `Reading.how` answers with.
HOW = (LITERAL, NAME, NUMBER, DATE, RELATIVE_DATE, TIME, WORDING, BOOLEAN)

_MONTH = {name[:n].lower(): i + 1 for i, name in enumerate(MONTHS) for n in (3, len(name))}
_MONTH |= {"sept": 9}
_MONTHS = "|".join(sorted(_MONTH, key=len, reverse=True))
_DAY = r"(\d{1,2})(?:st|nd|rd|th)?"
_TO = r"\s*(?:-|\u2013|\u2014|to|and|until|till|through)\s*(?:the\s+)?"
_DATES = re.compile(
    rf"\b(?P<iso>(\d{{4}})[-/](\d{{1,2}})[-/](\d{{1,2}}))\b"
    rf"|\b(?P<md>({_MONTHS})\.?\s+(?:the\s+)?{_DAY}(?:{_TO}{_DAY}(?!\d|\s+(?:{_MONTHS})\b))?"
    rf"(?:,?\s+(\d{{4}}))?)\b"
    rf"|\b(?P<dm>{_DAY}(?:{_TO}{_DAY})?\s+(?:of\s+)?({_MONTHS})\b\.?(?:,?\s+(\d{{4}}))?)"
    rf"|\b(?P<slash>(\d{{1,2}})[/.](\d{{1,2}})[/.](\d{{4}}))\b",
    re.IGNORECASE,
)
_HAS_DATE = re.compile(rf"\d{{4}}[-/]\d|\b(?:{_MONTHS})\b|\d[/.]\d+[/.]\d", re.IGNORECASE)
_TIMES = re.compile(
    r"\b(\d{1,2})(?::(\d\d))?\s*(a\.?m\.?|p\.?m\.?)(?!\w)|\b(\d{1,2}):(\d\d)\b|\b(noon|midnight)\b",
    re.IGNORECASE,
)
_TODAY = re.compile(
    rf"today(?:'s\s+date)?\s+is\s+(?:(?:{'|'.join(WEEKDAYS)}),?\s+)?(?:the\s+)?$", re.IGNORECASE
)
_COUNT = rf"\d{{1,3}}|an?|{'|'.join(NUMBER_WORDS)}|couple\s+of"
_IN = re.compile(rf"\b(?:in|within)\s+({_COUNT})\s+(day|week)s?\b", re.IGNORECASE)
_FROM_NOW = re.compile(rf"\b({_COUNT})\s+(day|week)s?\s+from\s+(?:now|today)\b", re.IGNORECASE)
_COMING = re.compile(rf"\b(?:this\s+coming|this|coming)\s+({'|'.join(WEEKDAYS)})\b", re.IGNORECASE)
_SPAN = re.compile(
    rf"\b({_COUNT})[\s-]+(night|day|week)s?\b(?:\s+(?:later|after|in\s+total))?", re.IGNORECASE
)
_NEXT_DAY = re.compile(
    r"\b(?:the\s+)?(?:next|following)\s+(?:day|morning|evening|afternoon)\b"
    r"|\bthe\s+day\s+after\b(?!\s+tomorrow)|\bone\s+night\b|\bovernight\b",
    re.IGNORECASE,
)
_NUMBERS = re.compile(
    r"(?<![\w.])(-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:e[+-]?\d+)?)"
    r"(?:\s*°\s*([NSEW])\b)?",
    re.IGNORECASE,
)
_WORD = re.compile(r"[a-z]+")
_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)")
_CLOCK = re.compile(r"(\d\d):(\d\d)(?::\d\d)?")
_NUMERIC = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?", re.IGNORECASE)
_NUMERIC_LIST = re.compile(r"\d+(\s*,\s*\d+)+")
_NOT = re.compile(r"\b(?:no|not|without|non|never|don't|excluding)\b(?:\s+\w+){0,2}\s*$")
_CODE_CHARS = 3
_FLAG_PREFIXES = frozenset({"is", "has", "only", "include", "includes", "with", "allow", "show"})


def fold(text: str) -> str:
    """Letters and digits in lower case without accents, all else one space."""
    if not text.isascii():
        marked = unicodedata.normalize("NFKD", text)
        text = "".join(c for c in marked if not unicodedata.combining(c))
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


def holds(text: str, form: str) -> bool:
    """True if `form` stands in `text` as whole words (a hyphen joins words)."""
    at = text.find(form)
    while at >= 0:
        end = at + len(form)
        if not (at and _joins(text[at - 1])) and not (end < len(text) and _joins(text[end])):
            return True
        at = text.find(form, at + 1)
    return False


def _joins(character: str) -> bool:
    return character.isalnum() or character in "_-"


class Reading:
    """A query, read once; what it states is asked for value by value."""

    def __init__(self, query: str):
        self.query = query
        self._lower = query.lower()

    def how(self, value: Json, argument: str = "") -> str | None:
        """The normalisation (one of `HOW`) by which the query states a scalar, or None.

        argument: its name, which says what a boolean is about.
        """
        if value is None or isinstance(value, list | dict):
            return None
        if isinstance(value, bool):
            return BOOLEAN if self._flag(argument) is value else None
        if not isinstance(value, str):
            return self._number(number_text(value))
        if match := _ISO.match(value):
            return self._date(value, match)
        if _CLOCK.fullmatch(value):
            if value[:5] not in self.times:
                return None
            return LITERAL if holds(self._lower, value) else TIME
        if _NUMERIC.fullmatch(value):
            return self._number(value)
        if not value.strip():
            return None
        if len(value) <= _CODE_CHARS and value.isupper():  # "IN" is India, "in" is not
            return LITERAL if holds(self.query, value) else self._wording(value)
        if holds(self._lower, value.lower()):
            return LITERAL
        if _NUMERIC_LIST.fullmatch(value):
            parts = [part.strip() for part in value.split(",")]
            return NUMBER if all(self._number(part) for part in parts) else None
        return self._name(value)

    def _number(self, text: str) -> str | None:
        if float(text) not in self.numbers:
            return None
        return LITERAL if holds(self._lower, text.lower()) else NUMBER

    def _date(self, value: str, match: re.Match[str]) -> str | None:
        if holds(self._lower, value.lower()):
            return LITERAL
        try:
            date = datetime.date(*map(int, match.groups()))
        except ValueError:
            return None
        rest = value[match.end() :].lstrip("T ")
        if rest and not (_CLOCK.fullmatch(rest) and rest[:5] in self.times):
            return None
        if date in self.dates:
            return DATE
        return RELATIVE_DATE if date in self.relative_dates else None

    def _wording(self, value: str) -> str | None:
        if value in PHRASES and holds(self._lower, PHRASES[value]):
            return WORDING
        if any(holds(self._lower, words) for words in WORDINGS.get(value, ())):
            return WORDING
        return None

    def _name(self, value: str) -> str | None:
        if self._wording(value):
            return WORDING
        place, _, kind = value.partition(".")
        if kind in ("AIRPORT", "CITY") and f" {fold(place)} " in self.folded:
            return WORDING
        for form in dict.fromkeys((fold(value), fold(spaced(value)))):
            if form and f" {form} " in self.folded:
                return NAME
        return None

    def _flag(self, argument: str) -> bool | None:
        """True or False if the words of `argument` are said, plainly or after a "no"."""
        words = [w for w in spaced(argument).split() if w not in _FLAG_PREFIXES]
        if not words:
            return None
        found = re.search(r"\W+(?:\w+\W+)?".join(map(re.escape, words)), self._lower)
        if found is None:
            return None
        return _NOT.search(self._lower[: found.start()]) is None

    @functools.cached_property
    def folded(self) -> str:
        return f" {fold(self.query)} "

    @functools.cached_property
    def _found_dates(self) -> list[tuple[int, int, datetime.date]]:
        if not _HAS_DATE.search(self.query):
            return []
        return list(_stated_dates(self.query))

    @functools.cached_property
    def dates(self) -> frozenset[datetime.date]:
        """Dates that the query gives in full, in any unambiguous form."""
        return frozenset(date for _, _, date in self._found_dates)

    @functools.cached_property
    def today(self) -> datetime.date | None:
        """The date after "Today is"."""
        for start, _, date in self._found_dates:
            if _TODAY.search(self.query[:start]):
                return date
        return None

    @functools.cached_property
    def relative_dates(self) -> frozenset[datetime.date]:
        """Dates counted from the stated today, or from a stated date by a stated span."""
        found: set[datetime.date] = set()
        if self.today is not None:
            found.update(self.today + datetime.timedelta(days) for days in self._from_today())
        spans = {_days(match) for match in _SPAN.finditer(self.query)}
        if _NEXT_DAY.search(self.query):
            spans.add(1)
        for base in self.dates | found:
            found |= {base + datetime.timedelta(days) for days in spans}
        return frozenset(found)

    def _from_today(self) -> Iterator[int]:
        text = self._lower
        if holds(text, "tonight") or text.count("today") > 1:
            yield 0
        if "the day after tomorrow" in text:
            yield 2
        if holds(text.replace("the day after tomorrow", ""), "tomorrow"):
            yield 1
        for pattern in (_IN, _FROM_NOW):
            yield from map(_days, pattern.finditer(text))
        for match in _COMING.finditer(text):
            weekday = WEEKDAYS.index(match[1].capitalize())
            yield (weekday - self.today.weekday() - 1) % 7 + 1

    @functools.cached_property
    def _found_times(self) -> list[tuple[int, int, str]]:
        found = []
        for match in _TIMES.finditer(self.query):
            hour, minute, half, hour_24, minute_24, word = match.groups()
            if word:
                clock = "12:00" if word.lower() == "noon" else "00:00"
            elif hour_24:
                clock = f"{int(hour_24):02d}:{minute_24}"
            elif 1 <= int(hour) <= 12:
                clock = f"{int(hour) % 12 + 12 * (half[0] in 'pP'):02d}:{minute or '00'}"
            else:
                continue
            found.append((match.start(), match.end(), clock))
        return found

    @functools.cached_property
    def times(self) -> frozenset[str]:
        """Times of day as HH:MM."""
        return frozenset(clock for _, _, clock in self._found_times)

    @functools.cached_property
    def numbers(self) -> frozenset[float]:
        """Numbers in digits or words that are no part of a date or a time."""
        text = self._lower
        for start, end, _ in (*self._found_dates, *self._found_times):
            text = text[:start] + " " * (end - start) + text[end:]
        found = set()
        for match in _NUMBERS.finditer(text):
            number = float(match[1].replace(",", ""))
            if match[2]:
                number = -abs(number) if match[2] in "sw" else abs(number)
            found.add(number)
        return frozenset(found | set(_numbers_in_words(text)))


def _stated_dates(query: str) -> Iterator[tuple[int, int, datetime.date]]:
    found: list[tuple[int, int, int | None, int, int]] = []
    for match in _DATES.finditer(query):
        groups = match.groups()
        start, end = match.span()
        if match["iso"]:
            found.append((start, end, *map(int, groups[1:4])))
        elif match["md"]:
            month, day, last, year = groups[5:9]
            if month == "may" and year is None:  # "may 2 adults come"
                continue
            found += _range(start, end, year, month, day, last)
        elif match["dm"]:
            day, last, month, year = groups[10:14]
            found += _range(start, end, year, month, day, last)
        else:
            a, b, year = map(int, groups[15:18])
            if (a > 12) != (b > 12) or a == b:  # else which is the month is not said
                month, day = (b, a) if a > 12 else (a, b)
                found.append((start, end, year, month, day))
    years = [(i, year) for i, (_, _, year, _, _) in enumerate(found) if year is not None]
    before: datetime.date | None = None
    for i, (start, end, year, month, day) in enumerate(found):
        if year is None:
            if not years:
                continue
            # The year of the nearest dated neighbour, a later one first: "5 to 9 May 2024".
            year = min(years, key=lambda at: (at[0] < i, abs(at[0] - i)))[1]
            rolls = before is not None and (year, month, day) < before.timetuple()[:3]
            year += rolls and before.month - month > 6
        try:
            before = datetime.date(year, month, day)
        except ValueError:
            continue
        yield start, end, before


def _range(start, end, year, month, day, last):
    number, year = _MONTH[month.lower()], int(year) if year else None
    return [(start, end, year, number, int(d)) for d in (day, last) if d]


def _days(match: re.Match[str]) -> int:
    word, unit = match[1].lower(), match[2].lower()
    if word.isdigit():
        count = int(word)
    elif word.startswith("couple"):
        count = 2
    else:
        count = 1 if word in ("a", "an") else NUMBER_WORDS.index(word)
    return count * (7 if unit == "week" else 1)


def _numbers_in_words(text: str) -> Iterator[int]:
    """Numbers below a hundred and even hundreds, spelled out."""
    words = _WORD.findall(text)
    for i, word in enumerate(words):
        after = words[i + 1] if i + 1 < len(words) else ""
        if word in TENS:
            unit = NUMBER_WORDS.index(after) if after in NUMBER_WORDS[1:10] else 0
            yield TENS[word] + unit
        elif word in _UNITS:
            yield _UNITS[word] * (100 if after == "hundred" else 1)
        elif word == "couple":
            yield 2
        elif word == "dozen":
            yield 12


_UNITS = {word: i for i, word in enumerate(NUMBER_WORDS)}
