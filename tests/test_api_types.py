"""The Python API as a type checker sees it: the keywords are those of the option records, and a wrong one is named."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from innoclone import api
from innoclone.commands import keywords, options, storeoptions
from innoclone.errors import UsageError
from innoclone.settings.options import CONNECTION_OPTIONS, ConnectionKeywords

ROOT = next(parent for parent in Path(__file__).parents if (parent / "pyproject.toml").exists())

SAME = {
    (options.CloneOptions, keywords.CloneKeywords): {"donor", "directory", "compression"},
    (options.LocalOptions, keywords.LocalKeywords): {"donor", "directory"},
    (options.RestoreOptions, keywords.RestoreKeywords): {"clone", "directory"},
    (storeoptions.BackupOptions, keywords.BackupKeywords): {"clone", "store"},
    (storeoptions.LiveBackupOptions, keywords.LiveBackupKeywords): {"donor", "store", "compression"},
    (storeoptions.BootCheckOptions, keywords.BootCheckKeywords): {"store", "snapshot"},
    (storeoptions.StoreRestoreOptions, keywords.StoreRestoreKeywords): {"store", "snapshot", "directory"},
    (options.BootOptions, keywords.BootKeywords): {"directory"},
    (options.VerifyOptions, keywords.VerifyKeywords): {"directory", "against"},
    (options.ServeOptions, keywords.ServeKeywords): {"directory", "live", "user", "password", "socket"},
    (options.ReplicateOptions, keywords.ReplicateKeywords): {"replica", "source", "source_is_donor"},
}
"""Record, keywords, and the fields that are arguments of their own."""


@pytest.mark.parametrize(("record", "taken"), SAME)
def test_keywords_are_the_fields(record: type[Any], taken: type[Any]) -> None:
    """With the same types."""
    fields = get_type_hints(record)
    own = SAME[record, taken]
    assert get_type_hints(taken) == {
        field.name: fields[field.name] for field in dataclasses.fields(record) if field.name not in own
    }


def test_keywords_of_a_replacement_are_a_clones() -> None:
    """Without those that don't count there."""
    fields, taken = get_type_hints(options.CloneOptions), get_type_hints(keywords.ReplaceKeywords)
    assert taken == {name: fields[name] for name in taken}
    uncounted = {"donor", "directory", "fsync", "chown", "boot", "mysqld", "discard_changes"}
    uncounted |= {"write_changed_only", "incremental", "keep_base", "generations", "keep", "full_copies", "series"}
    uncounted |= {"keyring", "keyring_key"}  # the managed server's
    assert fields.keys() - taken.keys() == uncounted


def test_keywords_of_a_connection() -> None:
    """All but the password, which is an argument of its own; an unknown one is refused, not passed over."""
    assert {name.replace("_", "-") for name in get_type_hints(ConnectionKeywords)} == {*CONNECTION_OPTIONS} - {
        "password"
    }
    with pytest.raises(UsageError, match="no option ssl_caa"):
        api.endpoint("mysql://clone@db1", ssl_caa="/etc/ca.pem")  # type: ignore[call-arg]


SNIPPET = """\
import innoclone
from innoclone import Compression

donor = innoclone.endpoint("mysql://clone@db1", ssl_ca="/etc/ca.pem", get_server_public_key=True)
innoclone.clone(donor, "/c", threads=4, compress="zstd", boot=True, map_paths=(("/a", "/b"),))
innoclone.local(donor, "/c", threads=4, incremental="require", verify_pages=None)
innoclone.restore("/c", "/d", chown="mysql", mysqld_check=True)
store = innoclone.StoreAccess("file:///store")
innoclone.restore_snapshot(store, "/d", snapshot="latest", threads=2)
added: int = innoclone.backup("/c", store, full=True).added
innoclone.backup_server(donor, store, spool=None, compress="zstd")
innoclone.store_forget(store, keep=innoclone.Policy(last=1))
innoclone.boot("/c", copy=True, timeout=60)
innoclone.verify("/c", threads=2)
innoclone.replicate("/c", run=True, wait=1)
result: int = innoclone.clone(donor, "/c").binlog_position
innoclone.endpoint("mysql://clone@db1", ssl_caa="/etc/ca.pem")  # wrong: ssl_caa
innoclone.clone(donor, "/c", threats=4)  # wrong: threats
innoclone.clone(donor, "/c", threads="4")  # wrong: incompatible type
innoclone.clone(donor, "/c", compression=Compression())  # wrong: compression
innoclone.local(donor, "/c", max_network_bandwidth=1)  # wrong: max_network_bandwidth
innoclone.restore("/c", "/d", boot=True)  # wrong: boot
innoclone.backup("/c", store, spool=None)  # wrong: spool
innoclone.boot("/c", directory="/d")  # wrong: directory
innoclone.verify("/c", fsync=True)  # wrong: fsync
innoclone.replicate("/c", source_is_donor=True)  # wrong: source_is_donor
"""


def test_a_type_checker_names_a_wrong_keyword(tmp_path: Path) -> None:
    """mypy --strict of a user's program: nothing in the good lines, each wrong keyword by name in its own."""
    script = tmp_path / "program.py"
    script.write_text(SNIPPET)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", script],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found: dict[int, str] = {}
    for line in done.stdout.splitlines():
        place, separator, message = line.partition(": error: ")
        assert separator or ": note: " in line, done.stdout
        if separator:
            found[int(place.rpartition(":")[2])] = message
    wrong = {
        number: line.partition("# wrong: ")[2]
        for number, line in enumerate(SNIPPET.splitlines(), 1)
        if "# wrong: " in line
    }
    assert done.returncode == 1, done.stdout + done.stderr
    assert found.keys() == wrong.keys(), done.stdout
    for number, word in wrong.items():
        assert word in found[number]
