-- What is due in a group. Otherwise PostgreSQL reads all that is due in any group.
CREATE INDEX IF NOT EXISTS tasks_due_by_group ON tasks (group_id, deadline, id) WHERE NOT status;
