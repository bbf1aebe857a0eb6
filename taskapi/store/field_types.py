"""The JSON types of the fields of an entity; a value of another type is damage."""

from itertools import product
from types import NoneType
from typing import Any, Final

from marshmallow import Schema
from marshmallow.fields import Field

from schemas.fields import Flag, Whole
from schemas.users import GroupIds, WorkTimes

_TYPES: Final[dict[type[Field[Any]], type]] = {
    Whole: int,
    Flag: bool,
    GroupIds: list,
    WorkTimes: dict,
}
"""Field class -> the type of its values; those of all other classes are texts."""
_IDS: Final = frozenset({int})
_HOURS: Final = frozenset({int, float})


class FieldTypes:
    """The types of the fields of one schema.

    Most entities have exactly the fields of the schema, in its order: for these, one look into a
    set of names and types is enough, which costs hardly more than to look for missing fields.
    """

    def __init__(self, schema: Schema) -> None:
        fields = schema.dump_fields
        self._types = {name: _types(field) for name, field in fields.items()}
        self._usual = {(*fields, *types) for types in product(*self._types.values())}
        self._holders = [n for n, types in self._types.items() if types[0] in (list, dict)]

    def are_right(self, entity: dict[str, Any]) -> bool:
        """Return whether the entity has all fields, and values of the right types.

        Raises:
            AttributeError, TypeError: it is no JSON object.
        """
        if (*entity, *map(type, entity.values())) not in self._usual:
            return not self.wrong(entity)
        return not self._holders or all(_holds_right(entity[name]) for name in self._holders)

    def wrong(self, entity: dict[str, Any]) -> list[str]:
        """Return the names of the fields that are missing or have a value of a wrong type."""
        return [name for name, types in self._types.items() if not _is_right(entity, name, types)]


def _types(field: Field[Any]) -> tuple[type, ...]:
    main = next((found for kind, found in _TYPES.items() if isinstance(field, kind)), str)
    return (main, NoneType) if field.allow_none else (main,)


def _is_right(entity: dict[str, Any], name: str, types: tuple[type, ...]) -> bool:
    if name not in entity or type(value := entity[name]) not in types:
        return False
    return types[0] not in (list, dict) or _holds_right(value)


def _holds_right(value: list[Any] | dict[str, Any]) -> bool:
    if isinstance(value, dict):
        return _HOURS.issuperset(map(type, value.values()))
    return _IDS.issuperset(map(type, value))
