"""Prepare the next item in a thread while the caller uses the current one."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def prefetch(items: Iterable[T]) -> Iterator[T]:
    """Yield the items, which must not be None; a thread prepares the next one meanwhile.

    At most two items exist at a time. An error in preparing an item is raised in its place.
    """
    rest = iter(items)
    with ThreadPoolExecutor(1) as pool:
        next_item = pool.submit(next, rest, None)
        while (item := next_item.result()) is not None:
            next_item = pool.submit(next, rest, None)
            yield item
