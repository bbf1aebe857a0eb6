"""Kinto with its memory backend, which needs a single process. It runs in its own environment."""

from kinto import main

MEMORY = {
    "storage": "kinto.core.storage.memory",
    "permission": "kinto.core.permission.memory",
    "cache": "kinto.core.cache.memory",
}
BASIC = "kinto.core.authentication.BasicAuthAuthenticationPolicy"

settings = {f"kinto.{what}_backend": backend for what, backend in MEMORY.items()}
settings |= {
    "kinto.bucket_write_principals": "system.Authenticated",
    "kinto.bucket_create_principals": "system.Authenticated",
    "kinto.userid_hmac_secret": "bench",
    "multiauth.policies": "basicauth",
    "multiauth.policy.basicauth.use": BASIC,
}
app = main({}, **settings)
