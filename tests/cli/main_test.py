"""Bad input on a command line, as a person meets it: one line on stderr and status 1."""

import os
import pathlib
import subprocess
import sys

import pytest

REPO_ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = "--config=configs/tiny_cpu.py"
# A command like any other, which says what it was given.
SHOW = """
from tooltrain.cli import main
from tooltrain.errors import UserError

def show(config, workdir):
    if workdir == "bad":
        raise UserError("the workdir is bad;\\n use another")
    if workdir == "fault":
        raise RuntimeError("a fault of tooltrain")
    print(config.seed, config.sft.steps, workdir)

main.run(show)
"""


def command(*flags, module=None, cwd=REPO_ROOT):
    what = ["-m", module] if module else ["-c", SHOW]
    environment = os.environ | {"PYTHONPATH": str(REPO_ROOT)}
    return subprocess.run(
        [sys.executable, *what, *flags],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def assert_one_clear_error(done, *parts):
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    for part in parts:
        assert part in done.stderr


def test_flags_override_config_fields():
    done = command(CONFIG, "--workdir=w", "--config.seed=7", "--config.sft.steps=12")
    assert (done.returncode, done.stdout) == (0, "7 12 w\n")


@pytest.mark.parametrize("flags", [[], [CONFIG]], ids=["by default", "by name"])
def test_configs_are_found_from_outside_a_checkout(flags, tmp_path):
    done = command(*flags, "--workdir=w", "--config.seed=7", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "7 900 w\n")


def test_a_config_that_lies_here_goes_before_the_installed_one(tmp_path):
    (tmp_path / "configs").mkdir()
    mine = (REPO_ROOT / "configs" / "tiny_cpu.py").read_text().replace("steps = 900", "steps = 3")
    (tmp_path / "configs" / "tiny_cpu.py").write_text(mine)
    for flags in ([], [CONFIG]):
        assert command(*flags, "--workdir=w", cwd=tmp_path).stdout == "0 3 w\n"


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        ([CONFIG, "--workdir=w", "--config.sft.step=3"], ["--config.sft.step", "no such field"]),
        ([CONFIG, "--workdir=w", "--config.nothing=3"], ["--config.nothing", "no such field"]),
        ([CONFIG, "--workdir=w", "--config.seed.x=3"], ["--config.seed.x", "no such field"]),
        ([CONFIG, "--workdir=w", "--config.seed=many"], ["--config.seed=many"]),
        (["--config=configs/none.py", "--workdir=w"], ["configs/none.py"]),
        ([CONFIG], ["--workdir"]),
        ([CONFIG, "--workdir=w", "--speed=3"], ["speed"]),
        ([CONFIG, "--workdir=w", "sft"], ["'sft'", "--name=value"]),
        ([CONFIG, "--workdir=bad"], ["the workdir is bad; use another"]),
    ],
    ids=lambda value: value[-1] if isinstance(value[-1], str) else "",
)
def test_bad_input_is_one_clear_error(flags, parts):
    assert_one_clear_error(command(*flags), *parts)


def test_what_a_config_file_raises_is_told(tmp_path):
    (tmp_path / "broken.py").write_text("def get_config():\n    return {}['absent']\n")
    done = command(f"--config={tmp_path / 'broken.py'}", "--workdir=w")
    assert_one_clear_error(done, "the config file raised KeyError: 'absent'")


def test_a_fault_of_tooltrain_keeps_its_traceback():
    done = command(CONFIG, "--workdir=fault")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("name", ["train_sft", "train_grpo", "evaluate"])
def test_a_command_on_an_empty_workdir_says_what_to_run_first(name, tmp_path):
    done = command(CONFIG, f"--workdir={tmp_path}", module=f"tooltrain.cli.{name}")
    assert_one_clear_error(done, str(tmp_path), "tooltrain.cli.record")
    assert list(tmp_path.iterdir()) == []
