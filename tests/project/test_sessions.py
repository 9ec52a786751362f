"""What records the guides' sessions (docs/make_sessions.py), and that each guide has what a guide must have."""

from __future__ import annotations

import importlib
import os
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from paths import ROOT

HOWTO = ROOT / "docs" / "howto"
GUIDES = sorted(path for path in HOWTO.glob("*.md") if path.name != "README.md")
PAGE = """before
<!-- run: here=there -->
<!-- recorded -->
```console
$ echo "from $here" \\
    and on
old
$ seq 9
1
2
...
9
$ printf 'FILE COPY 1 %%\\n\\033[1A\\033[2KFILE COPY 100 %%\\n'
```
after
"""


@pytest.fixture(scope="module")
def sessions() -> ModuleType:
    sys.path.insert(0, str(ROOT / "docs"))
    return importlib.import_module("make_sessions")


def record(sessions: ModuleType, page: str, home: Path) -> str:
    return sessions.recorded(page, sessions.terminal(sessions.script(page), dict(os.environ, HOME=str(home))))


def test_what_the_terminal_shows_in_the_end_is_recorded(sessions: ModuleType, tmp_path: Path) -> None:
    new = record(sessions, PAGE, tmp_path)
    assert new == PAGE.replace("old", "from there and on").replace("%%\\n'\n", "%%\\n'\nFILE COPY 100 %\n")
    assert record(sessions, new, tmp_path) == new


def test_what_goes_on_behind_is_shown_with_its_command(sessions: ModuleType, tmp_path: Path) -> None:
    page = "<!-- recorded -->\n```console\n$ (sleep 0.2; echo late) &\n```\n<!-- run: wait; echo and later -->\n"
    assert "&\nlate\nand later\n```" in record(sessions, page, tmp_path)


@pytest.mark.parametrize(
    ("command", "shown"), [("false", ""), ("echo 'ERROR 1'; false", "fine\n"), ("echo fine", "ERROR 1\n"), ("exit", "")]
)
def test_a_session_that_ends_otherwise_is_not_recorded(
    sessions: ModuleType, tmp_path: Path, command: str, shown: str
) -> None:
    with pytest.raises(ValueError, match=r"failed|otherwise"):
        record(sessions, f"<!-- recorded -->\n```console\n$ {command}\n{shown}```\n", tmp_path)


def test_what_is_not_shown_must_succeed(sessions: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="failed"):
        record(sessions, "<!-- run: echo ERROR; false -->\n", tmp_path)


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_a_guide_begins_with_its_command_and_says_what_can_go_wrong(path: Path) -> None:
    page = path.read_text()
    shown = re.sub(r"<!--.*?-->\n", "", page, flags=re.DOTALL)
    first = shown.index("```console\n$ ")
    assert shown[:first].count("\n") < 7, "the command comes late"
    assert "<!-- recorded -->\n```console\n$ " in page
    assert "\n## What can go wrong\n" in page
    assert f"]({path.name})" in (HOWTO / "README.md").read_text(), "not in the index"
