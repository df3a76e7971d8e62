"""The parser: what is a call, what is malformed and how, and that nothing else happens."""

import json
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tooltrain.calls import parser
from tooltrain.calls.parser import PARSE_ERRORS, JsonFault, loads, parse_calls, strict_loads
from tooltrain.types import Call, MalformedCall

GOOD = '<tool_call>\n{"name": "find", "arguments": {"q": "Rome"}}\n</tool_call>'
FIND = Call("find", {"q": "Rome"})


def only(text):
    calls = parse_calls(text)
    assert len(calls) == 1, calls
    return calls[0]


def wrapped(body):
    return f"<tool_call>{body}</tool_call>"


def test_calls_are_read_in_order_among_prose():
    second = wrapped('{"arguments": {}, "name": "book"}')
    assert parse_calls(f"First {GOOD} then {second}.") == [FIND, Call("book", {})]


def test_text_without_a_tag_has_no_calls():
    assert parse_calls('{"name": "find", "arguments": {}}') == []
    assert parse_calls("") == []
    assert parse_calls("</tool_call>") == []


def test_left_out_arguments_are_empty_and_never_shared():
    first, second = parse_calls(wrapped('{"name": "a"}') * 2)
    assert first == second == Call("a", {})
    assert first.arguments is not second.arguments


def test_a_json_string_of_an_object_counts_as_that_object():
    body = json.dumps({"name": "find", "arguments": json.dumps({"q": "Rome"})})
    assert only(wrapped(body)) == FIND


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("<tool_call>", "unclosed_tag", "</tool_call>"),
        ('<tool_call>{"name": "find"}', "unclosed_tag", "</tool_call>"),
        (wrapped(""), "bad_json", "Expecting value"),
        (wrapped('{"name": "find", "arguments": {"q": "Rome"}'), "bad_json", "character 43"),
        (wrapped("{'name': 'find'}"), "bad_json", "double quotes"),
        (wrapped('{"name": "find"} {"name": "find"}'), "bad_json", "Extra data"),
        (wrapped('{"name": "a", "arguments": {"q": "\\ud800"}}'), "bad_json", "surrogate"),
        (wrapped('{"name": "a", "arguments": {"q": "\ud800"}}'), "bad_json", "surrogate"),
        (wrapped('{"name": "a", "arguments": {"q": NaN}}'), "not_finite", "NaN"),
        (wrapped('{"name": "a", "arguments": {"q": -Infinity}}'), "not_finite", "Infinity"),
        (wrapped('{"name": "a", "arguments": {"q": 1e999}}'), "not_finite", "1e999"),
        (wrapped('{"name": "a", "arguments": {"q": ' + "9" * 5000 + "}}"), "not_finite", "999"),
        (wrapped('{"name": "a", "name": "b"}'), "duplicate_key", '"name"'),
        (wrapped('{"name": "a", "arguments": {"q": 1, "q": 1}}'), "duplicate_key", '"q"'),
        (wrapped('{"name": "a", "arguments": {"q": 1, "q": "\\u003a"}}'), "duplicate_key", '"q"'),
        (
            wrapped('{"name": "a", "arguments": {"t": "1:2", "q": {"x": 1, "x": 2}}}'),
            "duplicate_key",
            "x",
        ),
        (wrapped('{"name": "a", "arguments": ' + "[" * 40 + "]" * 40 + "}"), "too_deep", "32"),
        (wrapped("[" * 100_0), "too_deep", "32"),
        (
            wrapped('{"name": "a", "arguments": {"q": "' + "x" * 70_000 + '"}}'),
            "too_large",
            "65536",
        ),
        (wrapped("[]"), "not_an_object", "an array"),
        (wrapped('[{"name": "find", "arguments": {}}]'), "not_an_object", "an array"),
        (wrapped("7"), "not_an_object", "a number"),
        (wrapped("null"), "not_an_object", "null"),
        (wrapped("{}"), "bad_name", 'no "name"'),
        (wrapped('{"name": ""}'), "bad_name", "0 characters"),
        (wrapped('{"name": 7}'), "bad_name", "a number"),
        (wrapped(json.dumps({"name": "x" * 300})), "bad_name", "300 characters"),
        (wrapped('{"name": "a", "arguments": null}'), "bad_arguments", "null"),
        (wrapped('{"name": "a", "arguments": []}'), "bad_arguments", "an array"),
        (wrapped('{"name": "a", "arguments": "{not json"}'), "bad_arguments", "not valid JSON"),
        (wrapped('{"name": "a", "arguments": "[1]"}'), "bad_arguments", "an array"),
        (
            wrapped('{"name": "a", "arguments": "{\\"q\\": 1, \\"q\\": 2}"}'),
            "duplicate_key",
            "q",
        ),
        (
            wrapped(json.dumps({"name": "a", "arguments": dict.fromkeys(map(str, range(65)))})),
            "too_many_arguments",
            "65",
        ),
    ],
)
def test_each_fault_has_its_kind_and_words_to_recover_by(text, kind, words):
    call = only(text)
    assert isinstance(call, MalformedCall)
    assert call.kind == kind
    assert kind in PARSE_ERRORS
    assert words in call.detail
    assert len(call.detail) < 500


