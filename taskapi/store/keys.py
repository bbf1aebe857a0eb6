"""Every Redis key, with one builder each. All keys have one hash tag, hence one cluster slot.

Scripts get whole keys as arguments, or a prefix: `page.lua`, `dirty_tasks.lua`, `task_changes.lua`
and `strays.lua` add ids to it, `read_chunk.lua` and `acknowledge.lua` spell all names themselves.

| key              | type   | what it holds                                                        |
|------------------|--------|----------------------------------------------------------------------|
| meta             | hash   | epoch, state, installation, version (last issued), next:<k> (last id |
|                  |        | issued), op:<process>.<thread> (result of its last operation),       |
|                  |        | synced (PostgreSQL has everything up to this version), opened (the   |
|                  |        | start of the server that is served), confirmed (the start that       |
|                  |        | PostgreSQL knows), unconfirmed (the starts served since then),       |
|                  |        | loader and loaded (token and batch of a restore),                    |
|                  |        | former (state before it), saved (whether it may clear Redis),        |
|                  |        | remarked (a new text whenever marks are set other than by commits),  |
|                  |        | forgotten (who follows from an earlier version may miss changes)     |
| user:<id>        | hash   | json (the answer's object), version, administers (group ids), tokens |
|                  |        | (a JSON list: `tokens.py`)                                           |
| group:<id>       | hash   | json, version                                                        |
| task:<id>        | hash   | json, version                                                        |
| secret:<uid>     | string | the salted password hash                                             |
| emails           | hash   | lower-case e-mail -> user id                                         |
| names            | hash   | folded group name -> group id                                        |
| full_names       | hash   | user id -> full name, for statistics                                 |
| users, groups    | zset   | id, scored by id                                                     |
| members:<gid>    | zset   | user id, scored by id                                                |
| tasks            | zset   | task id, scored bucket * 2^50 + id; see `codec.bucket`               |
| tasks:u:<uid>    | zset   | the same, of one user                                                |
| tasks:g:<gid>    | zset   | the same, of one group                                               |
| counts           | hash   | user id -> number of tasks                                           |
| counts:<gid>     | hash   | user id -> number of tasks in the group                              |
| dirty            | zset   | <k>:<id> -> version that PostgreSQL does not have yet                |
| tombs            | zset   | tombstone <k>:<id> -> version, until PostgreSQL has the delete       |
| quarantine       | hash   | <k>:<id> -> refused change: version, SQLSTATE, reason, time          |
| sync             | hash   | status fields that the worker publishes                              |
| processes        | hash   | process -> what it has seen issued (`open_for_clients.lua`)          |
| pin              | string | marks above this version stay for a running backup; expires          |
| deleting         | hash   | <k>:<id> of a user or group being deleted in batches -> version of   |
|                  |        | the last batch                                                       |
| closing:<k>:<id> | hash   | exists while a user or group is closed for writes to tasks; expires  |
|                  |        | unless the user or group is being deleted in batches                 |
| failures:<digest>| string | failed log-ins of an account and address, or of an address; expires  |
| verified:<uid>   | zset   | keyed digests of the user's credentials that were verified, scored   |
|                  |        | by time; expires                                                     |
| answer:<uid>:<digest> | string | the answer of a POST with an Idempotency-Key, or that it runs |
"""

from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """A kind of entity; its value is the letter in marks and counters."""

    USER = "u"
    GROUP = "g"
    TASK = "t"

    @property
    def noun(self) -> str:
        """The word for one, and the beginning of the entity's key."""
        return _NOUNS[self]

    @property
    def plural(self) -> str:
        """The word for many, and the table in PostgreSQL."""
        return f"{self.noun}s"


EntityRef = tuple[Kind, int]
_NOUNS = {Kind.USER: "user", Kind.GROUP: "group", Kind.TASK: "task"}


TYPES: Final = {
    **dict.fromkeys(("users", "groups", "members", "tasks", "dirty", "tombs", "verified"), "zset"),
    **dict.fromkeys(("meta", "user", "group", "task", "emails", "names", "full_names"), "hash"),
    **dict.fromkeys(("counts", "quarantine", "sync", "closing", "processes", "deleting"), "hash"),
    **dict.fromkeys(("secret", "pin", "failures", "answer"), "string"),
}
"""First word of a key's name, without the prefix -> the type of the key."""


class Keys:
    """The keys of one installation."""

    def __init__(self, prefix: str) -> None:
        self.root = p = f"{{{prefix}}}:"
        self.meta, self.sync, self.pin = p + "meta", p + "sync", p + "pin"
        self.emails, self.names, self.full_names = p + "emails", p + "names", p + "full_names"
        self.users, self.groups, self.tasks = p + "users", p + "groups", p + "tasks"
        self.dirty, self.tombstones, self.counts = p + "dirty", p + "tombs", p + "counts"
        self.quarantine, self.processes = p + "quarantine", p + "processes"
        self.deleting, self.answer_prefix = p + "deleting", p + "answer:"

    def entity(self, kind: Kind, key_id: int | str) -> str:
        return f"{self.root}{kind.noun}:{key_id}"

    def index(self, kind: Kind) -> str:
        return f"{self.root}{kind.plural}"

    def password_hash(self, user_id: int | str) -> str:
        return f"{self.root}secret:{user_id}"

    def members(self, group_id: int | str) -> str:
        return f"{self.root}members:{group_id}"

    def user_tasks(self, user_id: int | str) -> str:
        return f"{self.root}tasks:u:{user_id}"

    def group_tasks(self, group_id: int | str) -> str:
        return f"{self.root}tasks:g:{group_id}"

    def group_counts(self, group_id: int | str) -> str:
        return f"{self.root}counts:{group_id}"

    def closing(self, kind: Kind, entity_id: int) -> str:
        return f"{self.root}closing:{kind}:{entity_id}"

    def failures(self, digest: str) -> str:
        return f"{self.root}failures:{digest}"

    def answer(self, caller_id: int, digest: str) -> str:
        return f"{self.answer_prefix}{caller_id}:{digest}"

    def verified(self, user_id: int) -> str:
        return f"{self.root}verified:{user_id}"
