"""``innoclone agent``: the daemon that speaks the MySQL protocol."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from innoclone.cli.arguments import OutputArgs, expand
from innoclone.report.output import Output

if TYPE_CHECKING:
    from innoclone.agent.daemon import Agent
    from innoclone.agent.settings import AgentSettings

__all__ = ["agent"]


@dataclass(frozen=True)
class SettingArgs:
    """Settings of the agent, by the names that they have in its file."""

    folder: Annotated[
        Path | None, typer.Option(metavar="DIRECTORY", help="Keep accounts, keys and persisted variables here.")
    ] = None
    bind_address: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Listen there; default 127.0.0.1, * is everywhere, '' no TCP."),
    ] = None
    port: Annotated[int | None, typer.Option(metavar="N", help="TCP port; default 3307, 0 is any free one.")] = None
    socket: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Unix socket; default agent.sock in the folder.")
    ] = None
    ssl_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate to show; default is one of its own making.")
    ] = None
    ssl_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key.")] = None
    require_secure_transport: Annotated[
        bool, typer.Option("--require-secure-transport", help="Let nobody log in over TCP without TLS.")
    ] = False
    max_connections: Annotated[int | None, typer.Option(metavar="N", help="At the same time; default 151.")] = None
    web_port: Annotated[
        int | None, typer.Option(metavar="N", help="Serve a status page and /metrics on this port; 0 is any free one.")
    ] = None
    web_bind_address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Serve them there; default 127.0.0.1, port 9307.")
    ] = None

    @property
    def given(self) -> dict[str, Any]:
        """None for what was not typed."""
        return vars(self) | {"require_secure_transport": self.require_secure_transport or None}


@expand
def agent(
    *,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="TOML file with settings; options win.")] = None,
    settings: SettingArgs,
    systemd_unit: Annotated[
        bool, typer.Option("--systemd-unit", help="Print a systemd unit for the agent with this --config, and end.")
    ] = False,
    output: OutputArgs,
) -> None:
    """Answer CLONE statements and status queries of any MySQL client.

    The first administrator is root, through the Unix socket: mysql -S agent.sock -u root. There, CREATE USER and GRANT
    make accounts for others.
    """
    from innoclone.agent.clones.process import LogOptions
    from innoclone.agent.daemon import Agent
    from innoclone.agent.settings import read_settings
    from innoclone.report.aside import Aside
    from innoclone.report.logs import log_to

    if systemd_unit:
        from innoclone.cli.agentunit import unit

        sys.stdout.write(unit(config))
        return
    out = output.open()
    chosen = read_settings(config, settings.given)
    log_options = LogOptions(None if output.log_file is None else output.log_file.absolute(), output.quiet)
    with Aside() as aside:
        log_to(out, aside.say)
        place = _serve(Agent(chosen, log_options), chosen, out)
    out.message("stopped")
    out.result(place)
    out.completed()


def _serve(service: Agent, chosen: AgentSettings, out: Output) -> dict[str, Any]:
    """Until a signal ends it; where it was listening."""
    from innoclone.agent.notify import Notifier

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: service.stop())
    place = _tell_where(service, chosen, out)
    out.event("listening", place)
    notifier = Notifier(service.services.clones, service.services.donors)
    notifier.ready()
    service.serve(stopping=notifier.stopping)
    return place


def _tell_where(service: Agent, settings: AgentSettings, out: Output) -> dict[str, Any]:
    """Say where the agent listens; the same as fields."""
    if service.web is not None:
        host = settings.web_bind_address
        out.message(f"status page on http://{f'[{host}]' if ':' in host else host}:{service.web.port}/")
    where = f"{settings.bind_address}:{service.port} and " if settings.bind_address else ""
    out.message(f"listening on {where}{settings.socket_path.absolute()}")
    return {
        "port": service.port if settings.bind_address else None,
        "socket": str(settings.socket_path.absolute()),
        "web_port": service.web.port if service.web is not None else None,
    }
