"""Secrets: found in configuration, history, programs and hidden files, and never repeated in what is reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from checks.image import check_image
from checks.interface import CheckResult, Level, Status
from pratique.intake.image import LayoutImage, open_image, read_inventory
from tests.assets.images import Item, MadeImage, entry, made, make_tar

GITHUB = "ghp_Zm9vYmFyMTIzNDU2Nzg5MGFiY2RlZmdoaWpr"
KEY = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA7bq0z1x2c3v4b5n6m7" * 3 + "\n"


def judged(tmp_path: Path, image: MadeImage) -> CheckResult:
    """The image check of `image`."""
    top = image.manifest()
    layout = image.write_layout(tmp_path / "image", [top])
    opened = open_image(LayoutImage(layout), expected=top["digest"], workdir=tmp_path)
    return check_image(opened, read_inventory(opened))


def of(*items: Item, run: dict[str, Any] | None = None, **fields: Any) -> MadeImage:
    return made(*items, run={"User": "65534:65534", **(run or {})}, **fields)


def secrets(result: CheckResult) -> list[tuple[str, Level]]:
    return [(finding.where, finding.level) for finding in result.findings if finding.rule_id == "image/secret"]


PLACES: dict[str, tuple[MadeImage, str]] = {
    "environment by form": (of(run={"Env": [f"X={GITHUB}"]}), "config: Env X"),
    "environment by name": (of(run={"Env": ["DB_PASSWORD=hunter22"]}), "config: Env DB_PASSWORD"),
    "label": (of(run={"Labels": {"build": GITHUB}}), "config: Labels build"),
    "entry point": (of(run={"Cmd": ["run", "--token", GITHUB]}), "config: Cmd"),
    "history": (of(history=[{"created_by": f"RUN curl -H 'Authorization: {GITHUB}'"}]), "config: history 0"),
    "build argument in the history": (
        of(history=[{"created_by": "|1 API_KEY=abcd1234 RUN make"}]),
        "config: history 0",
    ),
    "program": (of(("app/main.py", f"import os\ntoken = '{GITHUB}'\n".encode())), "/app/main.py (layer 0)"),
    "settings": (of(("srv/settings.yaml", b"url: postgres://tool:hunter22@db/x\n")), "/srv/settings.yaml (layer 0)"),
    "notebook": (of(("work/a.ipynb", b'{"x": "AKIAZ7Q2M5N8P1R4T6VW"}')), "/work/a.ipynb (layer 0)"),
    "key in a script without a suffix": (of(("srv/start", b"#!/bin/sh\n" + KEY.encode())), "/srv/start (layer 0)"),
    "key file": (of(("root/.ssh/id_rsa", KEY.encode())), "/root/.ssh/id_rsa (layer 0)"),
    "npm settings": (of(("root/.npmrc", b"//registry/:_authToken=abcdef12345\n")), "/root/.npmrc (layer 0)"),
    "code that runs at every start": (
        of(("usr/lib/python3/site-packages/x.pth", f"import x; x.t='{GITHUB}'".encode())),
        "/usr/lib/python3/site-packages/x.pth (layer 0)",
    ),
    "key removed by a later layer": (
        replace(
            of(),
            layers=[make_tar([("root/key.pem", KEY.encode())]), make_tar([entry("root/.wh.key.pem")])],
        ),
        "/root/key.pem (layer 0)",
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_secret_fails_and_is_not_repeated(place: str, tmp_path: Path) -> None:
    image, where = PLACES[place]
    result = judged(tmp_path, image)
    assert result.status is Status.FAILED
    assert (where, Level.ERROR) in secrets(result)
    assert not any(word in result.model_dump_json() for word in (GITHUB, "hunter22", "MIIEpAIB", "abcd1234", "AKIAZ7"))


HARMLESS: dict[str, MadeImage] = {
    "program that speaks of passwords": of(("app/m.py", b"password = read()\nif token: secret = password\n")),
    "program that reads keys": of(
        ("app/m.py", b"import os\n" * 30 + b"if '-----BEGIN PRIVATE KEY-----' in text:\n    load(text)\n")
    ),
    "example in a manual": of(("app/README.md", b"https://user:password@example.org AKIAIOSFODNN7EXAMPLE\n")),
    "template": of(("srv/a.yaml", b"url: postgres://tool:{{ password }}@db/x\nb: https://a:<secret>@db/x\n")),
    "token of one letter": of(("app/m.py", f"ghp_{'x' * 36}".encode())),
    "library": of(("usr/lib/python3/site-packages/x/auth.py", GITHUB.encode())),
    "path to a secret": of(run={"Env": ["DB_PASSWORD=/run/secrets/db"]}),
    "empty file of a telling name": of(("root/.netrc", b"")),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_what_holds_no_secret_is_no_secret(case: str, tmp_path: Path) -> None:
    assert secrets(judged(tmp_path, HARMLESS[case])) == []


def test_made_up_keys_in_tests_are_warnings(tmp_path: Path) -> None:
    result = judged(tmp_path, of(("app/tests/key.py", KEY.encode())))
    assert secrets(result) == [("/app/tests/key.py (layer 0)", Level.WARNING)]


def test_a_credential_file_removed_by_a_later_layer_is_told(tmp_path: Path) -> None:
    layers = [make_tar([("root/.netrc", b"machine x login y password z\n")]), make_tar([entry("root/.wh..netrc")])]
    result = judged(tmp_path, replace(of(), layers=layers))
    assert secrets(result) == [("/root/.netrc (layer 0)", Level.WARNING)]


def test_texts_beyond_the_budget_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checks.image_secrets._TEXT_BUDGET", 1000)
    image = of(*((f"app/{n}.txt", b"some words\n" * 40) for n in range(4)))
    assert "image/secrets-not-searched" in {finding.rule_id for finding in judged(tmp_path, image).findings}
