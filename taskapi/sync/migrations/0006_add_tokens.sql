-- The tokens of a user: a list of objects. Only the SHA-256 of a token is in it.
ALTER TABLE users ADD COLUMN IF NOT EXISTS tokens jsonb NOT NULL DEFAULT '[]';
