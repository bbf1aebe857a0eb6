"""How settings are read: one by one, from a variable or a file, with a list of all mistakes."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class Reader:
    """Reads variables one by one and collects what is wrong with them.

    Args:
        environ: the variables; an empty one counts as not set.
        secret_files: variables such as X_FILE, which name a file that has the value of X.
    """

    def __init__(self, environ: Mapping[str, str], secret_files: Iterable[str]) -> None:
        self.environ = dict(environ)
        self.mistakes: list[str] = []
        self.files: list[Path] = []
        for name in secret_files:
            if file := self.text(name, ""):
                self._read_file(name, Path(file))

    def _read_file(self, file_name: str, path: Path) -> None:
        """Take a variable's value from a file, without the newline at its end."""
        name = file_name.removesuffix("_FILE")
        if self.text(name, ""):
            self.mistakes.append(f"{name} and {file_name} are both given: set one of them.")
            return
        self.files.append(path)
        try:
            self.environ[name] = path.read_text().rstrip("\r\n")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            self.mistakes.append(f"{file_name} cannot be read ({why}): set a readable file.")
            return
        if not self.environ[name]:
            self.mistakes.append(f"{file_name} names an empty file: set one with the secret in it.")

    def choose(self, url: str, parts: tuple[str, ...]) -> None:
        """Refuse a store that is named twice: nobody could tell which one is meant."""
        given = [name for name in parts if self.text(name, "")]
        if self.text(url, "") and given:
            self.mistakes.append(
                f"{url} and {', '.join(given)} are both given: set either the URL or its parts."
            )

    def text(self, name: str, default: str) -> str:
        return self.environ.get(name) or default

    def parsed(self, name: str, default: str, parse: Callable[[str], T], remedy: str) -> T:
        value = self.text(name, default)
        try:
            return parse(value)
        except ValueError:
            self.mistakes.append(f"{name}={value!r} is not usable: {remedy}.")
            return parse(default)

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        def parse(value: str) -> int:
            if not re.fullmatch("[0-9]{1,18}", value) or not low <= int(value) <= high:
                raise ValueError
            return int(value)

        return self.parsed(name, str(default), parse, f"set a whole number from {low} to {high}")

    def flag(self, name: str, default: bool) -> bool:
        words = {"true": True, "false": False}

        def parse(value: str) -> bool:
            if value not in words:
                raise ValueError
            return words[value]

        return self.parsed(name, str(default).lower(), parse, "set true or false")

    def secret(self, name: str, default: str, low: int, high: int) -> str:
        value = self.text(name, default)
        if not low <= len(value) <= high:
            self.mistakes.append(f"{name} has {len(value)} characters: set {low} to {high}.")
        return value
