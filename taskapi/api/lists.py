"""Lists of entities as JSON or CSV (RFC 4180); a CSV without `limit` is streamed."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Final, NamedTuple, Protocol

import orjson
from flask import Response, g, request

from taskapi.api import responses
from taskapi.errors import Damaged
from taskapi.store import codec, queries
from taskapi.store.keys import Kind
from taskapi.store.queries import Page, Scope
from taskapi.store.session import Session

CSV: Final = "text/csv"
_FORMULA: Final = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""What a spreadsheet takes for the start of a formula. Source: OWASP, CSV Injection."""
Convert = Callable[[bytes], bytes]


class Source(Protocol):
    """What a list is read from."""

    @property
    def kind(self) -> Kind: ...

    def page(self, limit: int | None) -> Page:
        """Return the first entities, at most `limit` of them; None for all."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the JSON of all entities, joined by commas."""


class Entities(NamedTuple):
    """The entities of a scope above the id `after`."""

    session: Session
    scope: Scope
    after: int

    @property
    def kind(self) -> Kind:
        return self.scope.kind

    def page(self, limit: int | None) -> Page:
        """See `Source`."""
        return queries.page(self.session, self.scope, self.after, limit)

    def chunks(self) -> Iterator[bytes]:
        """See `Source`."""
        return queries.chunks(self.session, self.scope, self.after)


def answer(
    name: str, source: Source, query: dict[str, Any], *, are_outlines: bool = False, **more: Any
) -> Response:
    """Return a list in the format that the request asks for.

    Args:
        name: what the list is called in JSON.
        query: a validated query, with `limit` and `format`.
        are_outlines: show only the outlines of users.
        more: what the JSON has besides the list.
    """
    columns = codec.OUTLINE if are_outlines else codec.FIELDS[source.kind]
    convert = codec.outlines if are_outlines else bytes
    is_csv = query["format"] == "csv" if query["format"] else _prefers_csv()
    if is_csv and query["limit"] is None:
        return _streamed(g.session, columns, map(convert, source.chunks()))
    page = source.page(query["limit"])
    page = page._replace(chunks=[*map(convert, page.chunks)])
    if not is_csv:
        return responses.page(name, page, query, **more)
    response = Response(list(_lines(columns, page.chunks)), content_type=_CONTENT_TYPE)
    return responses.linked(response, page.next_after)


def _prefers_csv() -> bool:
    """Return whether `Accept` gives CSV, with any parameters, a higher quality than JSON."""
    if CSV not in request.environ.get("HTTP_ACCEPT", ""):
        return False
    quality = dict.fromkeys((CSV, "application/json"), 0.0)
    for value, q in request.accept_mimetypes:
        name = value.partition(";")[0]
        quality |= {name: max(q, quality[name])} if name in quality else {}
    return quality[CSV] > quality["application/json"]


def _streamed(session: Session, columns: Sequence[str], chunks: Iterator[bytes]) -> Response:
    """Return a response that reads the store while it is sent.

    The first chunks are read before, so that an error in them has its status. If a later read
    fails, the connection is closed before the end of the body: no client takes it for the whole.
    """
    begun = list(islice(chunks, queries.LIGHT_MOST))
    if len(begun) == queries.LIGHT_MOST:
        session.heavy.enter()
    lines = _lines(columns, chain(begun, chunks), session.heavy.rest)
    response = Response(lines, content_type=_CONTENT_TYPE)
    response.call_on_close(session.heavy.leave)
    return response


def _lines(
    columns: Sequence[str], chunks: Iterable[bytes], rest: Callable[[], None] = lambda: None
) -> Iterator[bytes]:
    """Yield the header and the lines of each chunk; call `rest` before each of them is sent."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    for chunk in chunks:
        for entity in _decoded(chunk):
            writer.writerow([_cell(entity.get(column)) for column in columns])
        rest()
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    yield text.getvalue().encode()


def _decoded(chunk: bytes) -> list[Any]:
    try:
        entities: list[Any] = orjson.loads(b"[" + chunk + b"]")
    except ValueError as error:
        raise Damaged("the JSON of an entity in the list cannot be read") from error
    return entities


def _cell(value: Any) -> str:
    """Return the text of a value; lists and objects are JSON."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return "" if value is None else orjson.dumps(value).decode()


_CONTENT_TYPE: Final = f"{CSV}; charset=utf-8; header=present"
