"""The synthesize command: the same seed the same bytes, and errors that change nothing."""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Iterator

import pytest
from ml_collections import ConfigDict

from tests.given_flags import given
from tooltrain.cli.synthesize import FLAGS, synthesize
from tooltrain.data.dataset import open_traces
from tooltrain.data.tokenizer import Tokenizer
from tooltrain.errors import UserError


def _files(directory: pathlib.Path) -> dict[str, str]:
    return {
        str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in directory.rglob("*")
        if p.is_file()
    }


@pytest.fixture
def few(booking_config, booking_cache) -> Iterator[ConfigDict]:
    """The demo's config, for the few workflows that were recorded most."""
    booking_config.cache = str(booking_cache)
    booking_config.tokenizer.vocab_size = 400
    booking_config.synthesis.max_calls = 2
    booking_config.synthesis.min_support = 100
    booking_config.synthesis.queries_per_filling = 1
    with given(FLAGS):
        yield booking_config


def test_the_same_seed_writes_the_same_bytes(few, tmp_path, capsys):
    for name in ("one", "two"):
        synthesize(few, str(tmp_path / name))
    one = _files(tmp_path / "one")
    assert one == _files(tmp_path / "two")
    assert {"traces/tokenizer.json", "traces/report.json"} < one.keys()
    assert sum(".array_record" in name for name in one) >= 3
    assert "0% of its calls are in train, 100% in ComplexFuncBench" in capsys.readouterr().out
    found = json.loads((tmp_path / "one" / "traces" / "report.json").read_text())
    train = open_traces(tmp_path / "one" / "traces", "train")
    assert len(train) == found["splits"]["train"]["traces"] > 0
    tokenizer = Tokenizer.load(tmp_path / "one" / "traces" / "tokenizer.json")
    assert tokenizer.decode(tokenizer.encode(train[0].query)) == train[0].query


def _unknown(config):
    with config.unlocked():
        config.synthesis.colour = "red"


def _no_cache(config):
    config.cache = "/nowhere.sqlite"


def _nothing_left(config):
    config.synthesis.min_support = 10**6


def _tiny_vocabulary(config):
    config.tokenizer.vocab_size = 10


def _no_budget(config):
    config.projection.max_tokens = 0


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_no_cache, "no cache at /nowhere.sqlite"),
        (_unknown, "config.synthesis has no field colour; allowed: distractors, "),
        (_nothing_left, "no training trace could be made"),
        (_tiny_vocabulary, "a vocabulary of 10 ids was asked for"),
        (_no_budget, "config.projection: max_tokens"),
    ],
)
def test_bad_input_is_one_clear_error_that_changes_nothing(few, tmp_path, spoil, message):
    (tmp_path / "traces").mkdir()
    (tmp_path / "traces" / "tokenizer.json").write_text("old")
    spoil(few)
    with pytest.raises(UserError, match=message):
        synthesize(few, str(tmp_path))
    assert {p.name for p in (tmp_path / "traces").iterdir()} == {"tokenizer.json"}
    assert (tmp_path / "traces" / "tokenizer.json").read_text() == "old"
