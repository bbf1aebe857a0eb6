"""Speed of the service beside the limits of its parts: `make bench`."""