def test_a_tag_inside_an_open_call_leaves_that_one_unclosed():
    calls = parse_calls('<tool_call>{"name": ' + GOOD)
    assert calls[0].kind == "unclosed_tag"
    assert calls[1:] == [FIND]
    nested = parse_calls(f"<tool_call>{GOOD}</tool_call>")
    assert [nested[0].kind, nested[1]] == ["unclosed_tag", FIND]
    assert len(nested) == 2


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        (f"<think>{GOOD}</think>", []),
        (f"<think>perhaps</think>{GOOD}", [FIND]),
        (f"<think>{GOOD}</think>{GOOD}<think>{GOOD}</think>", [FIND]),
        (f"<think>never closed {GOOD}", []),
        (f"{GOOD}</think>{GOOD}", [FIND]),  # the prompt opened the thought
        (f"<think></think>{GOOD}</think>{GOOD}", [FIND, FIND]),  # a second closing is text
        (f"<think><think></think>{GOOD}", [FIND]),
        (
            wrapped('{"name": "find", "arguments": {"q": "<think>"}}'),
            [Call("find", {"q": "<think>"})],
        ),
    ],
)
def test_calls_in_thoughts_are_no_calls(text, calls):
    assert parse_calls(text) == calls


def test_the_number_of_calls_is_bounded_and_the_rest_is_one_fault():
    calls = parse_calls(GOOD * 64)
    assert calls == [FIND] * 64
    calls = parse_calls(GOOD * 5000)
    assert calls[:64] == [FIND] * 64
    assert [call.kind for call in calls[64:]] == ["too_many_calls"]
    assert len(parse_calls("<tool_call>" * 100_000)) == 65


def test_numbers_keep_their_json_type():
    body = '{"name": "a", "arguments": {"i": 7, "f": 7.0, "big": 123456789012345678901234567890}}'
    arguments = only(wrapped(body)).arguments
    assert [type(value) for value in arguments.values()] == [int, float, float]


def slow_twin(monkeypatch, text):
    with monkeypatch.context() as patch:
        patch.setattr(parser, "orjson", None)
        return parse_calls(text)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(
    name=st.text(min_size=1, max_size=8),
    arguments=st.dictionaries(st.text(max_size=6), json_values, max_size=4),
    ascii_only=st.booleans(),
)
def test_a_written_call_is_read_back(name, arguments, ascii_only):
    body = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=ascii_only)
    if "tool_call>" in body:
        return
    call = only(wrapped(body))
    assert call.name == name
    assert json.dumps(call.arguments, sort_keys=True) == json.dumps(
        loads(json.dumps(arguments)), sort_keys=True
    )


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet='{}[]":,\\u003a12e+-. ntfalsrue\ud800N\n\x00/"', max_size=40))
def test_the_fast_and_the_slow_reader_agree(raw):
    assert _outcome(loads, raw) == _outcome(_slow, raw)


def _slow(raw):
    parser.check_depth(raw)
    return strict_loads(raw)


