"""What a donor reports as an error, as one of ours."""

from __future__ import annotations

from innoclone.errors import (
    AccessDenied,
    CloneRunning,
    ConfigurationMismatch,
    DdlAborted,
    DonorError,
    EncryptionNeedsTls,
    LockTimeout,
    PacketTooSmall,
    PageUnfit,
    PluginMissing,
    PrivilegeMissing,
    RedoDisabled,
    RemoteFault,
    VersionUnsupported,
    one_line,
)

__all__ = ["RESTORES", "from_donor", "passed_on"]

_BY_DONOR_NUMBER: dict[int, type[RemoteFault]] = {
    1045: AccessDenied, 1205: LockTimeout, 1227: PrivilegeMissing, 1524: PluginMissing, 3633: DdlAborted,
    3634: CloneRunning, 3864: VersionUnsupported, 3868: ConfigurationMismatch, 3872: EncryptionNeedsTls,
    3957: PacketTooSmall, 3983: RedoDisabled,
}  # fmt: skip
REPORTED = "donor error "  # before its number
RESTORES = " is being restored, "  # what an innoclone says that serves a store, before its snapshot is there


def from_donor(number: int, text: str) -> RemoteFault:
    """The error for what a donor reported: its own class where we know one, else `DonorError`."""
    kind = _BY_DONOR_NUMBER.get(number, DonorError)
    if number == 1815 and "idle clone" in text:
        kind = CloneRunning  # the donor is still busy with ending an earlier recipient's clone
    elif number == 1815 and "Corrupt Page" in text:
        kind = PageUnfit
    message = f"{REPORTED}{number}: {one_line(text)}"
    if kind is CloneRunning and RESTORES in text:
        return CloneRunning(message, donor_number=number, hint="run the same command again when that is done")
    if issubclass(kind, DonorError):
        return kind(message, donor_number=number)
    return kind(message)


def passed_on(code: int, message: str) -> tuple[int, str]:
    """Number and text of an error for somebody who asked us: of what a donor reported its own, else ours."""
    number, _, text = message.removeprefix(REPORTED).partition(": ")
    if message.startswith(REPORTED) and number.isdecimal():
        return int(number), text
    return code, message
