"""The parser of statements other than SELECT: a pattern for each, which looks like the manual's syntax."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

from innoclone.agent.faults import StatementError
from innoclone.agent.sql import statements as st
from innoclone.agent.sql.lexer import Kind, Token, WordReader

MOST_PORT = 65535
USER_LENGTH, HOST_LENGTH = 32, 255  # characters, as in the table mysql.user
_HOST = re.compile(r"[A-Za-z0-9._$]+")  # a host without quotes, as MySQL's lexer takes it
PRIVILEGES = (
    "BACKUP_ADMIN", "CLONE_ADMIN", "CONNECTION_ADMIN", "CREATE USER", "DELETE", "INSERT", "PROCESS", "RELOAD",
    "REPLICATION CLIENT", "SELECT", "SYSTEM_VARIABLES_ADMIN",
)  # fmt: skip
SCOPES = ("GLOBAL", "SESSION", "LOCAL", "PERSIST", "PERSIST_ONLY")
LEVELS = ("READ COMMITTED", "READ UNCOMMITTED", "REPEATABLE READ", "SERIALIZABLE")  # of isolation
LOGS = ("BINARY LOGS", "ENGINE LOGS", "ERROR LOGS", "GENERAL LOGS", "SLOW LOGS")
FLUSHED = (*LOGS, "PRIVILEGES", "STATUS", "TABLES", "HOSTS")  # without effect
SCOPED, FULL = ("VARIABLES", "STATUS"), ("PROCESSLIST", "TABLES", "COLUMNS", "FIELDS")
OF_A_TABLE = ("COLUMNS", "FIELDS", "INDEX", "INDEXES", "KEYS")
OF_A_SCHEMA = ("TABLES", "TABLE STATUS", "TRIGGERS", "EVENTS", "OPEN TABLES")
SHOWN = (
    "REPLICA STATUS", "SLAVE STATUS", "BINARY LOGS", "REPLICAS", "SLAVE HOSTS", "MASTER STATUS", "BINARY LOG STATUS",
    "STORAGE ENGINES", "CHARACTER SET", "CHARSET", "COLLATION", "FUNCTION STATUS", "PROCEDURE STATUS", "SCHEMAS",
    *OF_A_TABLE, *OF_A_SCHEMA,
    "PLUGINS", "DATABASES", "PROCESSLIST", "WARNINGS", "ERRORS", "ENGINES", "STATUS", "VARIABLES",
)  # fmt: skip
ALIASES = {
    "SCHEMAS": "DATABASES", "FIELDS": "COLUMNS", "INDEXES": "INDEX", "KEYS": "INDEX", "CHARSET": "CHARACTER SET",
    "MASTER STATUS": "BINARY LOG STATUS", "STORAGE ENGINES": "ENGINES",
}  # fmt: skip
FILTERED = (*SCOPED, "DATABASES", "COLLATION", "CHARACTER SET", "COLUMNS", "FUNCTION STATUS", "PROCEDURE STATUS",
            *OF_A_SCHEMA)  # fmt: skip
MISSING = ("PRIVILEGES", "PROFILES", "RELAYLOG EVENTS", "BINLOG EVENTS")


class _Parser(WordReader):
    """A method for each part that patterns name, and for each statement that no pattern fits."""

    def account(self) -> st.AccountName:
        """A user with its host, if it has one. Raises error 1470."""
        return _account(self.name_or_string(), self.host() if self.takes("@") else "%")

    def host(self) -> str:
        """What follows an @, in lower case."""
        if self.token.kind is Kind.STRING:
            return self.string().lower()
        if self.token.kind is Kind.QUOTED:
            return self.name().lower()
        found = _HOST.match(self.text, self.token.start)
        if found is None or self.token.kind is Kind.END:
            raise self.wrong()
        while self.token.start < found.end():  # 10.0.0.1 is several numbers to the lexer
            self.next()
        return found[0].lower()

    def port(self) -> int:
        token = self.token
        if (port := self.number()) > MOST_PORT:
            raise self.wrong(token)
        return port

    def ssl(self) -> bool | None:
        """REQUIRE [NO] SSL, or neither."""
        if not self.takes("REQUIRE"):
            return None
        no = self.takes("NO")
        self.need("SSL")
        return not no

    def directory(self) -> str:
        self.takes("=")
        return self.string()

    def user(self) -> st.UserSpec:
        name = self.account()
        if not self.takes("IDENTIFIED"):
            return st.UserSpec(name)
        if self.takes("WITH"):
            plugin = self.token
            if self.name_or_string().lower() != "caching_sha2_password":
                raise StatementError(1524, plugin.text)
        self.need("BY")
        return st.UserSpec(name, self.string())

    def privilege(self) -> str:
        if self.takes("ALL"):
            self.takes("PRIVILEGES")
            return "ALL"
        if words := self.taken("CREATE USER", "GRANT OPTION", "REPLICATION CLIENT"):
            return words
        name = self.name_or_string().upper()
        if name not in (*PRIVILEGES, "USAGE"):
            raise StatementError(1149)
        return name

    def level(self) -> str:
        self.takes("TABLE")
        schema = "*" if self.takes("*") else self.name()
        self.need(".")
        return f"{schema}.{'*' if self.takes('*') else self.name()}".lower()

    def names(self) -> st.Statement:
        charset = self.charset()
        return st.SetNames(charset, self.name_or_string() if charset and self.takes("COLLATE") else None)

    def settings(self) -> tuple[st.Setting, ...]:
        scope = "session"  # a GLOBAL or PERSIST counts for the assignments behind it too
        found: list[st.Setting] = []
        while not found or self.takes(","):
            scope = self.taken(*SCOPES).lower() or scope
            found.append(self.setting(scope))
        return tuple(found)

    def charset(self) -> str | None:
        return None if self.takes("DEFAULT") else self.name_or_string()

    def characteristics(self) -> dict[str, str | int]:
        found: dict[str, str | int] = {}
        while not found or self.takes(","):
            begin = self.token
            name, value = self.characteristic()
            if name in found:
                raise self.wrong(begin)
            found[name] = value
        return found

    def characteristic(self) -> tuple[str, str | int]:
        if self.takes("ISOLATION LEVEL"):
            if level := self.taken(*LEVELS):
                return "transaction_isolation", level.replace(" ", "-")
            raise self.wrong()
        self.need("READ")
        if self.takes("ONLY"):
            return "transaction_read_only", 1
        self.need("WRITE")
        return "transaction_read_only", 0

    def setting(self, scope: str) -> st.Setting:
        if self.token.kind is Kind.VARIABLE:
            words = self.next().text.split(".", 1)
            scope, name = (words[0], words[1]) if len(words) == 2 and words[0].upper() in SCOPES else (scope, words[-1])
        elif self.takes("@"):
            scope, name = "user", self.name_or_string()
        else:
            name = self.name().lower()
        if not self.taken("=", ":="):
            raise self.wrong()
        scope = "session" if scope == "local" else scope
        if self.takes("DEFAULT"):
            return st.Setting(scope, name, None, is_default=True)
        return self.value(scope, name)

    def value(self, scope: str, name: str) -> st.Setting:
        begin, token = self.token.start, self.token
        sign = -1 if self.taken("-", "+") == "-" else 1
        first = self.next()
        value: str | int | float | None
        if not (self.at_end or self.sees(",")) or first.kind in (Kind.VARIABLE, Kind.SYMBOL):
            return st.Setting(scope, name, None, expression=self.rest_of_value(begin))
        if first.kind is Kind.NUMBER:
            if not first.text.isdigit():
                return st.Setting(scope, name, sign * float(first.text), is_number_with_point=True)
            value = sign * int(first.text[:30])
        elif sign == -1 or first.kind is Kind.END:
            raise self.wrong(token if sign == -1 else first)
        else:
            words: dict[str, int | None] = {"NULL": None, "TRUE": 1, "FALSE": 0}
            is_word = first.kind is Kind.WORD and first.text.upper() in words
            value = words[first.text.upper()] if is_word else first.text
        return st.Setting(scope, name, value)

    def rest_of_value(self, begin: int) -> str:
        """The text of an expression up to the next comma outside of parentheses."""
        depth, end = int(self.tokens[self.at - 1].is_symbol("(")), self.tokens[self.at - 1].end
        while self.token.kind is not Kind.END and (depth > 0 or not (self.at_end or self.sees(","))):
            depth += self.token.is_symbol("(") - self.token.is_symbol(")")
            end = self.next().end
        return self.text[begin:end]

    def shown(self) -> st.Statement:
        """Everything that no pattern fits. Raises error 1235 for what MySQL has and we have not."""
        scope = self.taken("GLOBAL", "SESSION", "FULL")
        token, what = self.token, self.taken(*SHOWN)
        if not what and any(self.sees(*words.split()) for words in MISSING):
            raise StatementError(1235, f"SHOW {self.next().text.upper()} {self.next().text.upper()}")
        if not what or (scope and what not in (FULL if scope == "FULL" else SCOPED)):
            raise self.wrong(token)
        schema = name = None
        if what in OF_A_TABLE:
            if not self.takes("FROM"):
                self.need("IN")
            schema, name = self.table()
        if what in OF_A_TABLE + OF_A_SCHEMA and self.taken("FROM", "IN"):
            schema = self.name()
        what = ALIASES.get(what, what)
        if what in ("REPLICA STATUS", "SLAVE STATUS") and self.takes("FOR CHANNEL"):
            self.string()
        if what in ("WARNINGS", "ERRORS") and self.takes("LIMIT"):
            self.number()
        return st.Show(f"{scope} {what}".strip(), self.filter() if what in FILTERED else st.Filter(), schema, name)

    def table(self) -> tuple[str | None, str]:
        """A table's name, and its schema if that is named."""
        name = self.name()
        return (name, self.name()) if self.takes(".") else (None, name)

    def filter(self) -> st.Filter:
        """LIKE or WHERE, if either comes."""
        if self.takes("LIKE"):
            return st.Filter(like=self.string())
        if not self.takes("WHERE"):
            return st.Filter()
        begin = self.token.start
        while not self.at_end:
            self.next()
        if self.token.start == begin:
            raise self.wrong()
        return st.Filter(where=self.text[begin : self.token.start])

    def described(self) -> st.Statement:
        """DESCRIBE of a table, and of a column that is named or fits a pattern. EXPLAIN of a statement: error 1235."""
        if self.token.kind is Kind.WORD and self.token.text.upper() in ("SELECT", "FORMAT", "ANALYZE", "WITH"):
            raise StatementError(1235, "EXPLAIN")
        schema, name = self.table()
        return st.Show("COLUMNS", st.Filter(like=None if self.at_end else self.name_or_string()), schema, name)

    def flushed(self) -> st.Statement:
        self.taken("LOCAL", "NO_WRITE_TO_BINLOG")
        if self.taken(*FLUSHED):
            return st.FlushOther()
        self.need("LOGS")
        return st.FlushLogs()

    def prepared(self) -> dict[str, str]:
        return {"variable": self.variable()} if self.sees("@") else {"text": self.string()}

    def using(self) -> tuple[str, ...]:
        return self.listed("variable") if self.takes("USING") else ()

    def persisted(self) -> st.Statement:
        if_exists = self.takes("IF EXISTS")
        return st.ResetPersist(None if self.at_end and not if_exists else self.name().lower(), if_exists)


