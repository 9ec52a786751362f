"""``[serve.NAME]`` of the agent's file: what is right, and what is refused with the name of the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from innoclone.agent.settings import read_settings
from innoclone.commands.storeoptions import BootCheckOptions, StoreAccess
from innoclone.errors import UsageError
from innoclone.settings.servetable import ServedClone


def settings(tmp_path: Path, text: str) -> tuple[ServedClone, ...]:
    (tmp_path / "agent.toml").write_text(text)
    return read_settings(tmp_path / "agent.toml", {}).serve


def test_what_is_right(tmp_path: Path) -> None:
    one, two = settings(
        tmp_path,
        '[serve.a]\ndirectory = "/a"\nport = 1\n[serve."b-2"]\ndirectory = "/b"\nport = 2\nmax_data_bandwidth = 5\n',
    )  # type: ignore[misc]  # it has two
    assert (one.name, one.directory, one.port, one.source) == ("a", Path("/a"), 1, "/a")
    assert (two.name, two.max_data_bandwidth, two.max_connections) == ("b-2", 5, 256)
    assert settings(tmp_path, "") == ()
    [outside] = settings(tmp_path, '[serve.a]\ndirectory = "/a"\nport = 1\ninnodb_directories = "/b; /c/d;"\n')
    assert outside.places == (Path("/b"), Path("/c/d"))
    [three] = settings(
        tmp_path,
        '[serve.c]\nstore = "s3://b/p@abc"\nport = 1\nkey_file = "/k"\nscratch = "/s"\nkeyring = "/r"\n'
        'store_options = { a = "b" }\n',
    )
    access = StoreAccess("s3://b/p", Path("/k"), None, (("a", "b"),))
    assert three.snapshot == BootCheckOptions(access, "abc", scratch=Path("/s"), keyring=Path("/r"))
    assert (three.source, one.snapshot) == ("s3://b/p@abc", None)


@pytest.mark.parametrize(
    ("name", "more", "seconds"),
    [("", "", 3600), ("", "renew = 0.5", 30), ("", "renew = 0", 0), ("@abc", "", 0), ("@abc", "renew = 0", 0)],
)
def test_when_a_newer_snapshot_is_looked_for(name: str, more: str, seconds: float, tmp_path: Path) -> None:
    [one] = settings(tmp_path, f'[serve.x]\nstore = "s3://b/p{name}"\nport = 1\n{more}\n')
    assert one.renewed_after == seconds


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('directory = "/a"', r"\[serve.x\] needs port"),
        ("port = 1", "needs directory, store, or live = true"),
        ('directory = "/a"\nlive = true\nport = 1', "needs directory, store, or live = true"),
        ('directory = "/a"\nstore = "s3://b"\nport = 1', "needs directory, store, or live = true"),
        ('directory = "/a"\nkey_file = "/k"\nport = 1', "go together with store"),
        ('store = "s3://b/p"\nkey_file = "k"\nport = 1', "absolute"),
        ('store = "s3://b/p"\nport = 1\nstore_options = { aws_region = 1 }', "store_options must be of type str"),
        ('store = "/b/p"\nport = 1', "store must be a URL"),
        ("live = true\nport = 1", r"needs a table \[server\] or \[managed\]"),
        ('directory = "/a"\ndatadir = "/b"\nport = 1', "datadir goes together with live"),
        ('store = "s3://b/p@abc"\nport = 1\nrenew = 1', "renew goes together with the latest snapshot"),
        ('directory = "/a"\nport = 1\nrenew = 1', "renew goes together with the latest snapshot"),
        ('store = "s3://b/p"\nport = 1\nrenew = -1', "renew must be from 0"),
        ('directory = "a"\nport = 1', "absolute"),
        ('directory = "/a"\nkeyring = "r"\nport = 1', "absolute"),
        ('live = true\ninnodb_directories = "/r"\nport = 1', "innodb_directories goes together with directory"),
        ('directory = "/a"\ninnodb_directories = "/r;x"\nport = 1', "innodb-directories must be absolute paths"),
        ('live = true\nkeyring = "/r"\nport = 1', "keyring goes together with directory or store"),
        ('directory = "/a"\nport = 65536', "from 0 to 65535"),
        ('directory = "/a"\nport = true', "port must be of type int"),
        ('directory = "/a"\nport = "1"', "port must be of type int"),
        ('directory = "/a"\nport = 1\npasword = "x"', "may have directory, .*, not pasword"),
        ('directory = "/a"\nport = 1\nmax_connections = 2', "from 3 to"),
        ('directory = "/a"\nport = 1\nreconnect_timeout = 31', "from 0 to 30 minutes"),
        ('directory = "/a"\nport = 1\nbind_address = ""', "bind_address must not be empty"),
        ('directory = "/a"\nport = 1\nmax_network_bandwidth = -1', "max_network_bandwidth must be from 0"),
        ('directory = "/a"\nport = 1\nmax_donor_read = nan', "max_donor_read must be from 0 to 1048576, not nan"),
        ('directory = "/a"\nport = 1\n[serve.y]\ndirectory = "/b"\nport = 1', "have port 1"),
    ],
)
def test_what_is_refused(table: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        settings(tmp_path, f"[serve.x]\n{table}\n")


@pytest.mark.parametrize(
    "text", ['serve = "/a"', '[serve]\ndirectory = "/a"\nport = 1', '[serve."a b"]\ndirectory = "/a"\nport = 1']
)
def test_what_is_no_table_of_a_name(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="serve"):
        settings(tmp_path, text)