def _outcome(read, raw):
    try:
        return repr(read(raw))
    except JsonFault as fault:
        return fault.kind


def mutated(random_, text):
    """One of the ways a policy spoils a rollout."""
    pieces = ["<tool_call>", "</tool_call>", "<think>", "</think>", '"', "{", "}", "\\", ":", "NaN"]
    for _ in range(random_.randint(1, 4)):
        at = random_.randrange(len(text) + 1)
        upto = min(len(text), at + random_.randint(0, 12))
        choice = random_.random()
        if choice < 0.4:
            text = text[:at] + text[upto:]
        elif choice < 0.7:
            text = text[:at] + random_.choice(pieces) + text[at:]
        elif choice < 0.85:
            text = text[:at] + text[at:upto] * 2 + text[upto:]
        else:
            text = text[:at] + chr(random_.randrange(0x250)) + text[at:]
    return text


def check_fuzz(count, seed, monkeypatch, texts):
    random_ = random.Random(seed)
    for _ in range(count):
        text = mutated(random_, random_.choice(texts))
        calls = parse_calls(text)
        assert calls == slow_twin(monkeypatch, text), text
        for call in calls:
            assert type(call) is Call or (call.kind in PARSE_ERRORS and call.detail)


TEXTS = [
    GOOD,
    f"<think>\nhm\n</think>\n{GOOD}\n{GOOD}",
    wrapped(
        '{"name": "a", "arguments": "{\\"time\\": \\"11:00\\", \\"x\\": [1, {\\"y\\": null}]}"}'
    ),
    wrapped('{"name": "Größe", "arguments": {"q": "\\u00e9\\ud83d\\ude00", "n": -1.5e3}}'),
]


def test_mutated_rollouts_never_raise_and_read_the_same_without_orjson(monkeypatch):
    check_fuzz(2_000, 0, monkeypatch, TEXTS)


@pytest.mark.slow
def test_200_000_mutated_rollouts_never_raise(monkeypatch, reference_dir):
    lines = (reference_dir / "reward_vectors.jsonl").read_text().splitlines()
    texts = [json.loads(line)["rollout"] for line in lines]
    check_fuzz(200_000, 1, monkeypatch, TEXTS + texts)


@pytest.mark.parametrize(
    "unit",
    [
        "<tool_call>",
        "</tool_call>",
        "<think>",
        "<tool_call>{",
        '<tool_call>{"name": "a", "arguments": {}}</tool_call>',
        '{"',
        "\\",
        "<",
        '<tool_call>"\\"',
        "[[",
    ],
)
def test_a_megabyte_of_anything_is_read_in_linear_time(unit):
    # Work, not wall time: the bound is on what is kept, and quadratic behaviour would
    # take minutes here.
    text = unit * (1_000_000 // len(unit))
    assert len(parse_calls(text)) <= parser.MAX_CALLS + 1
    assert len(parse_calls("<tool_call>" + text + "</tool_call>")) <= parser.MAX_CALLS + 1


@pytest.mark.slow
def test_time_is_linear_in_length():
    def seconds(text):
        best = float("inf")
        for _ in range(5):
            start = time.process_time()  # of this process alone, however busy the machine
            parse_calls(text)
            best = min(best, time.process_time() - start)
        return best

    for unit in ("<think>", "x<", "</tool_call>", '<think>"{'):
        short, long = (seconds(unit * (size // len(unit))) for size in (100_000, 1_000_000))
        assert long < 40 * short + 0.01, unit


def test_rollouts_of_the_release_are_read_as_its_vectors_say(reference_dir):
    lines = [
        (reference_dir / f"{kind}_vectors.jsonl").read_text().splitlines()
        for kind in ("reward", "matched")
    ]
    for rollout, structured in zip(*lines, strict=True):
        case = json.loads(structured)
        if case["kind"] == "unclosed":  # a malformed call here, no call there
            continue
        want = [
            None if "malformed" in call else Call(call["name"], call["arguments"])
            for call in case["calls"]
        ]
        got = parse_calls(json.loads(rollout)["rollout"])
        assert [call if type(call) is Call else None for call in got] == want
