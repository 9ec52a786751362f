"""Names of tables as file names, and back (manual, "Mapping of Identifiers to File Names")."""

from __future__ import annotations

import re

__all__ = ["schema_folder", "table_name"]


def table_name(path: str) -> str:
    """``schema/t@0031#p#p0.ibd`` as ``schema.t1 (partition p0)``; what isn't a table keeps its name.

    Characters written as ``@`` and four hexadecimal digits are decoded. Letters of some alphabets have shorter codes
    of two characters, whose table is the server's own: those stay as they are.
    """
    match = re.fullmatch(r"(?:\./)?([^/]+)/([^/]+)\.ibd", path)
    if match is None:
        return path
    schema, table = (_decode(part) for part in match.groups())
    table, *parts = re.split(r"#(?:p|P|sp|SP)#", table)
    return f"{schema}.{table}" + (f" (partition {', '.join(parts)})" if parts else "")


def _decode(text: str) -> str:
    return re.sub(r"@([0-9a-f]{4})", lambda code: chr(int(code[1], 16)), text)


def schema_folder(name: str) -> str:
    """The folder of a schema: ``a-b`` as ``a@002db``.

    Letters of some alphabets have shorter codes, see `table_name`: for those it is another one.
    """
    return re.sub(r"[^A-Za-z0-9_]", lambda character: f"@{ord(character[0]):04x}", name)
