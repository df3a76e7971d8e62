"""BFCL (github.com/ShishirPatil/gorilla, Apache-2.0), out of domain: its data, its checkers.

Data and checkers are those of the package `bfcl-eval`, which is installed without what it
asks for (its own requirements pull another deep-learning stack):

    pip install 'tooltrain[bfcl]' && pip install --no-deps bfcl-eval==2026.3.23

The single-turn categories are checked by the package's AST checker. Names with dots are
offered with underscores, as chat APIs want, and the checker is told so.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib
import importlib.metadata
import importlib.util
import os
import pathlib
import sys
import tempfile
import types
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from tooltrain.env.schema import Tool, safe_name
from tooltrain.errors import UserError
from tooltrain.types import Call, Json, MalformedCall

VERSION = "2026.3.23"
# Category -> language whose types the checker reads arguments in.
SINGLE_TURN = {
    "simple_python": "PYTHON",
    "simple_java": "JAVA",
    "simple_javascript": "JAVASCRIPT",
    "multiple": "PYTHON",
    "parallel": "PYTHON",
    "parallel_multiple": "PYTHON",
    "live_simple": "PYTHON",
    "live_multiple": "PYTHON",
    "live_parallel": "PYTHON",
    "live_parallel_multiple": "PYTHON",
}
MULTI_TURN = "multi_turn_base"
CATEGORIES = (*SINGLE_TURN, MULTI_TURN)

# BFCL's names of types -> JSON-schema's.
_TYPES = {
    "integer": "integer",
    "number": "number",
    "float": "number",
    "string": "string",
    "boolean": "boolean",
    "array": "array",
    "tuple": "array",
    "dict": "object",
    "object": "object",
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One test. messages: of each user turn (one in single-turn categories). answer: gold.
    data: the package's own record, for its checkers."""

    id: str
    category: str
    messages: tuple[tuple[dict[str, str], ...], ...]
    tools: tuple[Tool, ...]
    answer: Json
    data: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """error: the checker's name of what is wrong, "" for a valid answer."""

    valid: bool
    error: str = ""


