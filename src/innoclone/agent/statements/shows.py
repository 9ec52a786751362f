"""SHOW and DESCRIBE: what they show is rows of our tables under other names, or of the agent itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from innoclone.agent.faults import StatementError
from innoclone.agent.sql import BIGINT, INT, Column, Table, Value, is_like, parse_select, run_select, tokens_of, varchar
from innoclone.agent.sql import statements as st
from innoclone.agent.statements.context import SessionContext
from innoclone.agent.statements.hostserver import binary_log_status, innodb_status
from innoclone.agent.statements.results import Answer, Rows, table
from innoclone.agent.tables.columns import PLUGINS, SCHEMAS, picked
from innoclone.agent.tables.empties import empty_shows
from innoclone.agent.tables.information import COLLATION, INFORMATION, type_text
from innoclone.agent.tables.variables import plugin_rows
from innoclone.agent.variables.fixed import shown

__all__ = ["show"]

NAME, VALUE = varchar(64, column=True), varchar(1024, column=True)
_VARIABLE = [Column("Variable_name", NAME), Column("Value", VALUE)]
_OF_INFORMATION = {
    "ENGINES": ("ENGINES", "Engine=ENGINE Support=SUPPORT Comment=COMMENT Transactions=TRANSACTIONS XA=XA"
                " Savepoints=SAVEPOINTS"),
    "CHARACTER SET": ("CHARACTER_SETS", "Charset=CHARACTER_SET_NAME Description=DESCRIPTION"
                      " Default_collation=DEFAULT_COLLATE_NAME Maxlen=MAXLEN"),
    "COLLATION": ("COLLATIONS", "Collation=COLLATION_NAME Charset=CHARACTER_SET_NAME Id=ID Default=IS_DEFAULT"
                  " Compiled=IS_COMPILED Sortlen=SORTLEN Pad_attribute=PAD_ATTRIBUTE"),
    "TABLE STATUS": ("TABLES", "Name=TABLE_NAME Engine=ENGINE Version=VERSION Row_format=ROW_FORMAT Rows=TABLE_ROWS"
                     " Avg_row_length=AVG_ROW_LENGTH Data_length=DATA_LENGTH Max_data_length=MAX_DATA_LENGTH"
                     " Index_length=INDEX_LENGTH Data_free=DATA_FREE Auto_increment=AUTO_INCREMENT"
                     " Create_time=CREATE_TIME Update_time=UPDATE_TIME Check_time=CHECK_TIME Collation=TABLE_COLLATION"
                     " Checksum=CHECKSUM Create_options=CREATE_OPTIONS Comment=TABLE_COMMENT"),
    "INDEX": ("STATISTICS", "Table=TABLE_NAME Non_unique=NON_UNIQUE Key_name=INDEX_NAME Seq_in_index=SEQ_IN_INDEX"
              " Column_name=COLUMN_NAME Collation=COLLATION Cardinality=CARDINALITY Sub_part=SUB_PART Packed=PACKED"
              " Null=NULLABLE Index_type=INDEX_TYPE Comment=COMMENT Index_comment=INDEX_COMMENT Visible=IS_VISIBLE"
              " Expression=EXPRESSION"),
    "TRIGGERS": ("TRIGGERS", "Trigger=TRIGGER_NAME Event=EVENT_MANIPULATION Table=EVENT_OBJECT_TABLE"
                 " Statement=ACTION_STATEMENT Timing=ACTION_TIMING Definer=DEFINER"),
    "EVENTS": ("EVENTS", "Db=EVENT_SCHEMA Name=EVENT_NAME Definer=DEFINER Status=STATUS"),
    "FUNCTION STATUS": ("ROUTINES", "Db=ROUTINE_SCHEMA Name=ROUTINE_NAME Type=ROUTINE_TYPE Definer=DEFINER"),
    "PROCEDURE STATUS": ("ROUTINES", "Db=ROUTINE_SCHEMA Name=ROUTINE_NAME Type=ROUTINE_TYPE Definer=DEFINER"),
}  # fmt: skip
"""The table behind a SHOW, and its columns by their names in the SHOW; "_" is a blank in "Default collation" alone."""


def show(context: SessionContext, statement: st.Show) -> Answer:
    """SHOW. Raises a `StatementError`."""
    what = statement.what.removeprefix("GLOBAL ").removeprefix("SESSION ").removeprefix("FULL ")
    if what in _EMPTY:
        context.caller.require("REPLICATION CLIENT", shown="SUPER, REPLICATION CLIENT")
        return table(_EMPTY[what], [])
    if what in _OF_INFORMATION:
        return _of_information(context, statement, what)
    return _SHOWS[what](context, statement)


def filtered(
    context: SessionContext, columns: Sequence[Column], rows: Sequence[tuple[Value, ...]], wanted: st.Filter
) -> Rows:
    """A SHOW with LIKE (on its first column) or WHERE, which is a SELECT over what it shows."""
    if wanted.like is not None:
        rows = [row for row in rows if is_like(str(row[0]), wanted.like)]
    if wanted.where is None:
        return table(columns, rows[: context.variables.settings.limit])
    text = f"SELECT * FROM shown WHERE {wanted.where}"  # noqa: S608 - read by our own parser, over what is shown
    tree = parse_select(text, tokens_of(text, context.modes), modes=context.modes)
    result = run_select(tree, context.select_session(limited=True), _Shown(columns, rows))
    return table(columns, result.rows)


class _Shown:
    """What a SHOW shows, as the only table."""

    def __init__(self, columns: Sequence[Column], rows: Sequence[tuple[Value, ...]]) -> None:
        self._columns, self._rows = columns, rows

    def table(self, schema: str, name: str, alias: str) -> Table:
        """The table."""
        if schema or name != "shown":
            raise StatementError(1235, "another table in SHOW")
        return Table(alias, "", name, self._columns, lambda: self._rows)


def _schema(context: SessionContext, statement: st.Show) -> str:
    """Raises errors 1046, 1049."""
    schema = (statement.schema or context.schema).lower()
    if not schema:
        raise StatementError(1046)
    if schema not in SCHEMAS:
        raise StatementError(1049, statement.schema)
    return schema


def _of_information(context: SessionContext, statement: st.Show, what: str) -> Answer:
    source, pairs = _OF_INFORMATION[what]
    names = [pair.split("=") for pair in pairs.split()]
    columns = INFORMATION[source]
    rows = context.catalog().information(source)
    if what == "TABLE STATUS":
        schema = _schema(context, statement)
        names_of = picked(columns, rows, ["TABLE_SCHEMA"])
        rows = [values for values, (found,) in zip(rows, names_of, strict=True) if found == schema]
    elif what == "INDEX":
        context.catalog().table(_schema(context, statement), statement.name or "", "")
    types = {column.name: column.type for column in columns}
    shown = [Column(title.replace("Default_collation", "Default collation"), types[name]) for title, name in names]
    return filtered(context, shown, picked(columns, rows, [name for _, name in names]), statement.filter)


def _variables(context: SessionContext, statement: st.Show) -> Answer:
    values = context.system_variables(of_session=not statement.what.startswith("GLOBAL"))
    rows = [(name, shown(value) or "") for name, value in sorted(values.items())]
    return filtered(context, _VARIABLE, rows, statement.filter)


def _status(context: SessionContext, statement: st.Show) -> Answer:
    return filtered(context, _VARIABLE, context.catalog().status(), statement.filter)


def _plugins(context: SessionContext, statement: st.Show) -> Answer:
    names = ("Name", "Status", "Type", "Library", "License")
    rows = picked(PLUGINS, plugin_rows(context.services.variables), [f"PLUGIN_{name.upper()}" for name in names])
    return table([Column(name, NAME) for name in names], rows)


def _processlist(context: SessionContext, statement: st.Show) -> Answer:
    names = ("User", "Host", "db", "Command")
    columns = [Column("Id", BIGINT), *(Column(name, varchar(64)) for name in names), Column("Time", INT)]
    columns += [Column("State", varchar(30)), Column("Info", varchar(100))]
    return table(columns, context.catalog().processes(full=statement.what.startswith("FULL")))


def _databases(context: SessionContext, statement: st.Show) -> Answer:
    pattern = "" if statement.filter.like is None else f" ({statement.filter.like})"
    return filtered(context, [Column(f"Database{pattern}", NAME)], [(name,) for name in SCHEMAS], statement.filter)


def _tables(context: SessionContext, statement: st.Show) -> Answer:
    schema = _schema(context, statement)
    pattern = "" if statement.filter.like is None else f" ({statement.filter.like})"
    columns = [Column(f"Tables_in_{schema}{pattern}", NAME)]
    rows: list[tuple[Value, ...]] = [(name,) for name in context.catalog().names(schema)]
    if statement.what.startswith("FULL"):
        columns.append(Column("Table_type", NAME))
        kind = "SYSTEM VIEW" if schema == "information_schema" else "BASE TABLE"
        rows = [(*row, kind) for row in rows]
    return filtered(context, columns, rows, statement.filter)


def _open_tables(context: SessionContext, statement: st.Show) -> Answer:
    columns = [Column("Database", NAME), Column("Table", NAME), Column("In_use", INT), Column("Name_locked", INT)]
    return filtered(context, columns, [], statement.filter)


def _columns(context: SessionContext, statement: st.Show) -> Answer:
    found = context.catalog().table(_schema(context, statement), statement.name or "", "")
    full = statement.what.startswith("FULL")
    names = ["Field", "Type", *(["Collation"] if full else []), "Null", "Key", "Default", "Extra"]
    names += ["Privileges", "Comment"] if full else []
    rows = []
    for column in found.columns:
        collation = (COLLATION if column.type.is_text else None,) if full else ()
        more = ("select", "") if full else ()
        rows.append((column.name, type_text(column.type), *collation, "YES", "", None, "", *more))
    return filtered(context, [Column(name, VALUE) for name in names], rows, statement.filter)


def _create_table(context: SessionContext, statement: st.Show) -> Answer:
    found = context.catalog().table(_schema(context, statement), statement.name or "", "")
    lines = [f"  `{column.name}` {type_text(column.type)} DEFAULT NULL" for column in found.columns]
    text = f"CREATE TABLE `{found.name}` (\n" + ",\n".join(lines) + "\n) ENGINE=PERFORMANCE_SCHEMA"
    text = _quoted(context, f"{text} DEFAULT CHARSET=utf8mb4 COLLATE={COLLATION}")
    return table([Column("Table", NAME), Column("Create Table", VALUE)], [(found.name, text)])


def _create_database(context: SessionContext, statement: st.Show) -> Answer:
    schema = (statement.name or "").lower()
    if schema not in SCHEMAS:
        raise StatementError(1049, statement.name)
    text = (
        f"CREATE DATABASE `{schema}` /*!40100 DEFAULT CHARACTER SET utf8mb4 COLLATE {COLLATION} */"
        " /*!80016 DEFAULT ENCRYPTION='N' */"
    )
    columns = [Column("Database", NAME), Column("Create Database", VALUE)]
    return table(columns, [(schema, _quoted(context, text))])


def _quoted(context: SessionContext, text: str) -> str:
    """Without the quotes if sql_quote_show_create is off: no name of ours needs them."""
    return text if context.variables.values["sql_quote_show_create"] else text.replace("`", "")


def _warnings(context: SessionContext, statement: st.Show) -> Answer:
    columns = [Column("Level", varchar(7)), Column("Code", INT), Column("Message", varchar(512))]
    notes = [note for note in context.notes if "ERRORS" not in statement.what or note[0] == "Error"]
    if statement.what.startswith("COUNT"):
        name = "error_count" if "ERRORS" in statement.what else "warning_count"
        return table([Column(f"@@session.{name}", BIGINT)], [(len(notes),)], keeps_notes=True)
    return table(columns, notes, keeps_notes=True)


def _position(context: SessionContext, statement: st.Show) -> Answer:
    names = ("File", "Position", "Binlog_Do_DB", "Binlog_Ignore_DB", "Executed_Gtid_Set")
    if not context.caller.may("SELECT", "performance_schema.clone_status"):  # which shows the same
        context.caller.require("REPLICATION CLIENT", shown="SUPER, REPLICATION CLIENT")
    columns = [Column(name, BIGINT if name == "Position" else varchar(255)) for name in names]
    return table(columns, binary_log_status(context.services.settings))


def _engine_status(context: SessionContext, statement: st.Show) -> Answer:
    context.caller.require("PROCESS")
    if (statement.name or "").lower() == "performance_schema":
        raise StatementError(1235, "SHOW ENGINE PERFORMANCE_SCHEMA STATUS")
    if (statement.name or "").lower() != "innodb":
        raise StatementError(1286, statement.name)
    columns = [Column("Type", varchar(10)), Column("Name", varchar(512)), Column("Status", varchar(10))]
    status = innodb_status(context.services.settings, context.services.clones)
    return table(columns, [] if status is None else [("InnoDB", "", status)])


_SHOWS: dict[str, Callable[[SessionContext, st.Show], Answer]] = {
    "VARIABLES": _variables, "PLUGINS": _plugins, "PROCESSLIST": _processlist, "DATABASES": _databases,
    "TABLES": _tables, "WARNINGS": _warnings, "ERRORS": _warnings, "COUNT WARNINGS": _warnings,
    "COUNT ERRORS": _warnings, "STATUS": _status, "BINARY LOG STATUS": _position, "ENGINE STATUS": _engine_status,
    "COLUMNS": _columns, "CREATE TABLE": _create_table, "CREATE DATABASE": _create_database,
    "OPEN TABLES": _open_tables,
}  # fmt: skip
_EMPTY = empty_shows()
