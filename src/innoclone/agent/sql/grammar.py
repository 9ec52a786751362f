"""The parser of statements other than SELECT: one method for each, which reads like the manual's syntax."""

from __future__ import annotations

import re
from collections.abc import Callable

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.lexer import Kind, Token
from innoclone.agent.sql.showing import ShowReader
from innoclone.agent.sql.statements import (
    AccountName,
    AlterUser,
    Begin,
    CloneInstance,
    CloneLocal,
    CloneStop,
    CreateUser,
    Deallocate,
    DropUser,
    ExecuteText,
    FlushLogs,
    FlushOther,
    Grant,
    InstallPlugin,
    Kill,
    PrepareText,
    ResetPersist,
    Revoke,
    SetNames,
    Setting,
    SetVariables,
    ShowGrants,
    Statement,
    UninstallPlugin,
    Use,
    UserSpec,
)

__all__ = ["MOST_PORT", "PRIVILEGES", "parse_statement"]

MOST_PORT = 65535
USER_LENGTH, HOST_LENGTH = 32, 255  # characters, as in the table mysql.user
_HOST = re.compile(r"[A-Za-z0-9._$]+")  # a host without quotes, as MySQL's lexer takes it
PRIVILEGES = (
    "BACKUP_ADMIN", "CLONE_ADMIN", "CONNECTION_ADMIN", "CREATE USER", "DELETE", "INSERT", "PROCESS", "RELOAD",
    "REPLICATION CLIENT", "SELECT", "SYSTEM_VARIABLES_ADMIN",
)  # fmt: skip
SCOPES = ("GLOBAL", "SESSION", "LOCAL", "PERSIST", "PERSIST_ONLY")


