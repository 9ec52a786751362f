"""Rows about variables and plugins."""

from __future__ import annotations

from collections.abc import Mapping

from innoclone.agent.sql import Value
from innoclone.agent.tables.columns import GLOBAL_VARIABLES, PLUGINS, row
from innoclone.agent.variables.fixed import shown
from innoclone.agent.variables.globals import Variables
from innoclone.agent.variables.kinds import Content
from innoclone.agent.variables.session import OF_A_SESSION

__all__ = ["global_values", "plugin_rows", "variable_rows"]


def global_values(variables: Variables) -> dict[str, Content]:
    """Everything that SHOW GLOBAL VARIABLES shows, by name."""
    return {name: value for name, value in variables.all().items() if name not in OF_A_SESSION}


def variable_rows(values: Mapping[str, Content]) -> list[tuple[Value, ...]]:
    """Of global_variables and its like, by name."""
    return [
        row(GLOBAL_VARIABLES, VARIABLE_NAME=name, VARIABLE_VALUE=shown(value)) for name, value in sorted(values.items())
    ]


def plugin_rows(variables: Variables) -> list[tuple[Value, ...]]:
    """Of information_schema.plugins."""
    rows = [
        row(
            PLUGINS, PLUGIN_NAME="caching_sha2_password", PLUGIN_VERSION="1.0", PLUGIN_STATUS="ACTIVE",
            PLUGIN_TYPE="AUTHENTICATION", PLUGIN_TYPE_VERSION="2.1", PLUGIN_LIBRARY=None, PLUGIN_LIBRARY_VERSION=None,
            PLUGIN_AUTHOR="innoclone", PLUGIN_DESCRIPTION="authentication by password", PLUGIN_LICENSE="MIT",
            LOAD_OPTION="FORCE",
        )
    ]  # fmt: skip
    if variables.installed:
        rows.append(
            row(
                PLUGINS, PLUGIN_NAME="clone", PLUGIN_VERSION="1.0", PLUGIN_STATUS="ACTIVE", PLUGIN_TYPE="CLONE",
                PLUGIN_TYPE_VERSION="1.0", PLUGIN_LIBRARY="mysql_clone.so", PLUGIN_LIBRARY_VERSION="1.11",
                PLUGIN_AUTHOR="innoclone", PLUGIN_DESCRIPTION="CLONE", PLUGIN_LICENSE="MIT", LOAD_OPTION="ON",
            )
        )  # fmt: skip
    return rows
