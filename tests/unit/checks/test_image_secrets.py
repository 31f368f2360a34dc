"""Secrets: found in configuration, history, programs and hidden files, and never repeated in what is reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.image import check_image
from checks.image_secrets import secret_in_file
from checks.interface import CheckResult, Level, Status
from checks.secret_forms import find_hits
from pratique.intake.image import ImageLimits, LayoutImage, open_image, read_inventory
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
    "history, behind an example": (
        of(history=[{"created_by": "RUN job --password changeme && job --password hunter22"}]),
        "config: history 0",
    ),
    "command, behind an example": (
        of(run={"Cmd": ["sh", "-c", "job --token example-token; job --token hunter22"]}),
        "config: Cmd",
    ),
    "program": (of(("app/main.py", f"import os\ntoken = '{GITHUB}'\n".encode())), "/app/main.py (layer 0)"),
    "settings": (of(("srv/settings.yaml", b"url: postgres://tool:hunter22@db/x\n")), "/srv/settings.yaml (layer 0)"),
    "notebook": (of(("work/a.ipynb", b'{"x": "AKIAZ7Q2M5N8P1R4T6VW"}')), "/work/a.ipynb (layer 0)"),
    "key in a script without a suffix": (of(("srv/start", b"#!/bin/sh\n" + KEY.encode())), "/srv/start (layer 0)"),
    "settings of Windows": (
        of(("srv/app.ini", f"\ufefftoken = '{GITHUB}'\r\n".encode("utf-16-le"))),
        "/srv/app.ini (layer 0)",
    ),
    "settings of Windows, without a mark": (
        of(("srv/app.ini", f"token = '{GITHUB}'\r\n".encode("utf-16-le"))),
        "/srv/app.ini (layer 0)",
    ),
    "settings in UTF-16 the other way round": (
        of(("srv/app.ini", f"\ufefftoken = '{GITHUB}'\n".encode("utf-16-be"))),
        "/srv/app.ini (layer 0)",
    ),
    "a key file of Windows": (of(("root/.ssh/id_rsa", KEY.encode("utf-16"))), "/root/.ssh/id_rsa (layer 0)"),
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
    "library": of(
        ("usr/lib/python3/dist-packages/x/auth.py", GITHUB.encode()),
        ("var/lib/dpkg/info/python3-x.list", b"/usr/lib/python3/dist-packages/x/auth.py\n"),
        ("var/lib/dpkg/status", b"Package: python3-x\nStatus: install ok installed\nVersion: 1\n"),
    ),
    "settings without a value": of(run={"Env": ["API_TOKEN=changeme", "DB_PASSWORD="]}),
    "path to a secret": of(run={"Env": ["DB_PASSWORD=/run/secrets/db"]}),
    "empty file of a telling name": of(("root/.netrc", b"")),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_what_holds_no_secret_is_no_secret(case: str, tmp_path: Path) -> None:
    assert secrets(judged(tmp_path, HARMLESS[case])) == []


HEX = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
RANDOM = "q7Zk2mVx9RtB4nLw8YpD3sHf6JgC1vKe5XaTuM0o"
JWT_PARTS = "eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiJzZXJ2aWNlIn0", "c2lnbmF0dXJlLW9mLWl0"
FILES: dict[str, tuple[str, str]] = {
    "OpenSSH key under any name": ("srv/deploy", KEY.replace("RSA", "OPENSSH")),
    "key in one line of JSON": ("app/sa.json", '{"private_key": "' + KEY.replace("\n", "\\n") + '"}'),
    "PuTTY key": ("home/a/key.ppk", "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPrivate-Lines: 1\nAAAA\n"),
    "AWS credentials": ("root/.aws/credentials", f"[default]\naws_secret_access_key = {RANDOM}\n"),
    "AWS secret key in a program": ("app/m.py", f"secret_access_key = '{RANDOM}'\n"),
    "Google client secret": ("app/m.py", f"x = 'GOCSPX-{RANDOM[:28]}'\n"),
    "Google user's credentials": (
        "root/.config/gcloud/application_default_credentials.json",
        f'{{"refresh_token": "1//{RANDOM}"}}',
    ),
    "Azure account": ("app/m.cfg", f"DefaultEndpointsProtocol=https;AccountKey={RANDOM}{RANDOM}==\n"),
    "Azure client secret": ("app/m.py", f"x = 'aB3{'8Q~'}{RANDOM[:33]}'\n"),
    "GitLab token": ("app/m.sh", f"git clone https://x/y -H 'glpat-{RANDOM[:20]}'\n"),
    "Hugging Face token": ("app/m.py", f"x = 'hf_{RANDOM[:34]}'\n"),
    "Slack hook": ("app/m.py", f"u = 'https://hooks.slack.com/services/T0AB1CD2E/B0AB1CD2E/{RANDOM[:24]}'\n"),
    "PyPI token": ("root/.pypirc", f"[pypi]\npassword = pypi-{RANDOM}{RANDOM}\n"),
    "npm token": ("app/m.js", f"x = 'npm_{RANDOM[:36]}'\n"),
    "Docker registry": ("root/.docker/config.json", '{"auths": {"r.io": {"auth": "dXNlcjpodW50ZXIyMg=="}}}'),
    "netrc": ("root/.netrc", "machine x login y password hunter22\n"),
    "pgpass": ("root/.pgpass", "db:5432:*:me:hunter22\n"),
    "kubeconfig": ("root/.kube/config", f"users:\n- name: a\n  user:\n    client-key-data: {RANDOM}\n"),
    "git settings": ("app/.git/config", "[remote]\nurl = https://bot:hunter22xyz@git.corp/x.git\n"),
    "git credentials": ("root/.git-credentials", "https://bot:hunter22xyz@git.corp\n"),
    "JSON web token": ("app/m.py", f"x = '{'.'.join(JWT_PARTS)}'\n"),
    "connection string": ("app/m.py", "c = 'Server=db.corp;Database=x;User Id=sa;Password=hunter22;'\n"),
    ".env": ("app/.env", "DEBUG=1\nDJANGO_SECRET_KEY=hunter22hunter\n"),
    ".env of a stage": ("app/.env.production", "export API_KEY='hunter22hunter'\n"),
    "a file without a suffix where packages lie": ("usr/share/mytool/token", f"ghp_{RANDOM}\n"),
    "a library that no package owns": ("usr/lib/python3/dist-packages/mine.py", f"t = 'ghp_{RANDOM}'\n"),
    "Google API key": ("app/m.py", f"x = 'AIza{RANDOM[:35]}'\n"),
    "Google access token": ("app/m.py", f"x = 'ya29.{RANDOM}'\n"),
    "Azure signature": ("app/m.py", f"u = 'https://a.blob/b?sv=2024-11-04&sr=b&sig={RANDOM}%3D'\n"),
    "Docker Hub token": ("app/m.sh", f"docker login -p dckr_pat_{RANDOM[:27]}\n"),
    "Slack token": ("app/m.py", f"x = 'xoxb-{RANDOM[:24]}'\n"),
    "Anthropic key": ("app/m.py", f"x = 'sk-ant-api03-{RANDOM}{RANDOM}'\n"),
    "Stripe key": ("app/m.py", f"x = 'sk_live_{RANDOM[:24]}'\n"),
    "SendGrid key": ("app/m.py", f"x = 'SG.{RANDOM[:22]}.{RANDOM}'\n"),
    "Databricks token": ("app/m.py", f"x = 'dapi{HEX[:32]}'\n"),
    "Vault token": ("app/m.py", f"x = 'hvs.{RANDOM}'\n"),
    "DigitalOcean personal token": ("app/m.py", f"x = 'dop_v1_{HEX}'\n"),
    "DigitalOcean application's token": ("app/m.py", f"x = 'doo_v1_{HEX}'\n"),
    "DigitalOcean refresh token": ("app/m.py", f"x = 'dor_v1_{HEX}'\n"),
    "Telegram bot": ("app/m.py", f"x = '4839574812:AA{RANDOM[:33]}'\n"),
    "OpenAI key": ("app/m.py", f"x = 'sk-{RANDOM[:20]}T3BlbkFJ{RANDOM[:20]}'\n"),
    "age key": ("app/key.txt", "AGE-SECRET-KEY-1" + "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L" * 2 + "\n"),
}


PLACE_OF = {
    case: path if path.startswith("usr/") else f"c{number}/{path}"
    for number, (case, (path, _)) in enumerate(FILES.items())
}


@pytest.fixture(scope="module")
def all_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All of them in one image, shown, and in another removed by a later layer."""
    items: list[Item] = [(PLACE_OF[case], text.encode()) for case, (_, text) in FILES.items()]
    removed = [entry(f"{path.rpartition('/')[0]}/.wh.{path.rpartition('/')[2]}") for path in PLACE_OF.values()]
    directory = tmp_path_factory.mktemp("secrets")
    (directory / "a").mkdir()
    (directory / "b").mkdir()
    shown = judged(directory / "a", of(*items))
    hidden = judged(directory / "b", replace(of(), layers=[make_tar(items), make_tar(list(removed))]))
    return {"shown": shown, "hidden": hidden}


