"""The layers of docs/design.md: what may import what is in pyproject.toml, and import-linter says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from paths import ROOT

LONG = ("errors.py",)  # all errors in one place


def test_every_layer_imports_only_what_is_below() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 kept, 0 broken" in done.stdout


def test_no_file_is_too_long() -> None:
    """About 400 lines; a longer one gives its reason at its top."""
    long = []
    for path in [*ROOT.glob("src/**/*.py"), *ROOT.glob("tests/**/*.py"), *ROOT.glob("bench/*.py")]:
        lines = path.read_text().splitlines()
        if len(lines) > 420 and path.name not in LONG:
            long.append(f"{path.name}: {len(lines)} lines")
    assert long == []
