"""The content of a keyring file of MySQL's component_keyring_file: JSON with a list of elements, each a key.

Layout: json_writer.cc and json_reader.cc of components/keyrings/common, version 1.0; tested with 9.7.4.
"""

from __future__ import annotations

import binascii
import json

from innoclone.innodb.encryption import MasterKey

__all__ = ["parse_keyring", "serialize_keyring"]

_VERSION = "1.0"
_KEY_SIZE = 32


def parse_keyring(text: bytes) -> dict[str, MasterKey]:
    """InnoDB's master keys by their names; other keys are passed over. ValueError, without any content, for what is no
    keyring file. An empty one is what a server makes that has no key yet."""
    if not text:
        return {}
    try:
        content = json.loads(text)
        elements = content["elements"]
        if content["version"] != _VERSION or not isinstance(elements, list):
            raise ValueError("its version is not known")
        keys = [key for element in elements if (key := _master(element)) is not None]
    except (KeyError, TypeError, RecursionError, json.JSONDecodeError, UnicodeDecodeError, binascii.Error) as error:
        raise ValueError(f"it is no keyring file ({type(error).__name__})") from None
    return {key.name: key for key in keys}


def _master(element: dict[str, str]) -> MasterKey | None:
    found = MasterKey.NAME.fullmatch(element["data_id"])
    if found is None:
        return None
    raw = binascii.unhexlify(element["data"])
    return MasterKey(found[1], int(found[2]), raw) if len(raw) == _KEY_SIZE else None


def serialize_keyring(key: MasterKey) -> bytes:
    """A keyring file with this one key, as the component writes it: it does so at each start, and changes nothing."""
    element = {"user": "", "data_id": key.name, "data_type": "AES", "data": key.raw.hex().upper(), "extension": []}
    return json.dumps({"version": _VERSION, "elements": [element]}, separators=(",", ":")).encode()
