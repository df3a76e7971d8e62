"""What is installed: the package with its data and configs, and nothing that it does not need."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_VERSIONS = ("3.11", "3.12")
_UNWANTED = ("tensorflow", "torch", "nvidia", "jax-cuda", "libtpu")  # how their names begin
_ASK = """
from tooltrain.env.environment import open_environment
from tooltrain.types import Call
print(open_environment("runs/cache/fruit.sqlite").execute(Call("price", {"kilos": 2})).content)
"""


def _source(folder: pathlib.Path) -> pathlib.Path:
    """A copy of what a checkout has: building leaves files beside the source."""
    ignored = shutil.ignore_patterns(
        "__pycache__", ".git", ".venv", ".cache", ".hypothesis", "runs", "build", "*.egg-info", ".*"
    )
    return pathlib.Path(shutil.copytree(_ROOT, folder / "source", ignore=ignored))


def _build(kind: str, folder: pathlib.Path) -> pathlib.Path:
    """Builds as pip does, with the setuptools that is here."""
    source = _source(folder)
    code = f"import setuptools.build_meta as b; b.build_{kind}({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    (built,) = [path for path in folder.iterdir() if path.suffix in (".whl", ".gz")]
    return built


def _files(*folders: str) -> set[str]:
    return {
        str(path.relative_to(_ROOT))
        for folder in folders
        for path in (_ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_package_its_data_and_the_configs(tmp_path):
    with zipfile.ZipFile(_build("wheel", tmp_path)) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        metadata = next(n for n in wheel.namelist() if n.endswith("METADATA"))
        described = wheel.read(metadata).decode()
    configs = {f"tooltrain/{name}" for name in _files("configs") if name.endswith(".py")}
    assert "tooltrain/configs/tiny_cpu.py" in configs
    assert names == _files("tooltrain") | configs
    assert "Requires-Python: >=3.11" in described
    assert "Provides-Extra: gpu" in described


def test_the_sdist_holds_what_it_takes_to_build_and_test(tmp_path):
    with tarfile.open(_build("sdist", tmp_path)) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    wanted = _files("tooltrain", "configs", "tests", "docs", "colab", "benchmarks", "experiments")
    wanted |= {"README.md", "LICENSE", "Makefile", "setup.py", "pyproject.toml", "mkdocs.yml"}
    assert not wanted - names


def _python(version: str) -> str:
    """An interpreter of that version. Skips the test where there is none."""
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv"))
    installed = map(str, pyenv.glob(f"versions/{version}*/bin/python"))
    for found in (sys.executable, shutil.which(f"python{version}"), *installed):
        if found is None:
            continue
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([found, "-c", code], capture_output=True, text=True)
        if done.stdout.strip() == version:
            return found
    pytest.skip(f"no Python {version} here")


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("version", _VERSIONS)
def test_an_empty_environment_takes_the_wheel_and_works_outside_a_checkout(version, tmp_path):
    wheel = _build("wheel", tmp_path)
    (tmp_path / "elsewhere").mkdir()
    python = str(tmp_path / "venv" / "bin" / "python")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            arguments,
            cwd=tmp_path / "elsewhere",
            env=environment | {"JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    run(_python(version), "-m", "venv", str(tmp_path / "venv"))
    run(python, "-m", "pip", "install", "--quiet", str(wheel))
    assert "No broken requirements found." in run(python, "-m", "pip", "check")
    names = [line.partition("==")[0].lower() for line in run(python, "-m", "pip", "freeze").split()]
    unwanted = [name for name in names if name.startswith(_UNWANTED)]
    assert [name for name in unwanted if not name.startswith("tensorflow-")] == []
    assert "tensorflow" not in names

    (tmp_path / "elsewhere" / "shop.py").write_text(
        'def price(kilos: int) -> dict:\n    """Cents."""\n    return {"cents": 120 * kilos}\n'
        "from tooltrain.env.recorder.plan import Plan, Range, ToolPlan\n"
        'plan = Plan((ToolPlan("price", {"kilos": Range(1, 5)}),))\ntools = [price]\n'
    )
    command = (python, "-m", "tooltrain.cli.record", "--source=callables", "--workdir=runs")
    flags = ("--callables=shop:tools", "--plan=shop:plan", "--config.suite=fruit")
    assert "recorded 5 responses" in run(*command, *flags)
    assert run(python, "-c", _ASK).strip() == "{'cents': 240}"
    for name in ("synthesize", "train_sft", "train_grpo", "evaluate", "serve", "show", "cache"):
        code = f"import tooltrain.cli.{name} as c; print(c.__file__)"
        assert "site-packages" in run(python, "-c", code)
