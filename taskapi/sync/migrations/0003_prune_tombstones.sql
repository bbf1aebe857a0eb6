-- Tombstones are removed some time after the delete; see DELETES_KEPT.
ALTER TABLE tombstones ADD COLUMN IF NOT EXISTS deleted_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX IF NOT EXISTS tombstones_by_time ON tombstones (deleted_at);

-- Deletes up to this version may have no tombstone: an older Redis may still have the entities.
ALTER TABLE sync_state ADD COLUMN IF NOT EXISTS pruned_version bigint NOT NULL DEFAULT 0;
