"""The order of versions, and which releases are the same: by each ecosystem's own rules."""

from __future__ import annotations

import random
import shutil
import subprocess
from itertools import pairwise

import pytest

from checks.advisories.ecosystems import (
    of_distribution,
    of_package,
    package_name,
    possible_name,
    release_of,
    same_release,
)
from checks.advisories.orders import place

ASCENDING: dict[str, list[list[str]]] = {
    "PyPI": [
        ["1.0.dev1", "1.0a1", "1.0b2", "1.0rc1", "1.0", "1.0.post1", "1.1.dev0", "1.1", "1.10", "1!0.1"],
        ["2.0-alpha", "2.0.RC1", "v2.0", "2.0-1", "2.0.1"],
    ],
    "Debian": [
        ["1.0~~", "1.0~~a", "1.0~", "1.0~rc1-1", "1.0", "1.0-0.1", "1.0-1~deb12u1", "1.0-1", "1.0-1+b1", "1.0+git1-1"],
        ["2.36-9", "2.36-9+deb12u1", "2.36-9+deb12u10", "2.36-10", "1:0.1", "2:0"],
        ["1.2.3a", "1.2.3+a", "1.2.3.1"],
    ],
    "Alpine": [
        ["1.2_alpha", "1.2_alpha2", "1.2_beta", "1.2_pre20190101", "1.2_rc1", "1.2", "1.2-r0", "1.2-r1", "1.2-r10"],
        ["1.2", "1.2_cvs1", "1.2_svn1", "1.2_git20200101", "1.2_git20210101", "1.2_hg1", "1.2_p1", "1.2_p10", "1.2a"],
        ["1.2.4_git20230717-r3", "1.2.4_git20230717-r4", "1.2.5-r0", "1.2.5-r9", "1.2.5-r10"],
        ["1.02", "1.06-r6", "1.1", "1.1.1l-r0", "1.1.1w-r1", "1.1.2", "1.9", "1.10", "006"],
        ["0.1.0_alpha_pre2", "0.1.0_alpha", "0.1.0_alpha2"],
        ["3.0.8-r3", "3.0.10-r0", "20050718-r1", "20050718-r2"],
    ],
    "Red Hat": [
        ["1.0~rc1-1", "1.0-1", "1.0^git1-1", "1.0.1-1", "1:0.1-1"],
        ["5.14.0-70.5.1.el9_0", "5.14.0-70.13.1.el9_0", "5.14.0-162.6.1.el9_1"],
        ["1.0-1.el9", "1.0-1.el9_2", "1.0-2.el9", "1.0-10.el9"],
        ["1.0.a", "1.0.1"],
    ],
    "npm": [
        ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0"],
        ["1.9.0", "1.10.0", "1.11.0", "2.0.0-0", "2.0.0"],
    ],
}


@pytest.mark.parametrize("ecosystem", ASCENDING)
def test_versions_are_in_the_ecosystems_order(ecosystem: str) -> None:
    for versions in ASCENDING[ecosystem]:
        places = [place(ecosystem, version) for version in versions]
        for number, (one, two) in enumerate(pairwise(places)):
            assert one is not None and two is not None and one.exact and two.exact, versions[number : number + 2]
            assert one.key < two.key, versions[number : number + 2]


SAME = {
    "PyPI": [("1.0", "1"), ("1.0+cu124", "1.0"), ("1.0-rc1", "1.0rc1"), (" 1.0 ", "1.0"), ("v1.0", "1.0")],
    "Debian": [("0:1.0-1", "1.0-1"), ("1.0-0", "1.0")],
    "Alpine": [("1.2-r3", "1.2-r3"), ("1.2.3~0a1b2c-r0", "1.2.3-r0")],
    "Red Hat": [("0:1.0-1", "1.0-1")],
    "npm": [("v1.0.0", "1.0.0"), ("1.0.0+build.7", "1.0.0")],
}


