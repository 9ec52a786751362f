"""Clones through ssh, by a real sshd on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import innoclone
from clones import rows
from encrypted import encrypted_donor
from innoclone.commands.clone import clone
from innoclone.commands.options import CloneOptions
from innoclone.donor.stored import look
from innoclone.errors import (
    AccessDenied,
    InnocloneMissing,
    InnocloneVersion,
    NotInnoclone,
    SshFailed,
    TargetUnusable,
)
from innoclone.receive.resume import is_resumable
from innoclone.records.limits import Limits
from innoclone.records.status import CloneStatus, Stage
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.settings.managedtable import read_managed
from innoclone.transport.endpoint import Endpoint
from innoclone.transport.ssh import SshRoute, SshWay
from local_clones import booted_copy, checksums
from managed import MakeManaged, assert_old
from restores import linked_clone
from servers import ServerFactory, endpoint_of
from serving import assert_taken
from sshd import Sshd, sshd

MIB = 1 << 20
PATIENCE = 60.0  # seconds
PROGRAM = str(Path(sys.executable).with_name("innoclone"))


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """Another host: an sshd, to which ssh on PATH goes as this user."""
    folder = tmp_path_factory.mktemp("far")
    with (
        sshd(folder / "sshd", XDG_STATE_HOME=str(folder / "state"), HOME=str(folder)) as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("PATH", os.pathsep.join([str(running.bin), os.environ["PATH"]]))
        yield running


def far_processes(far: Sshd) -> set[int]:
    """What ssh has started there and has not ended."""
    return {pid for pid in far.started if b"--stdio" in far.command_line(pid)}


def start_clone(far: Sshd, directory: Path, target: Path) -> subprocess.Popen[str]:
    """By the command line, slowly."""
    words = ["clone", f"--via=ssh://{far.host}", f"--from-dir={directory}", f"--remote-innoclone={PROGRAM}"]
    return subprocess.Popen(
        [PROGRAM, *words, "--no-defaults", "--max-data-bandwidth=10", str(target)],
        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def copied(status: CloneStatus) -> int:
    return status.stages[Stage.FILE_COPY].data


def assert_equal(directory: Path, target: Path) -> None:
    """All files are the stored clone's."""
    stored = look(directory)
    try:
        assert_taken(stored, target)
    finally:
        stored.close()


def size(directory: Path) -> int:
    stored = look(directory)
    stored.close()
    return stored.size


def test_a_stored_clone(programs: Programs, small_clone: Path, small_donor: Server, far: Sshd, tmp_path: Path) -> None:
    target = tmp_path / "taken"
    with SshWay(SshRoute(far.host, program=PROGRAM), directory=str(small_clone)) as way:
        result = clone(CloneOptions(donor=way.endpoint, directory=target, threads=3))
    assert_equal(small_clone, target)
    assert result.donor_version == "9.7.4-2"
    with booted_copy(programs, target) as server:
        assert checksums(server) == checksums(small_donor)


def has_options(far: Sshd, server: Server) -> Endpoint:
    """The user over there has an option file that names the server, whose endpoint that is."""
    found = endpoint_of(server)
    (far.folder.parent / ".my.cnf").write_text(
        f"[client]\nhost={found.host}\nport={found.port}\nuser={found.user}\npassword='{found.password}'\n"
    )
    return found


def test_a_running_server(programs: Programs, small_donor: Server, far: Sshd, tmp_path: Path) -> None:
    """As the user over there reaches it, by that user's option file; from Python."""
    donor = has_options(far, small_donor)
    with pytest.raises(AccessDenied, match=r"dbhost: .*nobody"):
        innoclone.clone(
            f"mysql://nobody@{donor.host}:{donor.port}", tmp_path / "taken", via=f"ssh://{far.host}",
            remote_innoclone=PROGRAM,
        )  # fmt: skip
    result = innoclone.clone(None, tmp_path / "taken", via=f"ssh://{far.host}", remote_innoclone=PROGRAM, threads=2)
    log = rows(small_donor, "SHOW BINARY LOG STATUS")[0]
    assert (result.binlog_file, result.binlog_position) == (log[0], log[1])
    with booted_copy(programs, tmp_path / "taken") as server:
        assert checksums(server) == checksums(small_donor)


def test_only_what_differs_comes_through_ssh(small_clone: Path, far: Sshd, tmp_path: Path) -> None:
    for _ in range(2):
        with SshWay(SshRoute(far.host, program=PROGRAM), directory=str(small_clone)) as way:
            result = clone(CloneOptions(donor=way.endpoint, directory=tmp_path / "taken", threads=1))
    assert_equal(small_clone, tmp_path / "taken")
    assert result.network < size(small_clone) / 4


