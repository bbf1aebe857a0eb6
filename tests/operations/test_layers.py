"""Which package may import which (docs/architecture.md), and how long a function may be."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENTRY_POINTS = ("app.py", "sync_worker.py", "gunicorn.conf.py")
MAY_IMPORT = {
    "flask": ("taskapi/api/", "taskapi/__init__.py"),
    "redis": ("taskapi/store/",),
    "psycopg2": ("taskapi/sync/",),
    "gunicorn": ("app.py", "gunicorn.conf.py"),
    "honcho": ("devserver/",),
    "taskapi.api": ("taskapi/api/", "taskapi/__init__.py", "gunicorn.conf.py"),
    "taskapi.sync": (
        "taskapi/sync/",
        "taskapi/api/",
        "taskapi/cli.py",
        "taskapi/doctor/",
        *ENTRY_POINTS,
    ),
    "devserver": ("devserver/",),
}
MAY_READ_ENVIRONMENT = (
    "taskapi/config.py",
    "taskapi/environment.py",
    "taskapi/cli.py",
    "devserver/",
    *ENTRY_POINTS,
)
LONGEST_FUNCTION_LINES = 40

SOURCES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text())
    for folder in (".", "schemas", "taskapi", "devserver")
    for path in (ROOT / folder).glob("*.py" if folder == "." else "**/*.py")
}


def imports(name: str, tree: ast.Module) -> set[str]:
    """Return every module and name that the file imports, in full: `taskapi.store.keys.Keys`."""
    package = name.removesuffix(".py").split("/")[:-1]
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join(base + ([node.module] if node.module else []))
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


def reaches(imported: set[str], module: str) -> bool:
    return any((name + ".").startswith(module + ".") for name in imported)


@pytest.mark.parametrize("module", MAY_IMPORT)
def test_only_the_listed_packages_import_a_module(module: str) -> None:
    importers = [name for name, tree in SOURCES.items() if reaches(imports(name, tree), module)]
    assert importers
    assert not [name for name in importers if not name.startswith(MAY_IMPORT[module])]


def test_schemas_do_not_import_the_store() -> None:
    for name, tree in SOURCES.items():
        if name.startswith("schemas/"):
            assert not reaches(imports(name, tree), "taskapi.store"), name


ABOVE_THE_STORE = {f"taskapi.{name}" for name in ("callers", "policy", "api", "sync", "doctor")}


def test_the_store_imports_nothing_above_it() -> None:
    for name, tree in SOURCES.items():
        if name.startswith("taskapi/store/"):
            for above in ABOVE_THE_STORE:
                assert not reaches(imports(name, tree), above), (name, above)


def test_only_the_configuration_and_the_entry_points_read_the_environment() -> None:
    for name, tree in SOURCES.items():
        reads = any(
            isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.environ", "os.getenv")
            for node in ast.walk(tree)
        )
        reads |= bool({"os.environ", "os.getenv"} & imports(name, tree))
        assert not reads or name.startswith(MAY_READ_ENVIRONMENT), name


def test_no_function_is_longer_than_a_screen() -> None:
    functions = [
        (node.end_lineno - node.lineno + 1, name, node.name)
        for name, tree in SOURCES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
    ]
    assert functions
    assert max(functions)[0] <= LONGEST_FUNCTION_LINES, max(functions)
