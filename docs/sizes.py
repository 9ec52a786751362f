"""How large the code is: lines per folder, and the lengths of its functions (``./scripts/sizes`` calls it).

A line is a line of a file, with comments and empty ones. A function is every ``def``, nested ones and methods too, from
``def`` to its last line, without decorators.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from pathlib import Path

LONG = 40  # lines; a function should do one step


def lines_per_folder(root: Path) -> Counter[str]:
    """Lines of Python by folder below ``root``; files that lie in ``root`` itself count together."""
    found: Counter[str] = Counter()
    for path in root.rglob("*.py"):
        inside = path.relative_to(root).parts
        found[f"`{inside[0]}`" if len(inside) > 1 else "files beside them"] += len(path.read_text().splitlines())
    return found


def functions(root: Path) -> list[tuple[int, str]]:
    """Length in lines and place of every function, the longest first."""
    found = []
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                found.append((length, f"{path.relative_to(root)} {node.name}"))
    return sorted(found, reverse=True)


def report(root: Path) -> str:
    """Both as lines of Markdown."""
    folders = lines_per_folder(root)
    rows = [f"| {name} | {count:,} |" for name, count in sorted(folders.items(), key=lambda row: row[0].strip("`"))]
    lengths = functions(root)
    over = sum(length > LONG for length, _ in lengths)
    longest, place = lengths[0]
    return "\n".join(
        [
            "| folder | lines |",
            "|---|---:|",
            *rows,
            f"| all | {folders.total():,} |",
            "",
            f"{len(lengths):,} functions, of them {over} over {LONG} lines; the longest has {longest}: {place}",
        ]
    )


if __name__ == "__main__":
    print(report(Path(sys.argv[1])))