@pytest.mark.parametrize("ecosystem", SAME)
def test_different_spellings_of_one_version_have_one_place(ecosystem: str) -> None:
    for one, two in SAME[ecosystem]:
        first, second = place(ecosystem, one), place(ecosystem, two)
        assert first is not None and second is not None
        assert not first.key < second.key and not second.key < first.key, (one, two)


PLACELESS = {
    "PyPI": ["", "latest", "1.0.", "１.0", "1.0\n2.0", "1" * 300],
    "Debian": ["", "1.0 2.0", "a:1.0"],
    "Alpine": ["", "1.2.", "1.2-3", "1.2_nightly", "latest", "1.2-r", "1.2\n"],
    "npm": ["", "latest", "1.2.3.4", "1.0.0-", "^1.0.0", "1.x", "1.0.0 "],
    "Go": ["1.0.0"],
}


@pytest.mark.parametrize("ecosystem", PLACELESS)
def test_what_is_no_version_has_no_exact_place(ecosystem: str) -> None:
    for version in PLACELESS[ecosystem]:
        found = place(ecosystem, version)
        assert found is None or not found.exact, version


def test_debian_versions_are_ordered_as_dpkg_does() -> None:
    """Thousands of pairs of what dpkg has trouble with, compared by dpkg itself."""
    if shutil.which("dpkg") is None:
        pytest.skip("dpkg is not installed")
    draw = random.Random(5)
    parts = ["0", "1", "9", "10", "01", "a", "Z", "~", "~~", "+", ".", "-", "rc1", "deb12u1", "~bpo", "+b1", "git"]

    def version() -> str:
        epoch = draw.choice(["", "", "", "0:", "1:", "12:"])
        return f"{epoch}{draw.randint(0, 12)}{''.join(draw.choices(parts, k=draw.randint(0, 5)))}".rstrip("-")

    pairs = [(version(), version()) for _ in range(400)]
    # one shell, not four hundred processes: the versions consist of nothing that a shell takes for more
    script = "\n".join(f"dpkg --compare-versions '{a}' lt '{b}' && echo y || echo n" for a, b in pairs)
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=True)
    for (one, two), less in zip(pairs, done.stdout.split(), strict=True):
        first, second = place("Debian:12", one), place("Debian:12", two)
        if first is None or second is None:
            continue  # dpkg only warns of what it calls a bad version; here it decides nothing
        assert (first.key < second.key) == (less == "y"), (one, two)


RELEASES = [
    ("debian", "12", "Debian:12"),
    ("debian", "", "Debian"),
    ("ubuntu", "24.04", "Ubuntu:24.04"),
    ("alpine", "3.20.3", "Alpine:v3.20"),
    ("rocky", "9.4", "Rocky Linux:9"),
    ("almalinux", "9.4", "AlmaLinux:9"),
    ("rhel", "9.4", "Red Hat:enterprise_linux:9"),
    ("sles", "15.5", "SUSE:Linux Enterprise Server 15 SP5"),
    ("sles", "15", "SUSE:Linux Enterprise Server 15"),
    ("opensuse-leap", "15.6", "openSUSE:Leap 15.6"),
    ("opensuse-tumbleweed", "20240801", "openSUSE:Tumbleweed"),
    ("wolfi", "20230201", "Wolfi"),
    ("fedora", "40", ""),
]


@pytest.mark.parametrize(("identifier", "version", "ecosystem"), RELEASES)
def test_distributions_by_their_os_release(identifier: str, version: str, ecosystem: str) -> None:
    assert of_distribution(identifier, version) == ecosystem


