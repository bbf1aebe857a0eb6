"""Marshmallow schemas as components of the OpenAPI document, with examples from their fields."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import orjson
from apispec import APISpec
from marshmallow import INCLUDE, Schema
from marshmallow.fields import Field, List

from schemas.fields import (
    Body,
    Cursor,
    Email,
    Object,
    QueryBoolean,
    QueryInteger,
    SinceCursor,
    StrictBoolean,
    StrictInteger,
    Text,
)
from schemas.times import Day, Instant, Timestamp, Zone
from schemas.users import WEEK, GroupIds, WorkTimes
from taskapi.api import openapi_parts as parts
from taskapi.api.openapi_parts import ID, Shape

NO_NUL: Final = r"^[^\u0000]*$"
NOT_BLANK: Final = r"^[^\u0000]*[^\s\u0000\u001c-\u001f\u0085\ufeff][^\u0000]*$"


class SchemaConverter:
    """Adds schemas to a document as components, each on its first use."""

    def __init__(self, spec: APISpec, plugin: Any) -> None:
        self._spec, self._converter = spec, plugin.converter
        self._converter.add_attribute_function(lambda _, field, ret: self._field(field, ret))

    def parameters(self, schema: Schema) -> list[Shape]:
        """Return the parameters of a query string."""
        parameters: list[Shape] = self._converter.schema2parameters(schema, location="query")
        return parameters

    def body(self, schema: Body) -> Shape:
        """Return the reference to the component of a request body."""
        name = _body_name(schema)
        if name not in self._spec.components.schemas:
            self._add_body(name, schema)
        return ref(name)

    def answers(self, schemas: Iterable[type[Schema]]) -> Shape:
        """Return a reference to the component of an answer, or `anyOf` for several."""
        refs = []
        for schema in schemas:
            name = schema.__name__
            if name not in self._spec.components.schemas:
                self._spec.components.schema(name, {})  # list it before the schemas it uses
                self._spec.components.schemas[name] = self._answer(schema)
            refs.append(ref(name))
        return refs[0] if len(refs) == 1 else {"anyOf": refs}

    def _add_body(self, name: str, schema: Body) -> None:
        if name == "Batch":  # it refers to the components TaskChanges and NewTask
            self.body(schema.load_fields["updates"].schema)  # type: ignore[attr-defined]
            self.body(schema.load_fields["tasks"].inner.schema)  # type: ignore[attr-defined]
        self._spec.components.schema(name, schema=schema)
        shape: Shape = self._spec.components.schemas[name]
        for field in shape["properties"].values():
            _describe_default(field, is_used=not schema.partial)
        ignored = sorted(schema.READ_ONLY - schema.load_fields.keys())
        shape["properties"] |= dict.fromkeys(ignored, parts.READ_ONLY)
        shape["additionalProperties"] = False
        if name in parts.VARIANTS:
            self._spec.components.schemas[name] = self._variants(name, shape["properties"])

    def _variants(self, name: str, fields: Shape) -> Shape:
        """Add a component for each form of a body, and return the choice between them."""
        for variant, (action, required, optional) in parts.VARIANTS[name].items():
            shapes = {field: fields[field] for field in (*required, *optional)}
            shapes["action"] = {"type": "string"} | action
            self._spec.components.schema(variant, object_of(shapes, list(required)))
        return {"anyOf": [ref(variant) for variant in parts.VARIANTS[name]]}

    def _answer(self, schema: type[Schema]) -> Shape:
        fields = schema().dump_fields
        shapes = {name: self._converter.field2property(field) for name, field in fields.items()}
        for shape in shapes.values():
            shape.pop("default", None)
        optional = getattr(schema.Meta, "optional", ())
        whole = object_of(shapes, [name for name in fields if name not in optional])
        return whole | {"additionalProperties": schema().unknown == INCLUDE}

    def _field(self, field: Field[Any], ret: Shape) -> Shape:
        """Return the shape of a field class of `schemas`; apispec knows those of marshmallow."""
        if isinstance(field, Object):
            shape = self.answers(field.schemas)
            return {"anyOf": [shape, {"type": "null"}]} if field.allow_none else shape
        if field.load_default is None and not field.allow_none:  # it means: absent
            ret.pop("default", None)
        kind = next((kind for kind in FIELD_SHAPES if isinstance(field, kind)), None)
        if kind is None:
            return {}
        if kind is QueryInteger:  # its default means that the parameter is absent
            ret.pop("default", None)
        shape = FIELD_SHAPES[kind](field)
        if not field.allow_none:
            return shape
        kinds = shape["type"] if isinstance(shape["type"], list) else [shape["type"]]
        return shape | {"type": [*kinds, "null"]}


def _describe_default(field: Shape, *, is_used: bool) -> None:
    """Move a default to the description: openapi-typescript makes fields with one required."""
    default = field.pop("default", None)
    if is_used and default is not None:
        words = f"Default: `{orjson.dumps(default).decode()}`."
        field["description"] = " ".join(filter(None, (field.get("description"), words)))


def body_example(schema: Body) -> Shape:
    """Return an example of a body; a partial one changes only some fields."""
    fields = schema.load_fields.items()
    if not schema.partial:
        return example({name: f for name, f in fields if "is_rare" not in f.metadata})
    return {name: f.metadata["change"] for name, f in fields if "change" in f.metadata}


def example(fields: Mapping[str, Field[Any]]) -> Shape:
    """Return an object made of the fields' examples."""
    return {name: _field_example(field) for name, field in fields.items()}


