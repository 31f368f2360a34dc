"""What end-to-end tests share: the command as a person types it, nodes, a laboratory policy, what is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from examples.signing.submissions import NodeTrust
from policies.load import DEFAULT_POLICY
from pratique.bounded_yaml import load_yaml
from sandbox.container import LABEL_STATE
from sandbox.engine import Engine
from sandbox.mounts import mounted_below

PRATIQUE = Path(sys.executable).with_name("pratique")
TIMEOUT = 600


@dataclass(frozen=True)
class Done:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    def report(self) -> dict[str, Any]:
        """The JSON report that it printed."""
        found: dict[str, Any] = json.loads(self.out)
        return found


def surroundings(**changes: str) -> dict[str, str]:
    """The environment of a command: nothing of the user's own Pratique or Prefect."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PRATIQUE_", "PREFECT_"))}
    return {**clean, **changes}


def restore_interrupts() -> None:
    """In the child, before it becomes the command: Ctrl-C counts, also where the tests run in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Node:
    """A node's home and policy."""

    home: Path
    policy: Path | None
    environment: Mapping[str, str]

    def command(self, *arguments: str | Path, policy: bool = False, program: tuple[str | Path, ...] = ()) -> list[str]:
        """The command line."""
        given = ["--policy", str(self.policy)] if policy and self.policy else []
        return [*map(str, program or (PRATIQUE,)), *map(str, arguments), "--home", str(self.home), *given]

    def start(
        self,
        *arguments: str | Path,
        policy: bool = False,
        program: tuple[str | Path, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Begin a command and do not wait for it."""
        return subprocess.Popen(
            self.command(*arguments, policy=policy, program=program),
            env={**self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=restore_interrupts,
        )

    def run(self, *arguments: str | Path, policy: bool = False, **environment: str) -> Done:
        """Call the command and wait for it."""
        with self.start(*arguments, policy=policy, environment=environment) as process:
            return finished(process)

    def onboard(self, submission: Path, **environment: str) -> Done:
        """Onboard a submission; the report comes as JSON."""
        return self.run("onboard", submission, "--format", "json", policy=True, **environment)

    def precheck(self, submission: Path, **environment: str) -> Done:
        """Precheck a submission; the report comes as JSON."""
        return self.run("precheck", submission, "--format", "json", policy=True, **environment)

    def entries(self) -> int:
        """How many entries the ledger has, which verifies; 0 where there is none yet."""
        if not (self.home / "ledger").is_dir():
            return 0
        done = self.run("log", "verify")
        assert done.code == 0, done.out + done.err
        return int(done.out.split()[1])

    @property
    def label(self) -> str:
        """What marks this node's containers."""
        return f"{LABEL_STATE}={(self.home / 'sandbox').resolve()}"

    def leftovers(self, engine: Engine) -> list[str]:
        """Containers, volumes, mounts and scratch that are still there."""
        left = [f"container {one['Id'][:12]}" for one in engine.labelled(self.label)]
        left += [f"volume {one['Name']}" for one in engine.labelled_volumes(self.label)]
        left += [f"mount {path}" for path in mounted_below(self.home / "sandbox")]
        for directory in (self.home / "work", self.home / "sandbox" / "runs"):
            if directory.is_dir():
                left += [str(path) for path in directory.iterdir()]
        return left

    def settles(self, engine: Engine, seconds: float = 10) -> list[str]:
        """The same, once what cleans up had its time."""
        deadline = time.monotonic() + seconds
        while (left := self.leftovers(engine)) and time.monotonic() < deadline:
            time.sleep(0.2)
        return left


def finished(process: subprocess.Popen[str]) -> Done:
    """Wait for a command; one that hangs is ended and fails the test."""
    try:
        out, err = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"{process.args!r} hangs:\n{out}\n{err}") from None
    except KeyboardInterrupt:  # of the tests alone, where no terminal tells the command, too: it ends what it began
        process.terminate()
        process.communicate(timeout=TIMEOUT)
        raise
    return Done(process.returncode, out, err)


def wait_until(condition: Callable[[], object], seconds: float = TIMEOUT) -> None:
    """Wait until `condition` holds; it must within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def write_policy(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The shipped policy with something changed."""
    policy: dict[str, Any] = load_yaml(DEFAULT_POLICY.read_bytes(), where="policy")
    change(policy)
    with path.open("w", encoding="utf-8") as stream:
        YAML(typ="safe").dump(policy, stream)
    return path


def laboratory(policy: dict[str, Any]) -> None:
    """Rules on what the tool does and what it says of itself; nobody has to sign, nothing is looked up."""
    kept = {"manifest-is-sound", "does-what-its-manifest-says", "stays-contained", "lets-no-identifier-out"}
    policy["name"] = "laboratory"
    policy["trust"] = {"roots": [], "identities": []}
    policy["image"]["unpacked"] = "512MiB"
    policy["rules"] = [rule for rule in policy["rules"] if rule["id"] in kept]


def closed(policy: dict[str, Any]) -> None:
    """Nobody is trusted: gate 1 refuses every tool, so that an inspection is recorded and runs nothing."""
    laboratory(policy)
    shipped: list[dict[str, Any]] = load_yaml(DEFAULT_POLICY.read_bytes(), where="policy")["rules"]
    policy["rules"] = [rule for rule in shipped if rule["id"] == "signed-by-a-trusted-identity"]


@dataclass(frozen=True)
class Site:
    """The node that inspects the example tools, and their submissions."""

    directory: Path
    node: Node
    submissions: Mapping[str, Path]
    trust: NodeTrust
