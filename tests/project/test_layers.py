"""The layers of docs/design.md: what may import what is in pyproject.toml, and import-linter says so."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from paths import ROOT

LONG = ("errors.py",)  # all errors in one place


def test_every_layer_imports_only_what_is_below() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ kept, 0 broken", done.stdout)


def test_no_file_is_too_long() -> None:
    """About 400 lines; a longer one gives its reason at its top."""
    long = []
    for path in [*ROOT.glob("src/**/*.py"), *ROOT.glob("tests/**/*.py"), *ROOT.glob("bench/*.py")]:
        lines = path.read_text().splitlines()
        if len(lines) > 420 and path.name not in LONG:
            long.append(f"{path.name}: {len(lines)} lines")
    assert long == []


def test_the_picture_of_the_layers_is_the_contract() -> None:
    """docs/design.md draws what pyproject.toml says: the same rooms, in the same rows, from the top."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    picture = (ROOT / "docs" / "design.md").read_text().partition("\n## Layers\n")[2].partition("\n```\n")[0]
    nodes = dict(re.findall(r'^    (\w+)\["(.*)"\]$', picture, re.MULTILINE))
    drawn = [set(re.findall(r"<b>(\w+)</b>", nodes[node])) for node in picture.splitlines()[-1].strip().split(" --> ")]
    assert drawn == [{name.strip().removeprefix("innoclone.") for name in layer.split("|")} for layer in layers]
