"""One attempt at a run, step by step, and the story it leaves; `sandbox.launcher` calls the steps in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pratique.clock import Clock
from pratique.digests import Digest, sha256_bytes
from pratique.errors import CouldNotDecide, EngineUnavailable
from sandbox.container import Placement, container_body, run_environment
from sandbox.engine import Engine, EngineError
from sandbox.harvest import Harvest, harvest_directory
from sandbox.holder import OutputHolder
from sandbox.host import host_facts
from sandbox.logs import LogCapture
from sandbox.meter import Meter, Usage, files_of_process, make_group, remove_group
from sandbox.observe.parsing import Report
from sandbox.observe.sinkhole import Sinkhole
from sandbox.observe.tracer import Tracer, TraceReport
from sandbox.outcome import Facts, decide
from sandbox.record import EndedBy, InputDigest, Observed, SandboxRun
from sandbox.seccomp import profile_digest
from sandbox.spec import Network, Profile, SandboxRequest, SandboxSpec
from sandbox.workspace import Workspace, fresh_uid

DEATH_SECONDS = 30.0
"""How long a killed container may take to be gone."""

KERNEL_RUNTIMES = frozenset(("runc", "crun", "youki", "nvidia"))
"""Runtimes whose containers are processes of the machine's own kernel; every other one is not observed."""

_EMPTY = sha256_bytes(b"")

_REMOVAL_ATTEMPTS, _REMOVAL_PAUSE = 5, 0.5


@dataclass
class Story:
    """What has become known so far."""

    ended_by: EndedBy = EndedBy.NOT_STARTED
    remarks: list[str] = field(default_factory=list)
    oom_killed: bool = False
    exit_code: int | None = None
    seconds: float = 0.0
    queue_seconds: float = 0.0
    create_seconds: float = 0.0
    start_seconds: float = 0.0
    harvest_seconds: float = 0.0
    inputs: tuple[InputDigest, ...] = ()
    usage: Usage | None = None
    log_digest: Digest = _EMPTY
    log_seen: int = 0
    log_truncated: bool = False
    harvest: Harvest = field(default_factory=Harvest)
    report: Report = field(default_factory=lambda: Report(Observed.NOT_ASKED, "", ()))
    trace: TraceReport = field(default_factory=lambda: TraceReport(Observed.NOT_ASKED))
    tier: int = 0

    def end(self, by: EndedBy, remark: str) -> None:
        """The run ended here, for this reason."""
        self.ended_by = by
        self.remark(remark)

    def remark(self, text: str) -> None:
        """Something a reader of the record should know."""
        if text.strip():
            self.remarks.append(text.strip())


