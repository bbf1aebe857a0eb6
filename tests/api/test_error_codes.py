"""The table of error codes has every code of the service and of nginx, and no others."""

import ast
import re
from collections.abc import Iterator

from taskapi.api import responses
from taskapi.api.error_codes import CODES
from tests.support import ROOT

NEVER_ANSWERED = {
    "error",  # the base class
    "invalid",  # refused on the command line only: a backup file that cannot be used
    "conflict",  # the base of conflicts, all of which have a code of their own
    "unusable",  # the service does not start
}
NGINX = (ROOT / "deploy/nginx.conf").read_text()


def codes_in_source() -> set[str]:
    """Return every literal in the service that is used as an error code."""
    codes = {code for code, _ in responses.HTTP_ERRORS.values()}
    for path in (ROOT / "taskapi").rglob("*.py"):
        codes.update(codes_of(ast.parse(path.read_text())))
    return codes


def codes_of(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg="code", value=ast.Constant(value=str(code))):
                yield code
            case ast.Assign(targets=[ast.Name(id="code")], value=ast.Constant(value=str(code))):
                yield code


def answers_in_nginx() -> set[tuple[str, int]]:
    """Return every code that nginx itself answers with, and its status."""
    answers = re.findall(r'return (\d{3}) .*"code":"(\w+)"', NGINX)
    return {(code, int(status)) for status, code in answers}


def test_every_code_of_the_source_is_in_the_table_and_nothing_else() -> None:
    in_nginx = {code for code, _ in answers_in_nginx()}
    assert (codes_in_source() - NEVER_ANSWERED) | in_nginx == set(CODES)
    assert codes_in_source() >= NEVER_ANSWERED


def test_the_codes_of_http_errors_have_their_statuses() -> None:
    for status, (code, _) in responses.HTTP_ERRORS.items():
        assert CODES[code].status == status


def test_nginx_answers_its_codes_with_the_statuses_of_the_table() -> None:
    assert answers_in_nginx()
    for code, status in answers_in_nginx():
        assert CODES[code].status == status
    pages = dict(re.findall(r"location (?:= )?(\S+) \{\s+return (\d{3}) ", NGINX))
    shown = re.findall(r"error_page ([\d ]+?)(?: =(\d+))? (\S+);", NGINX)
    assert {place: instead or statuses for statuses, instead, place in shown} == pages