def test_what_is_encrypted(make_server: ServerFactory, far: Sshd, tmp_path: Path) -> None:
    """A donor gives keys over TLS alone, so that is within ssh then."""
    (tmp_path / "ring").mkdir()
    clone(CloneOptions(endpoint_of(encrypted_donor(make_server, tmp_path / "ring")), tmp_path / "stored"))
    with SshWay(SshRoute(far.host, program=PROGRAM), directory=str(tmp_path / "stored")) as way:
        result = clone(CloneOptions(donor=way.endpoint, directory=tmp_path / "taken", threads=1))
    assert result.cipher
    look(tmp_path / "taken").close()


def test_a_lost_connection(small_clone: Path, far: Sshd, tmp_path: Path) -> None:
    """All of ssh's connections break; the donor over there waits, and goes on with the same clone."""
    status, limits = CloneStatus(), Limits(data=30.0)
    with SshWay(SshRoute(far.host, program=PROGRAM), directory=str(small_clone)) as way:
        options = CloneOptions(donor=way.endpoint, directory=tmp_path / "taken", threads=2)
        with ThreadPoolExecutor(1) as pool:
            job = pool.submit(clone, options, status=status, limits=limits)
            wait_until(lambda: copied(status) > 8 * MIB)
            served = far_processes(far)
            far.cut()
            limits.data = 0.0
            result = job.result(PATIENCE)
        assert_equal(small_clone, result.directory)
        assert status.restarts == 1
        assert len(served & far_processes(far)) == 1  # the donor; every connection was another process
        assert copied(status) < 1.2 * size(small_clone)
    wait_until(lambda: not far_processes(far))


def test_nobody_comes_back(small_clone: Path, far: Sshd, tmp_path: Path) -> None:
    """The donor over there gives up; so it does at once where its recipient is killed."""
    process = start_clone(far, small_clone, tmp_path / "taken")
    wait_until(lambda: is_resumable(tmp_path / "taken"))
    assert far_processes(far)
    process.kill()
    process.wait(PATIENCE)
    wait_until(lambda: not far_processes(far))
    with SshWay(SshRoute(far.host, program=PROGRAM), directory=str(small_clone)) as way:
        result = clone(CloneOptions(donor=way.endpoint, directory=tmp_path / "taken"))
    assert any("going on with the clone that began" in note for note in result.notes)
    assert_equal(small_clone, tmp_path / "taken")


def test_the_first_ssh_is_killed(small_clone: Path, far: Sshd, tmp_path: Path) -> None:
    """Nobody says goodbye then: the donor over there ends with the last connection all the same, once all is taken."""
    status, limits = CloneStatus(), Limits(data=30.0)
    with SshWay(SshRoute(far.host, program=PROGRAM), directory=str(small_clone)) as way:
        options = CloneOptions(donor=way.endpoint, directory=tmp_path / "taken", threads=1)
        with ThreadPoolExecutor(1) as pool:
            job = pool.submit(clone, options, status=status, limits=limits)
            wait_until(lambda: copied(status) > 8 * MIB)
            assert way._keeper is not None
            way._keeper.process.kill()
            limits.data = 0.0
            job.result(PATIENCE)
    assert status.restarts == 0
    wait_until(lambda: not far_processes(far))


