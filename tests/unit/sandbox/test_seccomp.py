"""The seccomp source: strict to read, and what it says is what the engine gets."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pratique.errors import InvalidInput
from sandbox.seccomp import default_source, parse_source, profile_digest, profile_json, render

HEAD = "architectures x86_64\ndefault ENOSYS\n"
GOOD = HEAD + "[allow] files: what mounts offer\nopen read # two\n[deny EPERM] tracing: no\nptrace\n"

WRONG = {
    "nothing": "",
    "no default": "architectures x86_64\n[allow] a: b\nread\n",
    "no architectures": "default ENOSYS\n[allow] a: b\nread\n",
    "no section": HEAD,
    "an unknown architecture": GOOD.replace("x86_64", "z80"),
    "an unknown error": GOOD.replace("EPERM", "EWRONG"),
    "an error that is no error name": GOOD.replace("default ENOSYS", "default 38"),
    "a call twice in one section": GOOD.replace("open read", "open open"),
    "a call allowed and denied": GOOD.replace("ptrace", "read"),
    "a call with and without a condition": GOOD + "[allow if arg0 == 1] x: y\nread\n",
    "a call allowed and denied by conditions": HEAD
    + "[allow if arg0 == 1] a: b\nx\n[deny EPERM if arg0 == 2] c: d\nx\n",
    "a section without a reason": GOOD.replace("tracing: no", "tracing"),
    "a section without calls": GOOD + "[deny EPERM] empty: none\n",
    "an action nobody knows": GOOD.replace("[allow]", "[log]"),
    "a condition nobody knows": GOOD.replace("[allow]", "[allow if arg0 != 1]"),
    "an argument that does not exist": GOOD.replace("[allow]", "[allow if arg6 == 1]"),
    "a number too large": GOOD.replace("[allow]", "[allow if arg0 == 0xffffffffffffffff]"),
    "a call that is no name": GOOD.replace("ptrace", "ptrace;"),
    "capital letters": GOOD.replace("ptrace", "PTRACE"),
    "something before the first section": "read\n" + GOOD,
    "two defaults": "default EPERM\n" + GOOD,
    "a huge source": GOOD + "#" * 300_000,
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG.keys())
def test_a_source_that_is_not_exactly_right_is_refused(text: str) -> None:
    """A profile that is half understood would be weaker than it looks."""
    with pytest.raises(InvalidInput) as caught:
        parse_source(text)
    assert caught.value.rule == "seccomp/source"


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=string.ascii_letters + string.digits + "[]:=&# \n_", max_size=200))
def test_no_text_makes_the_parser_fall_over(text: str) -> None:
    """It refuses or it reads; what it reads can be rendered."""
    for source in (text, HEAD + text, GOOD + text):
        try:
            parsed = parse_source(source)
        except InvalidInput:
            continue
        assert json.loads(render(parsed))["syscalls"]


names = st.lists(st.text(string.ascii_lowercase, min_size=1, max_size=12), min_size=1, max_size=20, unique=True)


@settings(max_examples=100, deadline=None)
@given(names, st.integers(0, 5), st.integers(0, (1 << 63) - 1), st.none() | st.integers(0, (1 << 63) - 1))
def test_what_the_source_says_is_what_the_engine_gets(
    calls: list[str], index: int, value: int, mask: int | None
) -> None:
    """Names, argument, mask and value arrive unchanged."""
    masked = "" if mask is None else f" & {mask:#x}"
    source = f"{HEAD}[allow if arg{index}{masked} == {value:#x}] title: reason\n{' '.join(calls)}\n"
    entry = json.loads(render(parse_source(source)))["syscalls"][0]
    assert entry["names"] == calls
    argument = entry["args"][0]
    assert argument["index"] == index
    if mask is None:
        assert (argument["op"], argument["value"]) == ("SCMP_CMP_EQ", value)
    else:
        assert (argument["op"], argument["value"], argument["valueTwo"]) == ("SCMP_CMP_MASKED_EQ", mask, value)


DANGEROUS = {
    "add_key", "bpf", "chroot", "fsopen", "init_module", "io_uring_setup", "kexec_load", "keyctl", "memfd_secret",
    "mknod", "mount", "move_mount", "open_by_handle_at", "open_tree", "perf_event_open", "personality", "pidfd_getfd",
    "pivot_root", "process_vm_readv", "process_vm_writev", "ptrace", "quotactl", "reboot", "seccomp", "sethostname",
    "setns", "settimeofday", "swapon", "umount2", "unshare", "userfaultfd",
}  # fmt: skip


def test_nothing_dangerous_is_allowed_by_the_shipped_profile() -> None:
    """Each is denied by name, so that a tool's log shows EPERM."""
    allowed = {name for rule in default_source().rules if rule.allows for name in rule.names}
    denied = {name for rule in default_source().rules if not rule.allows for name in rule.names}
    assert not allowed & DANGEROUS
    assert denied >= DANGEROUS


def test_sockets_are_allowed_for_three_families_only() -> None:
    """Local, IPv4, IPv6."""
    rules = [rule for rule in default_source().rules if "socket" in rule.names]
    values = [rule.condition.value for rule in rules if rule.condition is not None and rule.condition.mask is None]
    assert sorted(values) == [1, 2, 10]
    assert len(rules) == 3


def test_clone_is_allowed_without_any_namespace_flag() -> None:
    """CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET."""
    (rule,) = [rule for rule in default_source().rules if "clone" in rule.names]
    assert rule.condition is not None
    flags = 0x20000 | 0x2000000 | 0x4000000 | 0x8000000 | 0x10000000 | 0x20000000 | 0x40000000
    assert (rule.condition.mask, rule.condition.value) == (flags, 0)


def test_modes_are_allowed_without_set_user_id_and_set_group_id() -> None:
    """The mask is octal 6000."""
    masks = {
        name: rule.condition.mask
        for rule in default_source().rules
        for name in rule.names
        if "chmod" in name and rule.condition is not None
    }
    assert masks == dict.fromkeys(("chmod", "fchmod", "fchmodat", "fchmodat2"), 0o6000)


def test_the_profile_is_the_same_bytes_each_time() -> None:
    """Its digest stands in every record."""
    assert render(default_source()) == profile_json()
    assert profile_digest().startswith("sha256:")
