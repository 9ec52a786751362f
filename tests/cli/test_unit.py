"""Systemd units for a nightly clone, and for the agent (innoclone unit)."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from innoclone.cli.systemd import nightly, quoted


def unit(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "innoclone", "unit", *words], capture_output=True, text=True, check=False
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "100 % of it.cnf"
    path.write_text("[client]\nuser = clone\n")
    path.chmod(0o600)
    return path


def nightly_words(config: Path) -> list[str]:
    return ["local", f"--defaults-file={config}", "--to=/backup/my sql", "--generations", "7", "--keep-weekly=4"]


def setting(text: str, name: str) -> str:
    (line,) = (line for line in text.splitlines() if line.startswith(f"{name}="))
    return line.removeprefix(f"{name}=")


def test_what_is_installed(config: Path, tmp_path: Path) -> None:
    """Service and timer, readable by all, for exactly that command; never over something else without a word."""
    place = f"--directory={tmp_path}"
    done = unit("--install", place, "--on-calendar=Mon..Fri 03:15", *nightly_words(config))
    assert done.returncode == 0, done.stderr
    service, timer = tmp_path / "innoclone-backup.service", tmp_path / "innoclone-backup.timer"
    assert f"wrote {service}" in done.stderr
    assert "systemctl enable --now innoclone-backup.timer" in done.stderr
    assert {path.stat().st_mode & 0o777 for path in (service, timer)} == {0o644}
    assert setting(timer.read_text(), "OnCalendar") == "Mon..Fri 03:15"
    assert setting(service.read_text(), "User") == "mysql"
    words = shlex.split(setting(service.read_text(), "ExecStart").replace("%%", "%"))
    assert words[-6:] == nightly_words(config)
    help_text = subprocess.run([*words[:-5], "--help"], capture_output=True, text=True, check=True).stdout
    assert "--keep-weekly" in help_text
    assert unit("--install", place, "--on-calendar=Mon..Fri 03:15", *nightly_words(config)).returncode == 0

    service.write_text("# somebody's own\n")
    refused = unit("--install", place, *nightly_words(config))
    assert refused.returncode == 10
    assert "says something else" in refused.stderr
    assert service.read_text() == "# somebody's own\n"
    assert unit("--install", "--replace", place, *nightly_words(config)).returncode == 0
    assert "ExecStart=" in service.read_text()
    for user, warns in (("root", False), ("nobody-has-this", True)):
        done = unit("--install", "--replace", place, f"--user={user}", *nightly_words(config))
        assert (f"no user {user} on this host" in done.stderr) is warns


def test_what_is_printed(config: Path) -> None:
    done = unit("--user=root", "--name=other", *nightly_words(config))
    assert done.returncode == 0, done.stderr
    service, timer = done.stdout.split("# ---- /etc/systemd/system/other.timer\n")
    assert "CAP_DAC_READ_SEARCH" in setting(service, "CapabilityBoundingSet")
    assert setting(service, "StateDirectory") == "innoclone-root", "the agent's belongs to another user"
    assert setting(timer, "Persistent") == "yes"
    agent = unit("agent", "--config=/etc/innoclone/agent.toml").stdout
    assert setting(agent, "ExecStart").endswith(" agent --config=/etc/innoclone/agent.toml")
    assert setting(agent, "Type") == "notify"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["boot", "/x"], "no unit can be made for boot"),
        (["local", "--no-such-option", "/x"], "no such option"),
        (["local", "--to=/x"], "--to goes together with"),
        (["local", "--to=x", "--generations=3"], "no absolute path"),
        (["local", "x"], "no absolute path"),
        (["local", "--log-file=x", "/x"], "no absolute path"),
        (["local"], "name one directory"),
        (["local", "-p", "/x"], "can't have a password"),
        (["local", "--password=secret", "/x"], "can't have a password"),
        (["local", "mysql://u:secret@h", "/x"], "can't have a password"),
        (["clone", "/x"], "the second clone into the same directory would be refused"),
        (["--name=../x", "local", "/x"], "names of units"),
        (["--user=a b", "local", "/x"], "names of units"),
        (["local", "/x\ny"], "line breaks"),
        (["--on-calendar= ", "local", "/x"], "--on-calendar needs a time"),
        ([], "missing argument"),
        (["store"], "no unit can be made for store"),
        (["store", "init", "file:///x"], "no unit can be made for store init"),
        (["store", "forget", "file:///x", "--keep-daily=x"], "is not a valid"),
        (["store", "forget", "file:///x", "--key-file=x"], "no absolute path"),
        (["backup", "s3://b/x", "--store-option=aws_secret_access_key=secret"], "a store's credentials"),
    ],
)
def test_what_would_fail_in_the_night_is_refused_now(words: list[str], says: str, tmp_path: Path) -> None:
    done = unit("--install", f"--directory={tmp_path}", *words)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "secret" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_care_of_a_store() -> None:
    """A backup into it, and what is forgotten afterwards, each by its own clock."""
    for words, name in (
        (["backup", "/srv/mysql/latest", "s3://b/x", "--key-file=/etc/key"], "innoclone-store"),
        (["store", "forget", "s3://b/x", "--key-file=/etc/key", "--keep-daily=7", "--prune"], "innoclone-forget"),
    ):
        done = unit(*words)
        assert done.returncode == 0, done.stderr
        service, timer = done.stdout.split(f"# ---- /etc/systemd/system/{name}.timer\n")
        assert setting(service, "ExecStart").endswith(" ".join(words))
        assert " ".join(words[:2]) in setting(timer, "Description") or words[0] == "backup"


def test_quoting() -> None:
    assert quoted("/usr/bin/innoclone") == "/usr/bin/innoclone"
    assert quoted('a $b "c" \\ %d') == '"a $$b \\"c\\" \\\\ %%d"'
    assert (quoted(";"), quoted(""), quoted("it's")) == ("\\;", '""', '"it\'s"')


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    def complaints() -> str:
        paths = [str(tmp_path / name) for name in names]
        done = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    for user in ("mysql", "root"):
        words = ["local", "--to=/backup/100 % $of 'it'", "--generations=7"]
        names = nightly("nightly", words, what=words[0], calendar="*-*-* 02:30:00", user=user, made="a test")
        for name, text in names.items():
            (tmp_path / name).write_text(text)
        assert complaints() == ""
    timer = tmp_path / "nightly.timer"
    timer.write_text(timer.read_text().replace("02:30:00", "25:30:00"))
    assert "calendar" in complaints(), "it is verified indeed"
    refused = unit("--on-calendar=never", "local", "/x")
    assert refused.returncode == 2
    assert "--on-calendar never" in refused.stderr
