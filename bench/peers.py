"""Measure Kinto, a peer in Python, with the same callers: read, list and create."""

from collections.abc import Iterator
from typing import Final

from bench import requests
from bench.callers import send
from bench.sites import ROOT, Stage, environment
from bench.sizes import Sizes
from bench.table import Row
from bench.wrk import Operation, Rounds, Tasks

BUCKET: Final = "/v1/buckets/bench"
COLLECTION: Final = f"{BUCKET}/collections/tasks"
OWN: Final = Tasks(count=50)
"""Records that are read and listed."""
FLAGS: Final = "-k gthread -w 1 --threads 4 --reuse-port --keep-alive 75 --no-control-socket"


def peers(stage: Stage, sizes: Sizes) -> Iterator[Row]:
    """Measure Kinto with its memory backend."""
    _, everyone = requests.many_callers(stage, sizes)
    by = everyone[", Basic"]
    python = environment(stage.folder / "kinto", ROOT / "bench/kinto.txt")
    words = ["-c", "python:bench", *FLAGS.split(), "bench.kinto_app:app"]
    with stage.gunicorn("kinto", words, "/v1/__heartbeat__", python=python) as url:
        _fill(url)
        fields = f'{{"data":{{"title":"Task {{n}}","information":"{requests.INFORMATION}"}}}}'
        operations = {
            "Kinto, one process, in memory: GET a record": Operation(
                url, f"{COLLECTION}/records/{{task}}", by, tasks=OWN
            ),
            "Kinto: GET 50 of its records": Operation(url, f"{COLLECTION}/records?_limit=50", by),
            "Kinto: POST a record": Operation(url, f"{COLLECTION}/records", by, "POST", fields),
        }
        done = Rounds(operations).run("Kinto", sizes.rounds // 2 + 1)
    yield from (Row.of(name, done.median(name)) for name in operations)


def _fill(url: str) -> None:
    everybody = {"permissions": {"write": ["system.Authenticated"]}}
    send(url, "PUT", BUCKET, body=everybody)
    send(url, "PUT", COLLECTION, body=everybody)
    for number in range(1, OWN.count + 1):
        data = {"title": f"Task {number}", "information": requests.INFORMATION}
        send(url, "PUT", f"{COLLECTION}/records/{number}", body={"data": data})
