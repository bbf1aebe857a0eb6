-- Write nothing. Redis refuses to run this script when it refuses writes.
return 0
