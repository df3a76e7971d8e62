"""OpenAPI documents become tools that ask what the document says."""

from __future__ import annotations

import json

import pytest

from tooltrain.env.cache import CacheWriter
from tooltrain.env.recorder import openapi
from tooltrain.env.recorder.http import Credential, Parameter
from tooltrain.errors import UserError

DOCUMENT = {
    "openapi": "3.1.0",
    "servers": [
        {"url": "https://{region}.example.org/v1", "variables": {"region": {"default": "eu"}}}
    ],
    "paths": {
        "/pets/{id}": {
            "parameters": [{"$ref": "#/components/parameters/Id"}],
            "get": {
                "operationId": "pets.get",
                "summary": "One pet.",
                "parameters": [
                    {
                        "name": "fields",
                        "in": "query",
                        "explode": False,
                        "schema": {"type": "array"},
                    },
                    {"name": "tags", "in": "query", "schema": {"type": "array"}},
                    {"name": "X-Api-Key", "in": "header", "schema": {"type": "string"}},
                    {"name": "session", "in": "cookie", "schema": {"type": "string"}},
                    {
                        "name": "where",
                        "in": "query",
                        "content": {"application/json": {"schema": {}}},
                    },
                ],
            },
            "put": {
                "requestBody": {
                    "content": {
                        "application/json": {
                            "schema": {
                                "allOf": [
                                    {"$ref": "#/components/schemas/Pet"},
                                    {"properties": {"id": {"type": "string"}}},
                                ]
                            }
                        }
                    }
                }
            },
        }
    },
    "components": {
        "parameters": {"Id": {"name": "id", "in": "path", "schema": {"type": "integer"}}},
        "schemas": {
            "Kind": {"type": "string", "enum": ["cat", "dog"]},
            "Pet": {
                "properties": {"kind": {"$ref": "#/components/schemas/Kind"}},
                "required": ["kind"],
            },
        },
        "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"}},
    },
}


def test_operations_become_tools_with_references_inlined():
    document = openapi.parse(DOCUMENT)
    get, put = document.endpoints
    assert document.base_url == "https://eu.example.org/v1"
    assert (get.tool.name, get.tool.original_name) == ("pets_get", "GET /pets/{id}")
    assert (get.tool.description, get.method, get.path) == ("One pet.", "GET", "/pets/{id}")
    assert list(get.tool.properties) == ["id", "fields", "tags", "where"]
    assert get.tool.required == ("id",)
    assert get.parameter("fields") == Parameter("query", "comma")
    assert get.parameter("tags") == Parameter("query", "repeat")
    assert get.parameter("where") == Parameter("query", "json")
    assert put.tool.name == "put_pets__id"
    assert put.tool.properties["kind"]["enum"] == ["cat", "dog"]
    assert put.tool.required == ("id", "kind")
    assert put.parameter("body_id") == Parameter("body", name="id")
    assert "$ref" not in json.dumps(dict(put.tool.parameters))


def test_the_key_goes_where_the_security_scheme_says():
    credentials = openapi.parse(DOCUMENT).credentials("PET_KEY")
    assert credentials == (Credential("X-Api-Key", "PET_KEY"),)
    with pytest.raises(UserError, match="has 0 security schemes"):
        openapi.parse(
            DOCUMENT | {"components": {**DOCUMENT["components"], "securitySchemes": {}}}
        ).credentials("PET_KEY")


def test_a_host_is_needed_from_document_or_user():
    assert openapi.absolute("/v2", "https://a.org/x") == "https://a.org/v2"
    assert openapi.absolute("https://a.org/v2", "") == "https://a.org/v2"
    assert openapi.absolute("https://a.org/v2", "http://localhost:1") == "http://localhost:1"
    with pytest.raises(UserError, match="names no host"):
        openapi.absolute("/v2", "")
    for base_url, given in (("/v2", "http://[::1"), ("http://a:b/v2", ""), ("/v2", "http://a:b")):
        with pytest.raises(UserError, match="has a host or port that cannot be read"):
            openapi.absolute(base_url, given)


def test_json_and_yaml_files_read_alike(tmp_path):
    yaml = pytest.importorskip("yaml")
    (tmp_path / "a.json").write_text(json.dumps(DOCUMENT))
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(DOCUMENT))
    a, b = openapi.read(tmp_path / "a.json"), openapi.read(tmp_path / "a.yaml")
    assert [e.tool.parameters for e in a.endpoints] == [e.tool.parameters for e in b.endpoints]


def test_yaml_is_read_as_the_json_that_it_looks_like(tmp_path):
    pytest.importorskip("yaml")
    (tmp_path / "a.yaml").write_text(
        "openapi: 3.0.0\n"
        "paths:\n"
        "  /a:\n"
        "    get:\n"
        "      operationId: a\n"
        "      parameters:\n"
        "      - {name: day, in: query, schema: {type: string, example: 2024-01-01}}\n"
        "      - {name: at, in: query, schema: {enum: [2024-01-01T10:00:00Z]}}\n"
        "      responses: {200: {description: fine}}\n"
    )
    (endpoint,) = openapi.read(tmp_path / "a.yaml").endpoints
    assert endpoint.tool.properties["day"]["example"] == "2024-01-01"
    assert endpoint.tool.properties["at"]["enum"] == ["2024-01-01T10:00:00Z"]
    with CacheWriter.create(tmp_path / "c.sqlite") as writer:
        writer.add_tool(endpoint.tool)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (": :", "is not YAML"),
        ("a: 2024-02-30", "is not YAML"),
        ("a: !!binary aGVsbG8=", "holds what JSON cannot"),
        ("a: &b [*b]", "holds what JSON cannot"),
    ],
)
def test_other_yaml_is_one_clear_error(tmp_path, text, message):
    pytest.importorskip("yaml")
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        openapi.read(tmp_path / "a.yaml")


def test_a_parameter_is_described_by_its_own_words_or_those_of_the_schema_it_refers_to():
    kind, words = {"$ref": "#/components/schemas/Kind"}, {"description": "Which."}
    given = [
        {"name": "a", "in": "query", "schema": kind},
        {"name": "b", "in": "query", "schema": kind} | words,
        {"name": "c", "in": "query", "schema": {"type": "string"}},
        {"name": "d", "in": "query", "content": {"text/plain": {}}},
        {"name": "e", "in": "query", "schema": True},
    ]
    document = {
        "paths": {"/a": {"get": {"parameters": given}}},
        "components": {"schemas": {"Kind": {"type": "string", "description": "Of pet."}}},
    }
    (endpoint,) = openapi.parse(document).endpoints
    told = {name: schema["description"] for name, schema in endpoint.tool.properties.items()}
    assert told == {"a": "Of pet.", "b": "Which.", "c": "", "d": "", "e": ""}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "is not JSON"),
        (b"[]", "no OpenAPI 3 document"),
        (b'{"swagger": "2.0"}', "no OpenAPI 3 document"),
        (
            b'{"openapi": "3.0.0", "paths": {"/a": {"$ref": "#/x"}}}',
            "leads nowhere in this document",
        ),
        (
            b'{"openapi": "3.0.0", "paths": {"/a": {"get": {"operationId": "x"}, '
            b'"put": {"operationId": "x"}}}}',
            "two operations are named x",
        ),
    ],
)
def test_other_files_are_one_clear_error(tmp_path, text, message):
    path = tmp_path / "document.json"
    path.write_bytes(text)
    with pytest.raises(UserError, match=message):
        openapi.read(path)
