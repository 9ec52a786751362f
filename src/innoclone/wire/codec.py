"""A bounds-checked cursor over received bytes. The clone layer is little-endian, InnoDB's own content big-endian."""

from __future__ import annotations

from innoclone.errors import ProtocolError

__all__ = ["Reader", "lenenc", "lenenc_bytes", "string", "text", "u16be", "u16le", "u32be", "u32le", "u64be"]


class Reader:
    """Reads fields off the front of ``data``; a field that isn't there is a `ProtocolError` that names it."""

    def __init__(self, data: bytes | memoryview, what: str) -> None:
        self._data = bytes(data)
        self._at = 0
        self._what = what

    @property
    def left(self) -> int:
        """How many bytes remain."""
        return len(self._data) - self._at

    def take(self, count: int, name: str) -> bytes:
        """The next ``count`` bytes."""
        if count < 0 or count > self.left:
            raise ProtocolError(f"{self._what}: {name} needs {count} bytes, {self.left} are left")
        piece = self._data[self._at : self._at + count]
        self._at += count
        return piece

    def peek(self) -> int:
        """The next byte, not taken; -1 at the end."""
        return self._data[self._at] if self.left else -1

    def u8(self, name: str) -> int:
        """One byte."""
        return self.take(1, name)[0]

    def u16le(self, name: str) -> int:
        """Two bytes, little-endian."""
        return int.from_bytes(self.take(2, name), "little")

    def u32le(self, name: str) -> int:
        """Four bytes, little-endian."""
        return int.from_bytes(self.take(4, name), "little")

    def i32le(self, name: str) -> int:
        """Four bytes, little-endian, signed."""
        return int.from_bytes(self.take(4, name), "little", signed=True)

    def u16be(self, name: str) -> int:
        """Two bytes, big-endian."""
        return int.from_bytes(self.take(2, name), "big")

    def u32be(self, name: str) -> int:
        """Four bytes, big-endian."""
        return int.from_bytes(self.take(4, name), "big")

    def u64be(self, name: str) -> int:
        """Eight bytes, big-endian."""
        return int.from_bytes(self.take(8, name), "big")

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.take(self.left, "rest")

    def until_nul(self, name: str) -> bytes:
        """Bytes up to a NUL, which is taken too."""
        end = self._data.find(b"\0", self._at)
        if end < 0:
            raise ProtocolError(f"{self._what}: {name} has no terminating NUL")
        piece = self._data[self._at : end]
        self._at = end + 1
        return piece

    def string(self, name: str) -> str:
        """A clone string: u32 little-endian length, then utf-8 bytes."""
        return text(self.take(self.u32le(f"length of {name}"), name), f"{self._what}: {name}")

    def lenenc(self, name: str) -> int:
        """A length-encoded integer of the classic protocol."""
        first = self.u8(name)
        if first < 0xFB:
            return first
        width = {0xFC: 2, 0xFD: 3, 0xFE: 8}.get(first)
        if width is None:
            raise ProtocolError(f"{self._what}: {name} is not a length-encoded integer")
        return int.from_bytes(self.take(width, name), "little")

    def lenenc_bytes(self, name: str) -> bytes:
        """Bytes after their length as a length-encoded integer."""
        return self.take(self.lenenc(f"length of {name}"), name)

    def end(self) -> None:
        """Check that nothing is left."""
        if self.left:
            raise ProtocolError(f"{self._what}: {self.left} bytes too many")


def text(data: bytes, what: str) -> str:
    """``data`` as utf-8, or a `ProtocolError`."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProtocolError(f"{what} is not utf-8") from error


def u16le(value: int) -> bytes:
    """Two bytes, little-endian."""
    return value.to_bytes(2, "little")


def u32le(value: int) -> bytes:
    """Four bytes, little-endian."""
    return value.to_bytes(4, "little")


def u16be(value: int) -> bytes:
    """Two bytes, big-endian."""
    return value.to_bytes(2, "big")


def u32be(value: int) -> bytes:
    """Four bytes, big-endian."""
    return value.to_bytes(4, "big")


def u64be(value: int) -> bytes:
    """Eight bytes, big-endian."""
    return value.to_bytes(8, "big")


def string(value: str) -> bytes:
    """A clone string: u32 little-endian length, then utf-8 bytes."""
    data = value.encode("utf-8")
    return u32le(len(data)) + data


def lenenc(value: int) -> bytes:
    """A length-encoded integer of the classic protocol."""
    if value < 0xFB:
        return bytes([value])
    for prefix, width in ((0xFC, 2), (0xFD, 3), (0xFE, 8)):
        if value < 1 << (8 * width):
            return bytes([prefix]) + value.to_bytes(width, "little")
    raise ValueError(f"{value} does not fit a length-encoded integer")


def lenenc_bytes(data: bytes) -> bytes:
    """Bytes after their length as a length-encoded integer."""
    return lenenc(len(data)) + data
