"""The HTTP API. The decorators above a view declare what it takes, returns and refuses."""
