-- What is due: tasks that are not done, by deadline.
CREATE INDEX IF NOT EXISTS tasks_open_by_deadline ON tasks (deadline, id) WHERE NOT status;
-- What was changed or deleted since a version.
CREATE INDEX IF NOT EXISTS tasks_by_version ON tasks (version);
CREATE INDEX IF NOT EXISTS tombstones_by_version ON tombstones (version) WHERE kind = 't';
