-- The version that Redis had when a process was started last: a Redis with a lower one was set back
-- to before that, and does not know what the process has issued.
ALTER TABLE sync_state ADD COLUMN IF NOT EXISTS registered_version bigint NOT NULL DEFAULT 0;
