"""What stays with a server whose data is replaced: told from data by names, and copied."""

from __future__ import annotations

from pathlib import Path

import pytest

from innoclone.errors import TargetExists, TargetUnusable
from innoclone.files.belongings import belongings, carry

DATA = (
    "ibdata1", "ibtmp1", "mysql.ibd", "general.ibd", "undo_001", "more.ibu", "ib_buffer_pool", "ib_logfile0",
    "#ib_16384_0.dblwr", "#innodb_redo/#ib_redo1", "#innodb_temp/temp_1.ibt", "mysql/general_log.CSV",
    "mysql/general_log_1.sdi", "sys/x.ibd", "#clone/#view_status", "#innoclone/manifest.json", "shop/t.ibd",
    "shop/m.MYD", "shop/m.MYI", "shop/m_1.sdi", "shop/db.opt", "binlog.000001", "binlog.index", "system0",
    "myisam/m.MYD", "myisam/m.MYI", "csv/c.CSM", "csv/c.CSV", "merge/m.MRG", "archive/a.ARZ", "known/db.opt",
    "odd/only.MYD",
)  # fmt: skip
OWN = (
    "auto.cnf", "mysqld-auto.cnf", "my.cnf", "server-key.pem", "host.err", "host-slow.log", "relay.000001",
    "relay.index", "mysql_upgrade_history", "scripts/backup.sh", "notes.txt", "undo_notes", "ibdata1.bak",
    "binlog.tar", "exports/list.CSV", "exports/list.csv",
)  # fmt: skip
SCHEMAS = ["mysql", "known", "odd", "empty-schema"]
NAMES = [r"binlog\.(\d+|~rec~)", r"binlog\.index", "system0"]


def fill(data: Path, names: tuple[str, ...]) -> None:
    for name in names:
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def test_what_belongs_to_the_server_and_what_is_data(tmp_path: Path) -> None:
    fill(tmp_path, DATA + OWN)
    for name in ("empty@002dschema", "caf@1o", "tmp"):  # the last one is for a tmpdir, say
        (tmp_path / name).mkdir()
    stays = belongings(tmp_path, NAMES, SCHEMAS)
    assert {path.name for path in stays} == {name.partition("/")[0] for name in OWN} | {"tmp"}


def test_a_foreign_file_among_tables_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, (*DATA, "shop/dump.sql"))
    with pytest.raises(TargetUnusable, match=r"shop holds tables and also dump\.sql"):
        belongings(tmp_path, NAMES)


@pytest.mark.parametrize("name", ["shop/dump.sql", "known/dump.sql", "shop/more/t.ibd"])
def test_a_foreign_file_in_any_schema_is_refused(tmp_path: Path, name: str) -> None:
    fill(tmp_path, (*DATA, name))
    with pytest.raises(TargetUnusable, match="holds tables and also"):
        belongings(tmp_path, NAMES, SCHEMAS)


@pytest.mark.parametrize(("name", "file"), [("shop", "t.ibd"), ("#innodb_redo", "#ib_redo1"), ("undo_001", "")])
def test_a_link_to_data_elsewhere_is_refused(tmp_path: Path, name: str, file: str) -> None:
    fill(tmp_path, (f"elsewhere/{file or name}", "data/mysql.ibd"))
    (tmp_path / "data" / name).symlink_to(tmp_path / "elsewhere" / ("" if file else name))
    with pytest.raises(TargetUnusable, match="symbolic link"):
        belongings(tmp_path / "data", [])


def test_carrying_copies_and_touches_nothing(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    fill(old, OWN)
    fill(new, ("mysql_upgrade_history", "mysql.ibd"))
    (old / "scripts" / "backup.sh").chmod(0o700)
    (old / "link").symlink_to("my.cnf")
    carry(belongings(old, []), new)
    for name in OWN:
        assert (old / name).read_text() == (new / name).read_text() == name
        assert (old / name).stat().st_ino != (new / name).stat().st_ino
        assert (old / name).stat().st_mode == (new / name).stat().st_mode
    assert (new / "link").readlink() == Path("my.cnf")


def test_what_has_the_name_of_a_schema_of_the_clone_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "old", ("scripts/backup.sh", "shop"))
    fill(tmp_path / "new", ("scripts/t.ibd", "shop/t.ibd"))
    for entry in belongings(tmp_path / "old", []):
        with pytest.raises(TargetExists, match=entry.name):
            carry([entry], tmp_path / "new")
    assert not (tmp_path / "new" / "scripts" / "backup.sh").exists()


def test_an_empty_folder_is_in_no_schemas_way(tmp_path: Path) -> None:
    (tmp_path / "old" / "shop").mkdir(parents=True)
    fill(tmp_path / "new", ("shop/t.ibd",))
    carry(belongings(tmp_path / "old", []), tmp_path / "new")
    assert (tmp_path / "new" / "shop" / "t.ibd").exists()
