"""The page made from small documents: what it says of schemas, and what it lets through."""

from __future__ import annotations

import html
import re
import shlex
from typing import Any

import pytest

from taskapi.api.openapi import page
from taskapi.api.openapi.words import constraints, rows

HOSTILE = """</code></style><script>alert(1)</script><b a="'>"""
HOURS = {"type": "number", "minimum": 0, "maximum": 24}
ID = {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}


def document(text: str, example: Any) -> dict[str, Any]:
    """A document with one operation, that says `text` wherever a document says anything."""
    media = {"schema": {"$ref": "#/components/schemas/Body"}, "example": example}
    operation = {
        "operationId": "create",
        "tags": ["things"],
        "summary": text,
        "description": text,
        "parameters": [{"name": "q", "in": "query", "required": True, "example": text}],
        "requestBody": {"content": {"application/json": media}},
        "responses": {
            "201": {"description": text, "content": {"application/json": {"example": text}}},
            "400": {"description": text},
        },
    }
    return {
        "info": {"title": text, "version": text, "description": text},
        "tags": [{"name": "things", "description": text}],
        "paths": {"/things": {"post": operation}},
        "components": {
            "schemas": {
                "Body": {"properties": {text: {"type": "string"}}},
                "ErrorCode": {"description": text},
            }
        },
    }


def test_nothing_that_the_document_says_becomes_markup() -> None:
    text = page.render(document(HOSTILE, {"name": HOSTILE}), "http://localhost:7890")
    assert "<script" not in text
    assert "<b " not in text
    assert text.count("</style>") == 1
    assert html.escape(HOSTILE, quote=False)[:20] in text


@pytest.mark.parametrize("name", ["O'Hara", '$(id) `id` \\ ! "', "ä\n'"])
def test_a_command_says_to_a_shell_exactly_what_the_example_says(name: str) -> None:
    text = page.render(document(name, {"name": name}), "http://localhost:7890")
    (command,) = re.findall(r'<pre class="curl"><code>(.*?)</code></pre>', text, re.DOTALL)
    words = shlex.split(html.unescape(command))
    assert words[words.index("-d") + 1] == page.json_text({"name": name})
    assert words[-1].startswith("http://localhost:7890/things?q=")


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "string", "minLength": 1, "maxLength": 200}, "text, 1 to 200 characters"),
        ({"type": "string", "format": "date"}, "date"),
        ({"type": ["string", "null"], "format": "date"}, "date or null"),
        (
            {"type": "string", "maxLength": 32, "default": ""},
            'text, at most 32 characters, default ""',
        ),
        (ID, "id"),
        ({"type": "integer", "minimum": 1, "maximum": 1000}, "whole number, 1 to 1000"),
        ({"type": "integer", "enum": [1, 2, 3], "default": 2}, "1 or 2 or 3, default 2"),
        (
            {"type": "array", "items": ID, "uniqueItems": True},
            "list of ids, each once",
        ),
        ({"anyOf": [ID, {"type": "null"}]}, "id or null"),
        (
            {"type": "object", "properties": {"Monday": HOURS, "Friday": HOURS}},
            "object of Monday, Friday, each number, 0 to 24",
        ),
        ({"const": True}, "true"),
        ({"type": "boolean"}, "true or false"),
        ({"description": "Anything."}, ""),
    ],
)
def test_a_schema_in_words(schema: dict[str, Any], said: str) -> None:
    assert constraints({}, schema) == said


def test_fields_of_inner_objects_have_dots_and_the_service_s_own_are_left_out() -> None:
    inner = {"type": "object", "properties": {"priority": {"type": "integer"}}}
    body = {
        "properties": {"updates": inner, "id": {"description": "Ours."}},
        "required": ["updates"],
    }
    found = [(row["name"], row["is_required"]) for row in rows({}, body)]
    assert found == [("updates", True), ("updates.priority", False)]


@pytest.mark.parametrize("host", ["localhost:7890", "api.example.com", "10.0.0.7:80", "[::1]:7890"])
def test_commands_speak_to_the_host_that_was_asked(host: str) -> None:
    assert page.base_url(host, "http://fallback") == f"http://{host}"
    assert page.base_url(host, "http://fallback", is_secure=True) == f"https://{host}"


@pytest.mark.parametrize(
    "host",
    [
        "",
        "a b",
        "x';id;'",
        "$(id)",
        "`id`",
        "<script>",
        "user@evil",
        "a/b",
        "a\n",
        "a:1:2",
        "[::1",
        "é",
    ],
)
def test_an_odd_host_is_not_repeated(host: str) -> None:
    assert page.base_url(host, "http://fallback") == "http://fallback"
