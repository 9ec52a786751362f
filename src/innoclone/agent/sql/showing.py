"""The grammar of SHOW and DESCRIBE."""

from __future__ import annotations

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.lexer import Kind
from innoclone.agent.sql.statements import Filter, Show
from innoclone.agent.sql.words import WordReader

__all__ = ["ShowReader"]

SHOWN = ("PLUGINS", "DATABASES", "PROCESSLIST", "WARNINGS", "ERRORS", "ENGINES", "STATUS", "VARIABLES")
ALIASES = {
    "SCHEMAS": "DATABASES", "FIELDS": "COLUMNS", "INDEXES": "INDEX", "KEYS": "INDEX", "CHARSET": "CHARACTER SET",
    "MASTER STATUS": "BINARY LOG STATUS", "STORAGE ENGINES": "ENGINES",
}  # fmt: skip
OF_A_TABLE = ("COLUMNS", "FIELDS", "INDEX", "INDEXES", "KEYS")
OF_A_SCHEMA = ("TABLES", "TABLE STATUS", "TRIGGERS", "EVENTS", "OPEN TABLES")
OTHERS = (
    "REPLICA STATUS", "SLAVE STATUS", "BINARY LOGS", "REPLICAS", "SLAVE HOSTS",
    "MASTER STATUS", "BINARY LOG STATUS", "STORAGE ENGINES", "CHARACTER SET", "CHARSET", "COLLATION", "FUNCTION STATUS",
    "PROCEDURE STATUS", "SCHEMAS",
)  # fmt: skip
FILTERED = (
    "VARIABLES", "STATUS", "DATABASES", "COLLATION", "CHARACTER SET", "COLUMNS", "FUNCTION STATUS", "PROCEDURE STATUS",
    *OF_A_SCHEMA,
)  # fmt: skip
MISSING = ("PRIVILEGES", "PROFILES", "RELAYLOG EVENTS", "BINLOG EVENTS")
SCOPED = ("VARIABLES", "STATUS")
FULL = ("PROCESSLIST", "TABLES", "COLUMNS", "FIELDS")


class ShowReader(WordReader):
    """What follows SHOW, and DESCRIBE."""

    def shown(self) -> Show:
        """Everything but SHOW GRANTS."""
        if self.takes("ENGINE"):
            engine = self.name()
            self.need("STATUS")
            return Show("ENGINE STATUS", name=engine)
        if self.takes("CREATE"):
            if self.takes("DATABASE") or self.takes("SCHEMA"):
                return Show("CREATE DATABASE", name=self.name())
            self.need("TABLE")
            where, table = self.table()
            return Show("CREATE TABLE", schema=where, name=table)
        if self.sees("COUNT"):
            return self.count()
        scope = next((word for word in ("GLOBAL", "SESSION", "FULL") if self.takes(word)), "")
        token = self.token
        what = next(
            (words for words in (*OTHERS, *OF_A_TABLE, *OF_A_SCHEMA, *SHOWN) if self.takes(*words.split())), None
        )
        allowed = {"": None, "FULL": FULL}.get(scope, SCOPED)
        if what is None and any(self.sees(*words.split()) for words in MISSING):
            raise StatementError(1235, f"SHOW {self.next().text.upper()} {self.next().text.upper()}")
        if what is None or (allowed is not None and what not in allowed):
            raise self.wrong(token)
        schema: str | None = None
        name: str | None = None
        if what in OF_A_TABLE:
            if not self.takes("FROM"):
                self.need("IN")
            schema, name = self.table()
        if (what in OF_A_TABLE or what in OF_A_SCHEMA) and (self.takes("FROM") or self.takes("IN")):
            schema = self.name()
        what = ALIASES.get(what, what)
        if what in ("REPLICA STATUS", "SLAVE STATUS") and self.takes("FOR", "CHANNEL"):
            self.string()
        if what in ("WARNINGS", "ERRORS") and self.takes("LIMIT"):
            self.number()
        found = self.filter() if what in FILTERED else Filter()
        return Show(f"{scope} {what}".strip(), found, schema, name)

    def count(self) -> Show:
        """COUNT(*) WARNINGS or ERRORS."""
        self.need("COUNT")
        for symbol in "(*)":
            self.need_symbol(symbol)
        what = "ERRORS" if self.takes("ERRORS") else "WARNINGS"
        if what == "WARNINGS":
            self.need("WARNINGS")
        return Show(f"COUNT {what}")

    def table(self) -> tuple[str | None, str]:
        """A table's name, and its schema if that is named."""
        name = self.name()
        return (name, self.name()) if self.takes_symbol(".") else (None, name)

    def filter(self) -> Filter:
        """LIKE or WHERE, if either comes."""
        if self.takes("LIKE"):
            return Filter(like=self.string())
        if not self.takes("WHERE"):
            return Filter()
        begin = self.token.start
        while self.token.kind is not Kind.END and not self.token.is_symbol(";"):
            self.next()
        if self.token.start == begin:
            raise self.wrong()
        return Filter(where=self.text[begin : self.token.start])

    def described(self) -> Show:
        """DESCRIBE of a table, and of a column that is named or fits a pattern. EXPLAIN of a statement: error 1235."""
        if self.token.kind is Kind.WORD and self.token.text.upper() in ("SELECT", "FORMAT", "ANALYZE", "WITH"):
            raise StatementError(1235, "EXPLAIN")
        schema, name = self.table()
        column = None if self.token.kind is Kind.END or self.token.is_symbol(";") else self.name_or_string()
        return Show("COLUMNS", Filter(like=column), schema, name)
