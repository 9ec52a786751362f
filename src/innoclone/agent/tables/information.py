"""information_schema as clients and graphical tools ask for it: what schemas, tables and columns there are.

Columns are those of a 9.7 server (its own information_schema.columns says so); an ENUM is a CHAR here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from innoclone.agent.sql import BLOB, DOUBLE, INT, Column, SqlType, Value, char, datetime_type, varchar
from innoclone.agent.tables.columns import row
from innoclone.wire.results import ColumnType

__all__ = ["INFORMATION", "Source", "columns_of", "information_rows", "shown_name", "type_text"]

Source = tuple[Sequence[Column], Callable[[], Sequence[tuple[Value, ...]]]]
COLLATION = "utf8mb4_0900_ai_ci"
CATALOG = "def"
LONGEST_TEXT = 0xFFFFFFFF
TABLE, PRIVILEGES = "TABLE_CATALOG varchar(64), TABLE_SCHEMA varchar(64), TABLE_NAME varchar(64)", "select"
_CONSTRAINT = "CONSTRAINT_CATALOG varchar(64), CONSTRAINT_SCHEMA varchar(64), CONSTRAINT_NAME varchar(64)"
_LENGTHS = "CHARACTER_MAXIMUM_LENGTH bigint, CHARACTER_OCTET_LENGTH bigint"
_CLIENT = "CHARACTER_SET_CLIENT varchar(64), COLLATION_CONNECTION varchar(64), DATABASE_COLLATION varchar(64)"
_SPECIFICATIONS = {
    "CHARACTER_SETS": "CHARACTER_SET_NAME varchar(64), DEFAULT_COLLATE_NAME varchar(64), DESCRIPTION varchar(2048),"
    " MAXLEN int unsigned",
    "COLLATIONS": "COLLATION_NAME varchar(64), CHARACTER_SET_NAME varchar(64), ID bigint unsigned,"
    " IS_DEFAULT varchar(3), IS_COMPILED varchar(3), SORTLEN int unsigned, PAD_ATTRIBUTE char(9)",
    "COLUMNS": f"{TABLE}, COLUMN_NAME varchar(64), ORDINAL_POSITION int unsigned, COLUMN_DEFAULT longtext,"
    f" IS_NULLABLE varchar(3), DATA_TYPE longtext, {_LENGTHS}, NUMERIC_PRECISION bigint unsigned,"
    " NUMERIC_SCALE bigint unsigned, DATETIME_PRECISION int unsigned, CHARACTER_SET_NAME varchar(64),"
    " COLLATION_NAME varchar(64), COLUMN_TYPE longtext, COLUMN_KEY char(3), EXTRA varchar(256),"
    " PRIVILEGES varchar(154), COLUMN_COMMENT varchar(2048), GENERATION_EXPRESSION longtext, SRS_ID int unsigned",
    "ENGINES": "ENGINE varchar(64), SUPPORT varchar(8), COMMENT varchar(80), TRANSACTIONS varchar(3), XA varchar(3),"
    " SAVEPOINTS varchar(3)",
    "EVENTS": "EVENT_CATALOG varchar(64), EVENT_SCHEMA varchar(64), EVENT_NAME varchar(64), DEFINER varchar(288),"
    " STATUS varchar(21)",
    "KEY_COLUMN_USAGE": f"{_CONSTRAINT}, {TABLE}, COLUMN_NAME varchar(64), ORDINAL_POSITION int unsigned,"
    " POSITION_IN_UNIQUE_CONSTRAINT int unsigned, REFERENCED_TABLE_SCHEMA varchar(64),"
    " REFERENCED_TABLE_NAME varchar(64), REFERENCED_COLUMN_NAME varchar(64)",
    "PROCESSLIST": "ID bigint unsigned, USER varchar(32), HOST varchar(261), DB varchar(64), COMMAND varchar(16),"
    " TIME int, STATE varchar(64), INFO varchar(65535)",
    "REFERENTIAL_CONSTRAINTS": f"{_CONSTRAINT}, UNIQUE_CONSTRAINT_CATALOG varchar(64),"
    " UNIQUE_CONSTRAINT_SCHEMA varchar(64), UNIQUE_CONSTRAINT_NAME varchar(64), MATCH_OPTION char(7),"
    " UPDATE_RULE char(11), DELETE_RULE char(11), TABLE_NAME varchar(64), REFERENCED_TABLE_NAME varchar(64)",
    "ROUTINES": "SPECIFIC_NAME varchar(64), ROUTINE_CATALOG varchar(64), ROUTINE_SCHEMA varchar(64),"
    f" ROUTINE_NAME varchar(64), ROUTINE_TYPE char(9), DATA_TYPE longtext, {_LENGTHS},"
    " ROUTINE_BODY varchar(8), ROUTINE_DEFINITION longtext, SECURITY_TYPE char(7), CREATED timestamp,"
    " LAST_ALTERED timestamp, ROUTINE_COMMENT longtext, DEFINER varchar(288)",
    "SCHEMATA": "CATALOG_NAME varchar(64), SCHEMA_NAME varchar(64), DEFAULT_CHARACTER_SET_NAME varchar(64),"
    " DEFAULT_COLLATION_NAME varchar(64), SQL_PATH char(0), DEFAULT_ENCRYPTION char(3)",
    "STATISTICS": f"{TABLE}, NON_UNIQUE int, INDEX_SCHEMA varchar(64), INDEX_NAME varchar(64),"
    " SEQ_IN_INDEX int unsigned, COLUMN_NAME varchar(64), COLLATION varchar(1), CARDINALITY bigint, SUB_PART bigint,"
    " PACKED char(0), NULLABLE varchar(3), INDEX_TYPE varchar(11), COMMENT varchar(8), INDEX_COMMENT varchar(2048),"
    " IS_VISIBLE varchar(3), EXPRESSION longtext",
    "TABLES": f"{TABLE}, TABLE_TYPE char(11), ENGINE varchar(64), VERSION int, ROW_FORMAT char(10),"
    " TABLE_ROWS bigint unsigned, AVG_ROW_LENGTH bigint unsigned, DATA_LENGTH bigint unsigned,"
    " MAX_DATA_LENGTH bigint unsigned, INDEX_LENGTH bigint unsigned, DATA_FREE bigint unsigned,"
    " AUTO_INCREMENT bigint unsigned, CREATE_TIME timestamp, UPDATE_TIME datetime, CHECK_TIME datetime,"
    " TABLE_COLLATION varchar(64), CHECKSUM bigint, CREATE_OPTIONS varchar(256), TABLE_COMMENT varchar(2048)",
    "TABLE_CONSTRAINTS": f"{_CONSTRAINT}, TABLE_SCHEMA varchar(64), TABLE_NAME varchar(64),"
    " CONSTRAINT_TYPE varchar(11), ENFORCED varchar(3)",
    "TRIGGERS": "TRIGGER_CATALOG varchar(64), TRIGGER_SCHEMA varchar(64), TRIGGER_NAME varchar(64),"
    " EVENT_MANIPULATION char(6), EVENT_OBJECT_CATALOG varchar(64), EVENT_OBJECT_SCHEMA varchar(64),"
    f" EVENT_OBJECT_TABLE varchar(64), ACTION_STATEMENT longtext, ACTION_TIMING char(6),"
    f" DEFINER varchar(288), {_CLIENT}",
    "VIEWS": f"{TABLE}, VIEW_DEFINITION longtext, CHECK_OPTION char(8), IS_UPDATABLE char(3), DEFINER varchar(288),"
    " SECURITY_TYPE varchar(7), CHARACTER_SET_CLIENT varchar(64), COLLATION_CONNECTION varchar(64)",
}
_NUMBER, _UNSIGNED = SqlType(ColumnType.LONGLONG, 20), SqlType(ColumnType.LONGLONG, 20, unsigned=True)
_PLAIN = {
    "int": INT, "int unsigned": SqlType(ColumnType.LONG, 10, unsigned=True), "bigint": _NUMBER,
    "bigint unsigned": _UNSIGNED, "longtext": BLOB, "datetime": datetime_type(),
    "timestamp": datetime_type(0, ColumnType.TIMESTAMP), "timestamp(6)": datetime_type(6, ColumnType.TIMESTAMP),
    "double": DOUBLE,
}  # fmt: skip


def columns_of(specification: str) -> list[Column]:
    """Of ``NAME type, NAME type``."""
    found = []
    for part in specification.split(", "):
        name, _, kind = part.partition(" ")
        sized = re.fullmatch(r"(var)?char\((\d+)\)", kind)
        if sized is None:
            found.append(Column(name, _PLAIN[kind]))
        else:
            found.append(Column(name, varchar(int(sized[2]), column=True) if sized[1] else char(int(sized[2]))))
    return found


INFORMATION = {name: columns_of(specification) for name, specification in _SPECIFICATIONS.items()}


def type_text(kind: SqlType) -> str:
    """A column's type as SHOW COLUMNS writes it."""
    unsigned = " unsigned" if kind.unsigned else ""
    decimals = f"({kind.decimals})" if kind.decimals and kind.kind is not ColumnType.DOUBLE else ""
    names = {
        ColumnType.LONG: f"int{unsigned}", ColumnType.LONGLONG: f"bigint{unsigned}", ColumnType.BLOB: "longtext",
        ColumnType.STRING: f"char({kind.length})", ColumnType.VAR_STRING: f"varchar({kind.length})",
        ColumnType.DOUBLE: "double", ColumnType.TIMESTAMP: f"timestamp{decimals}",
        ColumnType.DATETIME: f"datetime{decimals}",
    }  # fmt: skip
    return names[kind.kind]


