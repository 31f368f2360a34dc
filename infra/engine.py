#!/usr/bin/env python3
"""Finds a container engine, or installs and starts a private one; standard library only.

`ensure` prints the address of an engine that answers, for `DOCKER_HOST`: the one that `DOCKER_HOST` names, the default
socket, or, as root on Debian or Ubuntu, a private `dockerd` whose data, sockets and pid file lie in one state directory
(`PRATIQUE_ENGINE_STATE`, default `/var/lib/pratique/engine`). `stop` ends that private engine, by pid, nothing else.

A private engine knows the runtime by which denied calls are told with their arguments; one that runs already learns it,
and a changed one, without being started again.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DEFAULT_SOCKET = Path("/var/run/docker.sock")
START_SECONDS = 60
STOP_SECONDS = 30
RELOAD_SECONDS = 10
CONFIG = "daemon.json"
RUNTIME = "pratique-notify"
RUNTIME_SOURCE = Path(__file__).resolve().parent.parent / "sandbox" / "observe" / "notify_runtime.py"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(5)
        self.sock.connect(self._path)


def state_dir() -> Path:
    """Directory that holds everything of the private engine."""
    return Path(os.environ.get("PRATIQUE_ENGINE_STATE", "/var/lib/pratique/engine"))


def answers(address: str) -> bool:
    """Whether an engine answers a ping at `address` (`unix://PATH` or `tcp://HOST:PORT`)."""
    return _ask(address, "/_ping") is not None


def _ask(address: str, path: str) -> bytes | None:
    """The body of the engine's answer, None where there is no good one."""
    scheme, _, rest = address.partition("://")
    if scheme not in ("unix", "tcp", "http"):
        return None
    try:
        connection = _UnixConnection(rest) if scheme == "unix" else http.client.HTTPConnection(rest, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.read() if answer.status == http.HTTPStatus.OK else None
    except (OSError, ValueError, http.client.HTTPException):  # ValueError: no host name at all
        return None


@contextlib.contextmanager
def _locked(state: Path) -> Iterator[None]:
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _say(text: str) -> None:
    print(f"pratique: {text}", file=sys.stderr, flush=True)


def _install() -> None:
    apt = shutil.which("apt-get")
    if os.geteuid() != 0 or apt is None:
        sys.exit(
            "pratique: no container engine answers, and it can only be installed as root on Debian or Ubuntu.\n"
            "Install Docker (Debian/Ubuntu: sudo apt-get install docker.io; others: https://docs.docker.com/engine/install/),\n"
            "give your user access to it (sudo usermod -aG docker $USER, then log in again), or set DOCKER_HOST."
        )
    _say("no container engine answers; installing Debian's docker.io (about a minute)")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "docker.io"]):
        done = subprocess.run(
            [apt, "-o", "DPkg::Lock::Timeout=300", *step],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"pratique: apt-get {' '.join(step)} failed:\n{done.stdout[-2000:]}")


def _start(state: Path, daemon: str) -> str:
    address = f"unix://{state / 'docker.sock'}"
    _install_runtime(state)
    _say(f"starting a private engine in {state}")
    log = state / "dockerd.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                daemon,
                f"--data-root={state / 'data'}",
                f"--exec-root={state / 'exec'}",
                f"--host={address}",
                f"--pidfile={state / 'docker.pid'}",
                f"--config-file={state / CONFIG}",
                "--log-level=warn",
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if answers(address):
            return address
        if process.poll() is not None:
            break
        time.sleep(0.1)
    process.kill()
    process.wait()
    tail = log.read_text(errors="replace")[-2000:]
    sys.exit(f"pratique: dockerd did not answer within {START_SECONDS} s; the end of {log}:\n{tail}")


def _install_runtime(state: Path) -> bool:
    """Put the runtime where the private engine is told to find it; returns whether the engine must be told.

    The rest of the configuration stays as it is. The engine starts the copy as root, so it lies in the engine's own
    directory and names its interpreter; each call of the engine reads it anew.
    """
    program, config = state / "notify-runtime", state / CONFIG
    _, _, body = RUNTIME_SOURCE.read_text(encoding="utf-8").partition("\n")
    _replace(program, f"#!{Path(sys.executable).resolve()} -IS\n{body}", 0o755)
    try:
        settings: Any = json.loads(config.read_text(encoding="utf-8")) if config.exists() else {}
        runtimes = settings.setdefault("runtimes", {})
        if runtimes.get(RUNTIME) == {"path": str(program)}:
            return False
        runtimes[RUNTIME] = {"path": str(program)}
    except (ValueError, AttributeError) as error:
        sys.exit(f"pratique: {config} cannot be read ({error}); mend or remove it")
    _replace(config, json.dumps(settings, indent=2) + "\n", 0o644)
    return True