class _Parser(ShowReader):
    """Each method takes what follows its statement's first word."""

    # ---- CLONE ---------------------------------------------------------------------------------------------

    def clone(self) -> Statement:
        if self.takes("LOCAL"):
            return CloneLocal(self.directory())
        self.need("INSTANCE")
        if self.takes("STOP"):
            return CloneStop()
        self.need("FROM")
        account = self.account(host_needed=True)
        self.need_symbol(":")
        port_token = self.token
        port = self.number()
        if port > MOST_PORT:
            raise self.wrong(port_token)
        self.need("IDENTIFIED", "BY")
        password = self.string()
        directory = self.directory() if self.sees("DATA") else None
        ssl = None
        if self.takes("REQUIRE"):
            ssl = not self.takes("NO")
            self.need("SSL")
        return CloneInstance(account.user, account.host, port, password, directory, ssl)

    def directory(self) -> str:
        self.need("DATA", "DIRECTORY")
        self.takes_symbol("=")
        return self.string()

    # ---- accounts ------------------------------------------------------------------------------------------

    def account(self, *, host_needed: bool = False) -> AccountName:
        """A user with its host. Raises error 1470 for longer ones than MySQL's tables hold."""
        user = self.name_or_string()
        host = self.host()
        if host is None and host_needed:
            raise self.wrong()
        for text, what, most in ((user, "user name", USER_LENGTH), (host or "", "host name", HOST_LENGTH)):
            if len(text) > most:
                raise StatementError(1470, text[:70], what, most)
        return AccountName(user) if host is None else AccountName(user, host)

    def host(self) -> str | None:
        """What follows an @, in lower case; None where there is none."""
        if not self.takes_symbol("@"):
            return None
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

    def accounts(self) -> tuple[AccountName, ...]:
        found = [self.account()]
        while self.takes_symbol(","):
            found.append(self.account())
        return tuple(found)

    def users(self) -> tuple[UserSpec, ...]:
        found = [self.user()]
        while self.takes_symbol(","):
            found.append(self.user())
        return tuple(found)

    def user(self) -> UserSpec:
        name = self.account()
        if not self.takes("IDENTIFIED"):
            return UserSpec(name)
        if self.takes("WITH"):
            plugin = self.token
            if self.name_or_string().lower() != "caching_sha2_password":
                raise StatementError(1524, plugin.text)
        self.need("BY")
        return UserSpec(name, self.string())

    def create(self) -> Statement:
        self.need("USER")
        return CreateUser(if_not_exists=self.takes("IF", "NOT", "EXISTS"), users=self.users())

    def alter(self) -> Statement:
        self.need("USER")
        return AlterUser(if_exists=self.takes("IF", "EXISTS"), users=self.users())

    def drop(self) -> Statement:
        if self.sees("PREPARE"):
            return self.deallocate()
        self.need("USER")
        return DropUser(if_exists=self.takes("IF", "EXISTS"), names=self.accounts())

    def grant(self) -> Statement:
        privileges, level = self.privileges()
        self.need("TO")
        names = self.accounts()
        return Grant(privileges, level, names, self.takes("WITH", "GRANT", "OPTION") or "GRANT OPTION" in privileges)

    def revoke(self) -> Statement:
        privileges, level = self.privileges()
        self.need("FROM")
        return Revoke(privileges, level, self.accounts())

    def privileges(self) -> tuple[tuple[str, ...], str]:
        found = [self.privilege()]
        while self.takes_symbol(","):
            found.append(self.privilege())
        self.need("ON")
        self.takes("TABLE")
        return tuple(found), self.level()

    def privilege(self) -> str:
        if self.takes("ALL"):
            self.takes("PRIVILEGES")
            return "ALL"
        for words in ("CREATE USER", "GRANT OPTION", "REPLICATION CLIENT"):
            if self.takes(*words.split()):
                return words
        name = self.name_or_string().upper()
        if name not in (*PRIVILEGES, "USAGE"):
            raise StatementError(1149)
        return name

    def level(self) -> str:
        schema = "*" if self.takes_symbol("*") else self.name()
        self.need_symbol(".")
        return f"{schema}.{'*' if self.takes_symbol('*') else self.name()}".lower()

    # ---- SET -----------------------------------------------------------------------------------------------

    def set(self) -> Statement:
        if self.takes("NAMES"):
            charset = self.charset()
            return SetNames(charset, self.name_or_string() if charset and self.takes("COLLATE") else None)
        if self.takes("CHARACTER", "SET") or self.takes("CHARSET"):
            return SetNames(self.charset(), of_connection=False)
        if self.sees("TRANSACTION") or any(self.sees(scope, "TRANSACTION") for scope in ("GLOBAL", "SESSION", "LOCAL")):
            return self.transaction()
        scope = "session"  # a GLOBAL or PERSIST counts for the assignments behind it too
        found: list[Setting] = []
        while not found or self.takes_symbol(","):
            if self.token.kind is Kind.WORD and self.token.text.upper() in SCOPES:
                scope = self.next().text.lower()
            found.append(self.setting(scope))
        return SetVariables(tuple(found))

    def charset(self) -> str | None:
        return None if self.takes("DEFAULT") else self.name_or_string()

    def transaction(self) -> Statement:
        """Without a scope it is about the next transaction, of which there is none."""
        scope = next((scope for scope in ("GLOBAL", "SESSION", "LOCAL") if self.takes(scope)), "")
        self.need("TRANSACTION")
        found: dict[str, str | int] = {}
        while not found or self.takes_symbol(","):
            name, value = self.characteristic()
            if name in found:
                raise self.wrong(self.tokens[self.at - 2])
            found[name] = value
        if not scope:
            return Begin()
        scope = "global" if scope == "GLOBAL" else "session"
        return SetVariables(tuple(Setting(scope, name, value) for name, value in found.items()))

    def characteristic(self) -> tuple[str, str | int]:
        if self.takes("ISOLATION", "LEVEL"):
            for level in ("READ COMMITTED", "READ UNCOMMITTED", "REPEATABLE READ", "SERIALIZABLE"):
                if self.takes(*level.split()):
                    return "transaction_isolation", level.replace(" ", "-")
            raise self.wrong()
        self.need("READ")
        is_read_only = self.takes("ONLY")
        if not is_read_only:
            self.need("WRITE")
        return "transaction_read_only", int(is_read_only)

    def setting(self, scope: str) -> Setting:
        if self.token.kind is Kind.VARIABLE:
            words = self.next().text.split(".", 1)
            scope, name = (words[0], words[1]) if len(words) == 2 and words[0].upper() in SCOPES else (scope, words[-1])
        elif self.takes_symbol("@"):
            scope, name = "user", self.name_or_string()
        else:
            name = self.name().lower()
        if not self.takes_symbol("=", ":="):
            raise self.wrong()
        scope = "session" if scope == "local" else scope
        if self.takes("DEFAULT"):
            return Setting(scope, name, None, is_default=True)
        return self.value(scope, name)

    def value(self, scope: str, name: str) -> Setting:
        begin, token = self.token.start, self.token
        sign = -1 if self.takes_symbol("-") else 1
        if sign == 1:
            self.takes_symbol("+")
        first = self.next()
        value: str | int | float | None
        if not self._at_end_of_value() or first.kind in (Kind.VARIABLE, Kind.SYMBOL):
            return Setting(scope, name, None, expression=self.rest_of_value(begin))
        if first.kind is Kind.NUMBER:
            if not first.text.isdigit():
                return Setting(scope, name, sign * float(first.text), is_number_with_point=True)
            value = sign * int(first.text[:30])
        elif sign == -1 or first.kind is Kind.END:
            raise self.wrong(token if sign == -1 else first)
        else:
            words: dict[str, int | None] = {"NULL": None, "TRUE": 1, "FALSE": 0}
            is_word = first.kind is Kind.WORD and first.text.upper() in words
            value = words[first.text.upper()] if is_word else first.text
        return Setting(scope, name, value)

    def _at_end_of_value(self) -> bool:
        return self.token.kind is Kind.END or self.token.is_symbol(",") or self.token.is_symbol(";")

    def rest_of_value(self, begin: int) -> str:
        """The text of an expression up to the next comma outside of parentheses."""
        depth, end = int(self.tokens[self.at - 1].is_symbol("(")), self.tokens[self.at - 1].end
        while self.token.kind is not Kind.END and (depth > 0 or not self._at_end_of_value()):
            depth += self.token.is_symbol("(") - self.token.is_symbol(")")
            end = self.next().end
        return self.text[begin:end]

    # ---- SHOW ----------------------------------------------------------------------------------------------

    def show(self) -> Statement:
        if self.takes("GRANTS"):
            if not self.takes("FOR") or self.takes("CURRENT_USER"):
                if self.takes_symbol("("):
                    self.need_symbol(")")
                return ShowGrants(None)
            return ShowGrants(self.account())
        return self.shown()

    # ---- the rest ------------------------------------------------------------------------------------------

    def install(self) -> Statement:
        self.need("PLUGIN")
        name = self.name()
        self.need("SONAME")
        return InstallPlugin(name, self.string())

    def uninstall(self) -> Statement:
        self.need("PLUGIN")
        return UninstallPlugin(self.name())

    def flush(self) -> Statement:
        if not self.takes("LOCAL"):
            self.takes("NO_WRITE_TO_BINLOG")
        for kind in ("BINARY", "ENGINE", "ERROR", "GENERAL", "SLOW"):
            if self.takes(kind, "LOGS"):
                return FlushOther()
        if self.takes("LOGS"):
            return FlushLogs()
        for what in ("PRIVILEGES", "STATUS", "TABLES", "HOSTS"):
            if self.takes(what):
                return FlushOther()
        raise self.wrong()

    def reset(self) -> Statement:
        self.need("PERSIST")
        if_exists = self.takes("IF", "EXISTS")
        at_end = self.token.kind is Kind.END or self.token.is_symbol(";")
        return ResetPersist(None if at_end and not if_exists else self.name().lower(), if_exists)

    def kill(self) -> Statement:
        query = self.takes("QUERY")
        if not query:
            self.takes("CONNECTION")
        return Kill(self.number(), query)

    def variable(self) -> str:
        """``@name``."""
        self.need_symbol("@")
        return self.name_or_string()

    def prepare(self) -> Statement:
        name = self.name()
        self.need("FROM")
        if self.token.is_symbol("@"):
            return PrepareText(name, variable=self.variable())
        return PrepareText(name, self.string())

    def execute(self) -> Statement:
        name = self.name()
        found: list[str] = []
        if self.takes("USING"):
            found.append(self.variable())
            while self.takes_symbol(","):
                found.append(self.variable())
        return ExecuteText(name, tuple(found))

    def deallocate(self) -> Statement:
        self.need("PREPARE")
        return Deallocate(self.name())

    def use(self) -> Statement:
        return Use(self.name_or_string())

    def begin(self) -> Statement:
        self.takes("WORK")
        return Begin()

    def start(self) -> Statement:
        self.need("TRANSACTION")
        for words in ("READ ONLY", "READ WRITE", "WITH CONSISTENT SNAPSHOT"):
            self.takes(*words.split())
        return Begin()


