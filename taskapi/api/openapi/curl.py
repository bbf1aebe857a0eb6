"""A curl command for an operation, that works when pasted into a shell."""

from shlex import quote
from typing import Any, Final
from urllib.parse import quote as percent
from urllib.parse import urlencode

from taskapi.api.openapi.words import Node, json_text
from taskapi.config import DEFAULT_OWNER_PASSWORD

OWNER: Final = f'-H "X-Owner-Password: ${{OWNER_PASSWORD:-{DEFAULT_OWNER_PASSWORD}}}"'
JSON: Final = "-H 'Content-Type: application/json'"


def command(
    base: str, method: str, path: str, parameters: list[Node], body: Any, *, is_public: bool
) -> str:
    """Return the command; values come from the parameters' examples, ids are 1 without one."""
    examples = {item["name"]: item["example"] for item in parameters if item["in"] == "path"}
    for name, value in examples.items():
        path = path.replace("{" + name + "}", percent(str(value)))
    query = urlencode(
        {
            item["name"]: item["example"]
            for item in parameters
            if item["in"] == "query" and item["is_required"]
        }
    )
    parts = [] if is_public else [OWNER]
    if body is not None:
        parts += [JSON, f"-d {quote(json_text(body))}"]
    parts.append("'" + base + path + ("?" + query if query else "") + "'")
    return ("curl " if method == "GET" else f"curl -X {method} ") + " \\\n  ".join(parts)