SAME_RELEASE = [
    ("Debian:12", "Debian:12.5", True),
    ("Debian:12", "Debian:11", False),
    ("Debian", "Debian:11", True),
    ("Ubuntu:24.04:LTS", "Ubuntu:24.04", True),
    ("Ubuntu:Pro:22.04:LTS", "Ubuntu:22.04", True),
    ("Ubuntu:Pro:FIPS-updates:22.04:LTS", "Ubuntu:22.04", False),
    ("Alpine:v3.2", "Alpine:v3.20", False),
    ("Alpine:v3.20", "Alpine:3.20", True),
    ("Red Hat:enterprise_linux:9::appstream", "Red Hat:enterprise_linux:9", True),
    ("Red Hat:rhel_eus:9.2::baseos", "Red Hat:enterprise_linux:9", True),
    ("Red Hat:enterprise_linux:8::baseos", "Red Hat:enterprise_linux:9", False),
    ("Rocky Linux:9", "Rocky Linux:9.4", True),
    ("AlmaLinux:8", "AlmaLinux:9", False),
    ("SUSE:Linux Enterprise Module for Basesystem 15 SP5", "SUSE:Linux Enterprise Server 15 SP5", True),
    ("SUSE:Linux Enterprise Server 15 SP4-LTSS", "SUSE:Linux Enterprise Server 15 SP4", True),
    ("SUSE:Linux Enterprise Server 15 SP4", "SUSE:Linux Enterprise Server 15 SP5", False),
    ("openSUSE:Leap 15.6", "openSUSE:Leap 15.5", False),
]


@pytest.mark.parametrize(("one", "two", "same"), SAME_RELEASE)
def test_releases_are_the_same_however_they_are_written(one: str, two: str, same: bool) -> None:
    assert same_release(one, two) is same is same_release(two, one)


PACKAGES = [
    ("pypi", "", "", "PyPI"),
    ("npm", "@scope", "", "npm"),
    ("deb", "debian", "debian-12", "Debian:12"),
    ("deb", "debian", "", "Debian"),
    ("deb", "ubuntu", "ubuntu-24.04", "Ubuntu:24.04"),
    ("apk", "alpine", "alpine-3.20.3", "Alpine:v3.20"),
    ("apk", "wolfi", "wolfi-20230201", "Wolfi"),
    ("rpm", "rocky", "rocky-9.4", "Rocky Linux:9"),
    ("rpm", "redhat", "rhel-9.4", "Red Hat:enterprise_linux:9"),
    ("rpm", "opensuse", "opensuse-leap-15.6", "openSUSE:Leap 15.6"),
    ("rpm", "fedora", "fedora-40", "rpm"),
    ("deb", "mytux", "mytux-1", "Debian"),
    ("golang", "example.com", "", "golang"),
    ("generic", "", "", "generic"),
]


@pytest.mark.parametrize(("kind", "namespace", "distro", "ecosystem"), PACKAGES)
def test_package_urls_by_type_namespace_and_distro(kind: str, namespace: str, distro: str, ecosystem: str) -> None:
    assert of_package(kind, namespace, distro) == ecosystem


def test_a_release_that_nobody_can_read_is_one_of_its_own() -> None:
    assert release_of("Debian:trixie/sid") == "trixie/sid"
    assert release_of("Red Hat:jboss_core_services:1::el8") == "8"


@pytest.mark.parametrize(
    ("ecosystem", "name", "possible"),
    [
        ("PyPI", "My_Widget.X", True),
        ("PyPI", "ｐillow", False),
        ("PyPI", "pil\u200blow", False),
        ("PyPI", "pillow ", False),
        ("PyPI", "-pillow", False),
        ("PyPI", "", False),
        ("PyPI", "a" * 300, False),
        ("npm", "@scope/name", True),
        ("npm", "../lodash", False),
        ("npm", "lod\u0430sh", False),
        ("Debian:12", "libstdc++6", True),
        ("Debian:12", "lib c", False),
        ("Alpine:v3.20", ".build-deps", True),
        ("Red Hat:enterprise_linux:9", "ImageMagick", True),
    ],
)
def test_names_that_an_ecosystem_cannot_have(ecosystem: str, name: str, possible: bool) -> None:
    assert possible_name(ecosystem, name) is possible


def test_names_are_compared_without_case() -> None:
    assert package_name("PyPI", "My__Widget.-X") == "my-widget-x"
    assert package_name("npm", "JSONStream") == package_name("npm", "jsonstream")
