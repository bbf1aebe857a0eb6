"""Run a pass or a restore in its own process, to measure its peak memory.

python -m bench.child sync|restore
"""

import json
import os
import sys
import time
from pathlib import Path

from taskapi.config import load
from taskapi.sync import restore, sync_pass


def main(action: str) -> None:
    """Run the action with the settings of the environment; print rows, seconds and peak memory."""
    settings = load(os.environ)
    store = sync_pass.open_store(settings)
    begin = time.perf_counter()
    if action == "sync":
        rows = sum(sync_pass.run(settings, store).written.values())
    else:
        rows = sum(restore.force(settings, store)["loaded"].values())
    seconds = time.perf_counter() - begin
    sys.stdout.write(json.dumps({"rows": rows, "seconds": seconds, "peak_mib": _peak_mib()}))


def _peak_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main(sys.argv[1])
