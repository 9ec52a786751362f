"""innoclone.server.programs and innoclone.server.mysqld: MySQL's programs are found, and a server runs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pymysql
import pytest

from innoclone import errors
from innoclone.server import programs as engine
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs, find_programs, provide_programs
from servers import ServerFactory


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{text}'\n")
    path.chmod(0o755)
    return path


def test_every_program_runs(programs: Programs) -> None:
    for prefix in (programs.mysqld, programs.mysql, programs.mysqldump, programs.mysqlbinlog, programs.innochecksum):
        assert prefix
        done = subprocess.run([*prefix, "--version"], capture_output=True, text=True, check=True)
        assert programs.version in done.stdout


def test_a_given_mysqld_is_taken(tmp_path: Path) -> None:
    mysqld = script(tmp_path / "sbin" / "mysqld", "mysqld  Ver 8.4.3 for Linux on x86_64")
    client = script(tmp_path / "bin" / "mysql", "")
    found = find_programs(mysqld)
    assert (found.version, found.mysqld, found.mysql) == ("8.4.3", (str(mysqld),), (str(client),))


def test_path_comes_before_the_cache(programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mysqld = script(tmp_path / "mysqld", "mysqld  Ver 8.4.3 for Linux on x86_64")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert find_programs().mysqld == (str(mysqld),)


@pytest.mark.parametrize("text", ["mysqld  Ver 10.11.6-MariaDB for Linux", "something else"])
def test_what_is_not_mysql_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(errors.ServerNotFound, match="not a MySQL server"):
        find_programs(script(tmp_path / "mysqld", text))


def test_nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "bin" / "mysqld", "mysqld  Ver 10.11.6-MariaDB for Linux")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(engine, "_USUAL_FOLDER", str(tmp_path))
    with pytest.raises(errors.ServerNotFound, match="none in"):
        find_programs()
    with pytest.raises(errors.ServerNotFound, match="can't be started"):
        find_programs(tmp_path / "missing")


def test_a_failed_download_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken off at any point, the private copy is there as a whole or not at all."""
    apt = tmp_path / "bin" / "apt-get"
    script(tmp_path / "bin" / "dpkg-deb", "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(engine, "_USUAL_FOLDER", str(tmp_path))
    cache = tmp_path / "cache" / "innoclone"
    script(apt, "").write_text(
        "#!/bin/sh\necho file:///nowhere/\n[ $1 = indextargets ] || { echo E: no network >&2; exit 100; }\n"
    )
    with pytest.raises(errors.ServerNotFound, match="no network"):
        provide_programs(lambda _: None)
    assert [path.name for path in cache.iterdir()] == ["mysql.lock"]
    apt.unlink()
    with pytest.raises(errors.ServerNotFound, match="no apt-get"):
        provide_programs(lambda _: None)
    assert [path.name for path in cache.iterdir()] == ["mysql.lock"]


def test_data_directory_with_blanks_and_umlauts(programs: Programs, tmp_path: Path) -> None:
    datadir = tmp_path / "größere Daten" / ("y" * 120)
    Server.initialize(programs, datadir)
    with Server.start(programs, datadir) as server:
        assert server.port == 0
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT @@datadir, @@skip_networking")
            assert cursor.fetchone() == (f"{datadir}/", 1)
            cursor.execute("SHOW PLUGINS")
            assert not any(row[0] == "mysqlx" and row[1] == "ACTIVE" for row in cursor.fetchall())
        socket = server.socket
    assert not server.running()
    assert not socket.parent.exists()
    assert "Shutdown complete" in server_log(programs, datadir, tmp_path)


def server_log(programs: Programs, datadir: Path, folder: Path) -> str:
    """The error log of one more start and stop."""
    log = folder / "kept.log"
    Server.start(programs, datadir, error_log=log).stop()
    return log.read_text()


def test_without_passwords_nothing_but_the_socket(make_server: ServerFactory, programs: Programs) -> None:
    server = make_server(donor=False)
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("ALTER USER root@localhost IDENTIFIED BY 'unknown'")
    server.stop()
    with Server.start(programs, server.datadir) as locked, pytest.raises(pymysql.err.OperationalError):
        locked.connect()
    with Server.start(programs, server.datadir, skip_grants=True) as opened, opened.connect("anybody") as connection:
        assert connection.cursor().execute("SELECT 1") == 1
    with pytest.raises(ValueError, match="no port"):
        Server.start(programs, server.datadir, skip_grants=True, port=0)


def test_crash_and_recovery(make_server: ServerFactory, programs: Programs) -> None:
    server = make_server(donor=False)
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA s")
        cursor.execute("CREATE TABLE s.t (a INT PRIMARY KEY) SELECT 1 AS a")
    server.kill()
    assert not server.running()
    with Server.start(programs, server.datadir) as again, again.connect() as connection:
        assert connection.cursor().execute("SELECT * FROM s.t") == 1


def test_failed_start_says_why_and_leaves_its_log(make_server: ServerFactory, programs: Programs) -> None:
    server = make_server(donor=False)
    server.stop()
    with pytest.raises(errors.BootFailed, match=r"uses page size 16384.*error log: ") as caught:
        Server.start(programs, server.datadir, options=["--innodb-page-size=32k"])
    log = Path(caught.value.message.rpartition("error log: ")[2].rstrip(")"))
    assert "32768" in log.read_text()
    shutil.rmtree(log.parent)
    with pytest.raises(errors.UsageError, match="longer than 107 bytes"):
        Server.start(programs, server.datadir, socket=Path("/" + "s" * 107))
