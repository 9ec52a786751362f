"""innoclone replicate talks to two servers: each gets the password that is its own, and never the other's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from innoclone.cli import app
from innoclone.commands import replicate as operation
from innoclone.commands.options import ReplicateOptions
from innoclone.commands.replicate import ReplicateResult
from innoclone.settings import options as front_options
from innoclone.transport.endpoint import Endpoint

Run = Callable[..., tuple[Endpoint, Endpoint | Path]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MYSQL_PWD", "MYSQL_HOST", "MYSQL_TCP_PORT", "MYSQL_UNIX_PORT", "MYSQL_TEST_LOGIN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "clone" / "#innoclone").mkdir(parents=True)
    donor = {"host": "donor.example", "port": 3307, "user": "clone", "uuid": "u"}
    (tmp_path / "clone" / "#innoclone" / "manifest.json").write_text(json.dumps({"format": 1, "donor": donor}))
    return tmp_path


@pytest.fixture
def prompts() -> list[str]:
    return []


@pytest.fixture
def run(home: Path, prompts: list[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Source and replica as a command line means them; passwords that are asked for are ``asked N``."""
    seen: list[ReplicateOptions] = []

    def ask(prompt: str) -> str:
        prompts.append(prompt)
        return f"asked {len(prompts)}"

    def record(options: ReplicateOptions) -> ReplicateResult:
        seen.append(options)
        return ReplicateResult([])

    monkeypatch.setattr(front_options, "ask_on_terminal", ask)
    monkeypatch.setattr(operation, "replicate", record)

    def call(*args: str) -> tuple[Endpoint, Endpoint | Path]:
        assert app.run(["replicate", *args]) == 0
        return seen[-1].source, seen[-1].replica

    return call


def option_file(path: Path, **options: str) -> str:
    path.write_text("[client]\n" + "".join(f"{name}={value}\n" for name, value in options.items()))
    path.chmod(0o600)
    return str(path)


def test_the_donor_is_the_source(home: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """With the manifest's account; what an option file has for the server of this host stays here, and that is said."""
    file = option_file(home / ".my.cnf", user="root", password="local")
    source, _ = run(str(home / "clone"))
    assert (source.host, source.port, source.user, source.password) == ("donor.example", 3307, "clone", "")
    assert f"the password in {file} is not used" in capsys.readouterr().err
    source, _ = run(str(home / "clone"), "-u", "repl", "--password=r")
    assert (source.host, source.user, source.password) == ("donor.example", "repl", "r")


def test_a_file_that_names_the_donor(home: Path, run: Run) -> None:
    named = option_file(home / "donor.cnf", host="donor.example", port="3307", user="repl", password="theirs")
    source, _ = run(str(home / "clone"), f"--defaults-file={named}")
    assert (source.host, source.port, source.user, source.password) == ("donor.example", 3307, "repl", "theirs")
    # Named on the command line, it is the source even where the manifest says otherwise; but a DSN says more.
    other = option_file(home / "other.cnf", host="other.example", user="repl", password="others")
    source, _ = run(str(home / "clone"), f"--defaults-file={other}")
    assert (source.host, source.port, source.password) == ("other.example", 3306, "others")
    source, _ = run(str(home / "clone"), f"--defaults-file={other}", "--source", "mysql://repl@third.example")
    assert (source.host, source.password) == ("third.example", "")
    source, _ = run(str(home / "clone"), f"--defaults-file={other}", "--source", "mysql://another@other.example")
    assert (source.user, source.password) == ("another", "")


def test_two_servers(home: Path, run: Run, prompts: list[str]) -> None:
    """What the file of this host's server says is the replica's alone, and -p is the source's."""
    option_file(home / ".my.cnf", user="root", password="local")
    source, replica = run("mysql://localhost", "--source", "mysql://repl@donor.example", "-p")
    assert isinstance(replica, Endpoint)
    assert (replica.user, replica.password) == ("root", "local")
    assert (source.user, source.password) == ("repl", "asked 1")
    assert prompts == ["Enter password for the source repl@donor.example: "]
    source, replica = run("mysql://localhost", "--source", "mysql://repl@donor.example")
    assert (source.user, source.password) == ("repl", "")


def test_a_file_without_a_server(home: Path, run: Run, prompts: list[str]) -> None:
    """It is for the account that it names; of two that fit neither gets what is not certainly its own."""
    repl = option_file(home / "repl.cnf", user="repl", password="theirs")
    source, replica = run(
        "mysql://root@10.0.0.2", "--source", "mysql://repl@10.0.0.1", f"--defaults-file={repl}",
        "--ask-replica-password",
    )  # fmt: skip
    assert isinstance(replica, Endpoint)
    assert (source.password, replica.password) == ("theirs", "asked 1")
    assert prompts == ["Enter password for the replica root@10.0.0.2: "]
    source, replica = run("mysql://10.0.0.2", "--source", "mysql://10.0.0.1", f"--defaults-file={repl}")
    assert isinstance(replica, Endpoint)
    assert (source.password, replica.password) == ("", "")
    source, _ = run(str(home / "clone"), f"--defaults-file={repl}", "--source", "mysql://10.0.0.1")
    assert (source.user, source.password) == ("repl", "theirs")
    source, _ = run(str(home / "clone"), f"--defaults-file={repl}")
    assert (source.host, source.user, source.password) == ("donor.example", "repl", "theirs")
    option_file(home / ".my.cnf", user="clone", password="of clone")
    source, _ = run(str(home / "clone"))
    assert (source.host, source.user, source.password) == ("donor.example", "clone", "of clone")


def test_the_environments_password(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MYSQL_PWD is for the only server there is, or for the one that MYSQL_HOST names."""
    monkeypatch.setenv("MYSQL_PWD", "e")
    assert run(str(home / "clone"))[0].password == "e"
    source, replica = run("mysql://root@10.0.0.2", "--source", "mysql://repl@10.0.0.1")
    assert isinstance(replica, Endpoint)
    assert (source.password, replica.password) == ("", "")
    monkeypatch.setenv("MYSQL_HOST", "10.0.0.2")
    source, replica = run("mysql://root@10.0.0.2", "--source", "mysql://repl@10.0.0.1")
    assert isinstance(replica, Endpoint)
    assert (source.password, replica.password) == ("", "e")


def test_no_source(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the option."""
    assert app.run(["replicate", str(home)]) == 2
    err = capsys.readouterr().err
    assert "no source is named, and the donor is not known" in err
    assert "hint: name the server to replicate from: --source mysql://user@host:port" in err
    assert app.run(["replicate", str(home / "clone"), "--ask-replica-password"]) == 2
