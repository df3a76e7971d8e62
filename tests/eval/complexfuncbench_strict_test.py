"""The strict reading, worked by hand on one sample over a small recorded world.

turn 0: look-up Rome, look-up Bari    turn 1: rentals(1, 2) <- both
turn 2: details v1 <- rentals         turn 3: look-up of a taxi to v1's office <- details
"""

import pytest

from tooltrain.env.cache import CacheWriter, Sample, SampleCall
from tooltrain.env.environment import open_environment
from tooltrain.env.schema import Tool
from tooltrain.eval.complexfuncbench_samples import BenchmarkEnvironment, read_samples
from tooltrain.eval.complexfuncbench_strict import strict_reading
from tooltrain.eval.taxonomy import Outcome
from tooltrain.types import Call, CallRecord, EndReason, MalformedCall

LOOK_UP, RENTALS, DETAILS, TAXI = (
    "Search_Car_Location",
    "Search_Car_Rentals",
    "Vehicle_Details",
    "Taxi_Search_Location",
)
PLACES = {"Rome": 101.25, "Bari": 102.25, "Oslo": 103.25, "Roma": 101.25}
NOTHING = {"reviews": [], "note": None}


def look_up(place):
    return Call(LOOK_UP, {"query": place})


def rentals(pick_up=101.25, drop_off=102.25):
    return Call(RENTALS, {"pick_up": pick_up, "drop_off": drop_off})


def details(vehicle):
    return Call(DETAILS, {"vehicle_id": vehicle})


def taxi(query="Via Appia 1"):
    return Call(TAXI, {"query": query})


def tool(name, **types):
    properties = {argument: {"type": kind} for argument, kind in types.items()}
    return Tool(
        name, name, {"type": "object", "properties": properties, "required": [*types]}, name
    )


def responses():
    for place, latitude in PLACES.items():
        yield look_up(place), {"latitude": latitude}
    for a in PLACES.values():
        for b in PLACES.values():
            yield rentals(a, b), {"results": [{"vehicle_id": f"vehicle-{a}"}], "key": [a, b]}
    for vehicle in ("vehicle-101.25", "vehicle-102.25"):
        yield details(vehicle), {"office": "Via Appia 1", "of": vehicle}
    yield details("vehicle-none"), NOTHING
    yield details("vehicle-nil"), NOTHING
    yield taxi(), {"id": "taxi-1"}


GOLD = (look_up("Rome"), look_up("Bari"), rentals(), details("vehicle-101.25"), taxi())
ROME, BARI, RENT, VEHICLE, OFFICE = GOLD


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    path = tmp_path_factory.mktemp("cache") / "cars.sqlite"
    recorded = {}
    for call, response in responses():
        recorded.setdefault((call.name, str(call.arguments)), (call, response))
    empty = (look_up("Rome"), details("vehicle-none"))
    with CacheWriter.create(path) as writer:
        writer.add_tool(tool(LOOK_UP, query="string"))
        writer.add_tool(tool(RENTALS, pick_up="number", drop_off="number"))
        writer.add_tool(tool(DETAILS, vehicle_id="string"))
        writer.add_tool(tool(TAXI, query="string"))
        for call, response in recorded.values():
            writer.add_entry(call.name, call.arguments, response)
        for position, (calls, query) in enumerate(
            ((GOLD, "A car from Rome to Bari."), (empty, "Rome, and vehicle-none."))
        ):
            of_sample = tuple(
                SampleCall(c.name, c.arguments, recorded[c.name, str(c.arguments)][1])
                for c in calls
            )
            writer.add_sample(Sample(f"Cross-{position}", position, "Cross", query, of_sample))
    environment = BenchmarkEnvironment(open_environment(path))
    return environment, read_samples(environment.cache)


@pytest.fixture
def read(world):
    environment, samples = world

    def read(*turns, end=EndReason.FINISHED, sample=samples[0]):
        records = [
            CallRecord(call, turn, environment.execute(call, sample.offered).kind)
            for turn, calls in enumerate(turns)
            for call in calls
        ]
        return strict_reading(sample, records, end, environment)

    return read


def test_turns_are_dependency_levels(world):
    assert world[1][0].turns == [0, 0, 1, 2, 3]


def test_gold_is_all_right(read):
    reading = read([ROME, BARI], [RENT], [VEHICLE], [OFFICE])
    assert (reading.completed_turns, reading.success) == (4, True)
    assert (reading.right_calls, reading.counted_calls) == (5, 5)
    assert reading.gold == (0, 1, 2, 3, 4)
    assert reading.failure.outcome is Outcome.SUCCESS


