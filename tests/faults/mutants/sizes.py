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
    Mutant(
        "pages have a limit in bytes",
        "taskapi/store/page.lua",
        " or size >= q.bytes then",
        " then",
        "store/test_chunks.py::test_long_tasks_are_read_in_short_commands_and_sent_in_order",
    ),
    Mutant(
        "pages that are short in entities are continued",
        "taskapi/store/queries.py",
        'follows == b"more" and left == number',
        'follows == b"more" and left is not None',
        "api/test_contract_lists.py::test_a_list_read_in_chunks_is_the_same_to_the_byte",
    ),
    Mutant(
        "chunks of the sync have a limit in bytes",
        "taskapi/store/read_chunk.lua",
        "if size >= q.bytes and",
        "if false and",
        "store/test_chunks.py::test_long_entities_come_in_many_chunks_and_all_of_them",
    ),
    Mutant(
        "chunks of the sync do not split a version",
        "taskapi/store/read_chunk.lua",
        " and score ~= last then",
        " then",
        "store/test_chunks.py::test_the_tasks_of_one_commit_are_not_split",
    ),
]
