"""OpenAPI documents become tools that ask what the document says."""

from __future__ import annotations

import json

import pytest

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


def test_json_and_yaml_files_read_alike(tmp_path):
    yaml = pytest.importorskip("yaml")
    (tmp_path / "a.json").write_text(json.dumps(DOCUMENT))
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(DOCUMENT))
    a, b = openapi.read(tmp_path / "a.json"), openapi.read(tmp_path / "a.yaml")
    assert [e.tool.parameters for e in a.endpoints] == [e.tool.parameters for e in b.endpoints]


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
