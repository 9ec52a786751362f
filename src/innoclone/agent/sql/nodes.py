"""What sqlglot's nodes are to us: operators by their signs, and the arguments of a node that are understood."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

__all__ = ["BITS", "COMPARISONS", "KNOWN", "LOGIC", "NAMED", "NOT_HERE", "SIGNS", "USUAL", "even"]

KNOWN: dict[type[exp.Expression], set[str]] = {
    exp.Column: {"this", "table", "db"},
    exp.Literal: {"this", "is_string"},
    exp.Div: {"this", "expression", "typed", "safe"},
    exp.DPipe: {"this", "expression", "safe"},
    exp.Concat: {"expressions", "coalesce", "safe"},
    exp.If: {"this", "true", "false"},
    exp.Case: {"this", "ifs", "default"},
    exp.Cast: {"this", "to"},
    exp.Window: {"this", "partition_by", "order", "over", "alias"},
    exp.Trim: {"this", "expression", "position"},
    exp.Substring: {"this", "start", "length"},
    exp.StrPosition: {"this", "substr"},
    exp.GroupConcat: {"this", "separator"},
    exp.Subquery: {"this", "order", "limit", "offset"},
    exp.Between: {"this", "low", "high"},
    exp.In: {"this", "expressions", "query"},
    exp.Like: {"this", "expression", "negate"},
    exp.SessionParameter: {"this", "kind"},
}
USUAL = {"this", "expression", "expressions"}
COMPARISONS: dict[type[exp.Expression], Callable[[int], bool]] = {
    exp.EQ: lambda order: order == 0,
    exp.NEQ: lambda order: order != 0,
    exp.GT: lambda order: order > 0,
    exp.GTE: lambda order: order >= 0,
    exp.LT: lambda order: order < 0,
    exp.LTE: lambda order: order <= 0,
}
SIGNS: dict[type[exp.Expression], str] = {
    exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.IntDiv: "DIV", exp.Mod: "%",
}  # fmt: skip
BITS: dict[type[exp.Expression], str] = {
    exp.BitwiseAnd: "&", exp.BitwiseOr: "|", exp.BitwiseXor: "^", exp.BitwiseLeftShift: "<<",
    exp.BitwiseRightShift: ">>",
}  # fmt: skip
LOGIC: dict[type[exp.Expression], str] = {exp.And: "AND", exp.Or: "OR", exp.Xor: "XOR"}
NAMED: dict[type[exp.Expression], str] = {
    exp.CurrentTimestamp: "NOW", exp.CurrentDate: "CURDATE", exp.CurrentTime: "CURTIME",
    exp.CurrentUser: "CURRENT_USER", exp.CurrentDatetime: "NOW", exp.Localtime: "NOW", exp.Localtimestamp: "NOW",
    exp.CurrentSchema: "DATABASE", exp.CurrentVersion: "VERSION",
}  # fmt: skip
NOT_HERE = (  # functions that MySQL has and we have not
    "BENCHMARK", "COMPRESS", "EXPORT_SET", "FORMAT_PICO_TIME", "GET_FORMAT", "GET_LOCK", "LOAD_FILE", "MAKE_SET",
    "PERIOD_ADD", "PERIOD_DIFF", "RANDOM_BYTES", "RELEASE_LOCK", "SLEEP", "SOUNDEX", "STATEMENT_DIGEST", "UNCOMPRESS",
    "WEIGHT_STRING",
)  # fmt: skip


def even(digits: str) -> str:
    """Hexadecimal digits as pairs."""
    return digits if len(digits) % 2 == 0 else "0" + digits
