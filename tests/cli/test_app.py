"""The program from outside: exit statuses, what goes where, signals, option files, and nothing that leaks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from commandline import SECRET, cloned, environment, in_this_process, innoclone, innoclone_here
from innoclone import errors
from innoclone.cli import app as program
from innoclone.cli.arguments import FileArgs
from innoclone.cli.clone import parse_compression
from innoclone.cli.command import _readable_password
from innoclone.cli.copying import parse_map_path
from innoclone.cli.reference import commands
from innoclone.commands.options import CloneOptions, VerifyOptions
from innoclone.commands.verify import VerifyReport
from innoclone.report.output import Output
from innoclone.stream.pagecheck import PageReport
from innoclone.transport.endpoint import Compression, Endpoint, SslMode

__all__ = ["cloned", "environment", "in_this_process", "innoclone", "innoclone_here"]


# ---- help and usage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", *commands()])
def test_help_of_every_command(innoclone_here, name):
    done = innoclone_here(*name.split(), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: innoclone{' ' + name if name else ''} ")


def test_the_exit_statuses_are_in_the_help(innoclone):
    text = innoclone().stdout
    for kind in errors.registry():
        if not kind.__subclasses__():
            assert kind.__name__ in text
    assert innoclone("--help").stdout == text


def test_help_does_not_load_what_it_does_not_need():
    code = (
        "import sys; from innoclone.cli.app import run; run(['--help']);"
        "print(*sorted({'rich', 'pymysql', 'cryptography', 'zstandard', 'ssl'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""


def test_a_clone_loads_nothing_needless_before_it_connects(tmp_path):
    """What the agent, the donor and the sandbox need, what shows progress on a terminal, what only a way without the
    native library or a measurement takes, and what those bring with them; and no class by the standard decorator."""
    needless = {
        "argparse", "asyncio", "crc32c", "email", "fractions", "http", "importlib.metadata", "rich", "sqlglot",
        "statistics", "typer.rich_utils", "zipfile", "zstandard", "innoclone.agent", "innoclone.api",
        "innoclone.commands.boot", "innoclone.commands.keywords", "innoclone.commands.local", "innoclone.donor",
        "innoclone.innodb.binlogposition", "innoclone.receive.position", "innoclone.sandbox",
        "innoclone.sources.local", "innoclone.store", "innoclone.verification",
    }  # fmt: skip
    code = f"""
import dataclasses
import sys
from innoclone.cli.app import run
assert run(["clone", "--no-defaults", "mysql://nobody@127.0.0.1:1", {str(tmp_path / "clone")!r}]) == 3
assert {{"pymysql", "innoclone.receive.recipient"}} <= set(sys.modules)  # it got as far as that
print(*sorted({needless!r} & set(sys.modules)))
for name, module in sys.modules.items():
    if name.startswith("innoclone.") and getattr(module, "dataclass", None) is dataclasses.dataclass:
        print(name, "compiles the methods of data classes")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    assert "ERROR 2003" in done.stderr  # nobody listens there: all that comes before a connection was done


