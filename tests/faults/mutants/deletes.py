"""Safeguards of deletes in batches."""

from tests.faults.mutants import Mutant

MUTANTS = [
    Mutant(
        "big deletes: closed until the end",
        "taskapi/store/commit.py",
        '        self.add("PERSIST", key)\n',
        "",
        "faults/test_big_deletes.py::test_a_delete_that_is_resumed_closes_its_tasks_for_good",
    ),
    Mutant(
        "big deletes: changes are refused",
        "taskapi/store/deletions.py",
        '    commit.close(kind, entity["id"])\n    commit.add',
        "    commit.add",
        "faults/test_big_deletes.py::test_a_delete_in_batches_may_die_anywhere",
    ),
    Mutant(
        "big deletes: recorded",
        "taskapi/store/deletions.py",
        '    commit.add("HSET", session.keys.deleting, mark(kind, entity["id"]), NEW_VERSION)\n',
        "",
        "faults/test_big_deletes.py::test_a_delete_in_batches_may_die_anywhere",
    ),
    Mutant(
        "big deletes: finished by the worker",
        "sync_worker.py",
        "            self._deletes_guard.run(self.finish_deletes)\n",
        "",
        "faults/test_big_deletes.py::test_the_worker_finishes_a_delete_whose_process_died",
    ),
    Mutant(
        "big deletes: kept by a restore",
        "taskapi/store/loading.py",
        "keys.processes, keys.deleting)",
        "keys.processes)",
        "faults/test_big_deletes.py::test_after_a_restore_the_worker_still_finishes_a_delete",
    ),
    Mutant(
        "big deletes: counted first",
        "taskapi/store/groups.py",
        "size = queries.size_of(session, scope, *counts)",
        "pass",
        "faults/test_big_deletes.py::test_a_task_that_cannot_be_read_is_found_before_anything_is_deleted",
    ),
    Mutant(
        "big deletes: members in batches",
        "taskapi/store/groups.py",
        "    if page.next_after is None:\n        return False\n",
        "    return False\n",
        "faults/test_big_deletes.py::test_members_leave_in_batches_too",
    ),
    Mutant(
        "big deletes: in batches",
        "taskapi/store/deletions.py",
        "BATCH: Final = 250",
        "BATCH: Final = 250_000",
        "faults/test_big_deletes.py::test_a_big_group_is_deleted_while_its_members_work",
    ),
]
