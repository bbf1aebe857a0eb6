"""The service's OpenAPI document as one page of HTML, for people."""

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from taskapi.api.openapi import curl
from taskapi.api.openapi.words import Node, constraints, json_text, resolve, rows

HERE: Final = Path(__file__).parent
METHODS: Final = ("get", "post", "put", "patch", "delete")
JSON: Final = "application/json"
STYLE: Final = (HERE / "page.css").read_text()
_DIGEST: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy under which the page looks as it should, and nothing else runs."""
PLACE: Final = "http://service.invalid"
"""An address to put another one in the place of, when the page has been made."""
_HOST: Final = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


def prose(text: str) -> Markup:
    """Return plain text as HTML: paragraphs between blank lines, lists of `- `, `code`."""
    parts = re.split(r"\n\s*\n", str(escape(text.strip())))
    coded = (re.sub("`([^`]+)`", r"<code>\1</code>", part) for part in parts if part)
    return Markup("".join(_block(part) for part in coded))


def _block(text: str) -> str:
    if not text.startswith("- "):
        return f"<p>{text}</p>"
    entries = re.split(r"(?:^|\n)- ", text)[1:]
    return "<ul>" + "".join(f"<li>{entry}</li>" for entry in entries) + "</ul>"


def breakable(name: str) -> Markup:
    """Return a path or a field that a narrow screen breaks at its slashes and dots."""
    return Markup(re.sub(r"(?=/)|(?<=\.)", "<wbr>", str(escape(name))))


_ENVIRONMENT: Final = Environment(
    loader=FileSystemLoader(HERE),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters.update(prose=prose, breakable=breakable)


def base_url(host: str, fallback: str, *, is_secure: bool = False) -> str:
    """Return the address of the service by its Host header, or `fallback` where that is odd."""
    if not _HOST.fullmatch(host):
        return fallback
    return f"{'https' if is_secure else 'http'}://{host}"


def render(document: Node, base: str) -> str:
    """Return the page; its commands speak to the service at `base`."""
    sections = list(_sections(document, base))
    components = document["components"]
    return _ENVIRONMENT.get_template("page.html").render(
        info=document["info"],
        style=Markup(STYLE),
        base=base,
        logins=components.get("securitySchemes", {}).values(),
        common=_take_common(sections),
        sections=sections,
        codes=components["schemas"]["ErrorCode"]["description"],
    )


def _take_common(sections: list[Node]) -> list[Node]:
    """Take out and return the parameters that every operation has, to be shown once."""
    operations = [operation for section in sections for operation in section["operations"]]
    lists = [operation["parameters"] for operation in operations]
    common = [it for it in lists[0] if all(it in parameters for parameters in lists)]
    for parameters in lists:
        parameters[:] = [it for it in parameters if it not in common]
    return common


def _sections(document: Node, base: str) -> Iterator[Node]:
    """Yield each tag with its operations, in the order of the document."""
    found = [
        _operation(document, base, path, method)
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    ]
    for tag in document["tags"]:
        inside = [operation for operation in found if operation["tag"] == tag["name"]]
        yield {"name": tag["name"], "about": tag.get("description", ""), "operations": inside}


def _operation(document: Node, base: str, path: str, method: str) -> Node:
    item = document["paths"][path]
    operation = item[method]
    given = [*item.get("parameters", []), *operation.get("parameters", [])]
    parameters = [_parameter(document, resolve(document, each)) for each in given]
    body = _media(resolve(document, operation.get("requestBody", {})))
    example = _example(document, body)
    is_public = operation.get("security", document.get("security")) == []
    command = curl.command(base, method.upper(), path, parameters, example, is_public=is_public)
    return {
        "id": operation["operationId"],
        "tag": operation["tags"][0],
        "method": method.upper(),
        "path": path,
        "summary": operation["summary"],
        "description": operation.get("description", ""),
        "is_public": is_public,
        "parameters": parameters,
        "fields": list(rows(document, body.get("schema", {}))),
        "example": None if example is None else json_text(example, is_indented=True),
        "curl": command,
        **_answers(document, operation),
    }


def _parameter(document: Node, given: Node) -> Node:
    schema = resolve(document, given.get("schema", {}))
    example = next((it["example"] for it in (given, schema) if "example" in it), 1)
    return {
        "name": given["name"],
        "in": given["in"],
        "is_required": given.get("required", False),
        "constraints": constraints(document, schema),
        "description": given.get("description", ""),
        "example": example,
    }


def _answers(document: Node, operation: Node) -> Node:
    """Return the answers of an operation: its successes with examples, its errors with codes."""
    every = [_answer(document, status, it) for status, it in operation["responses"].items()]
    return {
        "answers": [answer for answer in every if answer["status"] < "400"],
        "errors": [answer for answer in every if answer["status"] >= "400"],
    }


def _answer(document: Node, status: str, given: Node) -> Node:
    response = resolve(document, given)
    example = _example(document, _media(response))
    return {
        "status": status,
        "description": response["description"],
        "example": None if example is None else json_text(example, is_indented=True),
    }


def _media(node: Node) -> Node:
    found: Node = node.get("content", {}).get(JSON, {})
    return found


def _example(document: Node, media: Node) -> Any:
    """Return the first example of a body, or None."""
    if "example" in media:
        return media["example"]
    for named in media.get("examples", {}).values():
        return resolve(document, named)["value"]
    return resolve(document, media.get("schema", {})).get("example")
