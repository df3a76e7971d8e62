"""The notebooks: each is its source, was saved with outputs, and runs."""

from __future__ import annotations

import pathlib
import re

import nbformat
import pytest

from colab import build

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_MINUTES = {"one_episode", "grpo_in_minutes"}  # they train
_RUN = [
    pytest.param(name, marks=pytest.mark.slow) if name in _MINUTES else name
    for name in build.names()
]


@pytest.fixture
def folder(tmp_path, monkeypatch, request) -> pathlib.Path:
    """Where a notebook runs, the recorded responses beside it, as a Colab would have them."""
    monkeypatch.setenv("TOOLTRAIN_SMALL", "1")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("PYTHONPATH", str(_ROOT))
    if "WHEEL" in (build.SOURCES / f"{request.node.callspec.params['name']}.py").read_text():
        wheel = request.getfixturevalue("booking_wheel")
        (tmp_path / ".cache" / "wheels").mkdir(parents=True)
        (tmp_path / ".cache" / "wheels" / wheel.name).symlink_to(wheel)
    return tmp_path


@pytest.mark.parametrize("name", _RUN)
def test_a_notebook_runs_from_its_first_cell_to_its_last(name, folder):
    book = build.run(build.notebook(name), folder)
    counts = [cell.execution_count for cell in book.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


@pytest.mark.parametrize("name", build.names())
def test_what_is_saved_is_the_source_with_outputs(name):
    path = build.FOLDER / f"{name}.ipynb"
    saved = nbformat.read(path, as_version=4)
    nbformat.validate(saved)
    again = "run `make colab`"
    assert [(c.cell_type, c.source) for c in saved.cells] == [
        (c.cell_type, c.source) for c in build.notebook(name).cells
    ], again
    code = [cell for cell in saved.cells if cell.cell_type == "code"]
    assert "pip" in code[0].source
    outputs = [output for cell in code for output in cell.outputs]
    assert len(outputs) >= 5, again
    assert not [output for output in outputs if output.output_type == "error"]
    assert len(saved.cells) <= 20
    assert path.stat().st_size < 400_000
    assert not re.search(r"/(?:tmp|home|root|work|content)/", path.read_text())


def test_shell_commands_and_text_are_told_from_code(tmp_path, monkeypatch):
    (tmp_path / "small.py").write_text(
        "# %% [markdown]\n# # Title\n#\n# Text.\n\n# %%\nx = 1  # one\n# !echo {x}\n"
    )
    (tmp_path / "install.txt").write_text("# Installs.\n")
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    title, install, code = build.notebook("small").cells
    assert title.source == "# Title\n\nText."
    assert install.source == "# Installs."
    assert code.source == "x = 1  # one\n!echo {x}"
