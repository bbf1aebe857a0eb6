"""Many callers at once, each with credentials of their own, who ask for what is theirs."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bench import seed
from bench.progress import say
from bench.sites import OWNER, Site
from bench.wrk import Callers, basic

MANY: Final = 300
USERS: Final = 2_000
"""Users of the installation: each has fifty of 100 000 tasks."""
OWNER_LOGIN: Final = basic(*OWNER)
AT_ONCE: Final = 8
"""First log-ins that are sent at the same time: fewer than may wait."""
BATCH: Final = 1_000


def by_basic(site: Site, url: str, folder: Path) -> Callers:
    """Log the callers in with their passwords, and return them."""
    say(f"{MANY} callers log in")
    headers = {user_id: basic(user_id, seed.PASSWORD) for user_id in _ids()}
    for _ in range(2):  # the second time, most of them over another web process
        _for_all(lambda user_id: send(url, "GET", f"/users/{user_id}", headers[user_id]))
    return _callers(site, folder / "basic", headers)


def by_token(site: Site, url: str, folder: Path) -> Callers:
    """Create a token for each caller, and return the callers."""
    say(f"{MANY} callers get tokens")
    secrets: dict[int, str] = {}

    def create(user_id: int) -> None:
        path, body = f"/users/{user_id}/tokens", {"name": "bench"}
        secrets[user_id] = send(url, "POST", path, OWNER_LOGIN, body)["secret"]

    _for_all(create)
    return _callers(site, folder / "tokens", {i: f"Bearer {secrets[i]}" for i in _ids()})


def reopen_tasks(url: str, callers: Callers) -> None:
    """Set all tasks of the callers to pending."""
    ids = [user_id - 1 + callers.users * i for user_id in _ids() for i in range(callers.each)]
    for start in range(0, len(ids), BATCH):
        body = {"task_ids": ids[start : start + BATCH], "updates": {"status": False}}
        send(url, "POST", "/tasks/batch", OWNER_LOGIN, body)


def _ids() -> range:
    return range(2, 2 + MANY)


def _for_all(call: Callable[[int], object]) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(call, _ids()))


def _callers(site: Site, file: Path, headers: dict[int, str]) -> Callers:
    file.write_text("".join(_lines(headers)))
    users = site.population.users
    return Callers(file, users, site.population.tasks // users)


def _lines(headers: dict[int, str]) -> Iterator[str]:
    for user_id, header in headers.items():
        yield f"{user_id} {seed.group_of(user_id)} {header}\n"


def send(
    url: str,
    method: str,
    path: str,
    authorization: str = OWNER_LOGIN,
    body: object = None,
) -> dict[str, str]:
    """Send a request and return the answer's data; raise SystemExit if it is refused."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
    headers = {"Authorization": authorization, "Content-Type": "application/json"}
    connection.request(method, path, body and json.dumps(body), headers)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    if response.status >= 400:
        raise SystemExit(f"{method} {path}: {response.status} {text.decode()}")
    data: dict[str, str] = json.loads(text)["data"]
    return data