class Bfcl:
    """The installed package. Open with `Bfcl.open`."""

    def __init__(self, directory: pathlib.Path):
        self._directory = directory
        self._ast = _module("eval_checker.ast_eval.ast_checker")
        self._languages = _module("constants.enums").Language
        self._backends = _module("constants.executable_backend_config")

    @classmethod
    def open(cls) -> Bfcl:
        """Raises UserError if the package is not installed, or is another version."""
        spec = importlib.util.find_spec("bfcl_eval")
        advice = (
            "pip install 'tooltrain[bfcl]' && pip install --no-deps "
            f"bfcl-eval=={VERSION}  (its own requirements replace jax)"
        )
        if spec is None or importlib.util.find_spec("mpmath") is None:
            raise UserError(f"BFCL is not installed: {advice}")
        if (got := importlib.metadata.version("bfcl-eval")) != VERSION:
            raise UserError(f"bfcl-eval {got} is installed; its checkers are used as of {advice}")
        # Without it the package makes folders beside itself.
        os.environ.setdefault("BFCL_PROJECT_ROOT", tempfile.gettempdir())
        _stand_in_for_model_config()
        return cls(pathlib.Path(spec.origin).parent)

    def entries(self, category: str) -> list[Entry]:
        """The tests of a category, in the package's order. Raises UserError for an unknown one."""
        if category not in CATEGORIES:
            raise UserError(f"unknown category {category!r}; allowed: {', '.join(CATEGORIES)}")
        answers = {row["id"]: row["ground_truth"] for row in self._rows(category, answer=True)}
        entries = []
        for row in self._rows(category):
            if category == MULTI_TURN:
                functions = [doc for name in row["involved_classes"] for doc in self._docs(name)]
            else:
                functions = row["function"]
            language = SINGLE_TURN.get(category, "PYTHON")
            tools = tuple(_tool(function, language) for function in functions)
            messages = tuple(tuple(turn) for turn in row["question"])
            entries.append(Entry(row["id"], category, messages, tools, answers[row["id"]], row))
        return entries

    def check_single_turn(self, entry: Entry, calls: Sequence[Call | MalformedCall]) -> Verdict:
        """The package's AST checker on the calls of one answer."""
        if any(isinstance(call, MalformedCall) for call in calls):
            return Verdict(False, "malformed")
        names = {
            _offered_name(function["name"]): function["name"].replace(".", "_")
            for function in entry.data["function"]
        }
        output = [{names.get(c.name, c.name): copy.deepcopy(c.arguments)} for c in calls]
        try:
            result = self._ast.ast_checker(
                copy.deepcopy(entry.data["function"]),
                output,
                entry.answer,
                self._languages[SINGLE_TURN[entry.category]],
                entry.category,
                _MODEL,
            )
        except Exception as error:  # its checkers fail on shapes that they do not expect
            return Verdict(False, f"checker failed: {type(error).__name__}")
        return Verdict(result["valid"], "" if result["valid"] else result["error_type"])

    def backend(self, class_name: str) -> Any:
        """A new instance of an environment class of the multi-turn categories."""
        module = importlib.import_module(self._backends.CLASS_FILE_PATH_MAPPING[class_name])
        return getattr(module, class_name)()

    def is_stateless(self, class_name: str) -> bool:
        return class_name in self._backends.STATELESS_CLASSES

    def _docs(self, class_name: str) -> list[dict[str, Any]]:
        name = self._backends.MULTI_TURN_FUNC_DOC_FILE_MAPPING[class_name]
        return _read(self._directory / "data" / "multi_turn_func_doc" / name)

    def _rows(self, category: str, *, answer: bool = False) -> list[dict[str, Any]]:
        directory = self._directory / "data" / ("possible_answer" if answer else "")
        return _read(directory / f"BFCL_v4_{category}.json")


_MODEL = "tooltrain"


def _stand_in_for_model_config() -> None:
    """The checkers ask one thing of a module that would import every vendor's client: are
    dots in names written as underscores? Ours are."""

    class Config:
        underscore_to_dot = True

    module = types.ModuleType("bfcl_eval.constants.model_config")
    module.MODEL_CONFIG_MAPPING = {_MODEL: Config}
    sys.modules.setdefault(module.__name__, module)


def _module(name: str) -> types.ModuleType:
    return importlib.import_module(f"bfcl_eval.{name}")


def _read(path: pathlib.Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines() if line.strip()]


def _offered_name(name: str) -> str:
    return safe_name(name.replace(".", "_"))


def _tool(function: Mapping[str, Any], language: str) -> Tool:
    """A function as a tool. Arguments in Java and JavaScript are written as source text,
    which is how the checker reads them."""
    parameters = function["parameters"]
    properties = {}
    for name, schema in parameters["properties"].items():
        if language == "PYTHON":
            properties[name] = _schema(schema)
        else:
            kind = schema["type"]
            if "items" in schema:
                kind += f" of {schema['items']['type']}"
            text = f"{schema.get('description', '')} ({kind}, as {language.title()} source text)"
            properties[name] = {"type": "string", "description": text}
    return Tool(
        _offered_name(function["name"]),
        function["description"],
        {
            "type": "object",
            "properties": properties,
            "required": list(parameters.get("required", ())),
        },
        function["name"],
    )


def _schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: schema[key] for key in ("description", "enum", "default") if key in schema}
    kept["type"] = _TYPES.get(schema.get("type"), "string")
    if "properties" in schema and kept["type"] == "object":
        kept["properties"] = {k: _schema(v) for k, v in schema["properties"].items()}
        if "required" in schema:
            kept["required"] = list(schema["required"])
    if "items" in schema and kept["type"] == "array":
        kept["items"] = _schema(schema["items"])
    return kept
