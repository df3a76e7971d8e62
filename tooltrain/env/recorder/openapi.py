"""Tools read from an OpenAPI document (3.x), JSON or YAML.

An operation becomes a tool named by its operationId; its parameters and the fields of its
JSON body become arguments. Parameters that a security scheme fills are no arguments.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence

import orjson

from tooltrain.env.recorder.http import Credential, Endpoint, Parameter, split_url
from tooltrain.env.schema import Tool, safe_name
from tooltrain.errors import UserError
from tooltrain.types import Json

_METHODS = ("get", "post", "put", "patch", "delete")


@dataclasses.dataclass(frozen=True)
class Document:
    """base_url: of the document's first server, may be relative or empty. schemes: by name,
    where each security scheme puts its credential; the variable is still empty."""

    base_url: str
    endpoints: tuple[Endpoint, ...]
    schemes: Mapping[str, Credential]

    def credentials(self, variable: str) -> tuple[Credential, ...]:
        """The document's one security scheme with its credential from an environment
        variable. Raises UserError when it has none or several."""
        if len(self.schemes) != 1:
            raise UserError(
                f"the document has {len(self.schemes)} security schemes that tooltrain can fill "
                f"({', '.join(self.schemes) or 'none'}); exactly one is needed for a key"
            )
        return tuple(dataclasses.replace(c, variable=variable) for c in self.schemes.values())


def read(path: str | os.PathLike[str]) -> Document:
    """Reads a document from a file. Raises UserError when it is none, or of Swagger 2."""
    path = pathlib.Path(path)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"no OpenAPI document at {path} ({error.strerror})") from None
    try:
        is_yaml = path.suffix in (".yaml", ".yml")
        document = _yaml(text, path) if is_yaml else orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UserError(f"{path} is not JSON ({error}); a YAML file ends in .yaml") from None
    version = document.get("openapi") if isinstance(document, dict) else None
    if not str(version).startswith("3."):
        raise UserError(f"{path} is no OpenAPI 3 document (its `openapi` is {version!r})")
    return parse(document)


def _yaml(text: bytes, path: pathlib.Path) -> Json:
    try:
        import yaml
    except ImportError:
        raise UserError(f"{path}: YAML needs `pip install pyyaml`; or convert to JSON") from None
    try:
        read = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # the second of a date that is none
        raise UserError(f"{path} is not YAML ({str(error).splitlines()[0]})") from None
    try:
        # As the document reads in JSON: YAML makes a date of 2024-01-01, a number of a key 200.
        return orjson.loads(orjson.dumps(read, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z))
    except TypeError as error:
        raise UserError(f"{path} holds what JSON cannot ({error}); write it as JSON") from None


def parse(document: Mapping[str, Json]) -> Document:
    """The document's tools. Raises UserError when two operations share a name."""
    schemes = dict(_schemes(document))
    filled = {credential.name.lower() for credential in schemes.values()}
    endpoints: dict[str, Endpoint] = {}
    for path, item in document.get("paths", {}).items():
        item = _named(item, document)
        for method in _METHODS:
            if method in item:
                endpoint = _endpoint(document, path, method, item, filled)
                if endpoint.tool.name in endpoints:
                    raise UserError(f"two operations are named {endpoint.tool.name}; rename one")
                endpoints[endpoint.tool.name] = endpoint
    servers = document.get("servers") or [{"url": ""}]
    url = servers[0]["url"]
    for name, variable in servers[0].get("variables", {}).items():
        url = url.replace(f"{{{name}}}", str(variable.get("default", "")))
    return Document(url, tuple(endpoints.values()), schemes)


def absolute(base_url: str, given: str) -> str:
    """The URL to ask: `given` if the user gave one, joined with a relative server URL.

    Raises UserError when there is no host in either, or one that cannot be read.
    """
    whole = split_url(base_url, "the document's server URL").hostname is not None
    split_url(given, "--url")
    url = given or base_url
    if given and not whole:
        url = urllib.parse.urljoin(given, base_url)
    if not split_url(url, "the URL").hostname:
        raise UserError(f"the document names no host (server {base_url!r}); give --url=https://…")
    return url