def _account(user: str, host: str) -> st.AccountName:
    """Raises error 1470 for longer ones than MySQL's tables hold."""
    for text, what, most in ((user, "user name", USER_LENGTH), (host, "host name", HOST_LENGTH)):
        if len(text) > most:
            raise StatementError(1470, text[:70], what, most)
    return st.AccountName(user, host)


def _clone(user: str, host: str, *more: Any) -> st.Statement:
    return st.CloneInstance(_account(user, host).user, host, *more)


def _grant(privileges: tuple[str, ...], level: str, names: tuple[st.AccountName, ...], option: bool) -> st.Statement:
    return st.Grant(privileges, level, names, option or "GRANT OPTION" in privileges)


def _begin(*_: Any) -> st.Statement:
    return st.Begin()


def _itself(found: st.Statement) -> st.Statement:
    return found


def _transaction(scope: str, found: dict[str, str | int]) -> st.Statement:
    """Without a scope it is about the next transaction, of which there is none."""
    of = "global" if scope == "GLOBAL" else "session"
    return st.SetVariables(tuple(st.Setting(of, name, value) for name, value in found.items()))


PATTERNS: tuple[tuple[str, str, Callable[..., Any]], ...] = (  # how it begins, what follows, and what it becomes
    ("CLONE LOCAL", "DATA DIRECTORY directory", st.CloneLocal), ("CLONE INSTANCE STOP", "", st.CloneStop),
    ("CLONE", "INSTANCE FROM name_or_string @ host : port IDENTIFIED BY string directory/DATA/DIRECTORY? ssl", _clone),
    ("INSTALL", "PLUGIN name SONAME string", st.InstallPlugin), ("UNINSTALL", "PLUGIN name", st.UninstallPlugin),
    ("CREATE", "USER IF/NOT/EXISTS? user,", lambda flag, users: st.CreateUser(users, flag)),
    ("ALTER", "USER IF/EXISTS? user,", lambda flag, users: st.AlterUser(users, flag)),
    ("DROP PREPARE", "name", st.Deallocate), ("DEALLOCATE", "PREPARE name", st.Deallocate),
    ("DROP", "USER IF/EXISTS? account,", lambda flag, names: st.DropUser(names, flag)),
    ("GRANT", "privilege, ON level TO account, WITH/GRANT/OPTION?", _grant),
    ("REVOKE", "privilege, ON level FROM account,", st.Revoke), ("SET NAMES", "names", _itself),
    ("SET CHARACTER SET", "charset", lambda charset: st.SetNames(charset, of_connection=False)),
    ("SET CHARSET", "charset", lambda charset: st.SetNames(charset, of_connection=False)),
    *((f"SET {scope} TRANSACTION", "characteristics", functools.partial(_transaction, scope)) for scope in SCOPES[:3]),
    ("SET TRANSACTION", "characteristics", _begin), ("SET", "settings", st.SetVariables),
    ("SHOW GRANTS FOR CURRENT_USER ( )", "", lambda: st.ShowGrants(None)),
    ("SHOW GRANTS FOR CURRENT_USER", "", lambda: st.ShowGrants(None)), ("SHOW GRANTS FOR", "account", st.ShowGrants),
    ("SHOW GRANTS", "", lambda: st.ShowGrants(None)),
    ("SHOW ENGINE", "name STATUS", lambda name: st.Show("ENGINE STATUS", name=name)),
    ("SHOW CREATE TABLE", "table", lambda found: st.Show("CREATE TABLE", schema=found[0], name=found[1])),
    ("SHOW CREATE DATABASE", "name", lambda name: st.Show("CREATE DATABASE", name=name)),
    ("SHOW CREATE", "SCHEMA name", lambda name: st.Show("CREATE DATABASE", name=name)),
    ("SHOW COUNT ( * ) ERRORS", "", lambda: st.Show("COUNT ERRORS")),
    ("SHOW COUNT", "( * ) WARNINGS", lambda: st.Show("COUNT WARNINGS")),
    ("SHOW", "shown", _itself), ("DESCRIBE", "described", _itself),
    ("DESC", "described", _itself), ("EXPLAIN", "described", _itself),
    ("FLUSH", "flushed", _itself), ("KILL QUERY", "number", lambda number: st.Kill(number, True)),
    ("KILL", "CONNECTION? number", lambda _, number: st.Kill(number)), ("USE", "name_or_string", st.Use),
    ("BEGIN", "WORK?", _begin), ("COMMIT", "WORK?", _begin), ("ROLLBACK", "WORK?", _begin),
    ("START", "TRANSACTION READ/ONLY? READ/WRITE? WITH/CONSISTENT/SNAPSHOT?", _begin),
    ("RESET", "PERSIST persisted", _itself),
    ("PREPARE", "name FROM prepared", lambda name, found: st.PrepareText(name, **found)),
    ("EXECUTE", "name using", st.ExecuteText),
)  # fmt: skip


def parse_statement(text: str, tokens: list[Token]) -> st.Statement:
    """``tokens`` are those of ``text``. Raises error 1064, at the place where MySQL would see it, and 1149, 1235."""
    parser = _Parser(text, tokens)
    for begin, pattern, make in PATTERNS:
        if parser.takes(begin):
            found: st.Statement = make(*parser.follow(pattern))
            parser.end()
            return found
    raise parser.wrong()
