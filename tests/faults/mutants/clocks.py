"""Safeguards against wrong clocks, growth, and changes that wait for long."""

from tests.faults.mutants import Mutant

MUTANTS = [
    Mutant(
        "synced only grows",
        "taskapi/store/acknowledge.lua",
        "if tonumber(q.last) > tonumber(synced or 0) then",
        "if true then",
        "faults/test_growth.py::test_what_is_synced_is_not_set_back_by_old_changes",
    ),
    Mutant(
        "operation fields of dead processes are removed when nothing changes",
        "taskapi/store/acknowledge.lua",
        "local now = math.max(tonumber(version or 0), time[1] * 1000000 + time[2])",
        "local now = tonumber(version or 0)",
        "faults/test_growth.py::"
        "test_operation_fields_of_dead_processes_are_removed_when_nothing_changes",
    ),
    Mutant(
        "operation fields of living processes stay",
        "taskapi/store/acknowledge.lua",
        "redis.call('HEXISTS', processes, process) == 1",
        "false",
        "faults/test_growth.py::"
        "test_operation_fields_of_dead_processes_are_removed_when_nothing_changes",
    ),
    Mutant(
        "tombstones: pruned",
        "taskapi/sync/sync_pass.py",
        "        state.prune(db, settings.deletes_kept_seconds)\n",
        "",
        "faults/test_growth.py::test_old_tombstones_are_pruned_and_young_ones_stay",
    ),
    Mutant(
        "tombstones: young ones stay",
        "taskapi/sync/state.py",
        "WHERE deleted_at < now() - make_interval(secs => %s)",
        "WHERE %s > 0",
        "faults/test_growth.py::test_old_tombstones_are_pruned_and_young_ones_stay",
    ),
    Mutant(
        "a Redis older than the tombstones is fenced",
        "taskapi/sync/state.py",
        "    if redis.synced < copy.pruned:\n        return OLDER\n",
        "",
        "faults/test_growth.py::test_a_redis_older_than_the_tombstones_brings_nothing_back",
    ),
    Mutant(
        "a restore copies nothing from a Redis older than the tombstones",
        "taskapi/sync/state.py",
        "return is_same and redis.synced >= copy.pruned",
        "return is_same",
        "faults/test_growth.py::test_a_redis_older_than_the_tombstones_brings_nothing_back",
    ),
    Mutant(
        "no reseed from a Redis older than the tombstones",
        "taskapi/sync/sync_pass.py",
        "foreign = (state.FOREIGN, state.OLDER)",
        "foreign = (state.FOREIGN,)",
        "faults/test_growth.py::test_a_redis_older_than_the_tombstones_brings_nothing_back",
    ),
    Mutant(
        "a pass begins early when many changes wait",
        "sync_worker.py",
        "waiting >= self._settings.sync_max_pending",
        "waiting < 0",
        "faults/test_loss_window.py::test_when_many_changes_wait_a_pass_begins_early",
    ),
    Mutant(
        "early passes are not too frequent",
        "sync_worker.py",
        "return self._clock() >= self._early_at and waiting",
        "return waiting",
        "faults/test_loss_window.py::test_when_many_changes_wait_a_pass_begins_early",
    ),
    Mutant(
        "marks that stay begin no pass early",
        "sync_worker.py",
        "changes.size_above(self._store, redis.synced)",
        "changes.size(self._store)",
        "faults/test_loss_window.py::test_marks_that_stay_begin_no_pass_early",
    ),
    Mutant(
        "no loss window is promised while passes fail",
        "taskapi/sync/status.py",
        'is_syncing and is_running(published, now) and "failures" not in published,',
        "True,",
        "faults/test_loss_window.py::"
        "test_without_an_append_only_file_the_window_is_known_only_while_passes_succeed",
    ),
    Mutant(
        "heartbeats by the clock of Redis",
        "taskapi/sync/status.py",
        '{"beat": meta.now(store),',
        '{"beat": time.time(),',
        "faults/test_clocks.py::test_a_worker_with_a_wrong_clock_is_known_to_run",
    ),
    Mutant(
        "heartbeats from before the clock was set back",
        "taskapi/sync/status.py",
        'return abs(now - float(published.get("beat", 0))) < FRESH_SECONDS',
        'return now - float(published.get("beat", 0)) < FRESH_SECONDS',
        "faults/test_clocks.py::"
        "test_what_a_dead_worker_wrote_before_the_clock_of_redis_was_set_back_is_unknown",
    ),
    Mutant(
        "last pass by the clock of Redis",
        "taskapi/sync/sync_pass.py",
        '{"last_sync": meta.now(store),',
        '{"last_sync": time.time(),',
        "faults/test_clocks.py::test_a_worker_with_a_wrong_clock_is_known_to_run",
    ),
    Mutant(
        "a last pass from before the clock was set back",
        "taskapi/sync/status.py",
        "return age if age >= 0 else None",
        "return age",
        "faults/test_clocks.py::"
        "test_what_a_dead_worker_wrote_before_the_clock_of_redis_was_set_back_is_unknown",
    ),
    Mutant(
        "ages of changes are not invented",
        "taskapi/store/changes.py",
        "return age if age >= 0 else None",
        "return max(age, 0.0)",
        "faults/test_clocks.py::"
        "test_the_age_of_a_change_is_unknown_while_versions_are_ahead_of_the_clock_of_redis",
    ),
    Mutant(
        "backups rotate by order of writing",
        "taskapi/sync/backup.py",
        "        os.utime(newest, (last + 1, last + 1))\n",
        "        pass\n",
        "faults/test_clocks.py::test_a_clock_that_was_set_back_makes_no_new_backup_the_oldest",
    ),
    Mutant(
        "the newest backup stays",
        "taskapi/sync/backup.py",
        "[*others, newest][:-keep]",
        "sorted([*others, newest])[:-keep]",
        "faults/test_clocks.py::test_a_clock_that_was_set_back_makes_no_new_backup_the_oldest",
    ),
]