_STATEMENTS: dict[str, Callable[[_Parser], Statement]] = {
    "CLONE": _Parser.clone, "CREATE": _Parser.create, "ALTER": _Parser.alter, "DROP": _Parser.drop,
    "GRANT": _Parser.grant, "REVOKE": _Parser.revoke, "SET": _Parser.set, "SHOW": _Parser.show,
    "INSTALL": _Parser.install, "UNINSTALL": _Parser.uninstall, "FLUSH": _Parser.flush, "KILL": _Parser.kill,
    "USE": _Parser.use, "BEGIN": _Parser.begin, "COMMIT": _Parser.begin, "ROLLBACK": _Parser.begin,
    "START": _Parser.start, "DESCRIBE": _Parser.described, "DESC": _Parser.described, "EXPLAIN": _Parser.described,
    "RESET": _Parser.reset, "PREPARE": _Parser.prepare, "EXECUTE": _Parser.execute,
    "DEALLOCATE": _Parser.deallocate,
}  # fmt: skip


def parse_statement(text: str, tokens: list[Token]) -> Statement:
    """``tokens`` are those of ``text``. Raises error 1064, at the place where MySQL would see it, and 1149, 1235."""
    parser = _Parser(text, tokens)
    first = parser.next()
    parse = _STATEMENTS.get(first.text.upper()) if first.kind is Kind.WORD else None
    if parse is None:
        raise parser.wrong(first)
    statement = parse(parser)
    parser.end()
    return statement