class Attempt:
    """The state of one run between its steps."""

    def __init__(
        self, engine: Engine, state_dir: Path, request: SandboxRequest, spec: SandboxSpec, run_id: str, clock: Clock
    ) -> None:
        self.engine = engine
        self.request = request
        self.spec = spec
        self.run_id = run_id
        self.started: datetime = clock()
        self.deadline = time.time() + spec.limits.wall_seconds
        self.story = Story()
        if spec.network is Network.SINKHOLE:
            self.story.report = Report(Observed.IMPOSSIBLE, "the sinkhole was not started", ())
        self._state_dir = state_dir
        self._placement = Placement(run_id=run_id, uid=-1, cpuset="", deadline=0, state=str(state_dir))
        self._name = f"pratique-{run_id}-tool"
        self._container = ""
        self._appearing = False
        self._meter: Meter | None = None
        self._sinkhole: Sinkhole | None = None
        self._tracer: Tracer | None = None
        self._holder: OutputHolder | None = None
        self._workspace: Workspace | None = None
        self._capture: LogCapture | None = None
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._stopped: EndedBy | None = None
        self._wait_error: CouldNotDecide | None = None

    def refuse_unsupported(self) -> None:
        """Raise `CouldNotDecide` for what this engine cannot do or is not asked to do."""
        facts, spec = self.engine.facts, self.spec
        if not facts.same_machine:
            raise CouldNotDecide(
                "the engine runs on another machine, inputs cannot be handed to it",
                cause=self.engine.host,
                next_step="Run Pratique on the engine's machine, over its Unix socket.",
            )
        if missing := [name for name in facts.cannot_limit if name != "swap"]:
            raise CouldNotDecide(
                "the engine cannot enforce the limits of the spec",
                cause=f"its kernel does not limit {', '.join(missing)}",
                next_step="Enable the memory, pids, cpu and cpuset control groups on the engine's machine.",
            )
        if not any(option.startswith("name=seccomp") for option in facts.security):
            raise CouldNotDecide(
                "the engine does not filter system calls",
                next_step="Use an engine and a kernel with seccomp.",
            )
        if spec.seccomp_digest != profile_digest():
            raise CouldNotDecide(
                "the spec asks for a seccomp profile that this version does not have",
                cause=f"{spec.seccomp_digest} wanted, {profile_digest()} there",
                next_step="Use the version of Pratique that made the spec, or make a new spec.",
            )
        if spec.runtime not in facts.runtimes:
            raise CouldNotDecide(
                f"the engine has no runtime {spec.runtime!r}",
                cause=f"it has {', '.join(facts.runtimes)}",
                next_step="Install and configure the runtime, or name another one in the policy.",
            )
        if spec.profile is Profile.GPU and "nvidia" not in facts.runtimes:
            raise CouldNotDecide(
                "the engine has no GPU runtime",
                next_step="Install the NVIDIA container toolkit on the node, or run the tool without the gpu profile.",
            )

    def prepare(self, workspace: Workspace, cpuset: str, cleanup: ExitStack) -> None:
        """Uid, private inputs, output, control group, sinkhole: everything around the container."""
        limits, facts = self.spec.limits, self.engine.facts
        self._workspace = workspace
        sources, self.story.inputs = workspace.copy_inputs(self.request.inputs, limits)
        self.deadline = time.time() + limits.wall_seconds
        uid = fresh_uid(facts.remaps_users)
        parent = ""
        if self.engine.root_here and (group := make_group(self.run_id, limits, facts)) is not None:
            cleanup.callback(remove_group, self.run_id)
            self._meter, parent, self.story.tier = Meter(group.files), group.parent, 1
        placement: dict[str, Any] = {
            "run_id": self.run_id,
            "uid": uid,
            "cpuset": cpuset,
            "deadline": int(self.deadline),
            "state": str(self._state_dir),
            "input_sources": tuple(str(source) for source in sources),
            "cgroup_parent": parent,
        }
        self._placement = Placement(**placement)
        placement |= self._prepare_output(workspace, cleanup)
        if self.spec.network is Network.SINKHOLE and self._seen_from_outside():
            self._tracer = self._start_tracer(uid, cleanup)  # it attaches while the sinkhole starts
            self._sinkhole = Sinkhole(self.engine, self._state_dir, workspace.root, self._placement)
            cleanup.callback(self._eventually, self._sinkhole.remove)
            placement["network_of"] = self._sinkhole.start()
            self._tracer.wait_until_ready()
        self._placement = Placement(**placement)

    def _seen_from_outside(self) -> bool:
        """Whether the tool's calls and packets are the kernel's; a runtime with a kernel of its own keeps them inside.

        There a sinkhole would wait in vain and see nothing, which must not be taken for a tool that tried nothing.
        """
        if self.spec.runtime in KERNEL_RUNTIMES:
            return True
        why = f"the runtime {self.spec.runtime} has a network and a kernel of its own, which nothing outside sees"
        self.story.report = Report(Observed.IMPOSSIBLE, why, ())
        self.story.trace = TraceReport(Observed.IMPOSSIBLE, why)
        return False

    def _start_tracer(self, uid: int, cleanup: ExitStack) -> Tracer:
        known = self.spec.profile is not Profile.GOSU and not self.engine.facts.remaps_users
        tracer = Tracer(uid=uid if known else None, seconds=self.spec.limits.wall_seconds)
        cleanup.callback(tracer.close)
        return tracer

    def _prepare_output(self, workspace: Workspace, cleanup: ExitStack) -> dict[str, str]:
        """A capped tmpfs of this machine, or where that cannot be, a capped tmpfs volume that a helper holds open."""
        if self.engine.root_here:
            # gosu's final uid is not known; with remapped users ours is another one outside
            anybody = self.spec.profile is Profile.GOSU or self.engine.facts.remaps_users
            uid, mode = (0, 0o1777) if anybody else (self._placement.uid, 0o700)
            try:
                return {"output_source": str(workspace.mount_output(self.spec.limits, uid=uid, mode=mode))}
            except OSError as error:
                self.story.remark(f"no tmpfs could be mounted here ({error}), the engine keeps the output")
        self._holder = OutputHolder(self.engine, self._state_dir, self._placement)
        cleanup.callback(self._eventually, self._holder.remove)
        self._holder.start(self.spec.limits)
        return {"output_volume": self._holder.volume}

    def create(self, log: Path, cleanup: ExitStack) -> None:
        """The container, not started, with its log attached."""
        begun = time.monotonic()
        cleanup.callback(self._eventually, self._remove)
        body = container_body(self.spec, self.request, self._placement)
        self._appearing = True
        try:
            self._container = self.engine.create(body, self._name)
        except EngineError:
            self._appearing = False
            raise
        self._appearing = False
        attached = self.engine.attach(self._container)
        try:
            self._capture = LogCapture(attached, log, cap=self.spec.limits.log_bytes, on_cap=self._on_log_cap)
        except OSError as error:
            attached.close()
            raise CouldNotDecide("the log file cannot be written", cause=str(error), next_step="Free space.") from error
        self.story.create_seconds = time.monotonic() - begun

    def start_and_watch(self) -> None:
        """Start, then sample until the tool ends or must be ended."""
        begun = time.monotonic()
        self.engine.start(self._container)
        self.story.start_seconds = time.monotonic() - begun
        self.story.ended_by = EndedBy.KILLED  # until something better is known, it was running and is not any more
        threading.Thread(target=self._wait, name="container-wait", daemon=True).start()
        if self._tracer is not None:
            self._tracer.note_process(self._pid())
        meter = self._meter or Meter(files_of_process(self._pid()))
        self._meter = meter
        meter.start()
        end = begun + self.spec.limits.wall_seconds
        while not self._ended.is_set() and self._stopped is None:
            meter.sample()
            left = end - time.monotonic()
            if left <= 0:
                self._stopped = EndedBy.DEADLINE
                break
            self._wake.wait(min(meter.interval, left))
        if not self._ended.is_set():
            self._kill()
        if isinstance(self._wait_error, EngineUnavailable):
            raise self._wait_error

    def _pid(self) -> int:
        return int((self.engine.inspect(self._container).get("State") or {}).get("Pid") or 0)

    def _wait(self) -> None:
        try:
            self.engine.wait(self._container)
        except CouldNotDecide as error:
            self._wait_error = error
        self._ended.set()
        self._wake.set()

    def _on_log_cap(self) -> None:
        self._stopped = EndedBy.LOG_CAP
        self._wake.set()

    def _kill(self) -> None:
        """End the container for good; an unread log stream would hang the kill, so it is being read or shut."""
        with suppress(EngineError):  # it may end this very moment
            self.engine.unthrottle(self._container)
        end = time.monotonic() + DEATH_SECONDS
        while time.monotonic() < end:
            self.engine.kill(self._container)
            if self._ended.wait(2.0):
                return
        self.story.remark(f"the container did not end within {DEATH_SECONDS:.0f} s of being killed")

    def collect(self, output: Path) -> None:
        """What is left of it: state, figures, log, attempts, files."""
        begun = time.monotonic()
        state = self._final_state()
        story = self.story
        story.usage = self._meter.finish() if self._meter else None
        if self._capture is not None:
            self._capture.close()
            story.log_seen, story.log_truncated = self._capture.seen, self._capture.truncated
            story.log_digest = self._capture.digest
            story.remark(self._capture.problem)
        facts = Facts(
            stopped=self._stopped,
            exit_code=state.get("ExitCode"),
            engine_says_oom=bool(state.get("OOMKilled")),
            oom_kills=story.usage.oom_kills if story.usage else 0,
            output_full=self._output_full(),
            vanished=not state,
        )
        story.ended_by, story.oom_killed, remark = decide(facts)
        story.exit_code = facts.exit_code
        story.seconds = _lifetime(state)
        story.remark(remark)
        story.remark(str(state.get("Error") or ""))
        if self._sinkhole is not None:
            story.report = self._sinkhole.report()
        if self._tracer is not None:
            story.trace = self._tracer.report()
        self._harvest(output)
        story.harvest_seconds = time.monotonic() - begun

    def _final_state(self) -> dict[str, Any]:
        try:
            return dict(self.engine.inspect(self._container).get("State") or {})
        except EngineError:
            return {}

    def _output_full(self) -> bool:
        return self._holder is None and self._workspace is not None and self._workspace.output_full()

    def _harvest(self, output: Path) -> None:
        if self._workspace is None:
            return
        try:
            output.mkdir(parents=True, exist_ok=True)
            if self._holder is not None:
                self.story.harvest = self._holder.harvest(output, self.spec.limits)
            else:
                self.story.harvest = harvest_directory(self._workspace.output, output, self.spec.limits)
        except EngineUnavailable:
            raise
        except (CouldNotDecide, OSError) as error:
            self.story.harvest.refuse(b"", "not-collected")
            self.story.remark(f"{error}. {getattr(error, 'next_step', '')}")

    def _remove(self) -> None:
        """Remove the container; one whose creation was interrupted may still be about to appear."""
        if self._capture is not None:
            self._capture.shut()
        gone = self.engine.remove(self._name)
        for _ in range(20 if self._appearing and not gone else 0):
            time.sleep(0.05)
            if self.engine.remove(self._name):
                break

    def _eventually(self, remove: Callable[[], None]) -> None:
        """Clean up, also after an engine that was away for a moment; what stays is found by its label later."""
        for left in reversed(range(_REMOVAL_ATTEMPTS)):
            try:
                return remove()
            except CouldNotDecide as error:
                if not left or not isinstance(error, EngineUnavailable):
                    return self.story.remark(f"not everything could be removed now ({error}); the next run removes it")
                time.sleep(_REMOVAL_PAUSE)
        return None

    def record(self, *, total_seconds: float) -> SandboxRun:
        """The story as a record."""
        story, request, spec = self.story, self.request, self.spec
        usage = story.usage
        return SandboxRun(
            run_id=self.run_id,
            purpose=request.purpose,
            image_id=request.image_id,
            argv=request.argv,
            entrypoint=request.entrypoint,
            environment=run_environment(spec, request),
            working_dir=request.working_dir,
            spec=spec,
            spec_digest=spec.digest,
            inputs=story.inputs,
            uid=self._placement.uid if self._placement.uid >= 0 else None,
            cpuset=self._placement.cpuset,
            exit_code=story.exit_code,
            ended_by=story.ended_by,
            detail="; ".join(dict.fromkeys(story.remarks))[:4000],
            oom_killed=story.oom_killed,
            started=self.started,
            seconds=round(story.seconds, 6),
            queue_seconds=round(story.queue_seconds, 6),
            create_seconds=round(story.create_seconds, 6),
            start_seconds=round(story.start_seconds, 6),
            harvest_seconds=round(story.harvest_seconds, 6),
            total_seconds=round(total_seconds, 6),
            cpu_seconds=usage.cpu_seconds if usage else None,
            peak_memory=usage.peak_memory if usage else None,
            peak_pids=usage.peak_pids if usage else None,
            samples=usage.samples if usage else (),
            log_bytes=story.log_seen,
            log_truncated=story.log_truncated,
            log_digest=story.log_digest,
            outputs=tuple(story.harvest.outputs),
            output_bytes=story.harvest.size,
            refused=tuple(story.harvest.refused),
            refused_more=story.harvest.refused_more,
            observed=story.report.observed,
            observed_detail=story.report.detail,
            observations=story.report.observations,
            traced=story.trace.traced,
            traced_detail=story.trace.detail,
            programs=story.trace.programs,
            denied=story.trace.denied,
            tier=story.tier,
            host=host_facts(self.engine.facts, spec.runtime),
        )


def _lifetime(state: dict[str, Any]) -> float:
    """Seconds between the engine's two time stamps; 0 where one is missing."""
    try:
        begun, ended = (_moment(str(state[key])) for key in ("StartedAt", "FinishedAt"))
    except (KeyError, ValueError):
        return 0.0
    return max(0.0, ended - begun)


def _moment(text: str) -> float:
    """RFC 3339 with nanoseconds, as Go writes it, in seconds since the epoch."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(whole + "+00:00").timestamp() + float(f"0.{fraction or 0}")
