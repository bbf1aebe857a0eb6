"""python -m bench [--quick] [PART...]: measure the parts named, or all but the hour of a crowd."""

import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Final

from bench import (
    bystander,
    copies,
    crowd,
    peers,
    pending,
    progress,
    questions,
    requests,
    scale,
    search,
    storm,
    table,
    tokens,
    wrk,
)
from bench.sites import Stage
from bench.sizes import QUICK, Sizes
from bench.table import Row

PARTS: Final[dict[str, Callable[[Stage, Sizes], Iterator[Row]]]] = {
    "read": requests.read,
    "write": requests.write,
    "scale": scale.scale,
    "sync": copies.sync,
    "restore": copies.restored,
    "memory": copies.memory,
    "pending": pending.pending,
    "search": search.search,
    "questions": questions.questions,
    "login": storm.storm,
    "crowd": crowd.crowd,
    "hour": crowd.hour,
    "tokens": tokens.tokens,
    "bystander": bystander.bystander,
    "peers": peers.peers,
}


def main(arguments: list[str]) -> None:
    """Measure the named parts, or all but the hour; exit if an argument or a program is missing."""
    flags = list(takewhile(lambda word: word.startswith("--"), arguments))
    parts = arguments[len(flags) :] or [part for part in PARTS if part != "hour"]
    if not (set(flags) <= {"--quick"} and set(parts) <= set(PARTS)):
        sys.exit(f"usage: python -m bench [--quick] [{'|'.join(PARTS)}]...")
    wrk.require()
    rows = _measure(parts, QUICK if flags else Sizes())
    path = table.save(rows, progress.seconds())
    sys.stdout.write(f"\n{table.show(rows)}\n{table.machine()}\n{path}\n")


def _measure(parts: list[str], sizes: Sizes) -> list[Row]:
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Stage(Path(folder)) as stage:
        stage.start()
        for part in parts:
            for row in PARTS[part](stage, sizes):
                rows.append(row)
                progress.say(table.line(row))
    return rows


if __name__ == "__main__":
    main(sys.argv[1:])
