"""Prefetching yields all items in order, and raises an error after the items before it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskapi.store.prefetch import prefetch


def failing() -> Iterator[int]:
    yield 1
    raise ValueError("two")


def test_everything_comes_in_order_and_no_more_than_one_is_made_ahead() -> None:
    made = []
    items = prefetch(made.append(n) or n for n in range(1, 100))
    for n, item in enumerate(items, 1):
        assert item == n
        assert len(made) <= n + 1
    assert len(made) == 99
    assert list(prefetch([])) == []


def test_an_error_is_raised_after_the_items_before_it() -> None:
    items = prefetch(failing())
    assert next(items) == 1
    with pytest.raises(ValueError, match="two"):
        next(items)