def information_rows(tables: Mapping[tuple[str, str], Source], since: datetime) -> dict[str, list[tuple[Value, ...]]]:
    """Rows by table, but for what only the agent knows; ``tables`` are those that may be seen, by schema and name."""
    schemas = sorted({schema for schema, _ in tables})
    ordered = sorted(tables.items(), key=lambda item: item[0])
    return {
        "CHARACTER_SETS": [
            row(
                INFORMATION["CHARACTER_SETS"], CHARACTER_SET_NAME="utf8mb4", DEFAULT_COLLATE_NAME=COLLATION,
                DESCRIPTION="UTF-8 Unicode", MAXLEN=4,
            )
        ],
        "COLLATIONS": [
            _collation_row(COLLATION, number=255, is_default="Yes", length=0, padding="NO PAD"),
            _collation_row("utf8mb4_bin", number=46, is_default="", length=1, padding="PAD SPACE"),
        ],
        "COLUMNS": [
            _column_row(schema, shown_name(schema, name), number, column)
            for (schema, name), (columns, _) in ordered
            for number, column in enumerate(columns, 1)
        ],
        "ENGINES": [
            row(
                INFORMATION["ENGINES"], ENGINE="PERFORMANCE_SCHEMA", SUPPORT="DEFAULT", COMMENT="Performance Schema",
                TRANSACTIONS="NO", XA="NO", SAVEPOINTS="NO",
            )
        ],
        "SCHEMATA": [
            row(
                INFORMATION["SCHEMATA"], CATALOG_NAME=CATALOG, SCHEMA_NAME=schema,
                DEFAULT_CHARACTER_SET_NAME="utf8mb4", DEFAULT_COLLATION_NAME=COLLATION, SQL_PATH=None,
                DEFAULT_ENCRYPTION="NO",
            )
            for schema in schemas
        ],
        "TABLES": [_table_row(schema, shown_name(schema, name), since) for (schema, name), _ in ordered],
    }  # fmt: skip


