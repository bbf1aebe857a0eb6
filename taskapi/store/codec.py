"""The stored form of an entity: the JSON that clients get. `commit.lua` fills its placeholders."""

from typing import Any, Final

import orjson
from marshmallow import Schema

from schemas.groups import Group
from schemas.tasks import Task
from schemas.users import User
from taskapi.errors import Damaged
from taskapi.store.field_types import FieldTypes
from taskapi.store.keys import EntityRef, Kind

Entity = dict[str, Any]

SCHEMAS: Final[dict[Kind, Schema]] = {Kind.USER: User(), Kind.GROUP: Group(), Kind.TASK: Task()}
FIELDS: Final = {kind: tuple(schema.dump_fields) for kind, schema in SCHEMAS.items()}
"""The fields of each kind that a client sees, in the order of the answer."""
OUTLINE: Final = ("id", "full_name", "role", "email")
"""The fields of a user that other members see."""
ADDED: Final = {
    kind: {name: field for name, field in schema.dump_fields.items() if "added" in field.metadata}
    for kind, schema in SCHEMAS.items()
}
"""Fields that a migration added: older entities are stored without them."""
TYPES: Final = {kind: FieldTypes(schema) for kind, schema in SCHEMAS.items()}
HIDDEN: Final = {"administers", "password_hash", "tokens"}
"""Values of a user that are not in the JSON."""
_KNOWN: Final = {kind: {*names, *HIDDEN} for kind, names in FIELDS.items()}

NEW_ID: Final = "\0i"
NEW_VERSION: Final = "\0v"
NOW: Final = "\0t"
"""Placeholders that `commit.lua` fills in. Requests with a NUL are refused."""

_ESCAPED: Final = {
    placeholder: (orjson.dumps(placeholder).decode(), written)
    for placeholder, written in ((NEW_ID, NEW_ID), (NEW_VERSION, NEW_VERSION), (NOW, f'"{NOW}"'))
}
"""Placeholder -> its JSON as orjson writes it, and as templates have it (numbers unquoted)."""
_REFERENCES: Final = {"user_id": Kind.USER, "admin_id": Kind.USER, "group_id": Kind.GROUP}
BUCKET: Final = 1 << 50
BUCKETS: Final = 6


def template(kind: Kind, entity: Entity) -> str:
    """Return an entity's JSON with its placeholders.

    Fields that only a newer program knows are kept; `version` stays the last field.
    """
    shown = {name: entity[name] for name in FIELDS[kind]}
    if len(entity) > len(shown) and (unknown := entity.keys() - _KNOWN[kind]):
        version = shown.pop("version")
        shown |= {name: entity[name] for name in sorted(unknown)} | {"version": version}
    return with_placeholders(orjson.dumps(shown).decode())


def with_placeholders(text: str) -> str:
    """Return JSON text with its placeholders in the form that `commit.lua` looks for."""
    at = text.find('"\\u0000')  # the search for all of them would take longer in a long text
    if at < 0:
        return text
    end = text[at:]
    for escaped, written in _ESCAPED.values():
        end = end.replace(escaped, written)
    return text[:at] + end


def decode(kind: Kind, json: bytes) -> Entity:
    """Return the entity that `template` wrote; raises Damaged for anything else."""
    entities = decode_list(kind, json)
    if len(entities) != 1:
        raise Damaged(f"the JSON of a {kind.noun} cannot be read")
    return entities[0]


def decode_list(kind: Kind, json: bytes) -> list[Entity]:
    """Return entities whose JSON was joined by commas; raises Damaged for anything else."""
    are_right = TYPES[kind].are_right
    try:
        entities: list[Entity] = orjson.loads(b"[" + json + b"]")
        if ADDED[kind]:
            entities = [complete(kind, entity) for entity in entities]
        is_whole = all(map(are_right, entities))
    except (ValueError, TypeError, AttributeError) as error:
        raise Damaged(f"the JSON of a {kind.noun} cannot be read") from error
    if not is_whole:
        raise Damaged(f"a {kind.noun} lacks fields or has values of a wrong type")
    return entities


def wrong_fields(kind: Kind, json: bytes) -> list[str]:
    """Return the fields that JSON lacks or has with a wrong type; none if it is no JSON object."""
    try:
        entity = orjson.loads(json)
    except ValueError:
        return []
    return TYPES[kind].wrong(complete(kind, entity)) if isinstance(entity, dict) else []


def complete(kind: Kind, entity: Entity) -> Entity:
    """Add the defaults of fields that are newer than the entity, and return it."""
    for name, field in ADDED[kind].items():
        if name not in entity:
            default = field.load_default
            entity[name] = default() if callable(default) else default
    return entity


def complete_json(kind: Kind, json: bytes, size: int) -> bytes:
    """Return the JSON of `size` entities, joined by commas, with no field missing."""
    if all(json.count(f'"{name}":'.encode()) == size for name in ADDED[kind]):
        return json  # a string cannot contain `"name":`, because its quotation marks are escaped
    return ",".join(template(kind, entity) for entity in decode_list(kind, json)).encode()


def version(json: bytes) -> str:
    """Return the version of an entity, which is the last field of its JSON."""
    return json[json.rindex(b":") + 1 : -1].decode()


def split(json: bytes) -> list[bytes]:
    """Return the JSON of each of the entities whose JSON was joined by commas.

    Quotation marks in strings are escaped, so `,{"id":` is always the start of an entity.
    """
    first, *others = json.split(b',{"id":')
    return [first, *(b'{"id":' + other for other in others)] if json else []


def outlines(users: bytes) -> bytes:
    """Return the fields of users that other members see; both are JSON joined by commas."""
    shown = [{name: user[name] for name in OUTLINE} for user in decode_list(Kind.USER, users)]
    return orjson.dumps(shown)[1:-1]


def references(entity: Entity) -> list[EntityRef]:
    """Return the entities that an entity refers to."""
    single = [(kind, entity[name]) for name, kind in _REFERENCES.items() if name in entity]
    return single + [(Kind.GROUP, group_id) for group_id in entity.get("group_ids", ())]


def bucket(is_done: bool, priority: int) -> int:
    """Return the bucket, 0 to 5, of tasks with this status and priority."""
    return 3 * is_done + priority - 1


def score(task: Entity) -> str:
    """Return a task's score in every task set; a placeholder for a new task."""
    section = bucket(task["status"], task["priority"])
    return f"\0{section}" if task["id"] == NEW_ID else str(section * BUCKET + task["id"])
