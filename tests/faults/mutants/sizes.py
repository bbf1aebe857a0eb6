"""Safeguards that limit the bytes of one command of Redis."""

from tests.faults.mutants import Mutant

MUTANTS = [
    Mutant(
        "batches have a limit in bytes",
        "taskapi/store/tasks.py",
        "    if size > BYTES_MOST:\n",
        "    if False:\n",
        "api/test_contract_batches.py::test_the_tasks_of_a_batch_have_a_limit_together",
    ),
]
