"""Pull from a real registry: Debian's `docker-registry` on loopback."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pratique.digests import Digest
from pratique.errors import CouldNotDecide, InvalidInput
from pratique.intake.image import Platform, RegistryImage, open_image, read_inventory
from tests.assets.images import MadeImage, make_tar

CONFIGURATION = """\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a running registry."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed (Debian package docker-registry)")
    folder = tmp_path_factory.mktemp("registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "config.yml").write_text(CONFIGURATION.format(root=folder / "data", port=port))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        _wait(f"http://127.0.0.1:{port}/v2/", process)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            assert process.poll() is None, "the registry ended"
        time.sleep(0.1)
    pytest.fail("the registry did not start")


def _push(host: str, image: MadeImage, *tops: dict[str, object]) -> None:
    base = f"http://{host}/v2/team/tool"
    manifests = {str(top["digest"]): str(top["mediaType"]) for top in tops}
    with httpx.Client(trust_env=False) as client:
        for digest, data in image.blobs.items():
            if digest not in manifests:
                place = client.post(f"{base}/blobs/uploads/").headers["location"]
                client.put(httpx.URL(place).copy_merge_params({"digest": digest}), content=data).raise_for_status()
        for manifest, media_type in manifests.items():
            answer = client.put(
                f"{base}/manifests/{manifest}",
                content=image.blobs[Digest(manifest)],
                headers={"Content-Type": media_type},
            )
            answer.raise_for_status()


def test_an_image_is_pulled_by_digest_for_the_right_platform(registry: str, tmp_path: Path) -> None:
    """Through a multi-platform index, and by the manifest's own digest."""
    image = MadeImage([make_tar([("usr/bin/tool", b"x" * 300_000)]), make_tar([("etc/os-release", b"ID=x")])])
    ours = image.manifest() | {"platform": {"os": "linux", "architecture": "amd64"}}
    index = image.index([ours])
    _push(registry, image, ours, index)
    for digest, by_index in ((ours["digest"], None), (index["digest"], index["digest"])):
        work = tmp_path / digest[-8:]
        work.mkdir()
        source = RegistryImage(f"{registry}/team/tool@{digest}")
        opened = open_image(source, expected=digest, workdir=work)
        assert (opened.manifest_digest, opened.index_digest) == (ours["digest"], by_index)
        assert read_inventory(opened).files["usr/bin/tool"].size == 300_000
    with pytest.raises(InvalidInput) as caught:
        open_image(source, expected=index["digest"], platform=Platform("linux", "arm64"), workdir=tmp_path)
    assert caught.value.rule == "image/no-such-platform"


def test_an_image_that_is_not_there_is_refused(registry: str, tmp_path: Path) -> None:
    """By digest and by repository."""
    digest = Digest("sha256:" + "1" * 64)
    with pytest.raises(InvalidInput) as caught:
        open_image(RegistryImage(f"{registry}/team/tool@{digest}"), expected=digest, workdir=tmp_path)
    assert caught.value.rule == "image/digest-mismatch"


def test_https_is_demanded_off_this_machine(tmp_path: Path) -> None:
    """A registry elsewhere is never spoken to in plain text; nothing answers there, so nothing is decided."""
    digest = Digest("sha256:" + "1" * 64)
    with pytest.raises(CouldNotDecide):
        open_image(RegistryImage(f"registry.invalid/tool@{digest}"), expected=digest, workdir=tmp_path)
