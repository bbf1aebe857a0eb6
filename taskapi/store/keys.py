"""Every Redis key, one builder each. All share one hash tag, so one cluster slot holds them.

| key              | type   | what it holds                                                        |
|------------------|--------|----------------------------------------------------------------------|
| meta             | hash   | epoch, state, installation, version (last given), next:<k> (last id  |
|                  |        | given), op:<process>.<thread> (last operation's result), synced      |
|                  |        | (version up to which PostgreSQL has all), run (which start of which  |
|                  |        | server this is), raised (the start whose ids go on above those lost),|
|                  |        | loader and loaded (the last restore, its batch)                      |
| user:<id>        | hash   | json (the answer's object), version, administers (group ids)         |
| group:<id>       | hash   | json, version                                                        |
| task:<id>        | hash   | json, version                                                        |
| secret:<uid>     | string | the salted password hash, nowhere else                               |
| emails           | hash   | lower-case e-mail -> user id                                         |
| names            | hash   | folded group name -> group id                                        |
| full_names       | hash   | user id -> full name, for statistics                                 |
| users, groups    | zset   | id, scored by id                                                     |
| members:<gid>    | zset   | user id, scored by id                                                |
| tasks            | zset   | task id, scored bucket * 2^50 + id; bucket = status x priority       |
| tasks:u:<uid>    | zset   | the same, of one user                                                |
| tasks:g:<gid>    | zset   | the same, of one group                                               |
| counts           | hash   | user id -> number of tasks                                           |
| counts:<gid>     | hash   | user id -> number of tasks in the group                              |
| dirty            | zset   | <k>:<id> -> version that PostgreSQL has yet to get                   |
| tombs            | zset   | <k>:<id> -> version of its delete, until PostgreSQL has it           |
| quarantine       | hash   | <k>:<id> -> what PostgreSQL refused: version, SQLSTATE, reason, time |
| sync             | hash   | what the worker tells of its passes                                  |
| pin              | string | version whose marks a running backup still needs; expires            |
| closing:<k>:<id> | hash   | there while a user or group is about to go or lose tasks; expires   |
| failures:<who>   | string | failed log-ins of an account and address, or of an address; expires  |
"""

from enum import StrEnum


class Kind(StrEnum):
    """The letter of an entity's kind in marks and counters."""

    USER = "u"
    GROUP = "g"
    TASK = "t"

    @property
    def noun(self) -> str:
        """The word people use, also the beginning of the entity's key."""
        return _NOUNS[self]

    @property
    def plural(self) -> str:
        """What people call all of them; the table in PostgreSQL too."""
        return f"{self.noun}s"


_NOUNS = {Kind.USER: "user", Kind.GROUP: "group", Kind.TASK: "task"}


class Keys:
    """The builders for one installation's prefix."""

    def __init__(self, prefix: str) -> None:
        self.root = p = f"{{{prefix}}}:"
        self.meta, self.sync, self.pin = p + "meta", p + "sync", p + "pin"
        self.emails, self.names, self.full_names = p + "emails", p + "names", p + "full_names"
        self.users, self.groups, self.tasks = p + "users", p + "groups", p + "tasks"
        self.dirty, self.tombstones, self.counts = p + "dirty", p + "tombs", p + "counts"
        self.quarantine = p + "quarantine"

    def entity(self, kind: Kind, key_id: int | str) -> str:
        return f"{self.root}{kind.noun}:{key_id}"

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

    def failures(self, who: str) -> str:
        return f"{self.root}failures:{who}"