def _replace(path: Path, text: str, mode: int) -> None:
    """Write a file unless it is so already, so that nobody ever reads half of it."""
    if path.exists() and path.read_text(encoding="utf-8") == text and path.stat().st_mode & 0o777 == mode:
        return
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text, encoding="utf-8")
    fresh.chmod(mode)
    fresh.replace(path)


def _taught(address: str) -> str:
    """`address`, after the private engine, if it is the one that answers there, has learnt the runtime."""
    state = state_dir()
    if address != f"unix://{state / 'docker.sock'}" or os.geteuid() != 0 or (pid := _own_pid(state)) is None:
        return address
    with _locked(state):
        if not _install_runtime(state) and _knows_runtime(address):
            return address
        if f"--config-file={state / CONFIG}".encode() not in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            _say(f"the private engine reads another configuration and may not know {RUNTIME}; `make stop` ends it")
            return address
        os.kill(pid, signal.SIGHUP)  # dockerd reads its runtimes again; what runs goes on
        end = time.monotonic() + RELOAD_SECONDS
        while not _knows_runtime(address):
            if time.monotonic() > end:
                _say(f"the engine did not take {RUNTIME} over; see {state / 'dockerd.log'}")
                break
            time.sleep(0.1)
    return address


def _knows_runtime(address: str) -> bool:
    try:
        return RUNTIME in json.loads(_ask(address, "/info") or b"{}").get("Runtimes", {})
    except (ValueError, AttributeError, TypeError):
        return False


def ensure() -> str:
    """Address of an engine that answers, started if need be; exits with what to do where that is impossible."""
    named = os.environ.get("DOCKER_HOST")
    if named:
        if not answers(named):
            sys.exit(f"pratique: DOCKER_HOST is {named}, and no engine answers there; start it or unset DOCKER_HOST")
        return _taught(named)
    default = f"unix://{DEFAULT_SOCKET}"
    if answers(default):
        return default
    state = state_dir()
    private = f"unix://{state / 'docker.sock'}"
    if answers(private):
        return _taught(private)
    if os.geteuid() != 0:
        _install()
    with _locked(state):
        if answers(private):
            return private
        if shutil.which("dockerd") is None:
            _install()
            if answers(default):  # where an init system runs, the package starts its own engine
                return default
        daemon = shutil.which("dockerd")
        if daemon is None:
            sys.exit("pratique: docker.io is installed but dockerd is not on PATH; add /usr/sbin to PATH")
        _clear_stale_pid(state)
        return _start(state, daemon)


def _own_pid(state: Path) -> int | None:
    """Pid of the private engine, None where it does not run; a pid given to another program since is not ours."""
    try:
        pid = int((state / "docker.pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if f"--data-root={state / 'data'}".encode() in command else None


def _clear_stale_pid(state: Path) -> None:
    """Forget daemons that were killed: dockerd waits in vain for a containerd whose pid a zombie or another has."""
    if _own_pid(state) is None:
        (state / "docker.pid").unlink(missing_ok=True)
    runtime = state / "exec" / "containerd"
    try:
        command = Path(f"/proc/{int((runtime / 'containerd.pid').read_text())}/cmdline").read_bytes()
    except (OSError, ValueError):
        command = b""
    if str(runtime).encode() not in command:  # a zombie has an empty command line
        for name in ("containerd.pid", "containerd.sock", "containerd.sock.ttrpc", "containerd-debug.sock"):
            (runtime / name).unlink(missing_ok=True)


def stop() -> None:
    """End the private engine, if it runs, and wait until it is gone."""
    state = state_dir()
    if not state.is_dir():
        return
    with _locked(state):
        pid = _own_pid(state)
        if pid is None:
            _say("no private engine runs")
            return
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and Path(f"/proc/{pid}").exists():
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                break
            time.sleep(0.1)
        else:
            if Path(f"/proc/{pid}").exists():
                sys.exit(
                    f"pratique: the engine (pid {pid}) did not end within {STOP_SECONDS} s; see {state / 'dockerd.log'}"
                )
        _say(f"stopped the private engine (pid {pid})")


def main() -> None:
    """Entry point: `engine.py ensure|stop`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["ensure", "stop"])
    if parser.parse_args().action == "ensure":
        print(ensure())
    else:
        stop()


if __name__ == "__main__":
    main()
