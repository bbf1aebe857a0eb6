"""Safeguards of searches: the overlay of the changes that PostgreSQL may not have."""

from tests.faults.mutants import Mutant

TASKS, SCRIPT = "taskapi/store/dirty_tasks.py", "taskapi/store/dirty_tasks.lua"
CHANGED = "api/test_changed_search.py"
MARKS = "faults/test_search_marks.py"
PAGES = f"{CHANGED}::test_marks_are_read_in_pages"
UNIT = "store/test_dirty_tasks.py"

MUTANTS = [
    Mutant(
        "search: a set-back Redis starts a new history of marks",
        "taskapi/store/open_for_clients.lua",
        ", 'remarked', ARGV[6])",
        ")",
        f"{MARKS}::test_a_set_back_redis_has_marks_again",
    ),
    Mutant(
        "search: a repair starts a new history of marks",
        "taskapi/store/mend.lua",
        "if done > 0 then",
        "if false then",
        f"{MARKS}::test_a_change_that_a_repair_marks_is_found",
    ),
    Mutant(
        "search: no overlay while the store is not ready",
        SCRIPT,
        "state ~= 'ready' or",
        "false or",
        f"{MARKS}::test_a_change_in_quarantine_is_found_during_a_reseed",
    ),
    Mutant(
        "search: marks above the last version are not overlooked",
        SCRIPT,
        "'+inf') > 0 then return false end",
        "'+inf') < 0 then return false end",
        f"{MARKS}::test_a_mark_above_the_last_version_is_not_overlooked",
    ),
    Mutant(
        "search: marks of one version are not split",
        SCRIPT,
        "  while marks[#marks] == last do marks[#marks], marks[#marks - 1] = nil, nil end\n",
        "",
        PAGES,
    ),
    Mutant(
        "search: many marks of one version are read at once",
        SCRIPT,
        "  if marks[2] == last then return range(last, last), last, 1 end\n",
        "",
        PAGES,
    ),
    Mutant(
        "search: all pages of marks are read",
        TASKS,
        "return self._is_whole and not marks.follows",
        "return True",
        PAGES,
    ),
    Mutant(
        "search: marks that another thread reads page by page are not all",
        TASKS,
        "return self._is_whole and not marks.follows",
        "return not marks.follows",
        f"{UNIT}::test_marks_are_not_all_known_while_others_are_read_page_by_page",
    ),
    Mutant(
        "search: another thread's marks are not all that follow a page",
        TASKS,
        "return self._is_whole and not marks.follows",
        "return self._is_whole",
        f"{UNIT}::test_marks_are_not_all_known_while_others_are_read_page_by_page",
    ),
    Mutant(
        "search: another history is read from the beginning",
        TASKS,
        "if marks.after <= known.last and",
        "if",
        f"{CHANGED}::test_a_change_in_quarantine_is_found_after_the_pass",
    ),
    Mutant(
        "search: too many marks are not read",
        SCRIPT,
        "if redis.call('ZCARD', dirty) > tonumber(most) then return false end\n",
        "",
        f"{CHANGED}::test_with_too_many_changes_redis_is_scanned[MARKS_MOST]",
    ),
    Mutant(
        "search: too much text is not held",
        TASKS,
        "        if self._bytes > TEXT_MOST:\n"
        "            self._facts, self._sets = {}, DirtySets()\n"
        "            self._blocks.clear()\n",
        "",
        f"{UNIT}::test_too_much_text_is_not_held",
    ),
    Mutant(
        "search: text that is not held is scanned",
        TASKS,
        "            if self._bytes > TEXT_MOST:\n"
        "                return None\n"
        "            for block in self._blocks_from(after):\n",
        "            for block in self._blocks_from(after):\n",
        f"{CHANGED}::test_with_too_many_changes_redis_is_scanned[TEXT_MOST]",
    ),
    Mutant(
        "search: waits for another one for a limited time",
        TASKS,
        "self._turn.acquire(timeout=TURN_SECONDS)",
        "self._turn.acquire(timeout=TURN_SECONDS + 30)",
        f"{CHANGED}::test_a_search_does_not_wait_long_for_another_one",
    ),
    Mutant(
        "search: late marks replace no later ones",
        TASKS,
        "            if marks.last >= self.last:\n",
        "            if True:\n",
        f"{UNIT}::test_marks_that_are_read_late_replace_no_later_ones",
    ),
    Mutant(
        "search: what was seen tells a Redis that was set back",
        TASKS,
        "            session.connection.issued.note(int(marks.last), {})\n",
        "            pass\n",
        f"{MARKS}::test_what_a_search_has_seen_tells_a_redis_that_was_set_back",
    ),
    Mutant(
        "search: changed text is looked at again",
        "taskapi/store/text_block.py",
        "        self._text = None\n        return added\n",
        "        return added\n",
        f"{UNIT}::test_text_that_was_searched_before_it_changed_is_searched_again",
    ),
    Mutant(
        "search: pages end where both sources are complete",
        "taskapi/sync/search.py",
        "if i <= min(ends, default=i)",
        "if True",
        f"{CHANGED}::test_a_page_ends_where_postgresql_may_have_more",
    ),
    Mutant(
        "search: the task decides whether the caller may see it",
        "taskapi/store/search.py",
        '            if reach.includes(task["user_id"], task["group_id"]):\n',
        "            if True:\n",
        "api/test_search.py::test_a_group_admin_finds_their_groups_tasks_and_their_own",
    ),
    Mutant(
        "search: an equal one is prefetched after changes",
        TASKS,
        ", guess=guess)",
        ")",
        "api/test_round_trips.py::test_an_equal_search_after_a_change_saves_a_round_trip",
    ),
]
