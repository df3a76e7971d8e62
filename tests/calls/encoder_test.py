"""The encoder: what stands where, which shapes there are, and what is refused."""

import numpy as np
import pytest

from tooltrain.calls.canonical import argument_type, name_hash64, value_hash64
from tooltrain.calls.encoder import bucket, encode_calls, encode_gold, take_gold
from tooltrain.types import Binding, Call, CallRecord, GoldCall, MalformedCall, ObservationKind

RECORDS = [
    CallRecord(Call("find", {"q": "Rome", "n": 2}), 0, ObservationKind.OK),
    CallRecord(MalformedCall("bad_json", "no"), 1, ObservationKind.MALFORMED),
    CallRecord(Call("book", {}), 1, ObservationKind.NOT_RECORDED),
]
GOLD = (
    GoldCall("find", {"q": "Rome"}),
    GoldCall("book", {"date": "May 1", "id": 7}, (0,), (Binding("id", 0, ("id",)),)),
)


def test_calls_stand_where_they_were_emitted():
    calls = encode_calls([[], RECORDS])
    assert calls.name.shape == (2, 4, 2)
    assert calls.argument_value.shape == (2, 4, 4, 2)
    assert calls.mask.tolist() == [[False] * 4, [True, True, True, False]]
    assert calls.well_formed[1].tolist() == [True, False, True, False]
    assert calls.executed[1].tolist() == [True, False, False, False]
    assert calls.turn[1].tolist() == [0, 1, 1, 0]
    assert calls.argument_mask[1].sum(axis=1).tolist() == [2, 0, 0, 0]
    assert calls.argument_type[1, 0, :2].tolist() == [argument_type("x"), argument_type(2)]
    assert _whole(calls.argument_value[1, 0, 0]) == value_hash64("rome")
    assert _whole(calls.argument_value[1, 0, 1]) == value_hash64(2.0)
    assert _whole(calls.name[1, 2]) == name_hash64("book")
    assert not calls.name[1, 1].any()
    assert not calls.name[0].any()


def _whole(halves):
    """The hash whose low and high 32 bits an encoded array holds."""
    low, high = map(int, halves)
    return low | high << 32


def test_gold_carries_its_edges():
    gold = encode_gold([GOLD])
    assert gold.mask[0].tolist() == [True, True, False, False]
    assert gold.depends_on[0, 1].tolist() == [True, False, False, False]
    assert not gold.depends_on[0, 0].any()
    assert gold.source[0, 1].tolist() == [-1, 0, -1, -1]
    assert (gold.source[0, 0] == -1).all()


def test_gold_and_calls_hash_alike():
    calls, gold = encode_calls([RECORDS]), encode_gold([GOLD])
    np.testing.assert_array_equal(calls.name[0, 0], gold.name[0, 0])
    np.testing.assert_array_equal(calls.argument_name[0, 0, 0], gold.argument_name[0, 0, 0])


def test_rows_do_not_depend_on_their_neighbours():
    many = encode_calls([RECORDS, RECORDS[:1], [], RECORDS[1:]])
    for index, records in enumerate([RECORDS, RECORDS[:1], [], RECORDS[1:]]):
        alone = encode_calls([records])
        for field, whole in zip(alone, many, strict=True):
            np.testing.assert_array_equal(field[0], whole[index])


def test_shapes_are_few_and_floors_hold():
    assert [bucket(size) for size in (0, 4, 5, 7, 9, 13, 17, 25, 1000)] == [
        4,
        4,
        6,
        8,
        12,
        16,
        24,
        32,
        1024,
    ]
    assert len({bucket(size) for size in range(1025)}) == 17
    assert encode_calls([RECORDS], num_calls=8, num_arguments=6).argument_mask.shape == (1, 8, 6)
    assert encode_gold([GOLD], num_steps=6).depends_on.shape == (1, 6, 6)
    assert encode_calls([RECORDS * 40]).mask.shape == (1, 128)
    assert encode_calls([]).mask.shape == (0, 4)


def test_gold_is_repeated_without_encoding_it_again():
    gold = encode_gold([GOLD, GOLD[:1]])
    taken = take_gold(gold, np.repeat([1, 0], 3))
    assert taken.mask.sum(axis=1).tolist() == [1, 1, 1, 2, 2, 2]
    np.testing.assert_array_equal(taken.source[3], gold.source[0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (GoldCall("book", {"id": 7}, (1,)), "depends_on has 1"),
        (GoldCall("book", {"id": 7}, (-1,)), "depends_on has -1"),
        (GoldCall("book", {"id": 7}, (0,), (Binding("id", 2, ()),)), "binding of 'id' has 2"),
        (GoldCall("book", {"id": 7}, (0,), (Binding("no", 0, ()),)), "'no', which is not one"),
    ],
)
def test_gold_that_refers_to_nothing_is_refused(call, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        encode_gold([(GOLD[0], call)])
