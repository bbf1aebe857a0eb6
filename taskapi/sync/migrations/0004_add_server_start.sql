-- The start of Redis that took writes last: of two primaries, the one with another start has lost.
ALTER TABLE sync_state ADD COLUMN IF NOT EXISTS run_id text NOT NULL DEFAULT '';