@pytest.mark.parametrize("how", ["version", "--version", "-V"])
def test_version(innoclone, how):
    done = innoclone(how)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("innoclone 0.")


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["--nonsense"],
        ["clone"],
        ["clone", "--nonsense", "/x"],
        ["clone", "--threads", "many", "/x"],
        ["clone", "--threads", "129", "/x"],
        ["clone", "--threads=0", "/x"],
        ["clone", "--max-network-bandwidth=-1", "/x"],
        ["clone", "--max-data-bandwidth=nan", "/x"],
        ["clone", "--stall-timeout=0", "/x"],
        ["clone", "--compress=lz4", "/x"],
        ["clone", "--compress=zstd:23", "/x"],
        ["clone", "--map-path=/a", "/x"],
        ["clone", "--map-path=a=b", "/x"],
        ["clone", "--port", "x", "/x"],
        ["clone", "--host"],
        ["clone", "mysql://u@h"],
        ["clone", "mysql://u@h", "mysql://u@i", "/x"],
        ["clone", "/x", "/y"],
        ["clone", "http://u@h", "/x"],
        ["clone", "mysql://u@h/schema", "/x"],
        ["clone", "--ssl-mode=SOME", "/x"],
        ["clone", "--defaults-file=/nonexistent/my.cnf", "/x"],
        ["clone", "--log-file=/nonexistent/log", "/x"],
        ["boot"],
        ["boot", "/x", "/y"],
        ["verify"],
        ["replicate"],
        ["sandbox", "start", "--port=65536"],
        ["sandbox", "start", f"--size={'9' * 400}"],
        ["sandbox", "fill", "--size=9000000T"],
        ["sandbox", "fill", "--load", "--seconds=nan"],
        ["sandbox", "fill", "--load", "--seconds=inf"],
        ["sandbox", "fill", "--load", "--pause=nan"],
        ["sandbox", "fill", "--load", "--threads=0"],
    ],
)
def test_bad_usage_is_an_error_with_a_hint(cloned, capsys, args):
    assert program.run(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    first, *others = err.splitlines()
    assert first.startswith("innoclone: ERROR 1210 (HY000): ")
    assert all(line.startswith("innoclone: hint: ") for line in others)


@pytest.mark.parametrize("args", [["nonsense"], ["clone", "--threads", "many", "/x"], ["clone", "-p", "/x"]])
def test_bad_usage_has_no_traceback(innoclone, args):
    done = innoclone(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("innoclone: ERROR 1210 (HY000): ")
    assert "Traceback" not in done.stderr


def test_a_bare_h_and_the_word_help(innoclone_here):
    """In front of a command -h is help; behind one it is the host, unless nothing follows."""
    innoclone = innoclone_here
    top, clone, start = innoclone("--help"), innoclone("clone", "--help"), innoclone("sandbox", "start", "--help")
    for words, wanted in [
        (["-h"], top), (["help"], top), (["help", "clone"], clone), (["clone", "-h"], clone),
        (["help", "sandbox", "start"], start), (["sandbox", "help", "start"], start), (["help", "help"], top),
    ]:  # fmt: skip
        done = innoclone(*words)
        assert (done.returncode, done.stdout, done.stderr) == (0, wanted.stdout, "")
    assert "Commands:" in innoclone("sandbox", "-h").stdout
    done = innoclone("help", "nonsense")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no such command 'nonsense'" in done.stderr


# ---- what reaches the operation ----------------------------------------------------------------------------


def test_defaults_are_those_of_clone_options(cloned, tmp_path):
    status, options = cloned(str(tmp_path / "clone"))
    assert status == 0
    assert options == CloneOptions(donor=Endpoint(user=options.donor.user), directory=tmp_path / "clone")


def test_every_option_arrives(cloned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, options = cloned(
        "-hdb1", "-P", "3307", "-ucloner", f"-p{SECRET}", "--ssl-mode=disabled", "relative",
        "--threads=16", "--compress=zstd:7", "--max-network-bandwidth=0.5", "--max-data-bandwidth=100",
        "--block-ddl", "--ddl-timeout=5", "--map-path=/a=/b", "--map-path", "/c=/d", "--no-fsync", "--no-verify-pages",
        "--install-plugin", "--chown=mysql:mysql", "--boot", "--mysqld=/usr/sbin/mysqld", "--stall-timeout=7",
        "--connect-timeout=3",
    )  # fmt: skip
    assert status == 0
    assert options == CloneOptions(
        donor=Endpoint("db1", 3307, "cloner", SECRET, ssl_mode=SslMode.DISABLED, connect_timeout=3.0),
        directory=tmp_path / "relative",
        threads=16,
        compression=Compression("zstd", 7),
        max_network_bandwidth=0.5,
        max_data_bandwidth=100,
        block_ddl=True,
        ddl_timeout=5,
        map_paths=(("/a", "/b"), ("/c", "/d")),
        fsync=False,
        verify_pages=False,
        install_plugin=True,
        chown="mysql:mysql",
        boot=True,
        mysqld=Path("/usr/sbin/mysqld"),
        stall_timeout=7,
    )


def test_the_last_line_of_success(cloned, capsys):
    assert cloned("--quiet", "/x")[0] == 0
    assert capsys.readouterr() == ("", "innoclone: completed OK!\n")
    assert cloned("/x")[0] == 0
    assert capsys.readouterr().err.splitlines()[-1] == "innoclone: completed OK!"


def test_a_result_in_json(cloned, capsys):
    assert cloned("--json", "/x")[0] == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["event"] == "result"


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (["-p", "x"], ["--ask-password", "x"]),
        (["--password", "x"], ["--ask-password", "x"]),
        (["-psecret"], ["--password=secret"]),
        (["-p=text"], ["--password==text"]),
        (["-vp", "x"], ["-v", "--ask-password", "x"]),
        (["-qvpsecret"], ["-qv", "--password=secret"]),
        (["-hp", "-up"], ["-hp", "-up"]),
        (["--password=secret", "-P", "1"], ["--password=secret", "-P", "1"]),
        (["--", "-p"], ["--", "-p"]),
    ],
)
def test_the_password_option_is_mysqls(typed, read):
    assert _readable_password(typed, "qv") == read


def test_what_follows_p_is_the_password_to_the_last_sign(cloned):
    """As mysql -p=text, which says (using password: YES) and means "=text"."""
    for word, password in [("-p=text", "=text"), ("-ptext", "text"), ("-vptext", "text"), ("--password=text", "text")]:
        assert cloned("-hdb1", word, "/x")[1].donor.password == password


def test_compression_and_paths():
    assert parse_compression("OFF") == Compression("off")
    assert parse_compression("zstd") == Compression("zstd", 3)
    assert parse_map_path("/a=/b=c") == ("/a", "/b=c")


# ---- option files ------------------------------------------------------------------------------------------


@pytest.fixture
def my_cnf(tmp_path):
    path = tmp_path / "my.cnf"

    def write(*lines: str) -> str:
        path.write_text(
            "\n".join(["[client]", "user=filed", "default-character-set=utf8mb4", "[innoclone]", *lines, ""])
        )
        return f"--defaults-file={path}"

    return write


def test_the_innoclone_group_has_defaults_for_any_option(cloned, my_cnf):
    found = cloned(
        my_cnf("threads = 8", "compress=zlib", "no-fsync", "block_ddl", "verify-pages=OFF",
               "map-path=/a=/b", "map-path=/c=/d", "host=db9", "loose-colour=blue", "keep"),
        "/x",
    )[1]  # fmt: skip
    assert (found.threads, found.compression.algorithm, found.fsync, found.block_ddl) == (8, "zlib", False, True)
    assert (found.verify_pages, found.map_paths) == (False, (("/a", "/b"), ("/c", "/d")))
    assert (found.donor.user, found.donor.host) == ("filed", "db9")


def test_the_command_line_wins_over_the_group(cloned, my_cnf):
    found = cloned(my_cnf("threads=8", "no-fsync", "map-path=/a=/b"), "--threads=2", "--fsync", "/x")[1]
    assert (found.threads, found.fsync, found.map_paths) == (2, True, (("/a", "/b"),))


@pytest.mark.parametrize(
    "line", ["colour=blue", "threads", "threads=x", "no-fsync=perhaps", "ask-password", "login-path=x"]
)
def test_a_bad_line_in_the_group_is_a_usage_error(cloned, my_cnf, capsys, line):
    assert cloned(my_cnf(line), "/x") == (2, None)
    assert "ERROR 1210" in capsys.readouterr().err


def test_a_login_path_reaches_the_donor(cloned, tmp_path, monkeypatch):
    from mysql_options import LOGIN_FILE, PASSWORD, private

    monkeypatch.setenv("MYSQL_TEST_LOGIN_FILE", str(private(tmp_path / "login.cnf", LOGIN_FILE)))
    donor = cloned("--no-defaults", "--login-path=donor", "--protocol=TCP", "/x")[1].donor
    assert (donor.host, donor.port, donor.user, donor.password) == ("db1", 3310, "clöner", PASSWORD)


# ---- errors ------------------------------------------------------------------------------------------------


SINGLE = [kind for kind in errors.registry() if not kind.__subclasses__() and kind is not errors.PreflightFailed]


@pytest.mark.parametrize("kind", SINGLE)
def test_every_error_ends_with_its_exit_status(cloned, monkeypatch, capsys, kind):
    def fail(options: CloneOptions, *, status: object) -> None:
        raise kind("what went wrong")

    monkeypatch.setattr(sys.modules["innoclone.commands.clone"], "clone", fail)
    monkeypatch.setattr("innoclone.report.output.library", object())  # else a line says that there is none
    assert cloned("/x")[0] == kind.exit_status
    err = capsys.readouterr().err.splitlines()
    assert err[1] == f"innoclone: ERROR {kind.number} ({kind.sqlstate}): what went wrong"
    assert len(err) == (3 if kind.hint else 2)


def test_a_missing_library_is_told(cloned, monkeypatch, capsys):
    monkeypatch.setattr("innoclone.report.output.library", None)
    monkeypatch.setattr("innoclone.report.output.missing", "it was not built")
    cloned("/x")
    line = "innoclone: no native library (it was not built): pages are checked and compared in Python, slower"
    assert capsys.readouterr().err.splitlines().count(line) == 1


def test_several_problems_are_all_shown(cloned, monkeypatch, capsys):
    def fail(options: CloneOptions, *, status: object) -> None:
        raise errors.PreflightFailed([errors.RedoDisabled("redo is off"), errors.DiskSpace("too small")])

    monkeypatch.setattr(sys.modules["innoclone.commands.clone"], "clone", fail)
    assert cloned("/x")[0] == errors.RedoDisabled.exit_status
    err = capsys.readouterr().err
    for word in ["ERROR 3983", "redo is off", errors.RedoDisabled.hint, "ERROR 3873", "too small"]:
        assert word in err


# ---- verify: what it compares ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "compared"),
    [
        ([], False),
        (["--no-defaults"], False),
        (["--threads=2"], False),
        (["--against", "mysql://u@h:1"], True),
        (["-hdb1"], True),
        (["--get-server-public-key"], True),
        (["--defaults-file=named.cnf"], True),
        (["--defaults-extra-file=named.cnf"], True),
        (["--defaults-file=others.cnf"], False),
    ],
)
@pytest.mark.usefixtures("cloned")
def test_verify_compares_tables_where_the_command_names_a_server(
    monkeypatch, environment, tmp_path, capsys, arguments, compared
):
    """Neither the usual files nor the environment do that; and the verdict says what was not compared."""
    assert FileArgs(login_path="prod").name_a_server()
    seen: list[VerifyOptions] = []

    def verify(options: VerifyOptions, *, status: object) -> VerifyReport:
        seen.append(options)
        return VerifyReport(PageReport(()), (), compared=options.against is not None)

    monkeypatch.setattr("innoclone.commands.verify.verify", verify)
    monkeypatch.setattr(Output, "current", None)
    monkeypatch.setenv("HOME", environment["HOME"])
    monkeypatch.setenv("MYSQL_HOST", "elsewhere")
    monkeypatch.chdir(tmp_path)
    Path(environment["HOME"], ".my.cnf").write_text("[client]\nhost=usual\nuser=usual\n")
    Path("named.cnf").write_text("[client]\nhost=db1\nuser=named\n")
    Path("others.cnf").write_text("[client]\ncompress\n[mysqld]\nport=1\n[innoclone]\nthreads=3\n")
    assert program.run(["verify", "--json", *arguments, "/x"]) == 0
    assert (seen[0].against is not None) == compared
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["compared"] is compared
    assert bool(told["not_compared"]) is ("tables not compared" in told["verdict"]) is not compared


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        ("clone mysql://a@b s3://c/d", "innoclone backup"),
        ("clone --via ssh://h s3://c/d here", "innoclone restore"),
        ("clone --to s3://c/d --generations 2", "innoclone backup"),
        ("local --to s3://c/d --generations 2", "innoclone backup"),
        ("restore clone s3://c/d", "a restore makes a directory"),
        ("list s3://c/d", "innoclone store list"),
        ("boot s3://c/d", "innoclone restore"),
    ],
)
def test_a_store_where_a_directory_is_meant(innoclone_here, tmp_path, monkeypatch, command, advice):
    """It is never taken for a path: a directory s3:/c/d would be made."""
    monkeypatch.chdir(tmp_path)
    done = innoclone_here(*command.split())
    assert "store" in done.stderr
    assert advice in done.stderr
    assert done.returncode == errors.UsageError.exit_status
    assert not (tmp_path / "s3:").exists()
