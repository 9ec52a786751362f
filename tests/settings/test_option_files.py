"""Option files and login paths, against MySQL's own my_print_defaults and mysql_config_editor."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from innoclone.errors import UsageError
from innoclone.settings import login_path
from innoclone.settings.option_files import Files, Line, Setting, parse, read, settings_of, standard_files
from mysql_options import LOGIN_FILE, PASSWORD, private, program, type_password

__all__ = ["program"]


def ours(path: Path, *groups: str, lenient: bool = False) -> str:
    """What my_print_defaults would print; ``lenient``: as of a file at a standard place."""
    found = settings_of(read(path, named=not lenient, warn=lambda _: None), groups)
    return "".join(f"--{item.name}{'' if item.value is None else '=' + item.value}\n" for item in found)


def reference(program, path: Path, *groups: str, **environ: str) -> str:
    """What it does print; an error is an empty string and a remark."""
    done = subprocess.run(
        [*program("my_print_defaults"), f"--defaults-file={path}", *groups, "--show"],
        capture_output=True,
        check=False,
        env={"PATH": os.environ["PATH"], "MYSQL_TEST_LOGIN_FILE": "/nonexistent", **environ},
    )
    return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else "refused"


TRICKY = r"""
# comment
; other comment
[CLIENT] what follows does not count
user = root   # trailing
password = "a#b;c"d
p2='it''s'
p3 = "it\"s" # x
p4 = a\sb\tc\qd\\e\
p5 = "unclosed
p6 = "q" trailing "q"
host
 port=