@pytest.mark.parametrize("kind", ["shown", "hidden"])
@pytest.mark.parametrize("case", FILES)
def test_each_form_is_found_in_files_also_in_removed_ones(case: str, kind: str, all_files: dict[str, Any]) -> None:
    by_place = dict(secrets(all_files[kind]))
    assert by_place.get(f"/{PLACE_OF[case]} (layer 0)") is Level.ERROR


@pytest.mark.parametrize("kind", ["shown", "hidden"])
def test_no_secret_is_given_out(kind: str, all_files: dict[str, Any]) -> None:
    told = all_files[kind].model_dump_json()
    assert not any(word in told for word in (RANDOM[:12], "hunter22", "MIIEpAIB", *JWT_PARTS, "dXNlcjpo"))


QUIET: dict[str, tuple[str, str]] = {
    "public key": ("app/id.pub", "-----BEGIN PUBLIC KEY-----\n" + "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A" * 4 + "\n"),
    "public SSH key": ("root/.ssh/authorized_keys", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7 me\n"),
    "known hosts": ("root/.ssh/known_hosts", "git.corp ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7\n"),
    "certificate": ("app/ca.pem", "-----BEGIN CERTIFICATE-----\n" + "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A" * 4 + "\n"),
    "an .env of places": ("app/.env", "API_KEY=$API_KEY\nTOKEN_FILE=/run/secrets/token\nPASSWORD=changeme\n"),
    "an .env that is a template": ("app/.env.example", "SECRET_KEY=<your key>\nTOKEN=\n"),
    "npm settings that name a variable": ("root/.npmrc", "//registry/:_authToken=${NPM_TOKEN}\n"),
    "docker settings without accounts": ("root/.docker/config.json", '{"auths": {"r.io": {}}, "credsStore": "pass"}'),
    "a hash": ("app/m.py", "sha256 = 'b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9'\n"),
    "words after a telling name": ("app/m.py", "token_kind = 'authorization_bearer'\npassword_field = 'user.pass1'\n"),
    "a path after a telling name": ("app/m.py", "secret_file = '/run/secrets/v2/key_4711'\n"),
    "git settings without credentials": ("app/.git/config", "[remote]\nurl = https://git.corp/x.git\n"),
}


def test_what_only_looks_like_a_secret_is_not_one(tmp_path: Path) -> None:
    places = {f"{path.partition('/')[0]}{n}/{path.partition('/')[2]}": t for n, (path, t) in enumerate(QUIET.values())}
    assert secrets(judged(tmp_path, of(*((path, text.encode()) for path, text in places.items())))) == []


def test_a_random_value_after_a_telling_name_is_a_warning(tmp_path: Path) -> None:
    result = judged(tmp_path, of(("app/m.py", f"x = 1\nSIGNING_SECRET = '{RANDOM}'\n".encode())))
    assert secrets(result) == [("/app/m.py (layer 0)", Level.WARNING)]
    assert RANDOM not in result.model_dump_json()


def test_keys_that_libraries_test_themselves_with_are_notes(tmp_path: Path) -> None:
    result = judged(tmp_path, of(("usr/lib/python3/dist-packages/x/tests/key.pem", KEY.encode())))
    assert secrets(result) == [("/usr/lib/python3/dist-packages/x/tests/key.pem (layer 0)", Level.NOTE)]


def test_a_repository_and_a_key_store_are_told(tmp_path: Path) -> None:
    image = of(
        ("app/.git/HEAD", b"ref: refs/heads/main\n"),
        ("app/.git/objects/aa/bb", b"x"),
        ("app/store.p12", b"\x30\x82\x01\x02" + bytes(60)),
    )
    rules = {finding.rule_id: finding.level for finding in judged(tmp_path, image).findings}
    assert rules["image/repository-in-image"] is Level.WARNING
    assert rules["image/secret"] is Level.WARNING


def test_a_repository_and_a_key_store_that_a_later_layer_removed_are_told(tmp_path: Path) -> None:
    there = [("app/.git/HEAD", b"ref\n"), ("app/.git/objects/aa/bb", b"x"), ("s.jks", b"\xfe\xed\xfe\xed" + bytes(60))]
    image = replace(of(), layers=[make_tar(there), make_tar([entry("app/.wh..git"), entry(".wh.s.jks")])])
    told = {finding.rule_id: finding.message for finding in judged(tmp_path, image).findings}
    assert "removed by a later layer but still in the image" in told["image/repository-in-image"]
    assert "removed by a later layer but still in the image" in told["image/secret"]


def test_what_a_later_layer_brings_once_more_is_not_told_as_removed(tmp_path: Path) -> None:
    there = make_tar([("root/key.pem", KEY.encode()), ("s.jks", b"\xfe\xed\xfe\xed" + bytes(60))])
    result = judged(tmp_path, replace(of(), layers=[there, make_tar([("other", b"x")]), there]))
    assert not any("removed" in finding.message for finding in result.findings)
    assert {where for where, _ in secrets(result)} == {"/root/key.pem (layer 2)", "/s.jks (layer 2)"}


def test_a_secret_behind_the_first_megabyte_of_a_file_named_so_is_not_passed_over(tmp_path: Path) -> None:
    result = judged(tmp_path, of(("app/.env", b"# x\n" * (1 << 18) + f"TOKEN={GITHUB}\n".encode())))
    assert (result.status, result.findings[-1].rule_id) == (Status.INCONCLUSIVE, "image/secrets-not-searched")


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=400) | st.from_regex(r"(secret|token|://|=|'|eyJ|-----BEGIN ){1,30}", fullmatch=True))
def test_any_text_is_searched_and_its_lines_are_counted(text: str) -> None:
    assert all(1 <= hit.line <= text.count("\n") + 1 for hit in find_hits(text))


