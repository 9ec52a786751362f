"""The agent's SQL behind its only door: statements become words and records of `statements`, queries are answered from
given tables, and what either may take is in a `Budget`."""

from innoclone.agent.sql.budget import Budget, current, hold, running, size_of, spend, trim
from innoclone.agent.sql.grammar import PRIVILEGES, parse_statement
from innoclone.agent.sql.lexer import NO_BACKSLASH_ESCAPES, Kind, Modes, Token, masked, text_literal, tokens_of
from innoclone.agent.sql.parsing import is_query, parse_select
from innoclone.agent.sql.plans import Settings, Table
from innoclone.agent.sql.select import run_select
from innoclone.agent.sql.values import (
    BIGINT,
    BLOB,
    BOOL,
    DATE,
    DOUBLE,
    INT,
    NOT_FIXED,
    UNSIGNED,
    Column,
    SqlType,
    Value,
    char,
    datetime_type,
    is_like,
    text_of,
    time_type,
    to_text,
    varchar,
)

__all__ = [
    "BIGINT", "BLOB", "BOOL", "DATE", "DOUBLE", "INT", "NOT_FIXED", "NO_BACKSLASH_ESCAPES", "PRIVILEGES", "UNSIGNED",
    "Budget", "Column", "Kind", "Modes", "Settings", "SqlType", "Table", "Token", "Value", "char", "current",
    "datetime_type", "hold", "is_like", "is_query", "masked", "parse_select", "parse_statement", "run_select",
    "running", "size_of", "spend", "text_literal", "text_of", "time_type", "to_text", "tokens_of", "trim", "varchar",
]  # fmt: skip
