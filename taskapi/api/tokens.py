"""Tokens of users, with which scripts log in."""

from itertools import islice
from typing import Any

from flask import Blueprint, Response, g

from schemas import tokens as schema
from schemas.fields import PAGED
from taskapi.api import responses
from taskapi.api.contract import allowed, audited, refuses, returns, takes
from taskapi.policy import Action
from taskapi.store import tokens
from taskapi.store.session import StoredEntity

bp = Blueprint("tokens", __name__)


@bp.get("/users/<user:user_id>/tokens")
@allowed(Action.MANAGE_TOKENS)
@takes(PAGED)
@returns(schema.TokenPage)
def index(user: StoredEntity, query: dict[str, Any]) -> Response:
    """List the tokens of a user, without their secrets."""
    listed = tokens.read(g.session, user)
    follow = (each for each in listed if each["id"] > query["after"])
    page = [tokens.shown(user["id"], each) for each in islice(follow, query["limit"])]
    next_after = page[-1]["id"] if next(follow, None) else None
    return responses.listing("tokens", page, len(page), next_after, query, user_id=user["id"])


@bp.post("/users/<user:user_id>/tokens")
@allowed(Action.MANAGE_TOKENS)
@takes(schema.CREATE_TOKEN)
@returns(schema.TokenCreated, status=201)
@refuses("too_many_tokens")
@audited("token.create")
def create(user: StoredEntity, body: dict[str, Any]) -> Response:
    """Create a token of a user; only this answer has its secret."""
    token, secret = tokens.create(g.session, user, body)
    location = f"/users/{user['id']}/tokens/{token['id']}"
    return responses.success({"token": token, "secret": secret}, 201, location)


@bp.delete("/users/<user:user_id>/tokens/<id:token_id>")
@allowed(Action.MANAGE_TOKENS)
@returns(schema.TokenRevoked)
@audited("token.revoke")
def revoke(user: StoredEntity, token_id: int) -> Response:
    """Revoke a token of a user."""
    token = tokens.revoke(g.session, user, token_id)
    return responses.success({"message": "Token revoked.", "token": token})
