#!/usr/bin/python3 -IS
"""An OCI runtime that is runc, but for containers whose denied system calls somebody wants to hear of.

The engine is told of it under a name of its own and calls it as it calls runc; every call becomes one of runc.
At `create`, where the launcher has left a listener for this container (`PLACE/<container id>`, root's alone), the
container's configuration is changed first: calls that the filter denies are handed to that listener, which denies them
(`SCMP_ACT_NOTIFY`). What is allowed stays exactly as it was; nothing becomes allowed. Standard library only, any Python
from 3.8, because the engine starts it outside of any environment; what costs time to import is imported where needed,
because the engine starts it five times for each container.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

RUNTIME = "pratique-notify"
"""Name under which an engine knows this runtime."""
PLACE = "/run/pratique-notify"
LISTENER, RULES = "listener", "rules.json"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MAX_BYTES = 16 << 20
_EPERM = 1


class Unusable(Exception):
    """Something is not as it must be; the container is not started."""


def main(arguments: list[str], place: str = PLACE) -> None:
    """Become runc; never returns."""
    if "create" in arguments:
        try:
            prepare(arguments, place)
        except (OSError, ValueError, KeyError, TypeError, RecursionError, Unusable) as error:
            sys.exit(complain(arguments, f"the denied calls cannot be handed over: {error!r}"))
    os.environ.setdefault("PATH", PATH)
    os.execvp("runc", ["runc", *arguments])  # noqa: S606 (no shell)


def prepare(arguments: list[str], place: str) -> None:
    """Change the bundle's configuration where somebody listens for this container."""
    bundle, container = option(arguments, "--bundle"), arguments[-1]
    if not bundle or not container.isalnum() or not os.path.lexists(f"{place}/{container}"):
        return
    import json
    from pathlib import Path

    home = Path(place, container)
    refuse_shared(home.parent)
    refuse_shared(home)
    path = Path(bundle, "config.json")
    config = json.loads(read(path))
    hand_over(config, json.loads(read(home / RULES)), str(home / LISTENER))
    fresh = path.with_name(f"config.json.{os.getpid()}")
    with fresh.open("x") as stream:
        os.fchmod(stream.fileno(), path.stat().st_mode & 0o777)
        json.dump(config, stream)
    fresh.replace(path)


def hand_over(config: dict[str, Any], rules: list[dict[str, Any]], listener: str) -> None:
    """Replace the rules that deny by `rules` (`names`, and `args` where they hold for some arguments only).

    The listener is told, as JSON in `listenerMetadata`, the error of each call: what the rules gave that are replaced,
    `default` for every other. Raises `Unusable` where the filter does not deny by default.
    """
    import json

    seccomp = config["linux"]["seccomp"]
    if seccomp["defaultAction"] != "SCMP_ACT_ERRNO":
        raise Unusable("the filter does not deny by default")
    plain = [entry for entry in seccomp["syscalls"] if entry["action"] == "SCMP_ACT_ERRNO" and not entry.get("args")]
    kept = [entry for entry in seccomp["syscalls"] if entry not in plain]
    errors = {name: entry.get("errnoRet", _EPERM) for entry in plain for name in entry["names"]}
    added = [
        {"names": rule["names"], "action": "SCMP_ACT_NOTIFY", **({"args": rule["args"]} if rule.get("args") else {})}
        for rule in rules
    ]
    seccomp["syscalls"] = kept + added
    seccomp["listenerPath"] = listener
    answers = {"default": seccomp.get("defaultErrnoRet", _EPERM), "errors": errors}
    seccomp["listenerMetadata"] = json.dumps(answers, separators=(",", ":"))


def refuse_shared(directory: Path) -> None:
    """Raise `Unusable` for a directory that anybody but its owner, who is ourselves, can change."""
    state = directory.lstat()
    if state.st_uid != os.geteuid() or state.st_mode & 0o170077 != 0o040000:
        raise Unusable(f"{directory} is not a directory of root alone")


def read(path: Path) -> bytes:
    """A whole file, of `MAX_BYTES` at most."""
    with path.open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise Unusable(f"{path} is too large")
    return data


def option(arguments: list[str], name: str) -> str:
    """Value of an option, given as one word or as two; empty where it is not there."""
    for index, word in enumerate(arguments):
        if word == name:
            return arguments[index + 1] if index + 1 < len(arguments) else ""
        if word.startswith(name + "="):
            return word[len(name) + 1 :]
    return ""


def complain(arguments: list[str], message: str) -> str:
    """Leave the message where the engine looks for runc's; returns it."""
    import json
    from pathlib import Path

    if log := option(arguments, "--log"):
        with Path(log).open("a") as stream:
            stream.write(json.dumps({"level": "error", "msg": f"{RUNTIME}: {message}"}) + "\n")
    return message


if __name__ == "__main__":
    main(sys.argv[1:])
