-- The last version that Redis issued for the start of a process. A Redis with a lower version was
-- set back to a time before that start, and lacks the versions and ids issued since.
ALTER TABLE sync_state ADD COLUMN IF NOT EXISTS registered_version bigint NOT NULL DEFAULT 0;
