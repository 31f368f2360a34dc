"""Attacks on the host, on neighbours and on the launcher; each shows what the sandbox makes of it."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from sandbox.engine import Engine
from sandbox.launcher import Launcher
from sandbox.record import EndedBy, SandboxRun
from sandbox.spec import MIB, Mount
from tests.integration.conftest import load

if TYPE_CHECKING:
    from tests.integration.sandbox.conftest import Sandboxed

pytestmark = pytest.mark.docker

EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97


def reasons(run: SandboxRun) -> dict[str, str]:
    return {entry.path: entry.reason for entry in run.refused}


def test_every_socket_family_but_local_and_ip_is_refused(sandboxed: Sandboxed) -> None:
    """AF_VSOCK, AF_ALG, netlink and packet sockets are open under the engine's own profile."""
    outcome = sandboxed("""
        import socket
        for family in range(1, 46):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
                try:
                    socket.socket(family, kind).close()
                    print(family, kind)
                except OSError:
                    pass
        """)
    opened = {tuple(map(int, line.split())) for line in outcome.lines}
    assert {family for family, _ in opened} <= {1, 2, 10}
    assert not {kind for family, kind in opened if family != 1} & {3, 5}
    assert (2, 1) in opened


def test_there_is_no_interface_but_loopback(sandboxed: Sandboxed) -> None:
    """With network none there is nothing to reach, and the resolver's file names no server of the host."""
    outcome = sandboxed("""
        import socket
        print([name for _, name in socket.if_nameindex()]) if hasattr(socket, "if_nameindex") else None
        """)
    names = sandboxed("""
        print(open("/proc/net/dev").read().count(":"))
        print(open("/etc/resolv.conf").read())
        """)
    assert "eth" not in outcome.log
    assert names.lines[0] == "1"
    assert "nameserver 127.0.0.1" in names.log


DENIED = {
    "io_uring_setup": 425,
    "keyctl": 250,
    "add_key": 248,
    "bpf": 321,
    "perf_event_open": 298,
    "userfaultfd": 323,
    "memfd_secret": 447,
    "ptrace": 101,
    "process_vm_readv": 310,
    "pidfd_getfd": 438,
    "kcmp": 312,
    "unshare": 272,
    "setns": 308,
    "mount": 165,
    "umount2": 166,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "pivot_root": 155,
    "chroot": 161,
    "mknod": 133,
    "open_by_handle_at": 304,
    "init_module": 175,
    "kexec_load": 246,
    "reboot": 169,
    "sethostname": 170,
    "settimeofday": 164,
    "syslog": 103,
    "personality": 135,
    "quotactl": 179,
    "swapon": 167,
    "fanotify_init": 300,
    "mq_open": 240,
    "setxattr": 188,
    "vmsplice": 278,
    "splice": 275,
    "sched_setscheduler": 144,
    "iopl": 172,
    "modify_ldt": 154,
    "clone3": 435,
    "unknown_call": 999,
}


def test_dangerous_system_calls_fail_before_the_kernel_looks_at_them(sandboxed: Sandboxed) -> None:
    """All with null arguments: EPERM where the profile denies, ENOSYS where it does not know, never anything else."""
    outcome = sandboxed(f"""
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        for name, number in {DENIED!r}.items():
            result = libc.syscall(ctypes.c_long(number), 0, 0, 0, 0, 0, 0)
            print(name, result, ctypes.get_errno())
        """)
    seen = {line.split()[0]: tuple(map(int, line.split()[1:])) for line in outcome.lines}
    assert set(seen) == set(DENIED)
    late = {"clone3", "unknown_call"}
    assert {name: seen[name] for name in seen if name not in late} == {
        name: (-1, EPERM) for name in DENIED if name not in late
    }
    assert {seen[name] for name in late} == {(-1, ENOSYS)}


