-- The run id of the Redis that took writes last: a primary with another run id was replaced.
ALTER TABLE sync_state ADD COLUMN IF NOT EXISTS run_id text NOT NULL DEFAULT '';
