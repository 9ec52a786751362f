"""Clones through ssh, by a real sshd on loopback."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from innoclone.commands.clone import clone
from innoclone.commands.options import CloneOptions
from innoclone.donor.stored import look
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.transport.ssh import SshRoute, SshWay
from local_clones import booted_copy, checksums
from serving import assert_taken
from sshd import Sshd, sshd

PROGRAM = str(Path(sys.executable).with_name("innoclone"))


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """Another host: an sshd, to which ssh on PATH goes as this user."""
    folder = tmp_path_factory.mktemp("far")
    with (
        sshd(folder / "sshd", f"SetEnv XDG_STATE_HOME={folder / 'state'}") as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("PATH", os.pathsep.join([str(running.bin), os.environ["PATH"]]))
        yield running


def test_a_stored_clone(programs: Programs, small_clone: Path, small_donor: Server, far: Sshd, tmp_path: Path) -> None:
    target = tmp_path / "taken"
    with SshWay(SshRoute(far.host, program=PROGRAM), str(small_clone)) as way:
        result = clone(CloneOptions(donor=way.endpoint, directory=target, threads=3))
    stored = look(small_clone)
    try:
        assert_taken(stored, target)
    finally:
        stored.close()
    assert result.donor_version == "9.7.4-2"
    with booted_copy(programs, target) as server:
        assert checksums(server) == checksums(small_donor)
