"""Two at work at once: one makes the next item while the other uses this one."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def prefetch(items: Iterable[T]) -> Iterator[T]:
    """Yield the items, none of which is None, each made in a thread while the caller uses the last.

    No more than two exist at a time. What making one raises is raised where it was due.
    """
    rest = iter(items)
    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(next, rest, None)
        while (item := coming.result()) is not None:
            coming = maker.submit(next, rest, None)
            yield item
