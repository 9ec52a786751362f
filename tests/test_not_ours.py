"""What lies where we want to put something, and is somebody else's, stays."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest

from innoclone.engine.mysqld import remove_runtime
from innoclone.engine.programs import Programs
from innoclone.errors import TargetExists, UsageError
from innoclone.operation import sandbox
from innoclone.transport.listening import Listener


def test_a_socket_of_another_kind_is_alive() -> None:
    """Nobody is refused by it, so nothing proves that it was left behind; and the end removes only our own."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as theirs:
        path = Path(folder) / "s"
        theirs.bind(str(path))
        with pytest.raises(UsageError):
            Listener(host=None, port=0, path=path)
        assert path.is_socket()
        ours = Path(folder) / "ours"
        listener = Listener(host=None, port=0, path=ours)
        ours.unlink()
        ours.write_text("another thing")
        listener.close()
        assert ours.read_text() == "another thing"


def test_a_sandbox_without_its_note_is_data(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data directory is thrown away only where the first start is known to have been broken off."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    data = sandbox.state_directory() / "mine" / "data"
    data.mkdir(parents=True)
    (data / "ibdata1").write_bytes(b"page")
    with pytest.raises(TargetExists, match=r"sandbox\.json"):
        sandbox.start("mine", programs=programs)
    assert (data / "ibdata1").read_bytes() == b"page"


def test_only_a_servers_own_folder_goes(tmp_path: Path) -> None:
    """Whatever path a damaged note has for its socket."""
    for name in ("innoclone-abc", "precious"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
        remove_runtime(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
