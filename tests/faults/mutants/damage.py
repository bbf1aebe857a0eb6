"""Safeguards against damage in Redis, and for what waits in quarantine."""

from tests.faults.mutants import Mutant

MUTANTS = [
    Mutant(
        "quarantine: in /health",
        "taskapi/sync/status.py",
        "        issues.append(_REFUSED.format(refused))\n",
        "        pass\n",
        "faults/test_stale_quarantine.py::"
        "test_a_change_in_quarantine_is_shown_by_health_status_and_doctor",
    ),
    Mutant(
        "quarantine: in /admin/status",
        "taskapi/sync/status.py",
        '"healthy": is_syncing and not refused,',
        '"healthy": is_syncing,',
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
]
