"""Coverage-guided fuzzing of text -> calls -> arrays -> reward; run by coverage_fuzz_test.py.

    python tests/calls/coverage_fuzz.py CORPUS_DIR [libFuzzer's options]

libFuzzer ends the process with a traceback and a code other than 0 at the first input that
breaks a claim of `check`, and with its own where one takes too long or too much memory.
"""

import sys

import atheris

# Hooks see only what is imported after them, and numpy and the like are not our concern.
with atheris.instrument_imports(include=["tooltrain.calls"]):
    from tooltrain.calls import parser
    from tooltrain.calls.encoder import encode_calls
    from tooltrain.calls.llama import parse_llama_calls
    from tooltrain.calls.released import released_records
from tooltrain.rewards import plain
from tooltrain.types import Call, CallRecord, GoldCall, ObservationKind

FAST = parser.orjson


def without_orjson(text: str) -> list:
    parser.orjson = None
    try:
        return parser.parse_calls(text)
    finally:
        parser.orjson = FAST


def check(data: bytes) -> None:
    # Bytes that are not UTF-8 become lone surrogates, which JSON forbids.
    text = data.decode("utf-8", "surrogateescape")
    hermes = parser.parse_calls(text)
    assert repr(hermes) == repr(without_orjson(text)), "orjson reads it in another way"
    for calls in (hermes, parse_llama_calls(text)):
        assert len(calls) <= parser.MAX_CALLS + 1
        for call in calls:
            assert type(call) is Call or (call.kind in parser.PARSE_ERRORS and call.detail)
        check_encoded(calls)
    released_records(text)


def check_encoded(calls: list) -> None:
    records = [
        CallRecord(call, turn, ObservationKind.OK if type(call) is Call else _BAD)
        for turn, call in enumerate(calls)
    ]
    good = [record for record in records if type(record.call) is Call]
    arrays = encode_calls([records])
    assert arrays.mask.sum() == len(calls)
    assert arrays.well_formed.sum() == len(good)
    assert arrays.argument_mask.sum() == sum(len(record.call.arguments) for record in good)
    if 0 < len(good) <= 6:  # the plain twin takes Python's time; more calls teach no more
        gold = [GoldCall(record.call.name, record.call.arguments) for record in good]
        assert plain.matched(good, gold).reward() == 1
        assert 0 <= plain.matched(records, gold[:-1] + gold[:1]).reward() <= 1


_BAD = ObservationKind.MALFORMED


if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
