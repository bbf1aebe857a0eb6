"""Safeguards against a Redis that is silent, full or refuses to serve."""

from tests.faults.mutants import Mutant

FULL = "faults/test_full_redis.py"
REFUSING = "faults/test_refusing_redis.py"

MUTANTS = [
    Mutant(
        "a second attempt waits less than the first one",
        "taskapi/store/connection.py",
        "seconds or self._store.retry_seconds",
        "seconds",
        "faults/test_silent_redis.py::test_both_attempts_together_end_within_two_seconds",
    ),
    Mutant(
        "a web process waits only a moment for a silent Redis",
        "taskapi/sync/bootstrap.py",
        "store or Store(settings.redis_url, settings.key_prefix)",
        "store or Store(settings.redis_url, settings.key_prefix, 30.0)",
        "faults/test_silent_redis.py::test_a_web_process_listens_soon_though_redis_is_silent",
    ),
    Mutant(
        "why Redis refuses to serve: in /health",
        "taskapi/sync/health.py",
        '_health("unhealthy", [str(error)])\n    if state',
        '_health("unhealthy", ["It is away."])\n    if state',
        f"{REFUSING}::test_health_and_status_say_why_redis_refuses_to_serve",
    ),
    Mutant(
        "why Redis refuses to serve: in /admin/status",
        "taskapi/sync/status.py",
        '        data["warnings"] = [str(error)]\n',
        "        pass\n",
        f"{REFUSING}::test_health_and_status_say_why_redis_refuses_to_serve",
    ),
    Mutant(
        "a full Redis: in /health",
        "taskapi/store/scripts.py",
        '_load("write_nothing.lua")',
        '_load("write_nothing.lua", " flags=allow-oom")',
        f"{FULL}::test_a_full_redis_is_shown_by_health_and_status",
    ),
    Mutant(
        "a full Redis: not healthy in /admin/status",
        "taskapi/sync/status.py",
        "bool(refusal or sync_problems or",
        "bool(sync_problems or",
        f"{FULL}::test_a_full_redis_is_shown_by_health_and_status",
    ),
    Mutant(
        "a full Redis: a warning in /admin/status",
        "taskapi/sync/status.py",
        "            *filter(None, [refusal]),\n",
        "",
        f"{FULL}::test_a_full_redis_is_shown_by_health_and_status",
    ),
    Mutant(
        "a full Redis: backups still work",
        "taskapi/store/scripts.py",
        '_load("even_when_full.lua", " flags=allow-oom")',
        '_load("even_when_full.lua")',
        f"{FULL}::test_a_backup_is_made_while_redis_is_full",
    ),
    Mutant(
        "a full Redis: restores still work",
        "taskapi/store/loading.py",
        "scripts.LOAD_WHEN_FULL if before.epoch else scripts.LOAD",
        "scripts.LOAD",
        f"{FULL}::test_a_restore_replaces_the_data_of_a_full_redis",
    ),
    Mutant(
        "an emptied Redis keeps within maxmemory",
        "taskapi/store/loading.py",
        "scripts.LOAD_WHEN_FULL if before.epoch else scripts.LOAD",
        "scripts.LOAD_WHEN_FULL",
        f"{FULL}::test_an_emptied_redis_is_not_filled_beyond_its_memory",
    ),
]
