-- Issue a version without a change. KEYS[1] is meta.
return redis.call('HINCRBY', KEYS[1], 'version', 1)
