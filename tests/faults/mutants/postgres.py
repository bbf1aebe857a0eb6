"""Safeguards against a PostgreSQL that is silent, locked or full."""

from tests.faults.mutants import Mutant

SHARED = "taskapi/sync/shared_connection.py"
SILENT = "faults/test_silent_postgres.py"
HALF_OPEN = "faults/test_half_open.py"

MUTANTS = [
    Mutant(
        "a question has a deadline",
        SHARED,
        "if not poller.poll(left_ms):",
        "if not poller.poll(left_ms + 3000):",
        f"{SILENT}::test_requests_wait_for_postgresql_at_most_a_second",
    ),
    Mutant(
        "a silent PostgreSQL is not asked again at once",
        SHARED,
        "if time.monotonic() < self._silent_until:",
        "if False:",
        f"{SILENT}::test_requests_wait_for_postgresql_at_most_a_second",
    ),
    Mutant(
        "one request at a time waits for PostgreSQL",
        SHARED,
        "timeout=max(0.0, turn_seconds)",
        "timeout=60",
        f"{SILENT}::test_requests_wait_for_postgresql_at_most_a_second",
    ),
    Mutant(
        "PostgreSQL gives up a question itself",
        SHARED,
        '"SET LOCAL statement_timeout = {milliseconds}; "',
        '""',
        f"{SILENT}::test_requests_wait_for_postgresql_at_most_a_second",
    ),
    Mutant(
        "health does not wait for PostgreSQL",
        SHARED,
        "thread.join(wait_seconds)",
        "thread.join()",
        f"{SILENT}::test_health_does_not_wait_for_postgresql_even_without_a_worker",
    ),
    Mutant(
        "an idle connection is closed",
        SHARED,
        "if self._connection is connection:",
        "if False:",
        f"{SILENT}::test_a_process_has_one_connection_and_closes_it_when_it_is_idle",
    ),
    Mutant(
        "a connection that was ended is replaced",
        SHARED,
        "if not is_reused:",
        "if True:",
        f"{SILENT}::test_a_connection_that_the_server_ended_is_replaced_without_an_error",
    ),
    Mutant(
        "no free connection: named",
        "taskapi/sync/postgres_errors.py",
        "if any(text in str(error) for text in _FULL_TEXTS):",
        "if False:",
        f"{SILENT}::test_a_server_without_a_free_connection_is_named",
    ),
    Mutant(
        "search: version",
        "taskapi/sync/search.py",
        "AND last_version >= %s",
        "AND %s >= 0",
        "api/test_search.py::test_a_postgresql_that_was_set_back_or_is_another_one_is_not_believed",
    ),
    Mutant(
        "passes ask for their isolation level",
        "taskapi/sync/postgres.py",
        "self._connection.set_session(isolation_level=extensions.ISOLATION_LEVEL_READ_COMMITTED)",
        "pass",
        "faults/test_isolation.py::"
        "test_a_pass_that_waited_for_another_one_sees_what_that_one_wrote",
    ),
    Mutant(
        "a fence needs two looks",
        "taskapi/sync/state.py",
        "redis, why = _compare(other, store)",
        "pass",
        "faults/test_isolation.py::test_a_fence_needs_a_second_look_over_another_connection",
    ),
    Mutant(
        "a silent call is broken",
        "taskapi/sync/watch.py",
        "if quiet_seconds > SILENT_SECONDS:",
        "if quiet_seconds > SILENT_SECONDS + 6:",
        f"{HALF_OPEN}::test_a_call_that_never_returns_is_broken",
    ),
    Mutant(
        "a backend that waits for the client does not work",
        "taskapi/sync/watch.py",
        "AND wait_event_type IS DISTINCT FROM 'Client'",
        "AND clock_timestamp() < query_start + interval '6 s'",
        f"{HALF_OPEN}::test_a_call_that_never_returns_is_broken",
    ),
    Mutant(
        "a call that PostgreSQL works on goes on",
        "taskapi/sync/watch.py",
        "if quiet_seconds > QUIET_SECONDS and self._is_working():",
        "if False:",
        f"{HALF_OPEN}::test_a_call_that_postgresql_works_on_is_not_broken",
    ),
    Mutant(
        "SIGTERM ends the worker in time",
        "sync_worker.py",
        "        os._exit(0)\n",
        "",
        f"{HALF_OPEN}::test_the_worker_obeys_sigterm_though_its_connection_is_half_open",
    ),
    Mutant(
        "no statement waits long for a lock",
        "taskapi/sync/postgres.py",
        'LOCK_WAIT: Final = "10s"',
        'LOCK_WAIT: Final = "20s"',
        f"{HALF_OPEN}::test_an_action_waits_for_a_lock_at_most_10_seconds",
    ),
    Mutant(
        "why PostgreSQL takes no changes: named",
        "taskapi/sync/postgres_errors.py",
        "if error.pgcode in _CAUSES:",
        "if False:",
        "faults/test_postgres_outages.py::test_why_postgresql_takes_no_changes_is_said",
    ),
    Mutant(
        "why PostgreSQL takes no changes: in /health",
        "taskapi/sync/health.py",
        'elif "problem" in published:',
        "elif False:",
        "faults/test_postgres_outages.py::test_why_postgresql_takes_no_changes_is_said",
    ),
    Mutant(
        "why PostgreSQL takes no changes: in /admin/status",
        "taskapi/sync/status.py",
        'published.keys() & {"damage", "problem"}',
        'published.keys() & {"damage"}',
        "faults/test_postgres_outages.py::test_why_postgresql_takes_no_changes_is_said",
    ),
    Mutant(
        "a sync that succeeds removes the reason",
        "taskapi/sync/sync_pass.py",
        '("last_error", "failures", "problem")',
        '("last_error", "failures")',
        "faults/test_postgres_outages.py::test_why_postgresql_takes_no_changes_is_said",
    ),
    Mutant(
        "a start waits only a moment for a pass",
        "taskapi/sync/bootstrap.py",
        "READY_SECONDS if is_ready(store) else WAIT_SECONDS",
        "WAIT_SECONDS",
        "faults/test_locked_start.py::"
        "test_a_start_waits_only_a_moment_for_a_pass_if_redis_is_ready",
    ),
    Mutant(
        "no DDL when there is nothing to migrate",
        "taskapi/sync/migrations/__init__.py",
        "    if current == NEWEST:\n        return\n",
        "    current = 0 if current == NEWEST else current\n",
        "faults/test_locked_start.py::test_web_starts_and_serves_while_tables_are_locked",
    ),
    Mutant(
        "backup files: format",
        "taskapi/sync/import_backup.py",
        "if given not in FORMATS:",
        "if False:",
        "sync/test_import_backup.py::"
        "test_a_file_of_an_unknown_format_is_refused_by_the_name_of_its_format",
    ),
    Mutant(
        "poolers: a question's limit ends with its transaction",
        SHARED,
        '"SET LOCAL statement_timeout = {milliseconds}; "',
        '"SET statement_timeout = {milliseconds}; "',
        "faults/test_pgbouncer.py::test_everything_works_through_pgbouncer",
    ),
    Mutant(
        "poolers: a pass's limit ends with its transaction",
        "taskapi/sync/postgres.py",
        '_BEGIN: Final = f"SET LOCAL lock_timeout',
        '_BEGIN: Final = f"SET lock_timeout',
        "faults/test_pgbouncer.py::test_everything_works_through_pgbouncer",
    ),
    Mutant(
        "no free connection of PgBouncer: named",
        "taskapi/sync/postgres_errors.py",
        ', "no more connections allowed")',
        ")",
        "faults/test_pgbouncer.py::test_a_pgbouncer_without_a_free_connection_is_named",
    ),
]
