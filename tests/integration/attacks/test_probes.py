"""Every attack of the table, in a container with Docker's defaults and in ours."""

from __future__ import annotations

import os
import platform

import pytest

from tests.integration.attacks.conftest import PROGRAM, Answer, Confine, read_answers
from tests.integration.attacks.table import ATTACKS, Attack, Default

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the program has the call numbers of x86_64"),
]

Answers = dict[str, Answer]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack(attack: Attack, by_default: Answers, by_ours: Answers) -> None:
    """It is stopped by the sandbox; that it would work otherwise is shown where the defaults let it through."""
    default, ours = by_default[attack.name], by_ours[attack.name]
    assert not ours.worked, ours.detail
    if attack.name == "all CPUs of the machine" and (os.cpu_count() or 1) < 2:
        pytest.skip("the machine has one CPU")
    if attack.default is not Default.VARIES:
        assert default.worked is (attack.default is Default.WORKS), default.detail


def test_the_table_and_the_program_are_the_same(by_default: Answers, by_ours: Answers) -> None:
    """No attack without a row, no row without an attack, and no name twice."""
    names = [attack.name for attack in ATTACKS]
    assert len(names) == len(set(names)) >= 120
    assert set(names) == set(by_default) == set(by_ours)


def test_most_attacks_are_seen_to_work_somewhere(by_default: Answers) -> None:
    """A probe that can never succeed would show nothing."""
    assert sum(answer.worked for answer in by_default.values()) >= 45


GOSU_MAY = {
    "capabilities": "SETUID and SETGID, to step down",
    "setuid to another user": "that is what the profile is for",
    "the uid of the host's root": "it starts as root",
    "many processes of one user": "as root the limit would count the host's processes; the pids group limits it",
}


def test_the_gosu_profile_gives_root_no_more_than_it_names(confined: Confine) -> None:
    """Root without capabilities, under the same filter: only what a step down needs works."""
    answers = read_answers(confined(PROGRAM.read_text(), spec={"profile": "gosu"}).log)
    assert len(answers) == len(ATTACKS)
    assert {name for name, answer in answers.items() if answer.worked} <= set(GOSU_MAY)
