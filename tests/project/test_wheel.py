"""A wheel, installed where there is nothing of the repository, brings the native library and uses it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import pytest

from innoclone.native.library import VARIABLE
from paths import ROOT

CHECK = """
from innoclone.innodb.page import PageChecker
from innoclone.innodb.space import SpaceFlags
from innoclone.native.library import library
print(library.path)
print(PageChecker(SpaceFlags(0), 7).bad_pages(bytes(2 * 16384), 0))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by ziglang as ./scripts/wheels does, where that is installed; else by the machine's compiler."""
    folder = tmp_path_factory.mktemp("wheel")
    target = "x86_64-linux-gnu.2.17" if find_spec("ziglang") and sysconfig.get_platform() == "linux-x86_64" else ""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder],
        cwd=ROOT, env={**os.environ, "INNOCLONE_BUILD_TARGET": target}, check=True, capture_output=True,
    )  # fmt: skip
    (found,) = folder.glob("*.whl")
    assert found.name.startswith("innoclone-")
    assert "-py3-none-" in found.name, "one wheel for every Python"
    assert not found.name.endswith("-any.whl"), "but not for every machine"
    return found


def test_what_is_in_it(wheel: Path) -> None:
    names = ZipFile(wheel).namelist()
    assert "innoclone/native/libinnoclone.so" in names
    assert [name for name in names if name.endswith((".c", ".h")) or "hatch_build" in name] == []


def test_it_is_used_in_a_clean_environment(wheel: Path, tmp_path: Path) -> None:
    """Only what innoclone depends on is borrowed from the tests' environment."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel],
        check=True,
    )
    env = {name: value for name, value in os.environ.items() if name != VARIABLE}
    env["PYTHONPATH"] = sysconfig.get_path("purelib")  # whose .pth files, the editable installation, don't count so

    def run(*command: str | Path) -> str:
        return subprocess.run(command, env=env, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    path, findings = run(python, "-c", CHECK).splitlines()
    assert Path(path).is_relative_to(tmp_path / "venv")
    assert findings == "[BadPage(number=0, verdict=<Verdict.CORRUPT: 'corrupt'>)]"
    assert "native library: in use" in run(tmp_path / "venv" / "bin" / "innoclone", "version")


def test_without_a_compiler_python_does_it(tmp_path: Path) -> None:
    """A build where nothing compiles is a wheel without the library, for any machine."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path],
        cwd=ROOT, env={**os.environ, "CC": "/nonexistent/cc"}, check=True, capture_output=True,
    )  # fmt: skip
    (found,) = tmp_path.glob("*.whl")
    assert found.name.endswith("-py3-none-any.whl")
    assert "innoclone/native/libinnoclone.so" not in ZipFile(found).namelist()