def test_check(small_clone: Path, far: Sshd, tmp_path: Path) -> None:
    """What a clone through ssh would find, without a clone."""
    words = ["check", "--no-defaults", f"--via=ssh://{far.host}", f"--remote-innoclone={PROGRAM}"]
    for directory, status, text in ((small_clone, 0, "completed OK!"), (tmp_path, 10, "not a data directory")):
        done = subprocess.run(
            [PROGRAM, *words, f"--from-dir={directory}"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert (done.returncode, text in done.stdout + done.stderr) == (status, True), done.stderr
    wait_until(lambda: not far_processes(far))


def test_a_server_on_a_stored_clone_of_another_host(
    make_managed: MakeManaged, small_clone: Path, small_donor: Server, far: Sshd, tmp_path: Path
) -> None:
    """`replace --via`: refused, it serves its old data; else what is stored over there, or what runs there."""
    server = make_managed()
    config = tmp_path / "managed.toml"
    config.write_text(server.toml())
    words = ["replace", "--no-defaults", f"--config={config}", f"--via=ssh://{far.host}"]
    for directory, status in ((tmp_path, 10), (small_clone, 0)):
        assert_old(server)
        done = subprocess.run(
            [PROGRAM, *words, f"--remote-innoclone={PROGRAM}", f"--from-dir={directory}"], stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
    assert server.schemas() == {"theirs"}
    sums = "CHECKSUM TABLE theirs.t"
    assert server.run(sums) == rows(small_donor, sums)
    server.run("DROP SCHEMA theirs")
    has_options(far, small_donor)
    innoclone.replace_data(None, read_managed(config), via=f"ssh://{far.host}", remote_innoclone=PROGRAM)
    assert server.run(sums) == rows(small_donor, sums)


# ---- what goes wrong with a real ssh ----------------------------------------------------------------------------


def opened(far: Sshd, directory: str, program: str = PROGRAM) -> list[str]:
    """Open the way and close it; what was said meanwhile. Raises what opening does."""
    said: list[str] = []
    with SshWay(SshRoute(far.host, program=program), directory=directory, say=said.append):
        return said


def test_a_key_that_is_not_accepted(far: Sshd) -> None:
    with far.changed("authorized_keys", ""), pytest.raises(AccessDenied, match="Permission denied") as caught:
        opened(far, "/nowhere")
    assert "ended with status 255" in caught.value.message
    assert "key" in caught.value.advice


def test_a_host_that_is_not_known(far: Sshd) -> None:
    with far.changed("known_hosts", ""), pytest.raises(SshFailed, match="Host key verification failed"):
        opened(far, "/nowhere")


def test_a_program_that_is_not_there(far: Sshd, tmp_path: Path) -> None:
    with pytest.raises(InnocloneMissing, match="status 127"):
        opened(far, "/nowhere", "no-such-innoclone")
    (tmp_path / "innoclone").touch()
    with pytest.raises(InnocloneMissing, match="status 126"):
        opened(far, "/nowhere", str(tmp_path / "innoclone"))


def test_an_older_program(far: Sshd, tmp_path: Path) -> None:
    old = tmp_path / "innoclone"
    old.write_text("#!/bin/sh\necho 'no such option: --stdio' >&2\nexit 2\n")
    old.chmod(0o755)
    with pytest.raises(NotInnoclone, match="ended with status 2 before it greeted: no such option"):
        opened(far, "/nowhere", str(old))
    old.write_text("#!/bin/sh\necho innoclone-stdio 1 0.0.9\nread request\n")
    with pytest.raises(InnocloneVersion, match=r"innoclone 0\.1\.0 here and 0\.0\.9 on dbhost"):
        opened(far, "/nowhere", str(old))


def test_a_shell_that_talks(far: Sshd, tmp_path: Path) -> None:
    noisy = tmp_path / "innoclone"
    noisy.write_text(f"#!/bin/sh\necho 'Welcome to dbhost!'\nexec {PROGRAM} \"$@\"\n")
    noisy.chmod(0o755)
    with pytest.raises(NotInnoclone, match="Welcome to dbhost!") as caught:
        opened(far, "/nowhere", str(noisy))
    assert "must print nothing" in caught.value.advice


def test_what_is_no_clone(far: Sshd, tmp_path: Path) -> None:
    with pytest.raises(TargetUnusable, match=f"dbhost: .*{tmp_path}"):
        opened(far, str(tmp_path))


def test_what_ssh_says_is_told(far: Sshd, small_clone: Path, tmp_path: Path) -> None:
    talking = tmp_path / "innoclone"
    talking.write_text(f"#!/bin/sh\necho 'mind the step' >&2\nexec {PROGRAM} \"$@\"\n")
    talking.chmod(0o755)
    assert opened(far, str(small_clone), str(talking)) == ["dbhost: mind the step"]


def test_a_key_for_one_directory(far: Sshd, small_clone: Path, tmp_path: Path) -> None:
    """As an administrator writes it into authorized_keys: the key opens that and nothing else."""
    key = (far.folder / "user.pub").read_text()
    line = f'restrict,command="{PROGRAM} serve --stdio {small_clone.parent}" {key}'
    (tmp_path / "link").symlink_to(small_clone)
    with far.changed("authorized_keys", line):
        for directory in (small_clone, tmp_path / "link"):  # which is there, wherever it is named from
            assert opened(far, str(directory), "anything; else") == []
        for directory in (small_clone.parent.parent, Path("/etc"), Path(f"{small_clone}/../../..")):
            with pytest.raises(TargetUnusable, match="is not what may be cloned from there"):
                opened(far, str(directory))


def test_names_are_words_and_not_commands(far: Sshd, small_clone: Path, tmp_path: Path) -> None:
    """By the command line: neither a directory's name nor the program's is read by the shell over there."""
    odd = tmp_path / "a'b\"$(touch owned);& \\ü"
    odd.mkdir()
    linked_clone(small_clone, odd / "clone")
    (odd / "innoclone").symlink_to(PROGRAM)
    words = [
        "clone",
        f"--via=ssh://{far.host}",
        f"--from-dir={odd / 'clone'}",
        f"--remote-innoclone={odd / 'innoclone'}",
    ]
    done = subprocess.run(
        [PROGRAM, *words, "--no-defaults", "--threads=1", str(tmp_path / "taken")],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, start_new_session=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "through ssh" in done.stderr
    assert_equal(small_clone, tmp_path / "taken")
    assert not (Path.home() / "owned").exists()
