-- Write nothing. Redis refuses to run this script when it refuses writes or is full.
return 0
