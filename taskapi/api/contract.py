"""Decorators above each view: what it takes, returns and refuses, and who may call it.

Validation, the authorisation that depends on the path alone, the audit name and the OpenAPI
document come from here. The decorators fill a `Contract`, and `call` applies it.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from flask.globals import request_ctx
from flask.typing import ResponseReturnValue
from marshmallow import Schema

from schemas.fields import NOTHING, Body, Query
from taskapi import callers, policy
from taskapi.api import requests
from taskapi.callers import Caller
from taskapi.policy import Action
from taskapi.store.codec import Entity

View = Callable[..., Any]
V = TypeVar("V", bound=View)
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""The safe methods of RFC 9110 that the service has."""


class NoAuthorisation(Exception):
    """A view has neither `@allowed` nor `@public`, so it is not served."""


@dataclass(slots=True)
class Contract:
    """The values that the decorators of one view set.

    Attributes:
        parameters: the arguments of the view, chosen from `user`, `group` and `task` (what the path
            names), the ids in the path, `body` and `query`.
        action: what a caller must be permitted to do; None for a public endpoint.
        note: a sentence that the OpenAPI document adds to the rule of the action.
        answers: the schemas that an answer's `data` may have.
        statuses: the statuses of successful answers.
        is_bare: the answer has no envelope.
        media_type: what an answer is, if it is not JSON.
        has_etag: the answer has the version of its entity as ETag.
        is_conditional: If-None-Match is supported; implies `has_etag`.
        codes: the error codes of this endpoint; the document adds the general ones.
        audit: the name of the change in the log.
        can_use_cache: see `cached_lookup`.
    """

    parameters: tuple[str, ...]
    action: Action | None = None
    is_public: bool = False
    note: str = ""
    body: Body | None = None
    query: Query = NOTHING
    answers: tuple[type[Schema], ...] = ()
    statuses: tuple[int, ...] = (200,)
    is_bare: bool = False
    media_type: str = ""
    has_etag: bool = False
    is_conditional: bool = False
    codes: tuple[str, ...] = ()
    audit: str = "read"
    can_use_cache: bool = False

    @property
    def is_documented(self) -> bool:
        """Whether the OpenAPI document has the endpoint."""
        return bool(self.answers or self.media_type)


CONTRACTS: Final[dict[View, Contract]] = {}
"""View -> its contract."""


def takes(schema: Body | Query) -> Callable[[V], V]:
    """Validate the request's body, or its query, and pass it to the view as `body` or `query`."""
    return _record(**{"body" if isinstance(schema, Body) else "query": schema})


def returns(
    *answers: type[Schema],
    status: int = 200,
    or_status: int | None = None,
    bare: bool = False,
    media_type: str = "",
    etag: bool = False,
    conditional: bool = False,
) -> Callable[[V], V]:
    """Set the schemas of the `data` of an answer, and its statuses; see `Contract`."""
    return _record(
        answers=answers,
        statuses=(status,) if or_status is None else (status, or_status),
        is_bare=bare,
        media_type=media_type,
        has_etag=etag or conditional,
        is_conditional=conditional,
    )


def allowed(action: Action, note: str = "") -> Callable[[V], V]:
    """Require that the caller may do this to the target in the path."""
    return _record(action=action, note=note)


def public(view: V) -> V:
    """Serve the view without credentials."""
    return _record(is_public=True)(view)


def refuses(*codes: str) -> Callable[[V], V]:
    """Set the error codes of this endpoint besides the general ones."""
    return _record(codes=codes)


def audited(name: str) -> Callable[[V], V]:
    """Set the name of the change in the log: `task.create`."""
    return _record(audit=name)


def cached_lookup(view: V) -> V:
    """Run the view first on a cached lookup of the caller and the path: see `LookupCache`.

    Only for a view whose path names a user, or a user and a task, and whose last step is its only
    commit, which fails if the cached lookup is out of date. If nothing is committed, the view runs
    again on a lookup in the store.
    """
    return _record(can_use_cache=True)(view)


def call(
    view: View,
    caller: Caller | None,
    entities: Mapping[str, Entity | None],
    ids: Mapping[str, int],
) -> ResponseReturnValue:
    """Authorise, validate and run a view.

    Args:
        caller: who sent the request; None only for a public view.
        entities: the entities in the path, by noun; None if one does not exist.
        ids: the ids in the path.

    Raises:
        Forbidden, NotFound: see `callers.require_access` and `policy.authorise`.
        Invalid: the body or the query is not usable.
    """
    contract, arguments = CONTRACTS[view], {**ids, **entities}
    if not contract.is_public:
        _authorise(contract.action, caller, entities, ids)
    if contract.body is not None:
        arguments["body"] = requests.body(contract.body)
    else:
        arguments["query"] = requests.query(contract.query)
    answer: ResponseReturnValue = view(**{name: arguments[name] for name in contract.parameters})
    return answer


def require_access(view: View, caller: Caller) -> None:
    """Raise Forbidden if the caller's token does not permit this request at all."""
    action = CONTRACTS[view].action
    if action is not None:
        _require_access(action, caller)


def _require_access(action: Action, caller: Caller) -> None:
    is_read = request_ctx.request.method in SAFE_METHODS
    if caller.access is not None:
        needs_password = action.value.needs_password
        callers.require_access(caller, is_read=is_read, needs_password=needs_password)


def _authorise(
    action: Action | None,
    caller: Caller | None,
    entities: Mapping[str, Entity | None],
    ids: Mapping[str, int],
) -> None:
    if action is None or caller is None:
        raise NoAuthorisation
    _require_access(action, caller)
    target = action.value.target
    entity = entities.get(target.noun) if target else None
    policy.authorise(action, caller, entity, user_id=ids.get("user_id"))


def _record(**values: Any) -> Callable[[V], V]:
    def decorate(view: V) -> V:
        parameters = tuple(inspect.signature(view).parameters)
        contract = CONTRACTS.setdefault(view, Contract(parameters))
        for name, value in values.items():
            setattr(contract, name, value)
        return view

    return decorate
