"""Commands beside each other in one process, each with its own flags on its own line."""

import importlib
import pkgutil

import pytest
from absl import flags

from tests.given_flags import given
from tooltrain import cli
from tooltrain.cli import evaluate_bfcl, evaluate_complexfuncbench, own_flags, record

COMMANDS = [name for _, name, _ in pkgutil.iter_modules(cli.__path__)]


def test_every_command_can_be_imported_beside_the_others():
    assert {"evaluate_bfcl", "evaluate_complexfuncbench", "record", "serve"} <= set(COMMANDS)
    for name in COMMANDS:
        importlib.import_module(f"tooltrain.cli.{name}")


def test_flags_of_equal_names_have_values_of_their_own():
    bfcl, booking = evaluate_bfcl.FLAGS, evaluate_complexfuncbench.FLAGS
    with given(bfcl, player="sft"), given(booking, player="gold"):
        assert (bfcl.player, booking.player) == ("sft", "gold")
    with given(bfcl):
        assert bfcl.player == "grpo"
        with pytest.raises(flags.IllegalFlagValueError):
            bfcl["player"].parse("gold")  # a baseline of the other benchmark


def test_a_command_reads_its_own_flags_and_the_shared_ones(monkeypatch):
    shared, own = flags.FlagValues(), flags.FlagValues()
    flags.DEFINE_string("workdir", None, "shared", flag_values=shared)
    speed = flags.DEFINE_integer("speed", 1, "own", flag_values=own)
    monkeypatch.setattr(own_flags.flags, "FLAGS", shared)
    assert own_flags.parse(["x", "--workdir=w", "--speed=3", "rest"], own) == ["x", "rest"]
    assert (shared.workdir, speed.value) == ("w", 3)
    assert "--speed" in shared.get_help()
    with pytest.raises(flags.UnrecognizedFlagError):
        shared(["x", "--timeout_s=3"])  # of record, which is imported and does not run
    assert "timeout_s" in record.FLAGS
