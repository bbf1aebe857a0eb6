"""`make size`: lines of code of the product, without blank lines, comments and docstrings."""

import ast
import io
import statistics
import sys
import tokenize
from collections import Counter
from pathlib import Path

PRODUCT = ("taskapi", "schemas", "devserver", "app.py", "sync_worker.py", "gunicorn.conf.py")
LAYOUT = {"COMMENT", "NL", "NEWLINE", "INDENT", "DEDENT", "ENDMARKER"}


def code_lines(file: Path, text: str) -> int:
    if file.suffix != ".py":  # Lua and SQL
        return sum(line.strip()[:2] not in ("", "--") for line in text.splitlines())
    docs, code = set[int](), set[int]()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str):
            docs |= {*range(node.lineno, (node.end_lineno or 0) + 1)}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if tokenize.tok_name[token.type] not in LAYOUT:
            code |= {*range(token.start[0], token.end[0] + 1)}
    return len(code - docs)


paths = [it for name in PRODUCT for it in (Path(name), *Path(name).rglob("*"))]
texts = {it: it.read_text() for it in paths if it.suffix in (".py", ".lua", ".sql")}
sizes = Counter[str]()
for file, text in texts.items():
    sizes["/".join(file.parts[:2][: len(file.parts) - 1]) or file.name] += code_lines(file, text)
nodes = [n for it in texts if it.suffix == ".py" for n in ast.walk(ast.parse(texts[it]))]
lengths = sorted(n.end_lineno - n.lineno + 1 for n in nodes if isinstance(n, ast.FunctionDef))
tenths = statistics.quantiles(lengths, n=10)
lines = [f"{size:6} {name}" for name, size in sizes.most_common()] + [f"{sizes.total():6} in all"]
lines += [f"functions: median {tenths[4]:g}, p90 {tenths[8]:g}, longest {lengths[-1]} lines"]
longest = sorted((text.count("\n"), str(file)) for file, text in texts.items())[-5:]
lines += [f"{size:6} lines in {name}" for size, name in longest]
sys.stdout.write("\n".join(lines) + "\n")