def _schemes(document: Mapping[str, Json]) -> Iterator[tuple[str, Credential]]:
    for name, scheme in document.get("components", {}).get("securitySchemes", {}).items():
        scheme = _named(scheme, document)
        kind, place = scheme.get("type"), scheme.get("in")
        if kind == "apiKey" and place in ("header", "query"):
            yield name, Credential(scheme["name"], "", place)
        elif kind in ("oauth2", "openIdConnect") or str(scheme.get("scheme")).lower() == "bearer":
            yield name, Credential("Authorization", "", prefix="Bearer ")


def _endpoint(
    document: Mapping[str, Json], path: str, method: str, item: Json, filled: set[str]
) -> Endpoint:
    operation = item[method]
    name = safe_name(operation.get("operationId") or f"{method}_{path.strip('/')}")
    properties: dict[str, Json] = {}
    required: list[str] = []
    places: dict[str, Parameter] = {}
    # An operation's own parameter replaces its path's of the same name and place.
    given = [_named(p, document) for p in item.get("parameters", ())]
    given += [_named(p, document) for p in operation.get("parameters", ())]
    for parameter in {(p["name"], p["in"]): p for p in given}.values():
        argument, place = parameter["name"], parameter["in"]
        if place == "cookie" or argument.lower() in filled:
            continue
        content = list(parameter.get("content", {}).values())
        given = parameter.get("schema") or ((content[0] or {}).get("schema") if content else None)
        schema = dict(given) if isinstance(given, Mapping) else {}  # `true`, or nothing, is any
        words = parameter.get("description", "")
        if words or "$ref" not in schema:  # beside a reference "" would hide what that one says
            schema.setdefault("description", words)
        properties[argument] = schema
        if parameter.get("required") or place == "path":
            required.append(argument)
        lists = "json" if content else _lists(parameter, place)
        places[argument] = Parameter(place, lists)
    body = _named(operation.get("requestBody", {}), document)
    schema = _body_schema(body, document)
    for argument, field in schema.get("properties", {}).items():
        # Two arguments of one name: the body's is called apart, and sent under its own.
        argument_name = f"body_{argument}" if argument in properties else argument
        properties[argument_name] = field
        places[argument_name] = Parameter("body", name=argument)
        if argument in schema.get("required", ()):
            required.append(argument_name)
    text = operation.get("description") or operation.get("summary") or ""
    whole = {"type": "object", "properties": properties, "components": document.get("components")}
    # The tool's own view of its schema has references inlined; the prompt needs no more.
    inlined = {name: dict(schema) for name, schema in Tool(name, text, whole).properties.items()}
    parameters = {"type": "object", "properties": inlined, "required": required}
    tool = Tool(name, text, parameters, f"{method.upper()} {path}")
    return Endpoint(tool, path, method.upper(), places)


def _lists(parameter: Mapping[str, Json], place: str) -> str:
    """OpenAPI 3.1, 4.8.12.2: `form` repeats by default, other styles join."""
    repeats = place == "query" and parameter.get("style", "form") == "form"
    return "repeat" if parameter.get("explode", repeats) else "comma"


def _body_schema(body: Mapping[str, Json], document: Mapping[str, Json]) -> Mapping[str, Json]:
    for kind, content in body.get("content", {}).items():
        if kind.split(";")[0].strip() == "application/json":
            return _merged(_named(content.get("schema", {}), document), document)
    return {}


def _merged(schema: Mapping[str, Json], document: Mapping[str, Json]) -> Mapping[str, Json]:
    """A body's schema with the parts of its allOf as one."""
    parts: Sequence[Mapping[str, Json]]
    parts = [_merged(_named(part, document), document) for part in schema.get("allOf", ())]
    properties, required = dict(schema.get("properties", {})), list(schema.get("required", ()))
    for part in parts:
        properties |= part.get("properties", {})
        required += part.get("required", ())
    return {"properties": properties, "required": required}


def _named(value: Mapping[str, Json], document: Mapping[str, Json]) -> Mapping[str, Json]:
    """What a local reference names; anything else is itself. Raises UserError when it names
    nothing, or lies in another file."""
    for _ in range(8):
        reference = value.get("$ref")
        if reference is None:
            return value
        found: Json = document
        for step in reference.removeprefix("#/").split("/"):
            step = urllib.parse.unquote(step).replace("~1", "/").replace("~0", "~")
            found = found.get(step) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping):
            raise UserError(f"the reference {reference} leads nowhere in this document")
        value = found
    raise UserError(f"the reference {value['$ref']} leads in a circle")