def _collation_row(name: str, *, number: int, is_default: str, length: int, padding: str) -> tuple[Value, ...]:
    return row(
        INFORMATION["COLLATIONS"], COLLATION_NAME=name, CHARACTER_SET_NAME="utf8mb4", ID=number,
        IS_DEFAULT=is_default, IS_COMPILED="Yes", SORTLEN=length, PAD_ATTRIBUTE=padding,
    )  # fmt: skip


def _table_row(schema: str, table: str, since: datetime) -> tuple[Value, ...]:
    is_view = schema == "information_schema"
    return row(
        INFORMATION["TABLES"], TABLE_CATALOG=CATALOG, TABLE_SCHEMA=schema, TABLE_NAME=table,
        TABLE_TYPE="SYSTEM VIEW" if is_view else "BASE TABLE", ENGINE=None if is_view else "PERFORMANCE_SCHEMA",
        VERSION=10, ROW_FORMAT="Dynamic", TABLE_ROWS=0, AVG_ROW_LENGTH=0, DATA_LENGTH=0, MAX_DATA_LENGTH=0,
        INDEX_LENGTH=0, DATA_FREE=0, AUTO_INCREMENT=None, CREATE_TIME=since, UPDATE_TIME=None, CHECK_TIME=None,
        TABLE_COLLATION=COLLATION, CHECKSUM=None, CREATE_OPTIONS="", TABLE_COMMENT="",
    )  # fmt: skip


def shown_name(schema: str, table: str) -> str:
    """A table's name, given in lower case, as a server shows it."""
    return table.upper() if schema == "information_schema" else table


def _column_row(schema: str, table: str, number: int, column: Column) -> tuple[Value, ...]:
    kind = column.type
    text = type_text(kind)
    is_text, has_moment = kind.is_text, kind.kind in (ColumnType.TIMESTAMP, ColumnType.DATETIME)
    digits = None
    if kind.is_integer:
        digits = 10 if kind.kind is not ColumnType.LONGLONG else 20 if kind.unsigned else 19
    return row(
        INFORMATION["COLUMNS"], TABLE_CATALOG=CATALOG, TABLE_SCHEMA=schema, TABLE_NAME=table, COLUMN_NAME=column.name,
        ORDINAL_POSITION=number, COLUMN_DEFAULT=None, IS_NULLABLE="YES", DATA_TYPE=re.split(r"[( ]", text)[0],
        CHARACTER_MAXIMUM_LENGTH=min(kind.length, LONGEST_TEXT) if is_text else None,
        CHARACTER_OCTET_LENGTH=min(kind.length * 4, LONGEST_TEXT) if is_text else None,
        NUMERIC_PRECISION=digits, NUMERIC_SCALE=0 if digits else None,
        DATETIME_PRECISION=kind.decimals if has_moment else None, CHARACTER_SET_NAME="utf8mb4" if is_text else None,
        COLLATION_NAME=COLLATION if is_text else None, COLUMN_TYPE=text, COLUMN_KEY="", EXTRA="",
        PRIVILEGES=PRIVILEGES, COLUMN_COMMENT="", GENERATION_EXPRESSION="", SRS_ID=None,
    )  # fmt: skip
