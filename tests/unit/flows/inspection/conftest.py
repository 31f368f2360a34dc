"""A node in a directory of its own, and real cases of a tiny submission; no engine, no server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from flows.case import Case, open_case
from flows.node import Node
from policies.load import DEFAULT_POLICY
from pratique.bounded_yaml import load_yaml
from pratique.settings import Settings
from sandbox.observe.helper_image import build_archive
from tests.assets.submissions import TOOL, tiny_archive, write_submission

Opened = Callable[..., Case]


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Any]:
    return tiny_archive(tmp_path_factory.mktemp("image"))


@pytest.fixture
def submission(tmp_path: Path, archive: tuple[bytes, Any]) -> Path:
    return write_submission(tmp_path / "submission", archive)


@pytest.fixture
def other_image(tmp_path: Path) -> tuple[bytes, Any]:
    """An image that differs in one byte of its program."""
    source = tmp_path / "other.py"
    source.write_text(TOOL + "\n")
    data, digest, _ = build_archive({"/app/main.py": source}, {"User": "65534:65534"})
    return data, digest


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    return Node.open(Settings(home=tmp_path / "home", policy=None))


@pytest.fixture
def opened(node: Node, submission: Path) -> Iterator[Opened]:
    """Opens cases, and closes them at the end."""
    with ExitStack() as stack:

        def make(directory: Path = submission, *, under: Node = node) -> Case:
            return stack.enter_context(open_case(under, directory))

        yield make


@pytest.fixture
def under(node: Node, tmp_path: Path) -> Callable[..., Node]:
    """The same node under the shipped policy with sections changed."""

    def make(**sections: Any) -> Node:
        policy = load_yaml(DEFAULT_POLICY.read_bytes(), where="policy")
        policy["trust"] = {"roots": [], "identities": []}
        for name, value in sections.items():
            policy[name] = {**policy[name], **value} if isinstance(value, dict) else value
        path = tmp_path / "policy.yaml"
        with path.open("w", encoding="utf-8") as stream:
            YAML(typ="safe").dump(policy, stream)
        return Node.open(Settings(home=node.settings.home, policy=path))

    return make
