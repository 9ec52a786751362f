"""Folders for a while: gone in the end, and what was killed leaves is removed if it is ours and nobody's."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from innoclone.files.scratch import NOTE, scratch_folder

CODE = """
import sys, time
from pathlib import Path
from innoclone.files.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1]), "a-", []) as folder:
    (folder / "data").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_left_behind(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", CODE, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    left = Path(process.stdout.readline().strip())
    with scratch_folder(tmp_path, "a-", []) as mine:
        assert left.exists()  # it works
        assert mine.stat().st_mode & 0o777 == 0o700
    assert not mine.exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    copy, other, user = tmp_path / "a-copy", tmp_path / "a-other", tmp_path / "a-user"
    shutil.copytree(left, copy)  # of which nobody knows why
    other.mkdir(mode=0o700)
    user.mkdir(mode=0o700)
    (user / NOTE).write_text(json.dumps(["elsewhere", os.geteuid(), user.stat().st_ino, 0]))
    (tmp_path / "a-link").symlink_to(left)
    notes: list[str] = []
    with (left / "data").open() as _, scratch_folder(tmp_path, "b-", notes):
        assert left.exists()
        assert not notes
    used = subprocess.Popen(["sleep", "60"], cwd=left)
    with scratch_folder(tmp_path, "a-", notes):
        assert left.exists()  # somebody stands in it
    used.kill()
    used.wait()
    with scratch_folder(tmp_path, "a-", notes):
        pass
    assert not left.exists()
    assert [str(left) in note for note in notes] == [True]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-copy", "a-link", "a-other", "a-user"]


KILLED = """
import os, shutil, sys
from pathlib import Path
from innoclone.files.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1]), "a-", []) as folder:
    for number in range(8):
        (folder / f"file{number}").write_text("x")
    (folder / "data").mkdir()
    rmtree = shutil.rmtree
    shutil.rmtree = lambda path, **how: os.kill(os.getpid(), 9) if path.name == "data" else rmtree(path, **how)
"""


def test_killed_while_it_was_removed(tmp_path: Path) -> None:
    """What is left is still known to be ours."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    [left] = tmp_path.iterdir()
    assert (left / NOTE).exists()
    with scratch_folder(tmp_path, "a-", []):
        assert not left.exists()


def test_a_folder_named_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made of it, as mappings are, has absolute paths."""
    monkeypatch.chdir(tmp_path)
    with scratch_folder(Path(), "innoclone-check-", []) as folder:
        assert folder.is_absolute()
        assert folder.parent == tmp_path
