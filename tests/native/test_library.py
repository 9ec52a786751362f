"""Which native library is loaded, and what is said where none is."""

from __future__ import annotations

import ctypes.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from innoclone.native import library as module
from innoclone.native.library import BY_PROCESSOR, BY_TABLES, FILE, OFF, VARIABLE, Library, address, describe, load

LIBC = ctypes.util.find_library("c") or ""


def test_the_one_that_was_built(native: Library) -> None:
    found, missing = load("")
    assert found is not None
    assert (found.path, missing) == (FILE, "")
    assert load(str(native.path))[0] is not None


def test_none_is_wanted_or_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(OFF) == (None, f"{VARIABLE}={OFF}")
    assert load(str(tmp_path / "x.so")) == (None, f"there is no {tmp_path / 'x.so'}")
    monkeypatch.setattr(module, "FILE", tmp_path / "x.so")
    assert load("") == (None, "it was not built")


def test_something_else_in_its_place(tmp_path: Path, native: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """No library, another one, or one of another version."""
    path = tmp_path / "x.so"
    path.write_bytes(b"no library")
    found, missing = load(str(path))
    assert found is None
    assert "invalid ELF header" in missing or "file too short" in missing
    path.unlink()
    path.symlink_to(next(Path(folder) / LIBC for folder in libraries() if (Path(folder) / LIBC).exists()))
    assert load(str(path)) == (None, f"{path} is not innoclone's")
    monkeypatch.setattr(module, "ABI", module.ABI + 1)
    assert load(str(native.path)) == (None, f"{native.path} is of another version of innoclone")


def libraries() -> set[str]:
    """Folders of the shared libraries that this process has loaded."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {os.path.dirname(line.split(maxsplit=5)[5]) for line in lines if ".so" in line}  # noqa: PTH120


def test_what_is_said_of_it(native: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "library", native)
    way = native.crc32c_way(BY_PROCESSOR)
    assert describe().endswith("by the processor" if way == BY_PROCESSOR else "by tables")
    monkeypatch.setattr(native, "crc32c_way", lambda _: BY_TABLES)
    assert describe() == "native library: in use, CRC-32C by tables"
    monkeypatch.setattr(module, "library", None)
    monkeypatch.setattr(module, "missing", "why")
    assert describe() == "native library: none (why), so Python does it, slower"


def test_the_environment_says_which() -> None:
    """It counts when the module is imported, so in a process of its own."""
    code = "from innoclone.native.library import library, missing; print(library, missing)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {VARIABLE: OFF}, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"None {VARIABLE}={OFF}\n"


def test_buffers(native: Library) -> None:
    """All that holds bytes gives the same sum; what may be written to is not copied."""
    data = bytes(range(256))
    wanted = native.crc32c(address(data), len(data))
    for buffer in (bytearray(data), memoryview(data), memoryview(bytearray(data))):
        assert native.crc32c(address(buffer), len(data)) == wanted
    assert isinstance(address(memoryview(data)), bytes)
    assert not isinstance(address(bytearray(data)), bytes)
