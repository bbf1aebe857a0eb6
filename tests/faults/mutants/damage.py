"""Safeguards against damage in Redis, and for what waits in quarantine."""

from tests.faults.mutants import Mutant

MUTANTS = [
    Mutant(
        "quarantine: in /health",
        "taskapi/sync/health.py",
        "        issues.append(_REFUSED.format(refused))\n",
        "        pass\n",
        "faults/test_stale_quarantine.py::"
        "test_a_change_in_quarantine_is_shown_by_health_status_and_doctor",
    ),
    Mutant(
        "quarantine: in /admin/status",
        "taskapi/sync/status.py",
        '"healthy": is_syncing and not refused and',
        '"healthy": is_syncing and',
        "faults/test_stale_quarantine.py::"
        "test_a_change_in_quarantine_is_shown_by_health_status_and_doctor",
    ),
    Mutant(
        "healing: older marks go",
        "taskapi/store/reconcile.py",
        '        yield ("ZREM", self._keys.dirty, f"{kind}:{entity_id}")',
        "        pass",
        "faults/test_stale_quarantine.py::"
        "test_an_older_mark_of_what_a_rollback_put_back_is_no_anomaly",
    ),
    Mutant(
        "damage: keys of the wrong type stop no pass",
        "taskapi/store/changes.lua",
        "  local value = redis.pcall(...)\n",
        "  local value = redis.call(...)\n",
        "faults/test_damage.py::test_a_damaged_task_holds_up_nothing_else[wrong type]",
    ),
    Mutant(
        "damage: JSON that cannot be read stops no pass",
        "taskapi/store/chunks.py",
        "    except Damaged:\n        entities = []\n",
        "    except KeyError:\n        entities = []\n",
        "faults/test_damage.py::test_a_damaged_task_holds_up_nothing_else[not JSON]",
    ),
    Mutant(
        "damage: an entity without a field is not copied",
        "taskapi/store/codec.py",
        "    if not is_whole:\n",
        "    if False:\n",
        "faults/test_damage.py::test_a_damaged_task_holds_up_nothing_else[without a field]",
    ),
    Mutant(
        "damage: an entity under another id is not copied",
        "taskapi/store/chunks.py",
        "    if found.encode() == versions:\n",
        "    if len(entities) == len(texts):\n",
        "faults/test_damage.py::test_a_damaged_task_holds_up_nothing_else[another id]",
    ),
    Mutant(
        "damage: an entity under another id is not shown",
        "taskapi/store/session.py",
        "    if (stored[",
        "    if False and (stored[",
        "faults/test_damage.py::test_a_damaged_task_holds_up_nothing_else[another id]",
    ),
    Mutant(
        "damage: lists go on",
        "taskapi/store/page.lua",
        "local json = redis.pcall('HGET',",
        "local json = redis.call('HGET',",
        "faults/test_damage.py::test_a_damaged_task_holds_up_nothing_else[wrong type]",
    ),
    Mutant(
        "damage: lists stay JSON",
        "taskapi/store/page.lua",
        "if type(json) == 'string' and byte(json, 1) == 123 and byte(json, -1) == 125 then",
        "if type(json) == 'string' then",
        "faults/test_damage.py::test_a_damaged_task_holds_up_nothing_else[not JSON]",
    ),
    Mutant(
        "damage: no half commits",
        "taskapi/store/commit.lua",
        "\nrequire_types()\n",
        "\n",
        "faults/test_damage.py::"
        "test_a_change_beside_a_damaged_index_is_done_completely_or_not_at_all",
    ),
    Mutant(
        "damage: a lost password hash is not copied",
        "taskapi/store/chunks.py",
        '    return [user for user in users if user["password_hash"]]\n',
        "    return users\n",
        "faults/test_damage.py::test_a_lost_password_hash_does_not_reach_postgresql",
    ),
    Mutant(
        "damage: no backup without a lost index",
        "taskapi/sync/backup.py",
        "        source.require_whole()\n",
        "",
        "faults/test_damage.py::"
        "test_a_damaged_index_is_told_and_no_backup_is_made_without_it[True-tasks]",
    ),
    Mutant(
        "damage: no backup without a damaged entity",
        "taskapi/sync/backup.py",
        "        if self._is_complete:\n            raise error\n",
        "",
        "faults/test_damage.py::test_a_damaged_task_holds_up_nothing_else[not JSON]",
    ),
    Mutant(
        "damage: a restore is possible when changes cannot be read",
        "taskapi/sync/restore.py",
        "    except Damaged as error:\n        log.error",
        "    except KeyError as error:\n        log.error",
        "faults/test_damage.py::test_what_cannot_be_marked_is_not_changed_and_health_says_so",
    ),
    Mutant(
        "damage: told by /health",
        "taskapi/sync/health.py",
        '        issues.append(published["damage"])\n',
        "        pass\n",
        "faults/test_damage.py::"
        "test_a_damaged_index_is_told_and_no_backup_is_made_without_it[True-tasks]",
    ),
    Mutant(
        "damage: a quarantine that cannot be read is rebuilt",
        "taskapi/store/quarantine.py",
        "    except Damaged:\n        return release(store)\n",
        "    except KeyError:\n        return release(store)\n",
        "faults/test_damage.py::test_a_damaged_quarantine_is_rebuilt",
    ),
    Mutant(
        "damage: tombstones of the wrong type stop no pass",
        "taskapi/store/acknowledge.lua",
        "local is_delete = has_tombstones and",
        "local is_delete =",
        "faults/test_damage.py::test_deletes_wait_when_the_tombstones_are_damaged",
    ),
    Mutant(
        "damage: no orphans",
        "taskapi/store/queries.py",
        "        if len({*looks[-1]}) == 1:\n",
        "        if True:\n",
        "faults/test_damage.py::test_a_group_whose_index_is_damaged_is_not_deleted",
    ),
    Mutant(
        "damage: no members of a deleted group",
        "taskapi/store/groups.py",
        "        _require_member(session, group, users)\n",
        "",
        "faults/test_damage.py::test_a_group_whose_index_is_damaged_is_not_deleted",
    ),
    Mutant(
        "damage: a refused delete blocks nobody",
        "taskapi/store/commit.py",
        '            execute(("UNLINK", key))\n            raise\n',
        "            raise\n",
        "faults/test_damage.py::test_a_damaged_user_and_a_damaged_group_are_refused[not JSON]",
    ),
    Mutant(
        "damage: no reseed without a lost index",
        "taskapi/sync/sync_pass.py",
        "        changes.require_whole(store)\n",
        "",
        "faults/test_damage.py::test_a_reseed_without_an_index_does_not_empty_postgresql",
    ),
]
