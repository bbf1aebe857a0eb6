"""How our own field classes read in JSON Schema, and bodies and queries made of them."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema
from marshmallow.fields import Field

from schemas.fields import INT64_MOST, Day, Digits, Email, Flag, Text, Timestamp, Whole
from schemas.fields import Body as Strict
from schemas.users import WEEK, GroupIds, WorkTimes

Shape = dict[str, Any]

ID: Final[Shape] = {"type": "integer", "format": "int64", "minimum": 1, "maximum": INT64_MOST}
HOURS: Final[Shape] = {"type": "number", "minimum": 0, "maximum": 24}
NO_NUL: Final = r"^[^\u0000]*$"
NOT_BLANK: Final = r"^[^\u0000]*[^\s\u0000\u001c-\u001f\u0085\ufeff][^\u0000]*$"
IGNORED: Final[Shape] = {"description": "Ours to set: accepted in a body, and passed over."}


def _text(field: Text) -> Shape:
    if field.validators:
        return {"type": "string"}
    is_blank_refused = field.is_trimmed and field.low > 0
    pattern = NOT_BLANK if is_blank_refused else NO_NUL
    sizes = {"minLength": field.low} if field.low else {}
    return {"type": "string", **sizes, "maxLength": field.high, "pattern": pattern}


def _email(field: Email) -> Shape:
    return {"type": "string", "format": "email", "minLength": field.low, "maxLength": field.high}


def _number(field: Whole | Digits) -> Shape:
    return ID | {"minimum": getattr(field, "low", 1), "maximum": field.high}


SHAPES: Final[Mapping[type[Field[Any]], Callable[[Any], Shape]]] = {
    Email: _email,
    Text: _text,
    Whole: _number,
    Digits: _number,
    Flag: lambda _: {"type": "boolean"},
    Timestamp: lambda _: {"type": "string", "format": "date-time"},
    Day: lambda _: {"type": "string", "format": "date"},
    GroupIds: lambda _: {"type": "array", "items": ID, "uniqueItems": True},
    WorkTimes: lambda _: {
        "type": "object",
        "properties": dict.fromkeys(WEEK, HOURS),
        "additionalProperties": False,
    },
}
"""The shape of each class; what its validators say, apispec adds."""


def ours(_: Any, field: Field[Any], ret: Shape) -> Shape:
    """Return what our own field classes say of themselves: apispec knows marshmallow's only."""
    kind = next((kind for kind in SHAPES if isinstance(field, kind)), None)
    if kind is None:
        return {}
    shape = SHAPES[kind](field)
    if kind is Digits:  # its defaults mean that the parameter is absent
        ret.pop("default", None)
    return shape | {"type": [shape["type"], "null"]} if field.allow_none else shape


class Forms:
    """Bodies and queries of one document."""

    def __init__(self, plugin: MarshmallowPlugin, spec: APISpec) -> None:
        self._plugin, self._spec = plugin, spec
        self._converter.add_attribute_function(ours)

    @property
    def _converter(self) -> Any:
        return self._plugin.converter

    def query(self, schema: Schema) -> list[Shape]:
        """Return the parameters of a query string."""
        found: list[Shape] = self._converter.schema2parameters(schema, location="query")
        return found

    def body(self, name: str, schema: Strict, **more: Any) -> None:
        """Add the component of a body; `more` is what its fields alone cannot say."""
        self._spec.components.schema(name, schema=schema)
        shape: Shape = self._spec.components.schemas[name]
        if schema.partial:
            for part in shape["properties"].values():
                part.pop("default", None)
        passed = sorted(schema.READ_ONLY - schema.load_fields.keys())
        shape["properties"] |= dict.fromkeys(passed, IGNORED)
        shape |= {"additionalProperties": False, **more}