def test_made_up_keys_in_tests_are_warnings(tmp_path: Path) -> None:
    result = judged(tmp_path, of(("app/tests/key.py", KEY.encode())))
    assert secrets(result) == [("/app/tests/key.py (layer 0)", Level.WARNING)]


@pytest.mark.parametrize("path", ["app/.env", "root/.kube/config", "root/.netrc", "root/.pgpass"])
@pytest.mark.parametrize("piece", [b"\n", b" ", b"password", b"token:\n"])
def test_a_file_of_nothing_but_the_beginning_of_a_form_holds_nobody_up(path: str, piece: bytes) -> None:
    """Where a search begins anew at each line and runs to the end of the file, this takes a day."""
    assert secret_in_file(path, piece * ((1 << 19) // len(piece))) is None


def test_a_credential_file_removed_by_a_later_layer_is_told(tmp_path: Path) -> None:
    layers = [make_tar([("root/.netrc", b"machine x login y password zebra7\n")]), make_tar([entry("root/.wh..netrc")])]
    result = judged(tmp_path, replace(of(), layers=layers))
    assert secrets(result) == [("/root/.netrc (layer 0)", Level.ERROR)]


def test_a_file_named_like_a_secret_that_was_too_large_to_keep_is_told(tmp_path: Path) -> None:
    image = of(("root/.ssh/id_rsa", b"x" * 5000))
    top = image.manifest()
    layout = image.write_layout(tmp_path / "image", [top])
    opened = open_image(LayoutImage(layout), expected=top["digest"], workdir=tmp_path)
    little = ImageLimits(kept_file_bytes=1000, spooled_bytes=1000)
    result = check_image(opened, read_inventory(opened, little))
    (told,) = [one for one in result.findings if "secret" in one.rule_id]
    assert (told.rule_id, told.where) == ("image/secrets-not-searched", "/root/.ssh/id_rsa (layer 0)")
    assert result.status is Status.INCONCLUSIVE
    assert "was not examined" in told.message


@pytest.mark.parametrize(("bound", "value"), [("_TEXT_BUDGET", 1000), ("_MOST_FILES", 2)])
def test_texts_beyond_the_bounds_leave_it_undecided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    """Not looked into is not passed; what was found in the rest fails all the same."""
    monkeypatch.setattr(f"checks.image_secrets.{bound}", value)
    texts = [(f"app/{n}.txt", b"some words\n" * 40) for n in range(4)]
    (tmp_path / "first").mkdir()
    result = judged(tmp_path / "first", of(*texts))
    assert "image/secrets-not-searched" in {finding.rule_id for finding in result.findings}
    assert (result.status, result.measured("secrets")) == (Status.INCONCLUSIVE, 0)
    assert "not all was searched" in result.summary
    (tmp_path / "second").mkdir()
    assert judged(tmp_path / "second", of(*texts, ("app/a.txt", GITHUB.encode()))).status is Status.FAILED


def test_texts_of_every_layer_are_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen and removed ones, the same text at several places, also where none may be kept in memory."""
    monkeypatch.setattr("pratique.intake.image.reread.MAX_KEPT", 0)
    word = f"token = {GITHUB}\n".encode()
    first = [(f"app/{n}.txt", word) for n in range(5)] + [("app/gone.txt", word)]
    layers = [make_tar(first), make_tar([entry("app/.wh.gone.txt"), ("app/last.txt", word)])]
    result = judged(tmp_path, replace(of(), layers=layers))
    found = {where.partition(" ")[0] for where, _ in secrets(result)}
    assert found == {"/app/gone.txt", "/app/last.txt", *(f"/app/{n}.txt" for n in range(5))}
