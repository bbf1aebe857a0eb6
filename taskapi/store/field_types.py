"""The JSON types of the fields of an entity; a value of another type is damage."""

from itertools import product
from types import NoneType
from typing import Any, Final

from marshmallow import Schema
from marshmallow.fields import Field

from schemas.fields import StrictBoolean, StrictInteger
from schemas.users import GroupIds, WorkTimes

_TYPES: Final[dict[type[Field[Any]], type]] = {
    StrictInteger: int,
    StrictBoolean: bool,
    GroupIds: list,
    WorkTimes: dict,
}
"""Field class -> the type of its values; values of all other classes are texts."""
_ID_TYPES: Final = frozenset({int})
_HOUR_TYPES: Final = frozenset({int, float})


class FieldTypes:
    """The types of the fields of one schema.

    Most entities have exactly the fields of the schema, in its order. For them, one lookup of all
    names and types in a set is enough. Other entities are checked field by field.
    """

    def __init__(self, schema: Schema) -> None:
        fields = schema.dump_fields
        self._types = {name: _types(field) for name, field in fields.items()}
        self._usual = {(*fields, *types) for types in product(*self._types.values())}
        self._containers = [n for n, types in self._types.items() if types[0] in (list, dict)]

    def are_right(self, entity: dict[str, Any]) -> bool:
        """Return whether the entity has all fields, and values of the right types.

        Raises:
            AttributeError, TypeError: it is no JSON object.
        """
        if (*entity, *map(type, entity.values())) not in self._usual:
            return not self.wrong(entity)
        return not self._containers or all(_has_right_items(entity[n]) for n in self._containers)

    def wrong(self, entity: dict[str, Any]) -> list[str]:
        """Return the names of the fields that are missing or have a value of a wrong type."""
        return [name for name, types in self._types.items() if not _is_right(entity, name, types)]


def _types(field: Field[Any]) -> tuple[type, ...]:
    main = next((found for kind, found in _TYPES.items() if isinstance(field, kind)), str)
    return (main, NoneType) if field.allow_none else (main,)


def _is_right(entity: dict[str, Any], name: str, types: tuple[type, ...]) -> bool:
    if name not in entity or type(value := entity[name]) not in types:
        return False
    return types[0] not in (list, dict) or _has_right_items(value)


def _has_right_items(value: list[Any] | dict[str, Any]) -> bool:
    if isinstance(value, dict):
        return _HOUR_TYPES.issuperset(map(type, value.values()))
    return _ID_TYPES.issuperset(map(type, value))
