"""Safeguards against a PostgreSQL that is silent, locked or full."""

from tests.faults.mutants import Mutant

SHARED = "taskapi/sync/shared_connection.py"
SILENT = "faults/test_silent_postgres.py"

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
]