loose-foo_bar = 1
=no name
p7 = ab\"#c
p8 = "\""#c"
!whatever
[ client ]
user=a leading blank belongs to the name
[client ]
user=a trailing one does not
[other]
user=nobody
[client]
p9=é
p10="\\"
p11="a\"
p12=\
[client
"""


def test_syntax_is_that_of_my_print_defaults(program, tmp_path):
    good = tmp_path / "good.cnf"
    good.write_text(TRICKY.removesuffix("[client\n"))
    assert ours(good, "client") == reference(program, good, "client")
    assert ours(good, "client").count("\n") == 18
    bad = tmp_path / "bad.cnf"
    bad.write_text(TRICKY)
    assert reference(program, bad, "client") == "refused"
    with pytest.raises(UsageError, match="wrong group definition in config file"):
        read(bad, warn=print)


TEXT = st.text(alphabet="ab nsrtb'\"#;=\\[]é€-_ \t", max_size=30)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TEXT, max_size=12))
@example(["'", "a='", "a=''", 'a="\'"', "a=\\", "a='\\'", "a = ' # '", "\\'#'"])
def test_any_file_reads_as_my_print_defaults_reads_it(program, tmp_path, lines):
    # The real program reads before the start of a name that is empty behind white space (" =") and prints garbage.
    assume(not any(re.match(r"[ \t]+=", line) for line in lines))
    path = tmp_path / "any.cnf"
    path.write_text("\n".join(["[client]", *lines, ""]))
    try:
        found = ours(path, "client")
    except UsageError:
        found = "refused"
    assert found == reference(program, path, "client")


@given(st.text())
def test_any_text_parses_or_is_a_usage_error(text):
    try:
        found = list(parse(text))
    except UsageError:
        return
    assert all(isinstance(item, Setting | Line) for item in found)


@given(st.text(alphabet=st.characters(exclude_categories=("Cs",))))
def test_a_quoted_and_escaped_value_comes_back(value):
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    assert list(parse(f'[client]\npassword = "{escaped}"')) == [Setting("client", "password", value, ":2")]


def test_names_compare_without_dashes_and_loose():
    setting = Setting("client", "loose_ssl-mode", "REQUIRED")
    assert (setting.key, setting.loose) == ("ssl-mode", True)
    assert Setting("client", "ssl_mode", "").key == "ssl-mode"


def test_includes(program, tmp_path):
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "b.cnf").write_text("[client]\nuser=b\n")
    (folder / "a.cnf").write_text("[client]\nuser=a\n")
    (folder / "c.txt").write_text("[client]\nuser=c\n")
    main = tmp_path / "main.cnf"
    main.write_text(f"[client]\n!include {folder}/b.cnf\n! includedir {folder}\nuser=main\n!include {tmp_path}/none\n")
    (folder / "folder.cnf").mkdir()
    assert ours(main, "client", lenient=True) == "--user=b\n--user=a\n--user=b\n--user=main\n"
    assert ours(main, "client", lenient=True) == reference(program, main, "client")
    warnings: list[str] = []
    read(main, warn=warnings.append)
    assert warnings == [
        f"stopped processing !include at {main}:5: {tmp_path}/none: OS errno 2 - No such file or directory"
    ]


def test_an_include_of_itself_ends(program, tmp_path):
    path = tmp_path / "loop.cnf"
    path.write_text(f"[client]\nuser=x\n!include {path}\n")
    warnings: list[str] = []
    found = read(path, warn=warnings.append)
    assert len(found) == reference(program, path, "client").count("\n")
    assert len(warnings) == 1


def test_a_missing_include_directory_is_refused(program, tmp_path):
    path = tmp_path / "my.cnf"
    path.write_text(f"[client]\n!includedir {tmp_path}/none\n")
    assert reference(program, path, "client") == "refused"
    with pytest.raises(UsageError, match="can't read dir of"):
        read(path, warn=print)


def test_a_world_writable_file_is_ignored_with_a_warning_or_refused_where_it_was_named(program, tmp_path):
    """MySQL ignores both."""
    path = tmp_path / "my.cnf"
    path.write_text("[client]\nuser=eve\n")
    path.chmod(0o666)
    warnings: list[str] = []
    assert read(path, warn=warnings.append) == []
    assert reference(program, path, "client") == ""
    assert warnings == [f"world-writable config file '{path}' is ignored"]
    with pytest.raises(UsageError, match="world-writable") as caught:
        read(path, named=True, warn=print)
    assert caught.value.advice == f"chmod o-w {path}"


GOOD = "[client]\nuser=eve\n"
NAMED = {  # a file's name, text and mode, what we say of it, what my_print_defaults does (as the clients, but for None)
    "missing": (None, 0, "failed to open required defaults file: .*missing .*errno 2 ", None),
    "unreadable": (GOOD, 0, "failed to open required defaults file: .*unreadable .*errno 13 ", None),
    "no group": ("user=eve\n", 0o600, "found option without preceding group in config file .* at line 1", "refused"),
    "bracket": ("[client\n", 0o600, "wrong group definition in config file .* at line 1", "refused"),
    "include of nothing": ("!include\n", 0o600, "wrong '!include' directive in config file .* at line 1", "refused"),
    "folder": ("folder", 0, "failed to open required defaults file: .*folder .*errno 21 ", ""),
    "world-writable": (GOOD, 0o602, "world-writable config file", ""),
    "include missing": (
        "!include DIR/none\n",
        0o600,
        "config file DIR/none, which !include at .*:1 names .*errno 2 ",
        "",
    ),
    "include folder": ("!include DIR\n", 0o600, "config file DIR, which !include at .*:1 names .*errno 21 ", ""),
    "include bad": ("!include DIR/bracket\n", 0o600, "wrong group definition in config file DIR/bracket at", ""),
    "include world": ("!include DIR/world-writable\n", 0o600, "world-writable config file 'DIR/world-writable'", ""),
    "includedir missing": ("!includedir DIR/none\n", 0o600, "can't read dir of 'DIR/none' .*errno 2 ", "refused"),
    "includedir file": ("!includedir DIR/bracket\n", 0o600, "can't read dir of 'DIR/bracket' .*errno 20 ", "refused"),
    "itself": ("!include DIR/itself\n", 0o600, "!include at DIR/itself:1: nested too deep", None),
}


@pytest.mark.parametrize("name", NAMED)
def test_a_named_file_that_can_not_be_used_is_an_error(program, tmp_path, monkeypatch, name):
    """Also where MySQL says nothing and goes on."""
    for each, (text, mode, *_) in NAMED.items():
        if text == "folder":
            (tmp_path / each).mkdir()
        elif text is not None:
            (tmp_path / each).write_text(text.replace("DIR", str(tmp_path)))
            (tmp_path / each).chmod(mode)
    path, (*_, message, mysqls) = tmp_path / name, NAMED[name]
    if name == "unreadable":  # root reads everything
        monkeypatch.setattr(Path, "read_bytes", lambda _: (_ for _ in ()).throw(PermissionError(13, "denied")))
    if mysqls is not None:
        assert reference(program, path, "client") == mysqls
    with pytest.raises(UsageError, match=message.replace("DIR", str(tmp_path))) as caught:
        read(path, named=True, warn=pytest.fail)
    assert caught.value.advice


def test_only_a_named_file_must_exist(tmp_path):
    assert read(tmp_path / "none", warn=print) == []


def test_standard_places():
    home, extra, only = Path("/home/u"), Path("/x/extra.cnf"), Path("/x/only.cnf")
    places = [Path("/etc/my.cnf"), Path("/etc/mysql/my.cnf"), extra, home / ".my.cnf"]
    assert [path for path, _ in standard_files(home, Files(defaults_extra_file=extra))] == places
    assert standard_files(home, Files(defaults_file=only)) == [(only, True)]
    assert standard_files(home, Files(no_defaults=True)) == []
    for files in (Files(only, extra), Files(only, None, True), Files(None, extra, True)):  # MySQL drops one silently
        with pytest.raises(UsageError, match="exclude each other"):
            standard_files(home, files)


# ---- login paths -------------------------------------------------------------------------------------------


def test_a_recorded_login_file(tmp_path):
    found = login_path.read(private(tmp_path / "login.cnf", LOGIN_FILE), warn=print)
    assert [(item.group, item.name, item.value) for item in found] == [
        ("client", "user", "root"),
        ("client", "host", "localhost"),
        ("donor", "user", "clöner"),
        ("donor", "password", PASSWORD),
        ("donor", "host", "db1"),
        ("donor", "socket", "/tmp/a b.sock"),
        ("donor", "port", "3310"),
    ]


@pytest.mark.parametrize("password", [PASSWORD, "x", " # ; spaces ", "sixteen letters!", "=" * 60])
def test_what_mysql_config_editor_writes_today(program, tmp_path, password):
    path = tmp_path / "login.cnf"
    tool = program("mysql_config_editor")
    type_password([*tool, "set", "--login-path=donor", "--user=u", "--password"], path, password)
    found = {item.name: item.value for item in login_path.read(path, warn=print) if item.group == "donor"}
    assert found == {"user": "u", "password": password}
    empty = tmp_path / "empty.cnf"
    empty.touch()
    printed = reference(program, empty, "--login-path=donor", "client", MYSQL_TEST_LOGIN_FILE=str(path))
    assert printed == f"--user=u\n--password={password}\n"


def test_a_login_file_that_others_may_read_is_ignored(tmp_path):
    path = private(tmp_path / "login.cnf", LOGIN_FILE)
    path.chmod(0o640)
    warnings: list[str] = []
    assert login_path.read(path, warn=warnings.append) == []
    assert len(warnings) == 1
    with pytest.raises(UsageError, match="only by current user") as caught:
        login_path.read(path, named=True, warn=print)
    assert caught.value.advice == f"chmod 600 {path}"


def test_a_login_file_that_somebody_named_must_be_there(tmp_path):
    assert login_path.read(tmp_path / "none", warn=print) == []
    with pytest.raises(UsageError, match="failed to open login file"):
        login_path.read(tmp_path / "none", named=True, warn=print)


@given(st.binary(max_size=120) | st.binary(max_size=60).map(lambda tail: LOGIN_FILE[:44] + tail))
def test_any_bytes_decrypt_or_are_refused(data):
    with contextlib.suppress(ValueError):
        assert isinstance(login_path.decrypt(data), str)


def test_a_broken_login_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="can't be decrypted"):
        login_path.read(private(tmp_path / "login.cnf", LOGIN_FILE[:-3]), warn=print)


def test_where_the_login_file_is():
    assert login_path.login_file({"HOME": "/home/u"}) == Path("/home/u/.mylogin.cnf")
    assert login_path.login_file({"HOME": "/home/u", "MYSQL_TEST_LOGIN_FILE": "/x"}) == Path("/x")
    assert login_path.login_file({}) is None
