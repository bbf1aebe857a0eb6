"""Texts of tasks, searched together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from taskapi.store.text_block import TextBlock, contains

TEXTS = st.text(alphabet="ab\0\né", max_size=12).map(str.encode)


@given(text=TEXTS, wanted=TEXTS)
def test_a_text_contains_what_python_finds_in_it(text: bytes, wanted: bytes) -> None:
    assert contains(text, wanted) == (wanted in text)


@given(texts=st.dictionaries(st.integers(1, 9), TEXTS), wanted=TEXTS.filter(len))
def test_a_block_finds_the_tasks_whose_text_has_it(texts: dict[int, bytes], wanted: bytes) -> None:
    block = TextBlock()
    for task_id, text in texts.items():
        block.put(task_id, text)
    assert block.matches(wanted) == sorted(i for i, text in texts.items() if wanted in text)
