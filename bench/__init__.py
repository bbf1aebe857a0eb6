"""How fast the service is, beside the limits of what it stands on: `make bench`."""
