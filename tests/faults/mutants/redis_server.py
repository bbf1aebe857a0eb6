"""Safeguards against a Redis that is silent, full or refuses to serve."""

from tests.faults.mutants import Mutant

MUTANTS = [
    Mutant(
        "a web process waits only a moment for a silent Redis",
        "taskapi/sync/bootstrap.py",
        "store or Store(settings.redis_url, settings.key_prefix)",
        "store or Store(settings.redis_url, settings.key_prefix, 30.0)",
        "faults/test_silent_redis.py::test_a_web_process_listens_soon_though_redis_is_silent",
    ),
]
