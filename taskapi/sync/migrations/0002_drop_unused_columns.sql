-- Columns that earlier versions wrote and nothing reads.
ALTER TABLE users      DROP COLUMN IF EXISTS folded;
ALTER TABLE sync_state DROP COLUMN IF EXISTS schema;
