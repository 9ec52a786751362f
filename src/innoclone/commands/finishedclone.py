"""What a finished clone tells of itself: its manifest, and performance_schema's views of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from innoclone.files.manifest import FORMAT, timestamp
from innoclone.files.ownlife import LEFT
from innoclone.receive.recipient import Received
from innoclone.records.position import FROM_PAGES, ClonePosition
from innoclone.records.status import COPY_STAGES, CloneStatus, Stage
from innoclone.records.views import view_files
from innoclone.server.preflight import UNCHECKED_REDO, DonorFacts
from innoclone.sinks.directory import Target
from innoclone.stream.filetable import ClonedFile
from innoclone.transport.endpoint import Endpoint
from innoclone.version import __version__

__all__ = ["manifest_of", "note_changes", "note_position", "views_of"]

SHOWN = 3  # changes by DDL that a note names
TOLD_STAGES = (*COPY_STAGES, Stage.FILE_SYNC)  # in the manifest


def note_position(status: CloneStatus, facts: DonorFacts, received: Received, target: Target) -> None:
    """Where the clone stands in the donor's binary log, or why only its first boot tells. Raises `FileError`."""
    from innoclone.receive.position import read_position  # when all is copied: its parsers needn't delay the beginning

    try:
        found = read_position(received.table, target)
    except ValueError as error:
        status.position_unknown = str(error)
        return
    status.position = ClonePosition(binlog_file=found.file, binlog_position=found.offset, position_from=FROM_PAGES)
    status.position_unknown = ""
    if not found.has_checksums and facts.variables.get("innodb_log_checksums") != "OFF":
        facts.variables["innodb_log_checksums"] = "OFF"  # as it was for a while
        status.notes.append(UNCHECKED_REDO)


def views_of(donor: Endpoint, status: CloneStatus, finished: float) -> dict[str, str]:
    """What the booted server shows; the clone counts as completed there, and gets its position at the boot."""
    return view_files(status, donor.address, finished)


def manifest_of(
    donor: Endpoint,
    settings: Mapping[str, object],
    status: CloneStatus,
    facts: DonorFacts,
    received: Received,
    target: Target,
    finished: float,
) -> dict[str, object]:
    """The manifest of a clone finished at ``finished`` (seconds since the epoch); ``settings`` are its options."""
    position = {
        "binlog_file": status.binlog_file,
        "binlog_position": status.binlog_position,
        "gtid_executed": None,
        "from": status.position_from,
    }
    return {
        "format": FORMAT,
        "innoclone": __version__,
        "state": "complete",
        "donor": _donor_entry(donor, facts.variables, received),
        **({} if facts.channels is None else {"channels": [channel.record() for channel in facts.channels]}),
        "options": dict(settings),
        "series": None,
        "outside": target.outside.for_manifest,
        LEFT: None,
        "protocol": f"{received.protocol:#06x}",
        "clone_id": received.locator.clone_id,
        "snapshot_id": received.locator.snapshot_id,
        "started": timestamp(status.begin or finished),
        "finished": timestamp(finished),
        "stages": [
            {"stage": row.stage.value, "seconds": round(row.seconds, 3), "data": row.data, "network": row.network}
            for row in (status.stages[stage] for stage in TOLD_STAGES)
        ],
        "files": [_file_row(file, target.root) for file in received.table.all_files()],
        "external_directories": sorted({str(path.parent) for path in target.external}),
        **({"position": position} if status.position_from else {}),
        "notes": list(status.notes),
    }


def _donor_entry(donor: Endpoint, variables: Mapping[str, str], received: Received) -> dict[str, object]:
    """Who the donor is, and what of its configuration a server on the clone depends on."""
    return {
        "uuid": variables.get("server_uuid", ""),
        "version": received.parameters.version,
        **_place_of(donor),
        "page_size": int(variables.get("innodb_page_size", 16384)),
        "lower_case_table_names": int(variables.get("lower_case_table_names", 0)),
        "data_file_path": _without_directories(variables.get("innodb_data_file_path", "")),
        "gtid_mode": variables.get("gtid_mode", "OFF"),
        "enforce_gtid_consistency": variables.get("enforce_gtid_consistency", "OFF"),
        "log_bin": variables.get("log_bin", ""),
        "log_checksums": variables.get("innodb_log_checksums", "ON"),
        "applies_in_order": _applies_in_order(variables),
        "character_set_server": variables.get("character_set_server", ""),
        "collation_server": variables.get("collation_server", ""),
        "plugins": sorted(name for name, library in received.parameters.plugins.items() if library),
    }


def _place_of(donor: Endpoint) -> dict[str, object]:
    """Where the donor was reached, or the way to it: the account and the address there mean nothing to others."""
    if donor.via is not None:
        return {"host": "", "port": 0, "user": "", "via": str(donor.via)}
    return {"host": str(donor.socket or donor.host), "port": donor.port, "user": donor.user}


def _applies_in_order(variables: Mapping[str, str]) -> bool:
    """Whether the donor, where it is a replica, commits transactions in its source's order."""
    workers, order = (
        variables.get(f"replica_{name}", variables.get(f"slave_{name}", ""))
        for name in ("parallel_workers", "preserve_commit_order")
    )
    return order == "ON" or workers in ("0", "1")


def _without_directories(data_file_path: str) -> str:
    """innodb_data_file_path for the clone, which has all system files in its own directory.

    With the donor's absolute names a server on the clone would take the donor's files.
    """
    return ";".join(part.rpartition("/")[2] for part in data_file_path.split(";"))


def _file_row(file: ClonedFile, root: Path) -> dict[str, object]:
    path = file.path.relative_to(root) if file.path.is_relative_to(root) else file.path
    return {
        "name": file.metadata.name or file.path.name,
        "path": str(path),
        "space_id": file.metadata.space_id,
        "flags": file.metadata.fsp_flags,
        "size": file.path.stat().st_size,
    }


def note_changes(status: CloneStatus, received: Received) -> None:
    """One note about all DDL that was followed; a busy donor has thousands."""
    changes = received.table.changes
    if changes:
        more = f" and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
        status.notes.append(f"followed DDL on the donor: {', '.join(changes[:SHOWN])}{more}")
