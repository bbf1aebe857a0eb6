"""Making the next item in a thread while the caller uses this one."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def prefetch(items: Iterable[T]) -> Iterator[T]:
    """Yield the items, each made in a thread while the caller uses the one before; none is None.

    At most two items exist at a time. An error of making an item is raised in its place.
    """
    rest = iter(items)
    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(next, rest, None)
        while (item := coming.result()) is not None:
            coming = maker.submit(next, rest, None)
            yield item
