"""The key of digests is a file that only the service can read and choose."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from taskapi import logs
from taskapi.api import shared_key as module
from taskapi.api.shared_key import KEY_BYTES, KEY_FILE, shared_key

KEY = b"k" * KEY_BYTES


def test_all_processes_have_the_key_of_the_first_one(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "folder"
    with ThreadPoolExecutor(8) as pool:
        keys = {*pool.map(lambda _: shared_key(folder), range(8))}
    assert keys == {(folder / KEY_FILE).read_bytes()}
    assert shared_key(folder) in keys
    assert os.listdir(folder) == [KEY_FILE]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_two_folders_have_two_keys(tmp_path: Path) -> None:
    assert shared_key(tmp_path / "one") != shared_key(tmp_path / "two")


def test_a_key_in_a_folder_that_is_not_writable_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / KEY_FILE)
    monkeypatch.delattr(module, "NamedTemporaryFile")
    assert shared_key(tmp_path) == KEY


def write(file: Path, mode: int = 0o600) -> None:
    file.write_bytes(KEY)
    file.chmod(mode)


def link(file: Path) -> None:
    write(file.parent / "of-somebody")
    file.symlink_to(file.parent / "of-somebody")


UNUSABLE: dict[str, Callable[[Path], None]] = {
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a link": link,
    "a link to itself": lambda file: file.symlink_to(file),
    "a link to nothing": lambda file: file.symlink_to("nowhere"),
    "empty": lambda file: file.touch(0o600),
    "too long": lambda file: (write(file), file.write_bytes(KEY + b"k"))[0],
    "readable for the group": lambda file: write(file, 0o640),
    "writable for others": lambda file: write(file, 0o602),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_a_file_that_others_can_read_or_choose_is_not_used(
    tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("text")
    UNUSABLE[what](tmp_path / KEY_FILE)
    assert shared_key(tmp_path) is None
    assert "Warning Passwords are remembered by each web process alone" in capsys.readouterr().out


def test_a_file_of_another_user_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / KEY_FILE)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert shared_key(tmp_path) is None


def test_a_folder_that_is_a_file_has_no_key(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    assert shared_key(tmp_path / "data") is None
