"""`make bench`: compare the speed of the service with the limits of Flask, gunicorn and Redis."""
