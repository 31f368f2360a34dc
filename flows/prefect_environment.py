"""The settings under which Prefect runs, put into the environment before it is imported."""

from __future__ import annotations

import os
from pathlib import Path


def prefect_environment(server: Path, api_url: str | None) -> dict[str, str]:
    """Environment for Prefect with its state below `server`: no analytics, JSON results, quiet.

    Without `api_url` a command starts a server for itself (`flows.ephemeral`), which costs some 20 seconds.
    """
    environment = {
        "PREFECT_HOME": str(server / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "http://127.0.0.1",  # its default lets every web page ask and change it
        "DO_NOT_TRACK": "1",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
        "PREFECT_CLI_PROMPT": "false",
    }
    if api_url is not None:
        environment["PREFECT_API_URL"] = api_url
    return environment


def enter_prefect_environment(server: Path, api_url: str | None) -> None:
    """Apply `prefect_environment` to this process; a profile or setting of the user's own does not count.

    Makes the state directory: Prefect makes its own below it, but not that.
    """
    server.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        del os.environ[name]
    os.environ.update(prefect_environment(server, api_url))
