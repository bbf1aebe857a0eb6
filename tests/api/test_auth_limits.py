"""Log-ins are blocked after ten failures of an account or a hundred of an address."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest

from devserver.servers import free_port
from taskapi import create_app
from taskapi.api import throttling
from tests.api.factories import PASSWORD, login, new_user, ok, refused
from tests.client import Answer, Api, Caller, in_process
from tests.conftest import Install
from tests.stores import connect, root
from tests.support import OWNER_PASSWORD, Installation

_numbers = count(1)


@pytest.fixture(scope="module")
def api(install: Install) -> Api:
    return install(TRUSTED_PROXIES="1").client()


@pytest.fixture
def address() -> str:
    return f"10.2.0.{next(_numbers)}"


def ask(api: Api, address: str, by: Caller, **headers: str) -> Answer:
    return api("GET", "/tasks/stats", by=by, headers={"X-Forwarded-For": address} | headers)


def statuses(api: Api, address: str, by: Caller, times: int) -> set[int]:
    return {ask(api, address, by).status for _ in range(times)}


def test_after_ten_failures_even_the_right_password_is_429(api: Api, address: str) -> None:
    user = new_user(api)
    assert statuses(api, address, (user["id"], "wrong"), 10) == {401}
    held = ask(api, address, (user["id"], "wrong"))
    assert refused(held, 429)
    assert 0 < int(held.headers["Retry-After"]) <= 300
    refused(ask(api, address, login(user)), 429)
    ok(ask(api, "10.2.9.9", login(user)))
    ok(ask(api, address, (1, OWNER_PASSWORD)))
    ok(ask(api, address, "owner"))


def test_a_success_clears_the_count(api: Api, address: str) -> None:
    user = new_user(api)
    for _ in range(3):
        assert statuses(api, address, (user["id"], "wrong"), 9) == {401}
        ok(ask(api, address, login(user)))


def test_a_remembered_credential_is_held_up_like_any_other(api: Api, address: str) -> None:
    user = new_user(api)
    ok(ask(api, address, login(user)))
    assert statuses(api, address, (user["id"], "wrong"), 10) == {401}
    refused(ask(api, address, login(user)), 429)


@pytest.mark.parametrize("name", [987654321, "ghost@example.com"])
def test_an_unknown_account_is_held_up_too(api: Api, address: str, name: object) -> None:
    assert statuses(api, address, (name, "wrong"), 10) == {401}
    refused(ask(api, address, (name, "wrong")), 429)


def test_id_and_email_in_any_case_are_one_account(api: Api, address: str) -> None:
    user = new_user(api)
    names = [user["id"], user["email"], user["email"].upper()]
    assert {ask(api, address, (name, "wrong")).status for name in names * 3} == {401}
    assert ask(api, address, (user["id"], "wrong")).status == 401
    for name in names:
        refused(ask(api, address, (name, PASSWORD)), 429)


def test_the_owner_header_is_an_account_of_its_own(api: Api, address: str) -> None:
    wrong = {"X-Owner-Password": "wrong"}
    assert {ask(api, address, None, **wrong).status for _ in range(10)} == {401}
    refused(ask(api, address, None, **wrong), 429)
    refused(ask(api, address, "owner"), 429)
    ok(ask(api, address, (1, OWNER_PASSWORD)))
    ok(ask(api, "10.2.9.9", "owner"))


def test_requests_without_credentials_do_not_count(api: Api, address: str) -> None:
    assert statuses(api, address, None, 120) == {401}
    ok(ask(api, address, "owner"))


def test_a_hundred_failures_hold_up_the_whole_address(api: Api, address: str) -> None:
    user = new_user(api)
    wrong = {"X-Owner-Password": "wrong"}
    spread = [ask(api, address, (90_000 + n // 9, "wrong")).status for n in range(99)]
    assert set(spread) == {401}
    assert ask(api, address, None, **wrong).status == 401
    refused(ask(api, address, login(user)), 429)
    refused(ask(api, address, "owner"), 429)
    ok(ask(api, "10.2.9.9", login(user)))


def block(api: Api, address: str) -> None:
    for number in range(100):
        ask(api, address, (91_000 + number // 9, "wrong"))


def test_a_blocked_address_guesses_at_no_remembered_password(api: Api, address: str) -> None:
    user = new_user(api)
    for each in (address, "10.2.9.9"):
        ok(ask(api, each, login(user)))
    block(api, address)
    ok(ask(api, address, login(user)))
    assert statuses(api, address, (user["id"], "a guess"), 20) == {429}
    refused(ask(api, address, login(user)), 429)
    ok(ask(api, "10.2.9.9", login(user)))


def test_a_success_at_a_blocked_address_permits_no_more_guesses(api: Api, address: str) -> None:
    user = new_user(api)
    ok(ask(api, address, login(user)))
    block(api, address)
    for _ in range(10):
        ok(ask(api, address, login(user)))
        refused(ask(api, address, (user["id"], "a guess")), 429)
    refused(ask(api, address, login(user)), 429)


def test_long_names_of_nobody_stay_in_no_memory(api: Api, address: str) -> None:
    ask(api, address, ("ghost", "wrong"))
    cached = throttling._cached_digest.cache_info().currsize
    for number in range(9):
        refused(ask(api, address, (f"{number} {'x' * 4000}", "wrong")), 401)
    assert throttling._cached_digest.cache_info().currsize == cached


def test_a_blocked_address_cannot_tell_which_accounts_exist(installation: Installation) -> None:
    api = installation.client()
    user = new_user(api)
    for number in range(100):
        api("GET", "/users", by=(91_000 + number // 9, "wrong"))
    with connect(installation) as connection:
        for key in connection.scan_iter(f"{root(installation)}failures:*"):
            connection.expire(key, 100)
    for name in (user["email"], "ghost@example.com"):
        answers = [api("GET", "/users", by=(name, "wrong")) for _ in range(11)]
        waits = [int(answer.headers["Retry-After"]) for answer in answers]
        assert (waits[0] <= 100, waits[-1] > 200) == (True, True), name


def test_a_login_named_owner_does_not_block_the_header(api: Api, address: str) -> None:
    assert statuses(api, address, ("owner", "wrong"), 10) == {401}
    ok(ask(api, address, "owner"))


def test_without_redis_ten_wrong_owner_headers_are_compared(installation: Installation) -> None:
    away = f"redis://127.0.0.1:{free_port()}/0"
    app = create_app(replace(installation.settings, redis_url=away))
    api = Api(in_process(app), OWNER_PASSWORD)
    for number in range(11):
        wrong = {"X-Owner-Password": f"wrong {number}"}
        refused(api("GET", "/admin/status", by=None, headers=wrong), 503)
        expected = 200 if number < 9 else 503
        assert api("GET", "/admin/status", by="owner").status == expected


def test_a_blocked_address_cannot_tell_a_password_that_others_use(api: Api, address: str) -> None:
    user = new_user(api)
    ok(ask(api, "10.2.9.9", login(user)))
    block(api, address)
    refused(ask(api, address, login(user)), 429)
    ok(ask(api, "10.2.9.9", login(user)))


def test_only_the_hop_of_the_trusted_proxy_names_the_address(api: Api, address: str) -> None:
    user = new_user(api)
    spoofed = [f"1.2.3.{n}, {address}" for n in range(10)]
    assert {ask(api, hops, (user["id"], "wrong")).status for hops in spoofed} == {401}
    refused(ask(api, f"9.9.9.9, {address}", login(user)), 429)


def test_without_trusted_proxies_the_header_is_ignored(install: Install) -> None:
    api = install().client()
    guesses = {ask(api, f"10.3.0.{n}", (77, "wrong")).status for n in range(10)}
    assert guesses == {401}
    refused(ask(api, "10.3.0.99", (77, "wrong")), 429)


def test_two_proxies_mean_the_second_hop_from_the_end(install: Install) -> None:
    api = install(TRUSTED_PROXIES="2").client()
    hops = [f"1.1.1.{n}, 10.4.0.1, 10.5.0.{n}" for n in range(11)]
    assert [ask(api, each, (77, "wrong")).status for each in hops] == [401] * 10 + [429]


def test_the_count_is_shared_by_all_processes(install: Install) -> None:
    with install().serve(workers=2) as api:
        answers = [api("GET", "/users", by=(77, "wrong")).status for _ in range(12)]
        assert answers == [401] * 10 + [429] * 2
