"""Safeguards that keep requests that take long from holding up all others."""

from tests.faults.mutants import Mutant

HEAVY = "api/test_heavy.py"
BUSY = f"{HEAVY}::test_one_heavy_request_too_many_is_busy_and_changes_nothing"
STEP = "        session.heavy.step()\n"
NO_STEP = "        pass\n"

MUTANTS = [
    Mutant(
        "heavy requests are limited in number",
        "taskapi/store/heavy.py",
        "                raise Crowded\n",
        "                pass\n",
        BUSY,
    ),
    Mutant(
        "heavy requests work one at a time",
        "taskapi/store/heavy.py",
        "threading.Lock(), threading.Lock()",
        "threading.Semaphore(3), threading.Lock()",
        f"{HEAVY}::test_one_heavy_request_works_at_a_time",
    ),
    Mutant(
        "heavy requests take turns",
        "taskapi/store/heavy.py",
        "        self.rest()\n        with self._next:",
        "        if getattr(self._local, 'has_turn', False):\n            return\n"
        "        with self._next:",
        f"{HEAVY}::test_heavy_requests_take_turns",
    ),
    Mutant(
        "heavy requests keep their place until the answer is sent",
        "taskapi/api/application.py",
        "ClosingIterator(answer, self.heavy.leave) if self.heavy.is_inside else answer",
        "(self.heavy.leave(), answer)[1]",
        f"{HEAVY}::test_a_heavy_request_keeps_its_place_until_its_answer_is_sent",
    ),
    Mutant(
        "heavy requests do not work while their answer is sent",
        "taskapi/api/application.py",
        "                self.heavy.rest()\n",
        "                pass\n",
        f"{HEAVY}::test_a_heavy_request_keeps_its_place_until_its_answer_is_sent",
    ),
    Mutant(
        "long lists are heavy",
        "taskapi/store/queries.py",
        "if session.chunks >= LIGHT_MOST:",
        "if False:",
        f"{BUSY}[list]",
    ),
    Mutant("big batches are heavy", "taskapi/api/batches.py", STEP, NO_STEP, f"{BUSY}[batch]"),
    Mutant(
        "statistics of many users are heavy",
        "taskapi/store/statistics.py",
        STEP,
        NO_STEP,
        f"{BUSY}[statistics]",
    ),
    Mutant(
        "big deletes of groups are heavy",
        "taskapi/store/groups.py",
        STEP,
        NO_STEP,
        f"{BUSY}[group]",
    ),
    Mutant(
        "big deletes of users are heavy", "taskapi/store/users.py", STEP, NO_STEP, f"{BUSY}[user]"
    ),
    Mutant(
        "a request keeps the turn while tasks are closed",
        "taskapi/store/heavy.py",
        '        if getattr(self._local, "keeps_turn", False) and',
        "        if False and",
        f"{HEAVY}::test_the_turn_is_kept_while_tasks_are_closed",
    ),
    Mutant(
        "a commit that closes tasks keeps the turn",
        "taskapi/store/commit.py",
        "            with self._session.heavy.keeping_turn():",
        "            if True:",
        f"{HEAVY}::test_the_turn_is_kept_while_tasks_are_closed",
    ),
    Mutant(
        "a request that will be tried again gives the turn back",
        "taskapi/api/application.py",
        "        self.heavy.rest()\n        time.sleep(seconds)\n",
        "        time.sleep(seconds)\n",
        f"{HEAVY}::test_a_request_that_waits_for_its_next_try_has_no_turn",
    ),
    Mutant(
        "a place is given back after an error of the server",
        "taskapi/api/application.py",
        "            self.heavy.leave()\n            raise\n",
        "            raise\n",
        f"{HEAVY}::test_a_place_is_given_back_after_an_error_of_the_server",
    ),
    Mutant(
        "actions are heavy",
        "taskapi/api/admin.py",
        "        services().store.heavy.enter()\n",
        "",
        f"{BUSY}[action]",
    ),
    Mutant(
        "heavy requests that are refused close nothing",
        "taskapi/store/commit.py",
        "        except (Damaged, Crowded):\n",
        "        except Damaged:\n",
        f"{BUSY}[member]",
    ),
]
