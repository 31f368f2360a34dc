"""The example tools, built and signed once, one local server for all, and nodes of their own for what must break."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from examples.build.tools import ToolBuilder
from examples.signing.submissions import NodeTrust
from pratique.digests import Digest
from pratique.errors import EngineUnavailable
from sandbox.engine import Engine, connect
from tests.assets.submissions import runnable_archive, write_submission
from tests.e2e.bench import Node, Site, closed, laboratory, surroundings, write_policy

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
FEED = ROOT / "examples" / "advisories"
PRIVATE_SOCKET = Path("/var/lib/pratique/engine/docker.sock")
TOOLS = (
    "lesion-segmenter",
    "combat-harmonizer",
    "risk-classifier",
    "risk-classifier-overfit",
    "outdated",
    "smuggler",
    "swapped",
)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The engine of DOCKER_HOST, else the one that `make` starts, else the default one; no engine fails the test."""
    host = os.environ.get("DOCKER_HOST") or (f"unix://{PRIVATE_SOCKET}" if PRIVATE_SOCKET.is_socket() else None)
    try:
        found = connect(host)
    except EngineUnavailable as error:
        pytest.fail(f"{error}. {error.next_step}")
    yield found
    found.close()


@pytest.fixture(scope="session")
def directory() -> Iterator[Path]:
    """Below the repository, where layers of images can be linked instead of copied."""
    BUILD.mkdir(exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="e2e-", dir=BUILD))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="session")
def server(directory: Path, engine: Engine) -> Iterator[Path]:
    """State directory of a local server that runs until the tests end."""
    node = Node(directory / "home", None, surroundings(DOCKER_HOST=engine.host))
    try:
        assert node.run("up").code == 0
        yield node.home / "server"
    finally:  # also where Ctrl-C came between its start and the first test
        assert node.run("down").code == 0


@pytest.fixture(scope="session")
def site(directory: Path, engine: Engine, server: Path) -> Site:
    """The seven example tools, signed, and a node that trusts their signers and has a small feed of advisories."""
    builder = ToolBuilder(BUILD / "images", directory / "submissions")
    submissions = {tool: builder.build(tool) for tool in TOOLS}
    trust = NodeTrust(directory)
    for tool, submission in submissions.items():
        if tool != "swapped":
            trust.sign(submission)
    trust.borrow_signature(submissions["lesion-segmenter"], submissions["swapped"])
    trust.write_policy(directory / "policy.yaml")
    node = Node(server.parent, directory / "policy.yaml", surroundings(DOCKER_HOST=engine.host))
    today = datetime.now(UTC).date().isoformat()
    assert node.run("advisories", "import", FEED, "--date", today, "--label", "written for tests").code == 0
    return Site(directory, node, submissions, trust)


@pytest.fixture(scope="session")
def image(directory: Path) -> tuple[bytes, Digest]:
    """A small image that an engine can run."""
    return runnable_archive(directory)


@pytest.fixture
def submission(tmp_path: Path, image: tuple[bytes, Digest]) -> Path:
    """A small submission that is right in every way."""
    return write_submission(tmp_path / "submission", image)


@pytest.fixture
def nodes(tmp_path: Path, engine: Engine, server: Path) -> Iterator[Callable[[], Node]]:
    """Makes nodes under a laboratory policy that share the server; at the end nothing of them may be left."""
    policy = write_policy(tmp_path / "laboratory.yaml", laboratory)
    number = itertools.count()
    made: list[Node] = []

    def make() -> Node:
        home = tmp_path / f"home{next(number)}"
        home.mkdir()
        (home / "server").symlink_to(server)
        made.append(Node(home, policy, surroundings(DOCKER_HOST=engine.host)))
        return made[-1]

    yield make
    for node in made:
        assert node.settles(engine) == []


@pytest.fixture
def gate(node: Node, tmp_path: Path) -> Node:
    """The same node under a policy that refuses before anything runs: the shortest way to a record."""
    return replace(node, policy=write_policy(tmp_path / "closed.yaml", closed))


@pytest.fixture
def node(nodes: Callable[[], Node]) -> Node:
    """One node of its own."""
    return nodes()
