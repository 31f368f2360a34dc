"""What a real engine saves is read as what its containers see."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from pratique.digests import Digest, sha256_bytes
from pratique.intake.image import ArchiveImage, Image, Kind, open_image, read_inventory
from sandbox.engine import Engine

pytestmark = pytest.mark.docker

CHANGES = """
import os, shutil
for name in ("plain", "kept"):
    open(f"/{name}", "w").write(name)
os.makedirs("/full/deep"); open("/full/deep/old", "w").write("old"); open("/gone", "w").write("gone")
os.link("/plain", "/hard"); os.symlink("../../etc/passwd", "/soft"); os.mkfifo("/pipe"); os.chmod("/kept", 0o4755)
"""
MORE_CHANGES = """
import os, shutil
os.remove("/gone"); shutil.rmtree("/full"); os.makedirs("/full/new"); open("/full/new/f", "w").write("new")
os.remove("/plain"); os.symlink("kept", "/plain"); open("/kept", "a").write(" and changed")
"""


@pytest.fixture
def committed(engine: Engine, tool_image: str) -> Iterator[tuple[docker.DockerClient, str]]:
    """An image of three layers: Python, files that were made, and files that were changed and removed."""
    client = docker.DockerClient(base_url=engine.host)
    made: list[str] = []
    image = tool_image
    for program in (CHANGES, MORE_CHANGES):
        container = client.containers.create(
            image, ["/usr/bin/python3", "-S", "-c", program], entrypoint=[], user="0", network_mode="none"
        )
        try:
            container.start()
            assert container.wait(timeout=60)["StatusCode"] == 0, container.logs()
            image = str(container.commit().id)
            made.append(image)
        finally:
            container.remove(force=True)
    yield client, image
    for identity in reversed(made):
        with contextlib.suppress(docker.errors.ImageNotFound):
            client.images.remove(identity, force=True, noprune=True)  # the shared image below stays
    client.close()


def _opened(client: docker.DockerClient, identity: str, tmp_path: Path) -> Image:
    archive = tmp_path / "saved.tar"
    with archive.open("wb") as out:
        for chunk in client.images.get(identity).save():
            out.write(chunk)
    return open_image(ArchiveImage(archive), expected=Digest(identity), workdir=tmp_path)


def test_a_saved_image_shows_what_its_containers_see(
    committed: tuple[docker.DockerClient, str], engine: Engine, tmp_path: Path
) -> None:
    """Whiteouts, opaque directories, hard links and links as the engine itself writes them; then back into it."""
    client, identity = committed
    image = _opened(client, identity, tmp_path)
    assert len(image.layers) == 3
    inventory = read_inventory(image)
    files = inventory.files
    assert not {"gone", "full/deep", "full/deep/old"} & set(files)
    assert files["full/new/f"].sha256 == sha256_bytes(b"new")
    assert files["kept"].sha256 == sha256_bytes(b"kept and changed")
    assert files["kept"].mode & 0o7777 in (0o4755, 0o755), "writing to a file may take its setuid bit away"
    assert files["hard"].sha256 == sha256_bytes(b"plain")
    assert (files["plain"].kind, files["plain"].linkname) == (Kind.SYMLINK, "kept")
    assert files["pipe"].kind is Kind.FIFO
    assert {"gone", "full/deep/old", "plain"} <= {entry.path for entry in inventory.hidden}
    client.images.remove(identity, force=True)
    assert engine.load(image) in {image.config_digest, image.manifest_digest}
