"""The varied grammar: queries composed of parts, so that few are alike.

[what it is for] [today] ask [ask ...] [thanks]
 ask   = request + thing + modifiers in some order
 modifier of a bound argument = the noun of the call it comes from, down to stated values

Search_Attraction_Location(query="Ottawa") ─id▶ Search_Attractions(sortBy="trending")
"We're thinking about a tour with friends. Could you list the activities around Ottawa,
trending first? Many thanks."
"""

from __future__ import annotations

import datetime
import random
import re
from collections.abc import Mapping, Sequence

from tooltrain.synthesis.phrasing import FIELD, Phrasing, Suite
from tooltrain.synthesis.phrasing_suites import SUITES
from tooltrain.synthesis.queries import NoFrame
from tooltrain.synthesis.statements import is_opaque, spoken, spoken_date
from tooltrain.synthesis.wordings import NUMBER_WORDS, ORDINALS, WEEKDAYS, superlatives
from tooltrain.types import Binding, GoldCall, Json

_REQUESTS = (
    *(("", "."), ("please ", "."), ("could you ", "?"), ("can you ", "?"), ("kindly ", ".")),
    *(("could you please ", "?"), ("would you ", "?"), ("can you please ", "?")),
    *(("I'd like you to ", "."), ("I need you to ", "."), ("I'd be glad if you could ", ".")),
    *(("it would help if you could ", "."), ("would you be able to ", "?"), ("do ", ".")),
    *(("I was hoping you could ", "."), ("would you be so kind as to ", "?")),
    *(("my request is to ", "."), ("your job is to ", "."), ("I'm asking you to ", ".")),
)
_VERBS = (
    *("find", "look up", "search for", "show me", "list", "get me", "give me", "pull up"),
    *("bring up", "check", "fetch", "dig up", "tell me", "look for", "present", "send me"),
    *("see if you can find", "let me see", "collect", "gather", "point me to", "report"),
)
_NEEDS = (
    *(
        "I need",
        "I want",
        "I'm looking for",
        "I'd like to see",
        "I would like to know",
        "I'm after",
    ),
    *("I could use", "we need", "we'd like to see", "we're looking for", "I'd love to see"),
    *("what I need is", "what I'm missing is", "I still need", "all I want is", "let's have"),
    *("I'd like", "I wish to see", "I'm curious about", "we are interested in"),
)
_QUESTIONS = (
    *("what are the {}", "do you know the {}", "what can you tell me about the {}"),
    *("can I see the {}", "may I have the {}", "where can I find the {}", "how about the {}"),
)
_COUNTED = (
    *("are there {}", "are there any {}", "which are the {}", "do you have {}", "what {} exist"),
    *("which {} are there", "can you offer {}", "do you see any {}"),
)
_DETERMINERS = ("", "the ", "the ", "all the ", "all ", "any ", "some ")
_JOINS = (
    *("Then ", "Also, ", "After that, ", "On top of that, ", "Next, ", "Besides, ", "And "),
    *("Further, ", "In addition, ", "Moreover, ", "Apart from that, ", "Once you have that, "),
    *("", "", "Another thing: ", "And also, ", "What is more, "),
)
_THANKS = (
    ("thanks", "thank you", "many thanks", "cheers", "much appreciated", "thanks a lot"),
    (
        *("", " in advance", " for your help", " for looking into it", " for checking"),
        *(" as always", " for your time", " for the effort", " for sorting this out"),
    ),
    (".", "!"),
)
_GREETINGS = ("", "", "", "", "", "Hi! ", "Hello, ", "Hey, ", "Good day. ", "Hi there! ", "Hello! ")
_TODAYS = ("Today is {}.", "Just so you know, today is {}.", "Mind that today is {}.")
_AFTER_TODAY = re.compile(
    r"\b(?:from|to|until|till|by|around|between|and|than|of|for|after|before)\s+$"
)
_FIRSTS = ("the first {}", "the first {} you find", "the {} listed first", "the first {} shown")
_MAX_DAYS_AHEAD = 28
_MAX_NIGHTS = 20
_BLANK = "_"