def object_of(fields: Shape, required: list[str]) -> Shape:
    """Return the shape of an object with these fields and no others."""
    return {
        "type": "object",
        "properties": fields,
        "required": required,
        "additionalProperties": False,
    }


def ref(name: str) -> Shape:
    """Return the reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def _body_name(schema: Body) -> str:
    """Return the name of a body's component: NewTask, TaskChanges if partial, or Batch."""
    name = type(schema).__name__
    if schema.partial:
        return f"{name}Changes"
    return f"New{name}" if schema.dump_fields.keys() != schema.load_fields.keys() else name


def _field_example(field: Field[Any]) -> Any:
    if "example" in field.metadata:
        return field.metadata["example"]
    if isinstance(field, Object):
        return example(field.schemas[0]().dump_fields)
    return [_field_example(field.inner)] if isinstance(field, List) else None


def _text(field: Text) -> Shape:
    if field.validators:
        return {"type": "string"}
    pattern = NOT_BLANK if field.is_trimmed and field.low > 0 else NO_NUL
    sizes = {"minLength": field.low} if field.low else {}
    return {"type": "string", **sizes, "maxLength": field.high, "pattern": pattern}


def _email(field: Email) -> Shape:
    return {"type": "string", "format": "email", "minLength": field.low, "maxLength": field.high}


def _number(field: StrictInteger | QueryInteger) -> Shape:
    return ID | {"minimum": getattr(field, "low", 1), "maximum": field.high}


FIELD_SHAPES: Final[dict[type[Field[Any]], Callable[[Any], Shape]]] = {
    Email: _email,
    Text: _text,
    StrictInteger: _number,
    QueryInteger: _number,
    StrictBoolean: lambda _: {"type": "boolean"},
    QueryBoolean: lambda _: {"type": "boolean"},
    Cursor: lambda _: {"type": ["integer", "string"]},
    SinceCursor: lambda field: {"type": "string", "pattern": field.pattern},
    Zone: lambda _: {"type": "string", "default": "UTC"},
    Day: lambda _: {"type": "string", "format": "date"},
    Instant: lambda _: {"type": "string", "format": "date-time"},
    Timestamp: lambda _: {"type": "string", "format": "date-time"},
    GroupIds: lambda _: {"type": "array", "items": ID, "uniqueItems": True},
    WorkTimes: lambda _: object_of(dict.fromkeys(WEEK, parts.HOURS), []),
}
"""Field class -> its shape; apispec adds what the validators require."""
