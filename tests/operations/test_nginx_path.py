"""nginx serves the API under a path, as docs/deployment.md says."""

from __future__ import annotations

from pathlib import Path

from tests.api.factories import ok
from tests.conftest import Install
from tests.operations.nginx import SITE, Edge

PREFIXED = {
    'X-Forwarded-Prefix ""': 'X-Forwarded-Prefix "/team"',
    "location / {\n        proxy_pass http://taskapi;": (
        "location /team/ {\n        proxy_pass http://taskapi/;"
    ),
}
"""How docs/deployment.md changes deploy/nginx.conf."""


def test_under_a_path_every_address_has_it(install: Install, tmp_path: Path) -> None:
    site = SITE
    for shipped, changed in PREFIXED.items():
        assert site.count(shipped) == 1
        site = site.replace(shipped, changed)
    with (
        install(TRUSTED_PROXIES="1").serve() as service,
        Edge(tmp_path, service.url, site).running() as edge,
    ):
        made = edge.api("POST", "/team/groups", by="owner", json={"name": "Team", "admin_id": 1})
        group, place = made.data["group"], made.headers["Location"]
        assert place == f"/team/groups/{group['id']}"
        assert ok(edge.api("GET", place, by="owner"))["id"] == group["id"]
        document = edge.api("GET", "/team/openapi.json").json
        assert document["servers"] == [{"url": f"http://{edge.address}/team"}]
        assert b'src="/team/docs/swagger-ui-bundle.js"' in edge.api("GET", "/team/docs").body
        assert edge.api("GET", "/team/docs/swagger-ui-bundle.js").status == 200