def write_varied(
    calls: Sequence[GoldCall], suite: str, rng: random.Random, *, blank: bool = False
) -> str:
    """A query for the gold calls. Raises NoFrame when some argument has no words.

    blank: write "_" for every value and leave all else as it would be, so that wordings
    can be counted apart from values.
    """
    if suite not in SUITES:
        raise NoFrame(f"no phrasings for the suite {suite}")
    return _Writer(calls, SUITES[suite], rng, blank).query()


class _Writer:
    def __init__(self, calls: Sequence[GoldCall], suite: Suite, rng: random.Random, blank: bool):
        self.calls = calls
        self.suite = suite
        self.rng = rng
        self.blank = blank
        self.bindings = [{b.argument: b for b in call.bindings} for call in calls]
        self.named: dict[int, str] = {}  # calls named already: the choice made of them
        self.today = self._pick_today()
        self.relative_used = False

    # --- sentences --------------------------------------------------------------------

    def query(self) -> str:
        rng = self.rng
        needed = {source for call in self.calls for source in call.depends_on}
        asked = [i for i in range(len(self.calls)) if i not in needed]
        rng.shuffle(asked)
        asks = []
        for n, i in enumerate(asked):
            text = self._ask(i)
            if n:
                join = rng.choice(_JOINS)
                text = join + text if join else _capital(text)
            else:
                text = _capital(text)
            asks.append(text)
        parts = [" ".join(asks)]
        if rng.random() < 0.8:
            parts.insert(0, "".join(rng.choice(slot) for slot in self.suite.contexts))
        if self.relative_used:
            said = self._shown(spoken_date(self.today, rng))
            parts.insert(rng.randrange(len(parts)), rng.choice(_TODAYS).format(said))
        if rng.random() < 0.7:
            parts.append(_capital("".join(rng.choice(slot) for slot in _THANKS)))
        return rng.choice(_GREETINGS) + " ".join(parts)

    def _ask(self, index: int) -> str:
        rng, phrasing = self.rng, self._phrasing(index)
        what = f"{rng.choice(phrasing.things)} {self._modifiers(index)}".rstrip(" ,")
        draw = rng.random()
        if draw < 0.6:
            request, end = rng.choice(_REQUESTS)
            determiner = rng.choice(_DETERMINERS if phrasing.countable else ("the ", ""))
            return f"{request}{rng.choice(_VERBS)} {determiner}{what}{end}"
        if draw < 0.85 or (self.calls[index].arguments and not phrasing.countable and draw < 0.9):
            determiner = rng.choice(_DETERMINERS if phrasing.countable else ("the ",))
            return f"{rng.choice(_NEEDS)} {determiner}{what}."
        forms = (*_QUESTIONS, *_COUNTED) if phrasing.countable else _QUESTIONS
        form = rng.choice(forms)
        if not form.endswith("{}"):  # "which flights are there from Rome"
            thing, _, rest = what.partition(" ")
            for name in phrasing.things:
                if what.startswith(name):
                    thing, rest = name, what[len(name) + 1 :]
            return f"{form.format(thing)} {rest}".rstrip() + "?"
        return form.format(what) + "?"

    # --- nouns and modifiers ----------------------------------------------------------

    def _phrasing(self, index: int) -> Phrasing:
        name = self.calls[index].name
        if name not in self.suite.tools:
            raise NoFrame(f"no phrasing for {name}")
        return self.suite.tools[name]

    def _modifiers(self, index: int, skip: frozenset[str] = frozenset()) -> str:
        """Words of every argument of the call; those of nested nouns come last."""
        call, bindings = self.calls[index], self.bindings[index]
        phrasing = self._phrasing(index)
        left = {name: None for name in call.arguments if name not in skip}
        flat, nested = [], []
        for texts, fields in zip(phrasing.modifiers, phrasing.fields, strict=True):
            if not all(
                name in left and not (mark == "@" and name not in bindings)
                and not (mark == "=" and name in bindings)
                for mark, name in fields
            ):  # fmt: skip
                continue
            text = self._filled(index, self.rng.choice(self._sayable(call, texts)))
            sources = {bindings[name].source for _, name in fields if name in bindings}
            for name in [*left]:
                if name in bindings and bindings[name].source in sources:
                    del left[name]
            for _, name in fields:
                left.pop(name, None)
            short = all(self._phrasing(s).place for s in sources)
            (flat if short else nested).append(text)
        for name in [*left]:
            words = phrasing.choices.get(name, {}).get(str(call.arguments[name]))
            if words and name not in bindings:
                flat.append(self.rng.choice(words))
                del left[name]
            elif name in bindings and bindings[name].source in self.named:
                del left[name]  # said where its source was named
        if left:
            raise NoFrame(f"no words for {call.name}.{next(iter(left))}")
        self.rng.shuffle(flat)
        text = ""
        for part in [*flat, *nested]:
            joint = ", " if self.rng.random() < 0.4 and not text.endswith(",") else " "
            text += joint + part if text else part
        return text

    def _sayable(self, call: GoldCall, texts: Sequence[str]) -> list[str]:
        """The alternatives whose spans of days can be said."""
        kept = []
        for text in texts:
            spans = [m for m in FIELD.finditer(text) if m[3]]
            if all(_days(call.arguments, m) for m in spans):
                kept.append(text)
        if not kept:
            raise NoFrame(f"no words for the dates of {call.name}")
        return kept

    def _filled(self, index: int, template: str) -> str:
        call, bindings = self.calls[index], self.bindings[index]
        text, at, one = "", 0, False
        for match in FIELD.finditer(template):
            text += template[at : match.start()]
            at = match.end()
            name = match[2]
            if name is None:
                text += "" if one else "s"
            elif match[3]:
                days = _days(call.arguments, match)
                one = days == 1
                said = NUMBER_WORDS[days] if self.rng.random() < 0.5 else str(days)
                text += self._shown(said)
            elif name in bindings:
                text += self._noun(index, bindings[name])
            else:
                one = call.arguments[name] in (1, "1")
                text = self._said(text, call.arguments[name], f"{call.name}.{name}")
        return text + template[at:]

    def _noun(self, user: int, binding: Binding) -> str:
        """The element that a binding takes from its source, in words."""
        source, rng = binding.source, self.rng
        phrasing = self._phrasing(source)
        field = next((step for step in reversed(binding.path) if isinstance(step, str)), "")
        wholes = phrasing.element_of.get(field, ())
        if not phrasing.elements:
            raise NoFrame(f"no noun for {self.calls[source].name}")
        if phrasing.place:
            return self._place(source, binding, phrasing, wholes)
        element = rng.choice(phrasing.elements)
        whole = rng.choice(wholes) if wholes else "{pick}"
        if match := FIELD.search(element):  # another's noun: the facts of a city, that city
            whole = whole.replace("{pick}", element)
            match = FIELD.search(whole)
            inner = self.bindings[source].get(match[2])
            if inner is not None:
                named = self._noun(source, inner)
            else:
                call = self.calls[source]
                named = self._said("", call.arguments[match[2]], f"{call.name}.{match[2]}")
            return whole[: match.start()] + named + whole[match.end() :]
        noun = whole.replace("{pick}", self._pick(binding.selector, element))
        if source in self.named:
            same = self.named[source] == binding.selector
            others = [c for c in self.named if self.calls[c].name == self.calls[source].name]
            if same and len(others) == 1 and not wholes:
                return rng.choice((f"that {element}", f"the same {element}", f"this {element}"))
            if len(others) == 1:
                return noun + rng.choice((" of the same search", " on that same list"))
        self.named[source] = binding.selector
        return f"{noun} {self._modifiers(source)}".rstrip()

    def _place(self, source: int, binding: Binding, phrasing: Phrasing, wholes) -> str:
        call, rng = self.calls[source], self.rng
        argument = "query" if "query" in call.arguments else next(iter(call.arguments))
        inner = self.bindings[source].get(argument)
        if inner is not None:
            place = self._noun(source, inner)
        else:
            place = self._said("", call.arguments[argument], f"{call.name}.{argument}")
        self.named[source] = binding.selector
        if rest := self._modifiers(source, skip=frozenset([argument])):
            place = f"{place} ({rest})"
        exact = binding.path and binding.path[-1] in ("latitude", "longitude")
        if wholes:
            place = rng.choice(wholes).replace("{place}", place)
        elif inner is None and (exact or rng.random() < 0.25):
            place = f"the {rng.choice(phrasing.elements)} {place}"
        if binding.selector.startswith("where("):
            value = self._quoted(_where(binding.selector))
            place += rng.choice((" ({})", " (I mean {})", ", that is {},", " (the one called {})"))
            place = place.replace("{}", value)
        elif binding.selector.startswith(("nth", "argm")):
            place = self._pick(binding.selector, "result") + f" for {place}"
        return place

    def _pick(self, selector: str, element: str) -> str:
        rng = self.rng
        kind, _, inner = selector.partition("(")
        if kind == "where":
            name = self._quoted(_where(selector))
            forms = ("the {0} {1}", "the {1} called {0}", "{0}, the {1},", "the {1} named {0}")
            return rng.choice(forms).format(name, element)
        if kind == "nth":
            ordinal = ORDINALS[int(inner[:-1]) - 1]
            return rng.choice(("the {0} {1}", "the {1} listed {0}")).format(ordinal, element)
        if kind in ("argmin", "argmax"):
            words = superlatives(inner[:-1].rpartition(".")[2], kind == "argmax")
            return f"the {rng.choice(words)} {element}"
        return rng.choice(_FIRSTS).format(element) if kind == "first" else f"the {element}"

    # --- values -----------------------------------------------------------------------

    def _shown(self, said: str) -> str:
        return _BLANK if self.blank else said

    def _quoted(self, value: str) -> str:
        if '"' in value:
            return self._shown(value)
        return self.rng.choice(('"{}"', '"{}"', "\u201c{}\u201d")).format(self._shown(value))

    def _said(self, text: str, value: Json, where: str) -> str:
        """`text` with the value after it; a relative date takes its own preposition."""
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            legs = []
            for item in value:
                leg = ""
                for name, leaf in item.items():
                    joint = _LEG_WORDS.get(name)
                    if joint is None:
                        raise NoFrame(f"no words for {where}.{name}")
                    leg = self._said(f"{leg} {joint} ".lstrip(), leaf, where)
                legs.append(leg)
            return text + self.rng.choice((", then ", "; then ", ", next ")).join(legs)
        if is_opaque(value):
            raise NoFrame(f"an opaque value: {where}")
        relative = self._relative(value, text)
        if relative is not None:
            self.relative_used = True
            return re.sub(r"\bon $", "", text) + self._shown(relative)
        said = spoken(value, self.rng)
        if said is None:
            raise NoFrame(f"no words for the value of {where}")
        return text + self._shown(said)

    def _pick_today(self) -> datetime.date | None:
        """A day before all stated dates of the trace, for a third of those that have some."""
        if self.rng.random() >= 0.35:
            return None
        dates = []
        for call, bindings in zip(self.calls, self.bindings, strict=True):
            for name, value in call.arguments.items():
                if name not in bindings and (date := _date(value)):
                    dates.append(date)
        if not dates:
            return None
        return min(dates) - datetime.timedelta(self.rng.randint(1, _MAX_DAYS_AHEAD - 7))

    def _relative(self, value: Json, before: str) -> str | None:
        date = _date(value)
        if self.today is None or date is None or self.rng.random() < 0.2:
            return None
        days = (date - self.today).days
        if not 1 <= days <= _MAX_DAYS_AHEAD:
            return None
        ways = []
        if days == 1:
            ways += ["tomorrow"]
        elif days == 2:
            ways += ["the day after tomorrow"]
        if days <= 7:
            ways += [f"this coming {WEEKDAYS[date.weekday()]}"]
        unit, count = ("week", days // 7) if days % 7 == 0 else ("day", days)
        word = NUMBER_WORDS[count] if count <= 20 and self.rng.random() < 0.5 else str(count)
        span = f"{word} {unit}{'' if count == 1 else 's'}"
        ways += [f"{span} from now" if _AFTER_TODAY.search(before) else f"in {span}"]
        return self.rng.choice(ways)


_LEG_WORDS = {"fromId": "from", "toId": "to", "date": "on"}


def _where(selector: str) -> str:
    return selector[len("where(") : -1].partition("=")[2]


def _date(value: Json) -> datetime.date | None:
    if not isinstance(value, str) or len(value) != 10:
        return None
    try:
        return datetime.date.fromisoformat(value)
    except ValueError:
        return None


def _days(arguments: Mapping[str, Json], span: re.Match[str]) -> int:
    """Days of a `{b-a}` field, 0 if it cannot be said as a span."""
    last, first = _date(arguments.get(span[2])), _date(arguments.get(span[3]))
    if last is None or first is None or not 1 <= (last - first).days <= _MAX_NIGHTS:
        return 0
    return (last - first).days


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
