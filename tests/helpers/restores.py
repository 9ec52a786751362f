"""Restoring in the tests: what many of them do, in one place."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from innoclone.commands.options import RestoreOptions
from innoclone.commands.restore import RestoreResult, restore


def restored(clone: Path, directory: Path, **options: object) -> RestoreResult:
    return restore(RestoreOptions(clone, directory, **options))  # type: ignore[arg-type]


def process(clone: Path, directory: Path, *options: str) -> subprocess.Popen[str]:
    """The same as a process of its own, which can be killed."""
    command = [sys.executable, "-m", "innoclone", "restore", *options, str(clone), str(directory)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def contents(directory: Path) -> dict[str, str]:
    """A digest of every file that is not our own."""
    paths = [path for path in sorted(directory.rglob("*")) if "#innoclone" not in path.parts and path.is_file()]
    assert paths
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def folders(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_dir()}


def linked_clone(clone: Path, directory: Path) -> Path:
    """A clone of hard links, whose files may be replaced but not written to; its manifest is its own."""
    subprocess.run(["cp", "-al", str(clone), str(directory)], check=True)
    manifest = directory / "#innoclone" / "manifest.json"
    text = manifest.read_text()
    manifest.unlink()
    manifest.write_text(text)
    return directory


def rewrite(path: Path, change: Callable[[bytearray], None]) -> None:
    """Replace a file by one with other content; hard links keep theirs."""
    data = bytearray(path.read_bytes())
    change(data)
    path.unlink()
    path.write_bytes(data)
