-- What is due: tasks that are not done, by deadline.
CREATE INDEX IF NOT EXISTS tasks_open_by_deadline ON tasks (deadline, id) WHERE NOT status;
