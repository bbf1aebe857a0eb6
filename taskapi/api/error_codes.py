"""Every `code` of an error answer: its status, and what to do about it."""

from typing import Final, NamedTuple


class ErrorCode(NamedTuple):
    """The HTTP status of a code, and the advice in the OpenAPI document."""

    status: int
    advice: str


CODES: Final = {
    "bad_request": ErrorCode(400, "Send well-formed HTTP."),
    "malformed_json": ErrorCode(400, "Send strict JSON in UTF-8; `error` says what is wrong."),
    "validation_failed": ErrorCode(400, "Correct the fields or parameters that `fields` names."),
    "unknown_user": ErrorCode(400, "Name a user who exists."),
    "unknown_group": ErrorCode(400, "Name groups that exist."),
    "not_an_admin": ErrorCode(400, "Name a user with role group_admin or owner as admin_id."),
    "unauthenticated": ErrorCode(
        401, "Send Basic credentials, a Bearer token, or the owner's X-Owner-Password."
    ),
    "forbidden": ErrorCode(
        403, "Ask someone who is permitted; the answer does not tell whether the target exists."
    ),
    "read_only_token": ErrorCode(403, "Use a token with access full, or a password."),
    "password_needed": ErrorCode(
        403, "Send Basic credentials or X-Owner-Password, without a token."
    ),
    "not_found": ErrorCode(404, "Check the id: the target was deleted or never existed."),
    "no_such_route": ErrorCode(404, "Compare the address with this document; ids are 1 to 2^63-1."),
    "method_not_allowed": ErrorCode(405, "Use one of the methods in `Allow`."),
    "email_taken": ErrorCode(409, "Use another e-mail address; case does not matter."),
    "name_taken": ErrorCode(409, "Use another group name; case does not matter."),
    "already_member": ErrorCode(409, "Nothing to do: the user is in the group already."),
    "administers_groups": ErrorCode(409, "First, give another admin to the groups in `error`."),
    "batch_refused": ErrorCode(409, "Correct or leave out what `fields.errors` names."),
    "too_many_tokens": ErrorCode(409, "Revoke a token of the user first."),
    "system_owner": ErrorCode(409, "User 1 keeps the role owner and cannot be deleted."),
    "fenced": ErrorCode(409, "The stores disagree: do what `warnings` of /admin/status say."),
    "not_empty": ErrorCode(409, "Restore Redis from PostgreSQL, or empty PostgreSQL first."),
    "nothing_to_restore": ErrorCode(409, "Check which PostgreSQL is configured: it is empty."),
    "already_running": ErrorCode(409, "Wait for the sync, restore or backup that is running."),
    "in_progress": ErrorCode(409, "Wait: the first request with this Idempotency-Key still runs."),
    "too_old": ErrorCode(410, "Forget the tasks that you have, and begin again with since=0."),
    "version_mismatch": ErrorCode(412, "Read the target again; `ETag` is its version."),
    "body_too_large": ErrorCode(413, "Send less at once."),
    "not_json": ErrorCode(415, "Send the body with Content-Type: application/json."),
    "idempotency_key_reused": ErrorCode(422, "Use a new Idempotency-Key for another body."),
    "too_many_failures": ErrorCode(429, "Wait for `Retry-After` seconds, then log in correctly."),
    "too_many_requests": ErrorCode(
        429, "From the proxy: wait for `Retry-After` seconds, then send fewer at once."
    ),
    "internal_error": ErrorCode(500, "Report the request id to the operator of the service."),
    "bad_gateway": ErrorCode(
        502, "From the proxy: the service does not answer; check the target before you retry."
    ),
    "busy": ErrorCode(503, "Retry after `Retry-After` seconds."),
    "outcome_unknown": ErrorCode(503, "The change may have been made: check that first."),
    "not_ready": ErrorCode(503, "Wait: the store is being restored."),
    "redis_unreachable": ErrorCode(503, "Wait, or start Redis."),
    "redis_full": ErrorCode(503, "Give Redis more memory; nothing was changed."),
    "damaged": ErrorCode(503, "Run `python -m taskapi check`; other data is not affected."),
    "postgres_unreachable": ErrorCode(503, "Wait, or start PostgreSQL."),
    "unavailable": ErrorCode(503, "Retry after `Retry-After` seconds; `error` says why."),
    "gateway_timeout": ErrorCode(
        504, "From the proxy: no answer in time; check the target before you retry."
    ),
}
"""Code -> status and advice, in the order of the statuses."""
