"""What a schema of the OpenAPI document allows, in words for a reader."""

import json
from collections.abc import Iterator
from typing import Any, Final

from schemas.fields import INT64_MOST

Node = dict[str, Any]
RANGES: Final = {  # lowest, highest, unit
    ("minLength", "maxLength"): " characters",
    ("minimum", "maximum"): "",
    ("minItems", "maxItems"): " entries",
    ("minProperties", "maxProperties"): " keys",
}
ID: Final = (1, INT64_MOST)


def resolve(document: Node, node: Any) -> Any:
    """Return the node, or what its `$ref` within the document names."""
    while isinstance(node, dict) and "$ref" in node:
        found: Any = document
        for name in node["$ref"].removeprefix("#/").split("/"):
            found = found[name.replace("~1", "/").replace("~0", "~")]
        node = found
    return node


def json_text(value: Any, *, is_indented: bool = False) -> str:
    """Return the value as JSON, in one line or indented."""
    return json.dumps(value, ensure_ascii=False, indent=2 if is_indented else None)


def constraints(document: Node, schema: Any) -> str:
    """Return what a value of this schema may be: `text, 1 to 200 characters`."""
    schema = resolve(document, schema)
    if not isinstance(schema, dict):
        return "anything"
    parts = [_kind(document, schema), *_ranges(schema)]
    if schema.get("uniqueItems"):
        parts.append("each once")
    if "default" in schema:
        parts.append(f"default {json_text(schema['default'])}")
    return ", ".join(part for part in parts if part)


def _kind(document: Node, schema: Node) -> str:
    for word in ("oneOf", "anyOf"):
        if word in schema:
            return " or ".join(dict.fromkeys(constraints(document, it) for it in schema[word]))
    if "const" in schema:
        return json_text(schema["const"])
    if "enum" in schema:
        return " or ".join(json_text(value) for value in schema["enum"])
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return " or ".join(_named(document, schema, kind) for kind in kinds)


def _named(document: Node, schema: Node, kind: str) -> str:
    if kind == "array":
        entry = constraints(document, schema.get("items", {})) or "value"
        return f"list of {entry}{'s' if entry.isalpha() else ''}"
    if kind == "object" and (rule := _rule_of_all(document, schema)):
        return f"object of {', '.join(schema['properties'])}, each {rule}"
    if kind == "integer" and (schema.get("minimum"), schema.get("maximum")) == ID:
        return "id"
    if kind == "string" and "format" in schema:
        return str(schema["format"])
    return {"string": "text", "integer": "whole number", "boolean": "true or false"}.get(kind, kind)


def _rule_of_all(document: Node, schema: Node) -> str:
    """Return the rule that is the same for all of several fields, or nothing."""
    fields = schema.get("properties", {}).values()
    rules = {constraints(document, field) for field in fields}
    return rules.pop() if len(fields) > 1 and len(rules) == 1 else ""


def _ranges(schema: Node) -> Iterator[str]:
    for (low_name, high_name), unit in RANGES.items():
        low, high = schema.get(low_name), schema.get(high_name)
        if high == INT64_MOST:  # as good as no limit, and what tells an id
            continue
        if low is not None and high is not None:
            yield f"{low} to {high}{unit}"
        elif low is not None:
            yield f"at least {low}{unit}"
        elif high is not None:
            yield f"at most {high}{unit}"


def rows(document: Node, schema: Any, prefix: str = "") -> Iterator[Node]:
    """Yield a row for each field of an object, those of its inner objects with dots."""
    schema = resolve(document, schema)
    required = schema.get("required", [])
    for name, given in schema.get("properties", {}).items():
        field = resolve(document, given)
        rule = constraints(document, field)
        if not rule:  # what only the service sets may be sent, and changes nothing
            continue
        yield {
            "name": prefix + name,
            "is_required": name in required,
            "constraints": rule,
            "description": given.get("description", field.get("description", "")),
        }
        if not _rule_of_all(document, field):
            yield from rows(document, field, f"{prefix}{name}.")
