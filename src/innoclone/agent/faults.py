"""Errors of statements, with MySQL's numbers, SQLSTATEs and texts (as a 9.7 server sends them)."""

from __future__ import annotations

from innoclone.errors import LocalFault

__all__ = ["StatementError", "syntax_error"]

_TEXTS = {
    1040: ("08004", "Too many connections"),
    1045: ("28000", "Access denied for user '{}'@'{}' (using password: {})"),
    1046: ("3D000", "No database selected"),
    1047: ("08S01", "Unknown command"),
    1049: ("42000", "Unknown database '{}'"),
    1051: ("42S02", "Unknown table '{}'"),
    1096: ("HY000", "No tables used"),
    1052: ("23000", "Column '{}' in {} is ambiguous"),
    1053: ("08S01", "Server shutdown in progress"),
    1054: ("42S22", "Unknown column '{}' in '{}'"),
    1064: (
        "42000",
        "You have an error in your SQL syntax; check the manual that corresponds to your MySQL server version for the"
        " right syntax to use near '{}' at line {}",
    ),
    1065: ("42000", "Query was empty"),
    1060: ("42S21", "Duplicate column name '{}'"),
    1066: ("42000", "Not unique table/alias: '{}'"),
    1094: ("HY000", "Unknown thread id: {}"),
    1095: ("HY000", "You are not owner of thread {}"),
    1104: (
        "42000",
        "The SELECT would examine more than MAX_JOIN_SIZE rows; check your WHERE and use SET SQL_BIG_SELECTS=1 or SET"
        " MAX_JOIN_SIZE=# if the SELECT is okay",
    ),
    1105: ("HY000", "{}"),
    1109: ("42S02", "Unknown table '{}' in {}"),
    1111: ("HY000", "Invalid use of group function"),
    1115: ("42000", "Unknown character set: '{}'"),
    1125: ("HY000", "Function '{}' already exists"),
    1126: ("HY000", "Can't open shared library '{}' (errno: 0 {})"),
    1129: ("HY000", "Host '{}' is blocked because of many connection errors"),
    1140: (
        "42000",
        "In aggregated query without GROUP BY, expression #{} of SELECT list contains nonaggregated column '{}'; this"
        " is incompatible with sql_mode=only_full_group_by",
    ),
    1055: (
        "42000",
        "Expression #{} of SELECT list is not in GROUP BY clause and contains nonaggregated column '{}' which is not"
        " functionally dependent on columns in GROUP BY clause; this is incompatible with sql_mode=only_full_group_by",
    ),
    1141: ("42000", "There is no such grant defined for user '{}' on host '{}'"),
    1142: ("42000", "{} command denied to user '{}'@'{}' for table '{}'"),
    1146: ("42S02", "Table '{}.{}' doesn't exist"),
    1149: (
        "42000",
        "You have an error in your SQL syntax; check the manual that corresponds to your MySQL server version for the"
        " right syntax to use",
    ),
    1153: ("08S01", "Got a packet bigger than 'max_allowed_packet' bytes"),
    1156: ("08S01", "Got packets out of order"),
    1193: ("HY000", "Unknown system variable '{}'"),
    1210: ("HY000", "Incorrect arguments to {}"),
    1222: ("21000", "The used SELECT statements have a different number of columns"),
    1221: ("HY000", "Incorrect usage of {} and {}"),
    1227: ("42000", "Access denied; you need (at least one of) the {} privilege(s) for this operation"),
    1228: ("HY000", "Variable '{}' is a SESSION variable and can't be used with SET GLOBAL"),
    1229: ("HY000", "Variable '{}' is a GLOBAL variable and should be set with SET GLOBAL"),
    1231: ("42000", "Variable '{}' can't be set to the value of '{}'"),
    1232: ("42000", "Incorrect argument type to variable '{}'"),
    1235: ("42000", "This version of MySQL doesn't yet support '{}'"),
    1238: ("HY000", "Variable '{}' is a {} variable"),
    1241: ("21000", "Operand should contain {} column(s)"),
    1242: ("21000", "Subquery returns more than 1 row"),
    1243: ("HY000", "Unknown prepared statement handler ({}) given to {}"),
    1248: ("42000", "Every derived table must have its own alias"),
    1253: ("42000", "COLLATION '{}' is not valid for CHARACTER SET '{}'"),
    1273: ("HY000", "Unknown collation: '{}'"),
    1286: ("42000", "Unknown storage engine '{}'"),
    1295: ("HY000", "This command is not supported in the prepared statement protocol yet"),
    1298: ("HY000", "Unknown or incorrect time zone: '{}'"),
    1305: ("42000", "{} {} does not exist"),
    1317: ("70100", "Query execution was interrupted"),
    1353: (
        "HY000",
        "In definition of view, derived table or common table expression, SELECT list and column names list have"
        " different column counts",
    ),
    1396: ("HY000", "Operation {} failed for {}"),
    1410: ("42000", "You are not allowed to create a user with GRANT"),
    1461: ("42000", "Can't create more than max_prepared_stmt_count statements (current value: {})"),
    1470: ("HY000", "String '{}' is too long for {} (should be no longer than {})"),
    1524: ("HY000", "Plugin '{}' is not loaded"),
    1525: ("HY000", "Incorrect {} value: '{}'"),
    1582: ("42000", "Incorrect parameter count in the call to native function '{}'"),
    1621: ("HY000", "SESSION variable '{}' is read-only. Use SET GLOBAL to assign the value"),
    1680: ("HY000", "The path specified for {} is too long."),
    1690: ("22003", "{} value is out of range in '{}'"),
    1835: ("HY000", "Malformed communication packet."),
    3579: ("HY000", "Window name '{}' is not defined."),
    3593: ("HY000", "You cannot use the window function '{}' in this context.'"),
    3685: ("HY000", "Illegal argument to a regular expression."),
    3686: ("HY000", "Index out of bounds in regular expression search."),
    3688: ("HY000", "Syntax error in regular expression on line 1, character {}."),
    3689: ("HY000", "Unrecognized escape sequence in regular expression."),
    3691: ("HY000", "Mismatched parenthesis in regular expression."),
    3692: ("HY000", "Incorrect description of a {{min,max}} interval."),
    3693: ("HY000", "The maximum is less than the minimum in a {{min,max}} interval."),
    3696: ("HY000", "The regular expression contains an unclosed bracket expression."),
    3697: ("HY000", "The regular expression contains an [x-y] character range where x comes after y."),
    3699: ("HY000", "Timeout exceeded in regular expression match."),
    3899: ("HY000", "sql_mode={} is not supported."),
    3995: ("HY000", "Character set '{}' cannot be used in conjunction with '{}' in call to regexp_like."),
    3887: ("HY000", "A capture group has an invalid name."),
    3024: ("HY000", "Query execution was interrupted, maximum statement execution time exceeded"),
    3170: ("HY000", "Memory capacity of {} bytes for '{}' exceeded. {}"),
    3615: ("HY000", "Variable {} does not exist in persisted config file"),
    3632: ("HY000", "Path is within the current data directory '{}'"),
    3619: ("HY000", "Illegal privilege level specified for {}"),
    3869: ("HY000", "Clone system configuration: {}"),
    3874: ("HY000", "Concurrent clone in progress. Please try after clone is complete."),
}


class StatementError(LocalFault):
    """A statement fails with one of MySQL's errors: ``StatementError(1054, "x", "field list")``."""

    def __init__(self, server_number: int, *words: object) -> None:
        """``words`` go into the number's text."""
        state, text = _TEXTS[server_number]
        super().__init__(text.format(*words), hint="")
        self.server_number = server_number
        self.sqlstate = state  # type: ignore[misc]  # one class for all of them

    @property
    def code(self) -> int:
        """MySQL's number."""
        return self.server_number


def syntax_error(text: str, at: int) -> StatementError:
    """Error 1064 for what is wrong from position ``at`` of a statement on."""
    return StatementError(1064, text[at : at + 80], text.count("\n", 0, at) + 1)