def test_calls_of_a_turn_come_in_any_order_and_over_several_turns(read):
    assert read([BARI, ROME], [RENT], [VEHICLE], [OFFICE]).success
    assert read([BARI], [ROME], [RENT], [VEHICLE], [OFFICE]).success


def test_a_look_up_may_be_left_out_once_what_needs_it_is_right(read):
    reading = read([RENT], [VEHICLE], [OFFICE])
    assert (reading.completed_turns, reading.success) == (4, True)
    assert (reading.right_calls, reading.counted_calls) == (3, 3)


def test_a_look_up_may_come_after_what_needs_it_or_beside_it(read):
    assert read([RENT, ROME], [VEHICLE], [BARI], [OFFICE]).success
    assert read([OFFICE], [RENT], [VEHICLE]).success


def test_a_look_up_that_no_call_needs_must_be_made(read):
    reading = read([ROME, BARI], [RENT], [VEHICLE])
    assert (reading.completed_turns, reading.success) == (3, False)
    assert reading.failure.outcome is Outcome.STOPPED_EARLY


def test_stopping_at_once_completes_nothing(read):
    reading = read()
    assert (reading.completed_turns, reading.right_calls, reading.success) == (0, 0, False)
    assert reading.failure.outcome is Outcome.STOPPED_EARLY


def test_leaving_a_look_up_out_does_not_excuse_a_wrong_value(read):
    reading = read([ROME], [rentals(101.25, 103.25)], [VEHICLE], [OFFICE])
    assert (reading.completed_turns, reading.success) == (0, False)
    assert reading.failure.outcome is Outcome.WRONG_VALUE
    assert (reading.failure.gold, reading.failure.argument) == (2, "drop_off")


def test_a_wrong_value_ends_the_prefix_also_beside_right_calls(read):
    reading = read([ROME, look_up("Oslo")], [BARI], [RENT], [VEHICLE], [OFFICE])
    assert (reading.completed_turns, reading.success) == (0, False)
    assert (reading.right_calls, reading.counted_calls) == (5, 6)
    assert (reading.failure.outcome, reading.failure.record) == (Outcome.WRONG_VALUE, 1)


def test_another_request_with_an_equal_response_is_right(read):
    reading = read([look_up("Roma"), BARI], [RENT], [VEHICLE], [OFFICE])
    assert reading.success
    assert reading.gold == (0, 1, 2, 3, 4)


def test_an_equal_response_stands_for_one_gold_call_only(read):
    reading = read([look_up("Roma"), ROME, BARI], [RENT], [VEHICLE], [OFFICE])
    assert reading.gold[:3] == (0, None, 1)
    assert reading.failure.outcome is Outcome.EXTRA_CALL


def test_empty_responses_say_nothing_about_the_request(read, world):
    sample = world[1][1]
    assert read([ROME, details("vehicle-none")], sample=sample).success
    assert not read([ROME, details("vehicle-nil")], sample=sample).success


def test_a_number_and_its_text_are_one_request(read):
    assert read([ROME, BARI], [rentals("101.25", 102.25)], [VEHICLE], [OFFICE]).success


def test_a_dependent_call_may_not_come_in_the_turn_of_what_it_needs(read):
    reading = read([ROME, BARI], [RENT, VEHICLE], [OFFICE])
    assert (reading.completed_turns, reading.success) == (1, False)
    assert (reading.failure.outcome, reading.failure.gold) == (Outcome.WRONG_ORDER, 3)


def test_a_repeated_call_is_an_extra_call(read):
    reading = read([ROME, BARI], [RENT], [RENT], [VEHICLE], [OFFICE])
    assert (reading.completed_turns, reading.success) == (2, False)
    assert reading.failure.outcome is Outcome.EXTRA_CALL


def test_malformed_and_unrecorded_calls_are_wrong(read):
    malformed = MalformedCall("bad_json", "not JSON")
    assert read([ROME, BARI], [malformed]).failure.outcome is Outcome.MALFORMED
    unrecorded = read([look_up("Atlantis")])
    assert unrecorded.failure.outcome is Outcome.NOT_RECORDED


def test_an_episode_that_a_limit_ends_is_no_success(read):
    reading = read([ROME, BARI], [RENT], [VEHICLE], [OFFICE], end=EndReason.MAX_TURNS)
    assert (reading.completed_turns, reading.success) == (4, False)
    assert reading.failure.outcome is Outcome.CUT_OFF
