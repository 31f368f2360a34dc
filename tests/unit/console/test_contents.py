"""`inspect`, `sbom`, `vulns` and `scan-model` as people call them: exit codes, forms, and what must never pass."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from typer.testing import Result

from tests.assets.images import MadeImage, entry, made, make_tar
from tests.unit.console.contents import EVIL, SITE, TODAY, WIDGET, bill, honest, image, package, pratique

# --- inspect ---------------------------------------------------------------------------------------------------------


def test_an_honest_image_passes_with_its_inventory(home: Path, tmp_path: Path) -> None:
    found = pratique("inspect", honest(tmp_path), "--format", "json", "-q")
    assert found.exit_code == 0, found.output
    report = json.loads(found.stdout)
    assert set(report["checks"]) == {"image", "sbom", "licenses", "vulnerabilities", "model_files", "code"}
    assert {check["status"] for check in report["checks"].values()} == {"passed"}
    assert [c["purl"] for c in report["inventory"]["components"] if c["purl"]] == ["pkg:pypi/widget@2.0"]
    assert [f["path"] for f in report["inventory"]["files"]["model"]] == ["app/m.pkl"]
    assert not list((home / "work").iterdir())


BAD: dict[str, tuple[list[tuple[str, bytes]], dict[str, Any], str]] = {
    "a vulnerable package": (package("widget", "1.0"), {}, "vulnerabilities/critical"),
    "a model that runs code": ([("app/m.pkl", EVIL)], {}, "model_files/dangerous-import"),
    "a token in the environment": ([], {"Env": [f"TOKEN=ghp_{'a' * 36}"]}, "image/secret"),
    "a private key": ([("root/id_rsa", b"-----BEGIN OPENSSH PRIVATE KEY-----\n")], {}, "image/secret"),
    "a licence that is denied": (package("gadget", "1.0", "AGPL-3.0-only"), {}, "licenses/not-permitted"),
    "a changed file": (
        [*package("gadget", "1.0")[1:], (f"{SITE}/gadget/__init__.py", b"evil")],
        {},
        "sbom/record-hash",
    ),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.usefixtures("home")
def test_an_image_with_something_bad_fails_and_says_what(case: str, tmp_path: Path) -> None:
    files, config, rule = BAD[case]
    layout = image(tmp_path, *(files or package("widget", "2.0")), **config)
    assert rule in pratique("inspect", layout, "-q").stdout
    found = pratique("inspect", layout, "-q", "--format", "sarif")
    assert found.exit_code == 1
    results = json.loads(found.stdout)["runs"][0]["results"]
    assert rule in {result["ruleId"] for result in results if result["level"] == "error"}


def test_without_advisories_nothing_is_decided(home: Path, tmp_path: Path) -> None:
    (home / "advisories" / "index.json").unlink()
    assert pratique("inspect", honest(tmp_path), "-q").exit_code == 3


@pytest.mark.usefixtures("home")
def test_an_archive_and_a_path_with_a_digest_are_images(tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    archive.write_bytes(made(*package("widget", "2.0")).docker_archive())
    assert pratique("inspect", archive, "-q").exit_code == 0
    one, two = made(*package("widget", "2.0")), made(*package("widget", "1.0"))
    tops = [one.manifest(), two.manifest()]
    one.blobs |= two.blobs
    layout = one.write_layout(tmp_path / "both", tops)
    assert pratique("inspect", layout, "-q").exit_code == 2
    assert pratique("inspect", f"{layout}@{tops[0]['digest']}", "-q").exit_code == 0
    assert pratique("inspect", f"{layout}@{tops[1]['digest']}", "-q").exit_code == 1


@pytest.mark.parametrize(
    ("name", "code"), [("nowhere", 2), ("./nowhere", 2), ("registry.example/tool:latest", 2), ("a@sha256:0", 1)]
)
@pytest.mark.usefixtures("home")
def test_what_is_no_image_is_told(name: str, code: int) -> None:
    found = pratique("inspect", name, "-q")
    assert found.exit_code == code
    assert "next:" in found.stderr or code == 1


@pytest.mark.usefixtures("home")
def test_everything_as_cyclonedx_is_the_sbom_with_its_vulnerabilities(tmp_path: Path) -> None:
    layout = image(tmp_path, *package("widget", "1.0"), ("app/m.pkl", pickle.dumps({"a": 1})))
    found = pratique("inspect", layout, "-q", "--format", "cyclonedx")
    assert found.exit_code == 1
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(found.stdout) is None
    document, bom = json.loads(found.stdout), json.loads(pratique("sbom", layout).stdout)
    assert (document["components"], document["dependencies"]) == (bom["components"], bom["dependencies"])
    assert document["serialNumber"] != bom["serialNumber"]
    assert document["metadata"]["timestamp"].endswith("Z"), "unlike the SBOM it is of a moment"
    (vulnerability,) = document["vulnerabilities"]
    (widget,) = (one for one in document["components"] if one["name"] == "widget")
    assert (vulnerability["id"], vulnerability["affects"]) == ("CVE-2024-1", [{"ref": widget["bom-ref"]}])
    assert {"name": "pratique:status", "value": "failed"} in document["metadata"]["properties"]


@pytest.mark.usefixtures("home")
def test_a_package_that_lies_there_twice_is_affected_twice(tmp_path: Path) -> None:
    twice = [(path.replace(SITE, "opt/other/site-packages"), data) for path, data in package("widget", "1.0")]
    layout = image(tmp_path, *package("widget", "1.0"), *twice)
    document = json.loads(pratique("inspect", layout, "-q", "--format", "cyclonedx").stdout)
    references = {one["bom-ref"] for one in document["components"] if one["name"] == "widget"}
    (vulnerability,) = document["vulnerabilities"]
    assert ({one["ref"] for one in vulnerability["affects"]}, len(references)) == (references, 2)


def test_cyclonedx_without_advisories_says_that_nothing_was_answered(home: Path, tmp_path: Path) -> None:
    (home / "advisories" / "index.json").unlink()
    found = pratique("inspect", honest(tmp_path), "-q", "--format", "cyclonedx")
    assert found.exit_code == 3
    assert {"name": "pratique:status", "value": "inconclusive"} in json.loads(found.stdout)["metadata"]["properties"]


# --- sbom and vulns --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("home")
def test_the_sbom_is_written_and_can_be_asked_about(tmp_path: Path) -> None:
    bill = tmp_path / "bill.cdx.json"
    layout = image(tmp_path, *package("widget", "1.0"), *package("gadget", "3.1"))
    assert pratique("sbom", layout, "-o", bill).exit_code == 0
    assert json.loads(bill.read_bytes())["specVersion"] == "1.6"
    first = bill.read_bytes()
    assert pratique("sbom", layout, "-o", bill).exit_code == 0
    assert bill.read_bytes() == first
    by_bill, by_image = (pratique("vulns", what, "--format", "json") for what in (bill, layout))
    assert (by_bill.exit_code, by_image.exit_code) == (1, 1)
    one, two = (json.loads(found.stdout) for found in (by_bill, by_image))
    assert one["vulnerabilities"] == two["vulnerabilities"]
    assert [v["id"] for v in one["vulnerabilities"]] == ["CVE-2024-1"]
    assert one["snapshots"][0]["taken"] == TODAY.isoformat()


PIPED: dict[str, tuple[bytes, int]] = {
    "nothing is wrong": (bill(WIDGET), 0),
    "a vulnerable version": (bill({**WIDGET, "purl": "pkg:pypi/widget@1.9"}), 1),
    "nothing": (b"", 3),
    "no SBOM": (b"hello\n", 1),
    "one without end": (b'{"bomFormat": "CycloneDX", "x": "' + b"x" * (65 << 20), 1),
}


@pytest.mark.parametrize("case", PIPED)
@pytest.mark.usefixtures("home")
def test_an_sbom_comes_through_a_pipe(case: str) -> None:
    data, code = PIPED[case]
    found = pratique("vulns", "-", "--format", "json", piped=data)
    assert found.exit_code == code, found.output
    told = json.loads(found.stdout)
    assert told["subject"]["name"] == "standard input" if "subject" in told else told["error"]["next_step"]


def test_an_image_whose_packages_nobody_knows_has_an_incomplete_sbom(home: Path, tmp_path: Path) -> None:
    layout = image(tmp_path, ("etc/os-release", b"ID=debian\nVERSION_ID=12\n"))
    found = pratique("sbom", layout)
    assert found.exit_code == 3
    assert json.loads(found.stdout)["bomFormat"] == "CycloneDX"


BILLS: dict[str, tuple[bytes, int]] = {
    "nothing is wrong": (bill(WIDGET), 0),
    "a vulnerable version": (bill({**WIDGET, "purl": "pkg:pypi/widget@1.9"}), 1),
    "an empty list": (bill(), 3),
    "a part without a package URL": (bill(WIDGET, {"type": "library", "name": "x"}), 3),
    "an ecosystem without advisories": (bill(WIDGET, {"type": "library", "name": "x", "purl": "pkg:golang/x@1"}), 3),
    "files have no package URL": (bill(WIDGET, {"type": "file", "name": "x"}), 0),
    "SPDX": (
        json.dumps(
            {
                "spdxVersion": "SPDX-2.3",
                "packages": [{"externalRefs": [{"referenceType": "purl", "referenceLocator": "pkg:pypi/widget@1.0"}]}],
            }
        ).encode(),
        1,
    ),
    "SPDX without package URLs": (b'{"spdxVersion": "SPDX-2.3", "packages": [{"name": "x"}]}', 3),
    "not an SBOM": (b'{"a": 1}', 1),
    "broken JSON": (b'{"bomFormat": "CycloneDX",', 1),
    "two keys of one name": (b'{"bomFormat": "CycloneDX", "bomFormat": "x"}', 1),
    "a deep document": (b'{"a":' * 9000 + b"1" + b"}" * 9000, 1),
    "a name of a million characters": (bill({"type": "library", "name": "x", "purl": "pkg:pypi/" + "x" * 10**6}), 1),
}


@pytest.mark.parametrize("case", BILLS)
@pytest.mark.usefixtures("home")
def test_an_sbom_is_answered_or_refused(case: str, tmp_path: Path) -> None:
    data, code = BILLS[case]
    path = tmp_path / "bill.json"
    path.write_bytes(data)
    found = pratique("vulns", path)
    assert found.exit_code == code, found.output


SBOMS_OF_HORROR: dict[str, tuple[bytes, set[int]]] = {
    "nothing": (b"", {1, 2}),
    "zeros": (bytes(5000), {1, 2}),
    "not UTF-8": (b'{"bomFormat": "CycloneDX\xff"}', {1}),
    "UTF-16": (bill(WIDGET).decode().encode("utf-16"), {1, 2}),
    "a bomb of entities": (
        (
            b'<?xml version="1.0"?><!DOCTYPE bom [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'
            b'<bom xmlns="http://cyclonedx.org/schema/bom/1.6"><components>&b;</components></bom>'
        ),
        {1},
    ),
    "a file of the system by an entity": (
        (
            b'<?xml version="1.0"?><!DOCTYPE bom [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
            b'<bom xmlns="http://cyclonedx.org/schema/bom/1.6"><components>&a;</components></bom>'
        ),
        {1},
    ),
    "components in themselves": (bill({**WIDGET, "components": [{**WIDGET, "components": [WIDGET]}]}), {0}),
    "components that are a text": (b'{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": "x"}', {1}),
    "a package URL that is none": (bill({**WIDGET, "purl": "pkg:"}), {1}),
    "a package URL of a number": (bill({**WIDGET, "purl": 7}), {1}),
    "control characters": (bill({**WIDGET, "purl": "pkg:pypi/a%1B%5B2J%0Ab@1.0"}), {1, 3}),
    "a script": (bill({**WIDGET, "purl": "pkg:pypi/%3Cscript%3Ealert(1)%3C%2Fscript%3E@1.0"}), {3}),
    "a version of a hundred thousand digits": (bill({**WIDGET, "purl": "pkg:pypi/widget@" + "1" * 100_000}), {1, 3}),
    "dependencies in a circle": (
        json.dumps(
            {
                **json.loads(bill({**WIDGET, "bom-ref": "a"})),
                "dependencies": [{"ref": "a", "dependsOn": ["b"]}, {"ref": "b", "dependsOn": ["a"]}],
            }
        ).encode(),
        {0},
    ),
}


@pytest.mark.parametrize("case", SBOMS_OF_HORROR)
@pytest.mark.usefixtures("home")
def test_an_sbom_of_horror_gets_its_exit_code_and_no_crash(case: str, tmp_path: Path) -> None:
    data, codes = SBOMS_OF_HORROR[case]
    path = tmp_path / "bill.json"
    path.write_bytes(data)
    for form in ("human", "json", "sarif", "cyclonedx", "in-toto"):
        found = pratique("vulns", path, "--format", form)
        assert found.exit_code in codes, found.output
        assert "\x1b" not in found.output and "Traceback" not in found.output
        if form != "human" and found.exit_code in (0, 3):
            json.loads(found.stdout)
        if form == "cyclonedx" and found.exit_code in (0, 3):
            assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(found.stdout) is None


@pytest.mark.usefixtures("home")
def test_an_sbom_of_fifty_thousand_components_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "bill.json"
    parts = [{"type": "library", "name": f"p{n}", "purl": f"pkg:pypi/p{n}@1.0"} for n in range(50_000)]
    path.write_bytes(bill(*parts, {**WIDGET, "purl": "pkg:pypi/widget@1.0"}))
    found = pratique("vulns", path)
    assert found.exit_code == 1
    assert "CVE-2024-1" in found.stdout


@pytest.mark.parametrize("subject", ["/dev/zero", "/dev/null", "", "empty", "pipe", "x" * 5000])
@pytest.mark.usefixtures("home")
def test_what_is_no_file_and_no_image_is_told(subject: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here" / "empty").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    os.mkfifo("pipe")
    found = pratique("vulns", subject)
    assert found.exit_code in (1, 2)
    assert "Errno" not in found.stderr


@pytest.mark.usefixtures("home")
def test_a_service_may_be_asked_instead_and_decides_nothing_when_it_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    path = tmp_path / "bill.json"
    path.write_bytes(bill(WIDGET))
    assert pratique("vulns", path, "--advisories", "local").exit_code == 0
    for source in ("osv", "pypi"):
        found = pratique("vulns", path, "--advisories", source)
        assert found.exit_code == 3
        assert "did not answer as it should" in found.stdout
    assert pratique("vulns", path, "--advisories", "nvd").exit_code == 2


@pytest.mark.usefixtures("home")
def test_what_could_not_be_answered_says_so_in_every_form(home: Path, tmp_path: Path) -> None:
    (home / "advisories" / "index.json").unlink()
    path = tmp_path / "bill.json"
    path.write_bytes(bill(WIDGET))
    for form in ("human", "json", "sarif", "cyclonedx"):
        found = pratique("vulns", path, "--format", form)
        assert found.exit_code == 3
        assert "inconclusive" in found.stdout.lower(), form
    found = pratique("vulns", path, "--format", "in-toto")  # whose empty list would say that there are none
    assert (found.exit_code, found.stdout) == (3, "")
    assert "nothing was looked up" in found.stderr


@pytest.mark.usefixtures("home")
def test_vulnerabilities_as_cyclonedx_are_valid(tmp_path: Path) -> None:
    path = tmp_path / "bill.json"
    path.write_bytes(bill({**WIDGET, "purl": "pkg:pypi/widget@1.9"}))
    found = pratique("vulns", path, "--format", "cyclonedx")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(found.stdout) is None
    document = json.loads(found.stdout)
    (vulnerability,) = document["vulnerabilities"]
    assert vulnerability["affects"] == [{"ref": document["components"][0]["bom-ref"]}]
    assert vulnerability["ratings"][0]["severity"] == "critical"


@pytest.mark.usefixtures("home")
def test_vulnerabilities_as_an_in_toto_statement(tmp_path: Path) -> None:
    layout = image(tmp_path, *package("widget", "1.0"))
    statement = json.loads(pratique("vulns", layout, "--format", "in-toto").stdout)
    manifest = json.loads((layout / "index.json").read_bytes())["manifests"][0]["digest"]
    assert statement["subject"][0]["digest"]["sha256"] == manifest.removeprefix("sha256:")
    assert statement["predicateType"] == "https://in-toto.io/attestation/vulns/v0.2"
    scanner = statement["predicate"]["scanner"]
    assert [(r["id"], r["severity"][0]["score"]) for r in scanner["result"]] == [("CVE-2024-1", "critical")]
    assert scanner["db"]["lastUpdate"] == f"{TODAY}T00:00:00Z"


# --- scan-model ------------------------------------------------------------------------------------------------------


def models(directory: Path) -> Path:
    """A directory with models of three kinds, and what is no model."""
    (directory / "deep").mkdir(parents=True)
    (directory / "deep" / "good.pkl").write_bytes(pickle.dumps({"a": [1, 2]}))
    (directory / "bad.txt").write_bytes(pickle.dumps(range, 4)[:-1] + EVIL)
    (directory / "broken.pkl").write_bytes(b"\x80\x04no")
    (directory / "README.md").write_text("about the models\n")
    return directory


def verdicts(found: Result) -> dict[str, str]:
    return {Path(f["path"]).name: f["verdict"] for f in json.loads(found.stdout)["files"]}


def test_each_model_gets_a_verdict(tmp_path: Path) -> None:
    found = pratique("scan-model", models(tmp_path / "m"))
    assert found.exit_code == 1
    assert verdicts(found) == {"good.pkl": "safe", "bad.txt": "unsafe", "broken.pkl": "unreadable"}
    assert json.loads(found.stdout)["skipped"] == 1
    bad = next(f for f in json.loads(found.stdout)["files"] if f["verdict"] == "unsafe")
    assert any("posix.system" in reason["message"] and "@" in reason["member"] for reason in bad["reasons"])


def test_a_long_row_of_files_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("console.terminal.progress._FIRST", 0.0)
    monkeypatch.setattr("console.terminal.progress._THEN", 0.0)
    directory = models(tmp_path / "m")
    for number in range(300):
        (directory / "deep" / f"{number}\x1b[2J.txt").write_text("text")
    loud, quiet = pratique("scan-model", directory), pratique("scan-model", directory, "-q")
    assert "files so far, now at" in loud.stderr
    assert "\x1b" not in loud.stderr
    assert quiet.stderr == ""
    assert loud.stdout == quiet.stdout


def test_safe_models_exit_with_zero(tmp_path: Path) -> None:
    assert pratique("scan-model", models(tmp_path / "m") / "deep").exit_code == 0


@pytest.mark.parametrize("name", ["notes.txt", "weights.bin"])
def test_a_file_that_was_named_is_never_passed_over(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(bytes(range(200, 256)) * 9)
    found = pratique("scan-model", tmp_path / name)
    assert (found.exit_code, verdicts(found)) == (1, {name: "unreadable"})


def test_a_directory_without_models_decides_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    assert pratique("scan-model", tmp_path).exit_code == 3


def test_a_link_or_a_pipe_in_a_directory_is_told_and_not_followed(tmp_path: Path) -> None:
    target = models(tmp_path / "m") / "deep" / "good.pkl"
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link.pkl").symlink_to(target)
    (tree / "folder").symlink_to(target.parent, target_is_directory=True)
    os.mkfifo(tree / "pipe.pkl")
    found = pratique("scan-model", tree)
    assert verdicts(found) == dict.fromkeys(("link.pkl", "folder", "pipe.pkl"), "unreadable")
    assert pratique("scan-model", tree / "link.pkl").exit_code == 0  # a person named it


def test_a_file_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    assert pratique("scan-model", tmp_path / "nowhere").exit_code == 2


def test_a_layer_of_an_image_can_be_scanned(tmp_path: Path) -> None:
    layer = tmp_path / "layer.tar"
    layer.write_bytes(make_tar([("app/m.pkl", EVIL), entry("app/link", b"2", linkname="/etc/passwd")]))
    assert verdicts(pratique("scan-model", layer)) == {"layer.tar": "unsafe"}


def test_the_image_is_read_once_and_nothing_is_left(home: Path, tmp_path: Path) -> None:
    broken: MadeImage = made(*package("widget", "2.0"))
    layout = broken.write_layout(tmp_path / "image", [broken.manifest()])
    largest = max((layout / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-9])
    assert pratique("inspect", layout, "-q").exit_code == 1
    assert not list((home / "work").iterdir())
