"""CORS: scripts of the listed sites may use the API, and no others."""

import pytest

from tests.client import Api
from tests.conftest import Install

OURS = "https://app.example.com"
SENT = ["authorization", "content-type", "idempotency-key", "if-match", "if-none-match"]
SENT += ["x-request-id"]
SENT.append("x-owner-password")
READ = ["etag", "idempotent-replayed", "link", "location", "retry-after", "x-request-id"]


@pytest.fixture(scope="module")
def open_api(install: Install) -> Api:
    return install(CORS_ORIGINS=f"http://localhost:3000,{OURS}").client()


def words(text: str) -> set[str]:
    return set(text.lower().split(", "))


def test_a_preflight_of_a_listed_origin_is_answered(open_api: Api) -> None:
    headers = {"Origin": OURS, "Access-Control-Request-Method": "PUT"}
    headers["Access-Control-Request-Headers"] = ", ".join([*SENT, "x-other"])
    answer = open_api("OPTIONS", "/users/1", headers=headers)
    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == OURS
    assert words(answer.headers["Access-Control-Allow-Headers"]) == set(SENT)
    methods = words(answer.headers["Access-Control-Allow-Methods"])
    assert methods == {"get", "head", "post", "put", "patch", "delete"}
    assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize(("path", "status"), [("/users", 200), ("/users/9", 404), ("/x", 404)])
def test_every_answer_may_be_read_by_a_listed_origin(open_api: Api, path: str, status: int) -> None:
    answer = open_api("GET", path, by="owner", headers={"Origin": OURS})
    assert answer.status == status
    assert answer.headers["Access-Control-Allow-Origin"] == OURS
    assert words(answer.headers["Access-Control-Expose-Headers"]) == set(READ)
    assert answer.headers["Vary"] == "Origin"


def test_a_refusal_for_lack_of_credentials_may_be_read_too(open_api: Api) -> None:
    answer = open_api("GET", "/users", headers={"Origin": OURS})
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (401, OURS)


@pytest.mark.parametrize(
    "origin",
    [
        *(None, "null", "*", "", "https://app.example.com.evil.com", "https://APP.example.com"),
        *("http://app.example.com", f"{OURS}:8443", f"{OURS}, {OURS}"),
    ],
)
@pytest.mark.parametrize("method", ["OPTIONS", "GET"])
def test_other_origins_get_no_cors_headers(open_api: Api, method: str, origin: str | None) -> None:
    given = {} if origin is None else {"Origin": origin}
    answer = open_api(method, "/users", headers=given | {"Access-Control-Request-Method": "GET"})
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_without_a_list_there_is_nothing_of_it(api: Api) -> None:
    headers = {"Origin": OURS, "Access-Control-Request-Method": "GET"}
    for method in ("OPTIONS", "GET"):
        answer = api(method, "/users", headers=headers)
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        assert "Vary" not in answer.headers
