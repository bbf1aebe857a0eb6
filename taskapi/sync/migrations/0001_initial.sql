-- The durable copy. IF NOT EXISTS, because installations from before migrations have these tables.
--
-- Timestamps and numbers have the same meaning as in the API. `version` orders all changes of an
-- installation. `folded` is the text that searches match: one function folds it and the query.
-- Constraints are deferred, because a pass writes in the order of change.

CREATE TABLE IF NOT EXISTS sync_state (
    is_only      boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    schema       integer NOT NULL DEFAULT 1,
    installation uuid    NOT NULL DEFAULT gen_random_uuid(),
    epoch        bigint  NOT NULL DEFAULT 0,   -- each restore and each reseed raises it
    last_version bigint  NOT NULL DEFAULT 0,   -- every change up to this version is here
    last_user    bigint  NOT NULL DEFAULT 0,   -- the last ids issued, as far as known
    last_group   bigint  NOT NULL DEFAULT 0,
    last_task    bigint  NOT NULL DEFAULT 0
);

CREATE TABLE IF NOT EXISTS users (
    id            bigint      PRIMARY KEY,
    full_name     text        NOT NULL,
    role          text        NOT NULL CHECK (role IN ('user', 'group_admin', 'owner')),
    email         text        NOT NULL,
    number        text        NOT NULL,
    work_times    json        NOT NULL,        -- json, not jsonb, keeps the order of the days
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    version       bigint      NOT NULL,
    password_hash text        NOT NULL,
    email_key     text        NOT NULL,        -- the address, folded
    CONSTRAINT users_email UNIQUE (email_key) DEFERRABLE INITIALLY DEFERRED
);

CREATE TABLE IF NOT EXISTS groups (
    id         bigint      PRIMARY KEY,
    name       text        NOT NULL,
    admin_id   bigint      NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version    bigint      NOT NULL,
    name_key   text        NOT NULL,           -- the name, folded
    CONSTRAINT groups_name  UNIQUE (name_key) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT groups_admin FOREIGN KEY (admin_id) REFERENCES users
        DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX IF NOT EXISTS groups_by_admin ON groups (admin_id);

CREATE TABLE IF NOT EXISTS memberships (
    user_id  bigint NOT NULL,
    group_id bigint NOT NULL,
    PRIMARY KEY (user_id, group_id),
    CONSTRAINT memberships_user  FOREIGN KEY (user_id)  REFERENCES users
        DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT memberships_group FOREIGN KEY (group_id) REFERENCES groups
        DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX IF NOT EXISTS memberships_by_group ON memberships (group_id);

CREATE TABLE IF NOT EXISTS tasks (
    id          bigint      PRIMARY KEY,
    title       text        NOT NULL,
    status      boolean     NOT NULL,
    priority    smallint    NOT NULL CHECK (priority BETWEEN 1 AND 3),
    deadline    date,
    information text        NOT NULL,
    user_id     bigint      NOT NULL,
    group_id    bigint      NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    version     bigint      NOT NULL,
    folded      text        NOT NULL,          -- title, information
    CONSTRAINT tasks_user  FOREIGN KEY (user_id)  REFERENCES users
        DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT tasks_group FOREIGN KEY (group_id) REFERENCES groups
        DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX IF NOT EXISTS tasks_by_user  ON tasks (user_id);
CREATE INDEX IF NOT EXISTS tasks_by_group ON tasks (group_id);

-- Deleted entities, so that an old copy of Redis cannot bring them back.
CREATE TABLE IF NOT EXISTS tombstones (
    kind    "char" NOT NULL,                   -- u, g, t
    id      bigint NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (kind, id)
);
