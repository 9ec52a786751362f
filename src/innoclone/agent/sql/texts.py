"""Functions of text, beside those of `innoclone.agent.sql.functions`."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.budget import spend
from innoclone.agent.sql.expressions import LONGEST, Env, Expr, derived, is_exact, scalar
from innoclone.agent.sql.types import BIGINT, SqlType, Value, integer, varchar
from innoclone.agent.sql.values import compare, folded, paced, to_integer, to_text

__all__ = ["TEXTS"]

Maker = Callable[..., Expr]
INT3, INT10 = integer(3), integer(10)


def _read(arg: Expr, value: Value) -> str:
    return to_text(value, arg.type) or ""


def _raw(arg: Expr, value: Value) -> bytes:
    return _read(arg, value).encode("utf-8", "surrogateescape")


def _plain(kind: Callable[[Expr], SqlType], function: Callable[[str], Value]) -> Maker:
    """A function of one text."""
    return lambda arg: scalar(kind(arg), lambda value: function(_read(arg, value)), arg)


def _of_bytes(kind: Callable[[Expr], SqlType], function: Callable[[bytes], Value]) -> Maker:
    return lambda arg: scalar(kind(arg), lambda value: function(_raw(arg, value)), arg)


def _trim(*, left: bool, right: bool) -> Maker:
    def make(arg: Expr, *what: Expr) -> Expr:
        def value(given: Value, *removed: Value) -> Value:
            text, cut = _read(arg, given), _read(what[0], removed[0]) if what else " "
            begin, end = 0, len(text)
            while left and cut and text.startswith(cut, begin):
                begin += len(cut)
                spend()
            while right and cut and text.endswith(cut, begin, end):
                end -= len(cut)
                spend()
            return text[begin:end]

        return scalar(varchar(arg.type.length), value, arg, *what)

    return make


def _locate(needle: Expr, text: Expr, start: Expr | None = None) -> Expr:
    exact = is_exact(needle, text)

    def value(wanted: Value, given: Value, *begin: Value) -> Value:
        at = (to_integer(begin[0]) or 0) - 1 if begin else 0
        inside, what = _read(text, given), _read(needle, wanted)
        if not 0 <= at <= len(inside):
            return 0
        if exact:
            return inside.find(what, at) + 1
        if inside.isascii() and what.isascii():
            return inside.lower().find(what.lower(), at) + 1
        parts = [folded(char) for char in paced(inside)]
        found = "".join(parts).find(folded(what), sum(map(len, parts[:at])))
        length = 0
        spend(len(parts) // 8)
        for number, part in enumerate(parts):
            if length == found:
                return number + 1
            length += len(part)
        return len(parts) + 1 if found == length else 0

    return scalar(replace(BIGINT, length=11), value, needle, text, *([start] if start else []))


def _hex(arg: Expr) -> Expr:
    def value(given: Value) -> Value:
        if arg.type.is_text or isinstance(given, str):
            return _raw(arg, given).hex().upper()
        is_number = isinstance(given, int | float | Decimal)
        return f"{(to_integer(given) or 0) % (1 << 64):X}" if is_number else _raw(arg, given).hex().upper()

    return scalar(varchar(arg.type.length * 8 if arg.type.is_text else max(arg.type.length * 2, 16)), value, arg)


def _unhex(text: str) -> Value:
    try:
        return bytes.fromhex(("0" if len(text) % 2 else "") + text).decode("utf-8", "surrogateescape")
    except ValueError:
        return None


def _conv(arg: Expr, begin: Expr, end: Expr) -> Expr:
    def value(given: Value, first: Value, second: Value) -> Value:
        source, target = to_integer(first) or 0, to_integer(second) or 0
        if not (2 <= abs(source) <= 36 and 2 <= abs(target) <= 36):
            return None
        text, number, sign = _read(arg, given)[:MOST_DIGITS].strip().lower(), 0, 1
        if text[:1] in ("-", "+"):
            sign, text = (-1 if text[0] == "-" else 1), text[1:]
        for char in text:
            digit = DIGITS.find(char)
            if not 0 <= digit < abs(source):
                break
            number = min(number * abs(source) + digit, (1 << 64) - 1)
        return _in_base(sign * number, target)

    return scalar(varchar(65), value, arg, begin, end)


MOST_DIGITS = 1000  # that CONV looks at
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def _in_base(number: int, base: int) -> str:
    sign = ""
    if base < 0:
        number = (number + (1 << 63)) % (1 << 64) - (1 << 63)
        sign, number = ("-" if number < 0 else ""), abs(number)
    number %= 1 << 64
    digits = ""
    while number or not digits:
        number, digit = divmod(number, abs(base))
        digits = DIGITS[digit].upper() + digits
    return sign + digits


def _based(base: int) -> Maker:
    return lambda arg: scalar(varchar(65), lambda given: _in_base(to_integer(given) or 0, base), arg)


def _elt(number: Expr, *texts: Expr) -> Expr:
    def value(env: Env) -> Value:
        at = to_integer(number.value(env))
        chosen = texts[at - 1] if at is not None and 1 <= at <= len(texts) else None
        return None if chosen is None else to_text(chosen.value(env), chosen.type)

    return derived(varchar(max(text.type.length for text in texts)), value, [number, *texts])


def _field(wanted: Expr, *others: Expr) -> Expr:
    exact = is_exact(wanted, *others)

    def value(env: Env) -> Value:
        given = wanted.value(env)
        return next((n for n, one in enumerate(others, 1) if compare(given, one.value(env), exact=exact) == 0), 0)

    return derived(INT10, value, [wanted, *others])


def _find_in_set(wanted: Expr, members: Expr) -> Expr:
    def value(given: Value, listed: Value) -> Value:
        text, names = folded(_read(wanted, given)), folded(_read(members, listed))
        at = f",{names},".find(f",{text},") if names and "," not in text else -1
        return names.count(",", 0, at) + 1 if at >= 0 else 0

    return scalar(INT10, value, wanted, members)


def _insert(arg: Expr, begin: Expr, length: Expr, new: Expr) -> Expr:
    def value(given: Value, first: Value, count: Value, by: Value) -> Value:
        text, at, size = _read(arg, given), (to_integer(first) or 0) - 1, to_integer(count) or 0
        if not 0 <= at < len(text):
            return text
        end = len(text) if size < 0 else at + size
        return text[:at] + _read(new, by) + text[end:]

    return scalar(varchar(arg.type.length + new.type.length), value, arg, begin, length, new)


def _substring_index(arg: Expr, delimiter: Expr, count: Expr) -> Expr:
    def value(given: Value, mark: Value, number: Value) -> Value:
        text, cut, wanted = _read(arg, given), _read(delimiter, mark), to_integer(number) or 0
        if not cut or not wanted:
            return ""
        passed = wanted if wanted > 0 else text.count(cut) + wanted + 1  # delimiters up to the one that is looked for
        if passed <= 0:
            return text
        at = -len(cut)
        for _ in range(passed):
            spend()
            at = text.find(cut, at + len(cut))
            if at < 0:
                return text
        return text[:at] if wanted > 0 else text[at + len(cut) :]

    return scalar(varchar(arg.type.length), value, arg, delimiter, count)


def _space(count: Expr) -> Expr:
    def value(number: Value) -> Value:
        size = max(to_integer(number) or 0, 0)
        return " " * size if size <= LONGEST else None

    size = to_integer(count.known) if count.is_constant else LONGEST
    return scalar(varchar(max(min(size or 0, LONGEST), 0)), value, count)


def _strcmp(left: Expr, right: Expr) -> Expr:
    exact = is_exact(left, right)
    return scalar(
        replace(BIGINT, length=2), lambda a, b: compare(_read(left, a), _read(right, b), exact=exact), left, right
    )


def _quote(arg: Expr) -> Expr:
    def value(given: Value) -> Value:
        if given is None:
            return "NULL"
        text = _read(arg, given)
        for char, escaped in (("\\", "\\\\"), ("'", "\\'"), ("\0", "\\0"), ("\x1a", "\\Z")):
            text = text.replace(char, escaped)
        return f"'{text}'"

    return scalar(varchar(max(arg.type.length * 2 + 2, 4)), value, arg, nulls=True)


def _to_base64(raw: bytes) -> Value:
    text = base64.b64encode(raw).decode()
    return "\n".join(text[at : at + 76] for at in range(0, len(text), 76))


def _from_base64(text: str) -> Value:
    try:
        return base64.b64decode("".join(text.split()), validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        return None


def _char(*args: Expr) -> Expr:
    def value(*numbers: Value) -> Value:
        raw = b""
        for number in numbers:
            code = (to_integer(number) or 0) % (1 << 32) if number is not None else None
            raw += b"" if code is None else code.to_bytes(max((code.bit_length() + 7) // 8, 1), "big")
        return raw.decode("utf-8", "surrogateescape")

    return scalar(replace(varchar(4 * len(args)), collation="binary"), value, *args, nulls=True)


def _sha2(arg: Expr, size: Expr) -> Expr:
    def value(given: Value, bits: Value) -> Value:
        names = {0: "sha256", 224: "sha224", 256: "sha256", 384: "sha384", 512: "sha512"}
        name = names.get(to_integer(bits) or 0)
        return None if name is None else hashlib.new(name, _raw(arg, given)).hexdigest()

    bits = to_integer(size.known) if size.is_constant else 512
    return scalar(varchar((bits if bits in (224, 256, 384, 512) else 256) // 4), value, arg, size)


def _ord(text: str) -> Value:
    return int.from_bytes(text[:1].encode("utf-8", "surrogateescape"), "big")


def _charset(arg: Expr) -> Expr:
    found = "binary" if not arg.type.is_text or arg.type.collation == "binary" else "utf8mb4"
    return derived(varchar(64), lambda _: found, [arg])


def _collation(arg: Expr) -> Expr:
    names = {"": "utf8mb4_0900_ai_ci", "bin": "utf8mb4_bin", "binary": "binary"}
    found = names[arg.type.collation] if arg.type.is_text else "binary"
    return derived(varchar(64), lambda _: found, [arg])


def _format_bytes(arg: Expr) -> Expr:
    def value(given: Value) -> Value:
        number = float(to_integer(given) or 0)
        for unit in ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB"):
            if abs(number) < 1024:
                return f"{number:4.0f} {unit}" if unit == "bytes" else f"{number:4.2f} {unit}"
            number /= 1024
        if abs(number) >= 100_000:
            raise StatementError(1235, "FORMAT_BYTES of that")
        return f"{number:4.2f} EiB"

    return scalar(varchar(11), value, arg)


TEXTS: dict[str, tuple[int, int | None, Maker]] = {
    "TRIM": (1, 2, _trim(left=True, right=True)), "LTRIM": (1, 1, _trim(left=True, right=False)),
    "RTRIM": (1, 1, _trim(left=False, right=True)), "LOCATE": (2, 3, _locate),
    "INSTR": (2, 2, lambda text, needle: _locate(needle, text)),
    "ASCII": (1, 1, _of_bytes(lambda _: INT3, lambda raw: raw[0] if raw else 0)),
    "ORD": (1, 1, _plain(lambda _: replace(BIGINT, length=21), _ord)),
    "HEX": (1, 1, _hex),
    "UNHEX": (1, 1, _plain(lambda a: replace(varchar(a.type.length * 2), collation="binary"), _unhex)),
    "CONV": (3, 3, _conv), "BIN": (1, 1, _based(2)), "OCT": (1, 1, _based(8)), "CHAR": (1, None, _char),
    "CHARACTER_LENGTH": (1, 1, _plain(lambda _: INT10, len)),
    "OCTET_LENGTH": (1, 1, _of_bytes(lambda _: INT10, len)),
    "BIT_LENGTH": (1, 1, _of_bytes(lambda _: replace(BIGINT, length=11), lambda raw: 8 * len(raw))),
    "ELT": (2, None, _elt), "FIELD": (2, None, _field), "FIND_IN_SET": (2, 2, _find_in_set), "INSERT": (4, 4, _insert),
    "REVERSE": (1, 1, _plain(lambda a: varchar(a.type.length), lambda text: text[::-1])), "SPACE": (1, 1, _space),
    "STRCMP": (2, 2, _strcmp), "SUBSTRING_INDEX": (3, 3, _substring_index), "QUOTE": (1, 1, _quote),
    "TO_BASE64": (1, 1, _of_bytes(lambda a: varchar((4 * a.type.length + 2) // 3 * 4), _to_base64)),
    "FROM_BASE64": (1, 1, _plain(lambda a: replace(varchar(a.type.length * 3), collation="binary"), _from_base64)),
    "CRC32": (1, 1, _of_bytes(lambda _: replace(BIGINT, length=10, unsigned=True), zlib.crc32)),
    "SHA2": (2, 2, _sha2), "CHARSET": (1, 1, _charset), "COLLATION": (1, 1, _collation),
    "FORMAT_BYTES": (1, 1, _format_bytes),
}  # fmt: skip
