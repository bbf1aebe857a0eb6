"""Safeguards of the API: who may call a view, and what a page may run."""

from tests.faults.mutants import Mutant

MUTANTS = [
    Mutant(
        "a view says who may call it",
        "taskapi/api/contract.py",
        "    if action is None:\n        raise NoAuthorisation\n",
        "    if action is None:\n        return\n",
        "api/test_contract.py::test_a_view_without_authorisation_is_refused",
    ),
    Mutant(
        "authorisation by the path",
        "taskapi/api/contract.py",
        '    policy.authorise(action, app_ctx.g.caller, named, user_id=ids.get("user_id"))\n',
        "    del named\n",
        "api/test_contract.py::test_the_example_does_what_its_contract_says",
    ),
    Mutant(
        "scripts of the documentation page",
        "taskapi/api/docs.py",
        '        response.headers["Content-Security-Policy"] = POLICY.format(hashes=hashes)\n',
        "        del hashes\n",
        "api/test_docs.py::test_the_page_runs_only_the_scripts_that_it_came_with",
    ),
    Mutant(
        "what is remembered of caller and path is guarded",
        "taskapi/api/lookups.py",
        "                session.rights += memberships.rights(session.keys, user)\n",
        "                pass\n",
        "api/test_memory.py",
    ),
    Mutant(
        "a remembered caller may be blocked",
        "taskapi/api/lookups.py",
        '        session.rights.append((throttle.keys[0], "", ABSENT))\n',
        "",
        "api/test_memory.py::test_an_account_that_was_blocked_elsewhere_is_refused",
    ),
    Mutant(
        "a create from memory notices a restart of Redis",
        "taskapi/api/lookups.py",
        " or not session.connection.is_usable():",
        ":",
        "faults/test_server_starts.py::test_a_create_from_memory_waits_for_the_check_too",
    ),
    Mutant(
        "a refusal from memory does not count",
        "taskapi/api/application.py",
        "except (Stale, TaskApiError, HTTPException):",
        "except (Stale, HTTPException):",
        "api/test_memory.py::test_if_match_is_compared_with_what_the_store_has",
    ),
    Mutant(
        "a body that cannot be read on a cached lookup does not count",
        "taskapi/api/application.py",
        "except (Stale, TaskApiError, HTTPException):",
        "except (Stale, TaskApiError):",
        "api/test_memory.py::test_a_body_of_a_wrong_type_is_not_looked_at_before_the_password",
    ),
    Mutant(
        "the log names no caller of a try that did not count",
        "taskapi/api/authentication.py",
        "    forget_caller()\n    try:",
        "    try:",
        "api/test_memory.py::test_the_log_names_no_caller_whose_password_was_changed_elsewhere",
    ),
    Mutant(
        "a create whose outcome is unknown is not retried",
        "taskapi/api/application.py",
        "        except Unavailable:\n            raise\n",
        "",
        "api/test_memory.py::test_a_create_whose_outcome_is_unknown_is_not_retried",
    ),
    Mutant(
        "a password is never verified from memory",
        "taskapi/api/authentication.py",
        "            if from_cache:\n                raise Stale\n",
        "",
        "api/test_memory.py::test_a_wrong_password_is_counted_once",
    ),
    Mutant(
        "a guess from a blocked address counts for its account",
        "taskapi/api/throttling.py",
        "            self._count(self._account_key)\n",
        "",
        "api/test_auth_limits.py::test_a_blocked_address_guesses_at_no_remembered_password",
    ),
    Mutant(
        "a success with a remembered password clears the count",
        "taskapi/api/authentication.py",
        "            throttle.clear(lookup.failures)\n        if lookup.user is None:",
        "            pass\n        if lookup.user is None:",
        "api/test_auth_limits.py::test_a_success_clears_the_count",
    ),
]
