"""Tokens, with which scripts log in as a user; only the SHA-256 of each is stored.

The tokens of a user are one field of the user's hash, which no answer shows. A change of them is a
change of the user: it has a new version, so it is copied, restored and guarded like any other.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import orjson

from taskapi.errors import Conflict, Damaged, NotFound
from taskapi.store import codec
from taskapi.store import session as sessions
from taskapi.store.codec import NEW_VERSION, NOW, Entity
from taskapi.store.commit import Commit, Stamp
from taskapi.store.indexes import Write
from taskapi.store.keys import Keys, Kind
from taskapi.store.session import Session, StoredEntity

FIELD: Final = "tokens"
"""The field of a user's hash."""
TOKENS_MOST: Final = 50
"""The maximum number of tokens of one user, expired ones included."""
SECRET_BYTES: Final = 32
SHOWN: Final = ("id", "name", "access", "created_at", "expires_at", "last_used_on")
_TYPES: Final = {
    "id": (int,),
    **dict.fromkeys(("name", "access", "created_at", "sha256"), (str,)),
    **dict.fromkeys(("expires_at", "last_used_on"), (str, type(None))),
}
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)

Token = dict[str, Any]
"""The fields in SHOWN, and `sha256`. Ids are versions, because no version is issued twice."""


class CreatedToken(NamedTuple):
    """A new token as clients see it, and its secret, which is nowhere stored."""

    shown: Token
    secret: str


def digest(secret: str) -> str:
    """Return what is stored of a secret: 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def parse(stored: bytes | None) -> list[Token]:
    """Return the tokens in a user's hash; raises ValueError if they cannot be read."""
    tokens = [] if stored is None else orjson.loads(stored)
    if not are_tokens(tokens):
        raise ValueError
    return list(tokens)


def of_user(user_id: int, stored: bytes | None) -> list[Token]:
    """Return the tokens in a user's hash; raises Damaged if they cannot be read."""
    try:
        return parse(stored)
    except ValueError as error:
        raise Damaged(f"the tokens of user {user_id} cannot be read") from error


def are_tokens(value: object) -> bool:
    """Return whether this is a list of tokens."""
    return isinstance(value, list) and all(map(_is_token, value))


def are_readable(stored: bytes | None) -> bool:
    """Return whether `parse` can read the tokens in a user's hash."""
    try:
        parse(stored)
    except ValueError:
        return False
    return True


def write(keys: Keys, user_id: int, tokens: list[Token]) -> Write:
    """Return the command that writes the tokens of a user."""
    key = keys.entity(Kind.USER, user_id)
    if not tokens:
        return ("HDEL", key, FIELD)
    return ("HSET", key, FIELD, codec.with_placeholders(orjson.dumps(tokens).decode()))


def find(tokens: Iterable[Token], sha256: str) -> Token | None:
    """Return the token with this digest, if there is one."""
    for token in tokens:
        if hmac.compare_digest(token["sha256"].encode(), sha256.encode()):
            return token
    return None


def is_valid(token: Token, now: str) -> bool:
    """Return whether the token has not expired; `now` is a time in UTC with `Z`."""
    return token["expires_at"] is None or bool(now < token["expires_at"])


def shown(user_id: int, token: Token) -> Token:
    """Return a token as clients see it."""
    return {"id": token["id"], "user_id": user_id} | {name: token[name] for name in SHOWN}


def read(session: Session, user: Entity) -> list[Token]:
    """Return the tokens of a user, by id; raises Damaged if they cannot be read."""
    (stored,) = session.read(("HGET", session.keys.entity(Kind.USER, user["id"]), FIELD))
    return of_user(user["id"], stored)


def create(session: Session, user: Entity, fields: Entity) -> CreatedToken:
    """Create a token of a user; raises Conflict if the user has TOKENS_MOST of them."""
    tokens = read(session, user)
    if len(tokens) >= TOKENS_MOST:
        problem = f"User {user['id']} has {TOKENS_MOST} tokens: revoke one first."
        raise Conflict(problem, code="too_many_tokens")
    random = session.deferral.secret if session.deferral else secrets.token_hex(SECRET_BYTES)
    secret = f"tk_{user['id']}_{random}"
    stamps = {"id": NEW_VERSION, "created_at": NOW, "last_used_on": None}
    token = {**fields, **stamps, "sha256": digest(secret)}
    _, stamp = _update(session, user, [*tokens, token])
    token |= {"id": int(stamp.version), "created_at": stamp.time}
    return CreatedToken(shown(user["id"], token), secret)


def revoke(session: Session, user: Entity, token_id: int) -> Token:
    """Remove a token of a user and return it as clients saw it.

    Raises:
        NotFound: the user has no such token.
    """
    tokens = read(session, user)
    kept = [token for token in tokens if token["id"] != token_id]
    if len(kept) == len(tokens):
        raise NotFound("There is no such token.")
    _update(session, user, kept, frees_memory=True)
    return next(shown(user["id"], token) for token in tokens if token["id"] == token_id)


def record_use(
    session: Session, user: StoredEntity, tokens: Iterable[Token], used: Token, day: str
) -> StoredEntity:
    """Record the day of a token's last use; return the user, with a new version.

    `updated_at` stays: for clients, nothing has changed.

    Args:
        tokens: all tokens of the user.
        used: one of them.
        day: a date in UTC.

    Raises:
        The errors of `Commit.run`.
    """
    changed = [token | {"last_used_on": day} if token is used else token for token in tokens]
    template, stamp = _update(session, user, changed, user["updated_at"])
    reply: list[bytes | None] = [stamp.fill(template), stamp.version.encode()]
    after = sessions.entity(Kind.USER, user["id"], reply)
    assert after is not None
    after |= {"administers": user["administers"]} if "administers" in user else {}
    return after


def _update(
    session: Session,
    user: Entity,
    tokens: list[Token],
    updated_at: str = NOW,
    *,
    frees_memory: bool = False,
) -> tuple[str, Stamp]:
    """Write the tokens of a user if the user is unchanged; return the template and the stamp."""
    commit = Commit(session)
    template = commit.update(Kind.USER, user, {}, updated_at)
    commit.add(*write(session.keys, user["id"], tokens))
    return template, commit.run(frees_memory=frees_memory)


def _is_token(token: Any) -> bool:
    """Return whether this has the fields of a token; a newer program may have added others."""
    if not isinstance(token, dict) or not token.keys() >= _TYPES.keys():
        return False
    end = token["expires_at"]
    has_end = type(end) is str and _TIME.fullmatch(end)
    return (end is None or bool(has_end)) and all(
        type(token[name]) in types for name, types in _TYPES.items()
    )