def test_a_new_user_namespace_cannot_be_made_by_clone(sandboxed: Sandboxed) -> None:
    """clone(2) with CLONE_NEWUSER is not let through, clone without it (fork, threads) is."""
    outcome = sandboxed("""
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        result = libc.syscall(ctypes.c_long(56), 0x10000000 | 17, 0, 0, 0, 0)
        if result == 0:
            os._exit(0)
        print(result, ctypes.get_errno())
        pid = os.fork()
        if pid == 0:
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """)
    assert outcome.lines in ([f"-1 {ENOSYS}", "7"], [f"-1 {EPERM}", "7"])


@pytest.mark.parametrize(("way", "code"), [("int80", "b814000000cd80c3"), ("x32", "b827000040 0f05c3")])
def test_system_calls_of_another_architecture_do_not_slip_past_the_filter(
    sandboxed: Sandboxed, way: str, code: str
) -> None:
    """int 0x80 and x32 number calls differently; the filter kills or refuses."""
    outcome = sandboxed(f"""
        import ctypes, mmap, os
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(bytes.fromhex("{code}"))
        pid = os.fork()
        if pid == 0:
            call = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
            os._exit(0 if call() > 0 else 9)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """)
    assert int(outcome.lines[-1]) in {-31, -11, 9}


def test_the_tool_has_no_privilege_and_can_get_none(sandboxed: Sandboxed) -> None:
    """No capability, no new privileges, a filter, a uid nobody has, set-user-id bits denied."""
    outcome = sandboxed("""
        import os
        for line in open("/proc/self/status"):
            if line.startswith(("Cap", "NoNewPrivs", "Seccomp:", "Uid", "Groups")):
                print(line.strip().replace("\\t", " "))
        open("/output/x", "w").close()
        for mode in (0o4755, 0o2755):
            try:
                os.chmod("/output/x", mode)
                print("chmod worked")
            except OSError as error:
                print("chmod", error.errno)
        """)
    rows = dict(line.split(": ", 1) for line in outcome.lines if ": " in line)
    assert {rows[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (rows["NoNewPrivs"], rows["Seccomp"]) == ("1", "2")
    assert rows["Uid"] == " ".join([str(outcome.run.uid)] * 4)
    assert outcome.run.uid is not None
    assert outcome.run.uid >= 1_000_000_000
    assert "chmod worked" not in outcome.log


def test_nothing_but_the_output_and_small_scratch_can_be_written(sandboxed: Sandboxed) -> None:
    """Root file system, device directory, files the engine mounts in: all refuse, also what `/proc` offers."""
    outcome = sandboxed("""
        import os
        for path in ("/x", "/usr/x", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/dev/x", "/input/x",
                     "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/self/oom_score_adj",
                     "/sys/fs/cgroup/x", "/sys/kernel/x", "/sbin/docker-init"):
            try:
                if path.endswith("oom_score_adj"):
                    os.write(os.open(path, os.O_WRONLY), b"-1000")
                else:
                    os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
                print("wrote", path)
            except OSError:
                pass
        open("/output/fine", "w").write("x")
        """)
    assert outcome.log == ""
    assert [file.path for file in outcome.run.outputs] == ["fine"]


def test_the_kernel_tells_nothing_about_the_machine(sandboxed: Sandboxed) -> None:
    """Command line, symbols, boot id, firmware, block devices and modules are masked."""
    outcome = sandboxed("""
        import os
        for path in ("/proc/cmdline", "/proc/kallsyms", "/proc/sys/kernel/random/boot_id", "/proc/config.gz",
                     "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/modules", "/proc/partitions"):
            try:
                print(path, len(open(path, "rb").read(4096)))
            except OSError as error:
                print(path, 0)
        for path in ("/sys/firmware", "/sys/block", "/sys/class/block", "/sys/module"):
            try:
                print(path, len(os.listdir(path)))
            except OSError:
                print(path, 0)
        """)
    assert {line.split()[1] for line in outcome.lines} == {"0"}


def test_nothing_is_executed_from_what_can_be_written(sandboxed: Sandboxed) -> None:
    """Output and scratch are mounted without execution."""
    outcome = sandboxed("""
        import os, shutil, subprocess
        for place in ("/output", "/tmp", "/dev/shm"):
            shutil.copy("/usr/bin/python3", place + "/x")
            os.chmod(place + "/x", 0o755)
            try:
                subprocess.run([place + "/x", "-c", "print('ran')"])
            except PermissionError:
                print("no")
        """)
    assert outcome.lines == ["no", "no", "no"]


def test_a_fork_bomb_meets_its_limit_and_dies_with_the_container(sandboxed: Sandboxed) -> None:
    """At most 2,000 forks are tried; the count stays below the limit and the kill is quick."""
    outcome = sandboxed(
        """
        import os, time
        made = 0
        for _ in range(2000):
            try:
                if os.fork() == 0:
                    time.sleep(30)
                    os._exit(0)
                made += 1
            except OSError as error:
                print(made, error.errno, flush=True)
                break
        time.sleep(30)
        """,
        pids=64,
        wall_seconds=3.0,
    )
    assert outcome.run.ended_by is EndedBy.DEADLINE
    assert int(outcome.lines[0].split()[0]) < 64
    assert outcome.run.peak_pids is None or outcome.run.peak_pids <= 72
    assert outcome.run.total_seconds < 8


def test_a_starved_fork_bomb_dies_as_quickly(sandboxed: Sandboxed) -> None:
    """With a tenth of a CPU, killing took 6.8 s before the quota was lifted first."""
    outcome = sandboxed(
        """
        import os
        for _ in range(40):
            if os.fork() == 0:
                while True:
                    pass
        while True:
            pass
        """,
        pids=64,
        cpus=0.1,
        wall_seconds=2.0,
    )
    assert outcome.run.ended_by is EndedBy.DEADLINE
    assert outcome.run.total_seconds < 6


def test_too_much_memory_ends_the_tool_and_says_so(sandboxed: Sandboxed) -> None:
    """The peak is there although the container is gone."""
    outcome = sandboxed("x = bytearray(200 << 20); print(len(x))", memory=64 * MIB)
    assert outcome.run.ended_by is EndedBy.OUT_OF_MEMORY
    assert (outcome.run.exit_code, outcome.run.oom_killed, outcome.log) == (137, True, "")
    assert outcome.run.peak_memory is not None
    assert outcome.run.peak_memory >= 48 * MIB


def test_a_child_killed_for_memory_is_not_hidden_by_exit_code_zero(sandboxed: Sandboxed) -> None:
    """Flag, exit code and who ended it are kept apart."""
    outcome = sandboxed(
        """
        import os
        pid = os.fork()
        if pid == 0:
            x = bytearray(200 << 20)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """,
        memory=64 * MIB,
    )
    assert (outcome.run.ended_by, outcome.run.exit_code, outcome.run.oom_killed) == (EndedBy.EXIT, 0, True)
    assert not outcome.run.ended_well()


def test_exit_code_137_alone_is_not_called_out_of_memory(sandboxed: Sandboxed) -> None:
    """A tool that exits 137 by itself was not short of memory."""
    outcome = sandboxed("import os; os._exit(137)")
    assert (outcome.run.ended_by, outcome.run.exit_code, outcome.run.oom_killed) == (EndedBy.EXIT, 137, False)


@pytest.mark.parametrize("place", ["/output", "/tmp", "/dev/shm"])
def test_bytes_and_inodes_are_capped_wherever_a_tool_can_write(sandboxed: Sandboxed, place: str) -> None:
    """A tool that writes until it cannot stops at the cap, in bytes and in files."""
    outcome = sandboxed(
        f"""
        import os
        size = 0
        try:
            with open("{place}/big", "wb", buffering=0) as out:
                while size < 64 << 20:
                    size += out.write(bytes(1 << 20))
        except OSError:
            pass
        os.unlink("{place}/big")
        count = 0
        try:
            while count < 30_000:
                open(f"{place}/{{count}}", "x").close()
                count += 1
        except OSError:
            pass
        print(size, count)
        """,
        output_bytes=4 * MIB,
        output_files=500,
        tmp_bytes=4 * MIB,
        tmp_files=1000,
        shm_bytes=4 * MIB,
    )
    size, count = map(int, outcome.log.split())
    assert size <= 4 * MIB
    assert 100 < count <= 1100
    assert len(outcome.run.outputs) <= 500


def test_a_full_output_that_fails_the_tool_is_named(sandboxed: Sandboxed) -> None:
    """The record says that the output cap ended it."""
    outcome = sandboxed("open('/output/x', 'wb').write(bytes(16 << 20))", output_bytes=1 * MIB)
    assert outcome.run.ended_by is EndedBy.OUTPUT_CAP
    assert outcome.run.exit_code == 1


def test_volumes_of_the_image_are_no_way_around_the_caps(sandboxed: Sandboxed, hostile_image: str) -> None:
    """`read_only` alone leaves them writable on the host's disk, without a limit."""
    outcome = sandboxed(
        """
        import os
        for place in ("/data", "/usr/share/more"):
            size = 0
            try:
                with open(place + "/big", "wb", buffering=0) as out:
                    while size < 100 << 20:
                        size += out.write(bytes(1 << 20))
            except OSError as error:
                print(error.errno, size)
        """,
        image=hostile_image,
        request={"image_volumes": ("/data", "/usr/share/more")},
    )
    assert outcome.lines[-2:] == [f"28 {16 * MIB}"] * 2


def test_a_volume_that_no_tmpfs_can_go_over_is_not_started(sandboxed: Sandboxed, engine: Engine) -> None:
    """The engine would make a place of its own for each, on the host's disk, writable and without a limit."""
    volumes = ("/", "/a,b", "/a:b", "/dev/room", "relative")
    image = load(engine, {"Volumes": {volume: {} for volume in ("/data", *volumes)}})
    outcome = sandboxed("print('it runs')", image=image, request={"image_volumes": ("/data", *volumes)})
    assert outcome.run.ended_by is EndedBy.NOT_STARTED
    assert f"on its disk, without a limit ({', '.join(map(repr, volumes))})" in outcome.run.detail
    assert outcome.log == ""


def test_a_hostile_image_config_is_overridden(sandboxed: Sandboxed, hostile_image: str) -> None:
    """User, entry point, command, working directory, environment, health check and stop signal are ours."""
    outcome = sandboxed(
        "import os; print(os.getuid(), os.getcwd(), os.environ['OMP_NUM_THREADS'])",
        image=hostile_image,
        request={"image_volumes": ("/data", "/usr/share/more")},
    )
    assert outcome.log.splitlines()[-1] == f"{outcome.run.uid} /tmp 1"
    assert "health" not in outcome.log
    assert "of the image" not in outcome.log


def test_a_log_flood_is_cut_at_the_cap(sandboxed: Sandboxed) -> None:
    """Under the engine's defaults a tool writes 550 MB in 8 s; here the file ends at the cap and so does the tool."""
    outcome = sandboxed(
        """
        import os
        line = b"x" * 65536
        for _ in range(4096):
            os.write(1, line)
        """,
        log_bytes=1 * MIB,
    )
    assert outcome.run.ended_by is EndedBy.LOG_CAP
    assert len(outcome.log) == 1 * MIB
    assert outcome.run.log_truncated
    assert outcome.run.log_bytes > 1 * MIB
    assert outcome.run.total_seconds < 8


def test_a_tool_that_ignores_signals_meets_its_deadline(sandboxed: Sandboxed) -> None:
    """It prints all the while, so a kill behind an unread log would hang."""
    outcome = sandboxed(
        """
        import os, signal
        for number in range(1, 65):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        while True:
            os.write(1, b"still here\\n" * 10)
            signal.sigtimedwait([], 0.01)
        """,
        wall_seconds=1.5,
    )
    assert outcome.run.ended_by is EndedBy.DEADLINE
    assert outcome.run.total_seconds > 1.5  # counted from the launcher's side, where the deadline is
    assert outcome.run.seconds < 4
    assert outcome.log.startswith("still here")


def test_a_tool_that_forks_and_exits_leaves_nobody_behind(sandboxed: Sandboxed) -> None:
    """Its daemon dies with the container, long before the deadline."""
    outcome = sandboxed("""
        import os, time
        if os.fork() == 0:
            os.setsid()
            time.sleep(60)
        print("gone", flush=True)
        """)
    assert outcome.run.ended_by is EndedBy.EXIT
    assert outcome.run.total_seconds < 5


def test_stdin_is_empty_and_a_log_need_not_be_text(sandboxed: Sandboxed) -> None:
    """Reading stdin ends at once; bytes that are no UTF-8 are kept as they are."""
    outcome = sandboxed("""
        import os, sys
        os.write(1, b"\\xff\\xfe%d\\n" % len(sys.stdin.read()))
        os.write(2, b"err\\n")
        """)
    assert outcome.run.ended_by is EndedBy.EXIT
    assert sorted(outcome.lines) == ["err", "\ufffd\ufffd0"]
    assert outcome.run.log_bytes == 8


def test_only_plain_files_leave_the_output_directory(sandboxed: Sandboxed) -> None:
    """Links, devices, sockets, holes, depth and names are refused, one by one, and nothing is followed."""
    outcome = sandboxed("""
        import os, socket
        os.chdir("/output")
        os.makedirs("good/deeper")
        open("good/deeper/volume_1.csv", "w").write("id,volume\\n1,2\\n")
        os.symlink("/etc/passwd", "absolute")
        os.symlink("../../../../etc/shadow", "relative")
        os.symlink("/proc/self/root", "magic")
        os.symlink("good", "directory-link")
        open("one", "w").write("x"); os.link("one", "two")
        try:
            os.mkfifo("pipe")
        except PermissionError:
            print("no pipe")
        socket.socket(socket.AF_UNIX).bind("socket")
        with open("holes", "wb") as out:
            out.truncate(6 << 20)
        open("new\\nline", "w").close()
        open("caf\\u00e9", "w").close()
        open("-rf", "w").close()
        open(".hidden", "w").close()
        for _ in range(40):
            os.mkdir("d"); os.chdir("d")
        open("bottom", "w").close()
        """)
    assert [file.path for file in outcome.run.outputs] == ["good/deeper/volume_1.csv"]
    found = reasons(outcome.run)
    assert {found[name] for name in ("absolute", "relative", "magic", "directory-link")} == {"symlink"}
    assert {found["one"], found["two"]} == {"hard-link"}
    assert outcome.log == "no pipe\n"
    assert found["socket"] == "special-file"
    assert found["holes"] == "sparse"
    assert {found[name] for name in ("new\\x0aline", "-rf", ".hidden")} == {"name"}
    assert "too-deep" in found.values()
    assert sorted(path.name for path in outcome.output.iterdir()) == ["good"]
    assert stat.S_ISREG((outcome.output / "good/deeper/volume_1.csv").lstat().st_mode)


def test_thousands_of_nested_directories_break_nothing(sandboxed: Sandboxed) -> None:
    """`shutil.rmtree` hits RecursionError on a tree like this one."""
    outcome = sandboxed(
        """
        import os
        os.chdir("/output")
        for _ in range(1500):
            os.mkdir("d"); os.chdir("d")
        """,
        output_files=2000,
    )
    assert list(reasons(outcome.run).values()) == ["too-deep"]


def test_two_runs_share_no_file_and_no_uid(sandboxed: Sandboxed, tmp_path: Path) -> None:
    """A shared read-only input passes bits by its locks; limits on watches and processes count per uid."""
    (tmp_path / "in").write_text("data")
    mount = Mount(source=tmp_path / "in", target="/input/table/in")
    source = (
        "import os; s = os.stat('/input/table/in'); print(s.st_dev, s.st_ino); open('/input/table/in', 'rb').read()"
    )
    one, two = (sandboxed(source, inputs=[mount]) for _ in range(2))
    assert one.run.exit_code == two.run.exit_code == 0
    assert one.run.uid != two.run.uid
    assert one.run.inputs == two.run.inputs
    host = (tmp_path / "in").stat()
    assert f"{host.st_dev} {host.st_ino}" not in {one.log.strip(), two.log.strip()}


def test_watches_that_a_run_takes_are_its_own(sandboxed: Sandboxed) -> None:
    """inotify instances count per uid on the host: a run takes all of its own and the next one still gets some."""
    source = """
        import ctypes
        libc = ctypes.CDLL(None)
        count = sum(libc.inotify_init1(0) >= 0 for _ in range(300))
        print(count)
        """
    counts = [int(sandboxed(source).log) for _ in range(2)]
    assert counts[0] == counts[1] > 0


def test_the_gosu_profile_starts_as_root_and_can_only_step_down(sandboxed: Sandboxed) -> None:
    """CAP_SETUID and CAP_SETGID and no other; the default profile never has them."""
    outcome = sandboxed(
        """
        import os
        print([line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")][0])
        os.setgroups([]); os.setgid(1000); os.setuid(1000)
        print(os.getuid())
        open("/output/x", "w").write("x")
        try:
            os.setuid(0)
        except PermissionError:
            print("no way back")
        """,
        spec={"profile": "gosu"},
    )
    assert outcome.lines == ["00000000000000c0", "1000", "no way back"]
    assert [file.path for file in outcome.run.outputs] == ["x"]


def test_peaks_and_samples_survive_the_container(sandboxed: Sandboxed, launcher: Launcher) -> None:
    """An own control group keeps the peaks; the curve has time, memory and processor time."""
    outcome = sandboxed("""
        import time
        x = bytearray(50 << 20); time.sleep(0.2); del x
        while time.process_time() < 0.3: pass
        """)
    run = outcome.run
    assert run.tier == (1 if launcher.engine.root_here else 0)
    assert run.peak_memory is not None
    assert run.cpu_seconds is not None
    assert 50 * MIB < run.peak_memory < 90 * MIB
    assert 0.2 < run.cpu_seconds < 2
    assert len(run.samples) > 10
    assert list(run.samples) == sorted(run.samples, key=lambda sample: sample.t)
    assert max(sample.memory for sample in run.samples) > 50 * MIB


def test_the_same_run_twice_has_the_same_digests(sandboxed: Sandboxed) -> None:
    """Spec, inputs, log and outputs: what a replay compares."""
    source = "import hashlib; print(hash('x')); open('/output/x', 'w').write(str(hash('y')))"
    one, two = sandboxed(source).run, sandboxed(source).run
    assert (one.spec_digest, one.log_digest, one.outputs) == (two.spec_digest, two.log_digest, two.outputs)
    assert SandboxRun.model_validate_json(one.model_dump_json()) == one


def test_scratch_space_of_a_run_is_not_seen_by_the_next(sandboxed: Sandboxed) -> None:
    """Nothing written in one run is there in another."""
    name = f"left-{uuid4()}"
    sandboxed(f"for p in ('/tmp', '/dev/shm', '/output'): open(p + '/{name}', 'w').write('x')")
    outcome = sandboxed("import os; print([os.listdir(p) for p in ('/tmp', '/dev/shm', '/output')])")
    assert outcome.log.strip() == "[[], [], []]"
    assert not Path("/tmp", name).exists()
