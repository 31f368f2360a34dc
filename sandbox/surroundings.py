"""Everything around the container of a run: uid, inputs, output, control group, sinkhole, tracer, listener.

Each is prepared in order and leaves on the caller's stack what takes it away again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from pratique.errors import CouldNotDecide, EngineUnavailable
from sandbox.container import Placement
from sandbox.engine import Engine
from sandbox.harvest import Harvest, harvest_directory
from sandbox.holder import OutputHolder
from sandbox.meter import Meter, make_group, remove_group
from sandbox.observe.notify import Listener, NotifyReport, why_not_notified
from sandbox.observe.notify_runtime import RUNTIME
from sandbox.observe.parsing import Report
from sandbox.observe.sinkhole import Sinkhole
from sandbox.observe.tracer import Tracer
from sandbox.observe.traces import TraceReport
from sandbox.record import Observed
from sandbox.spec import Limits, Network, Profile, SandboxRequest, SandboxSpec
from sandbox.story import Story
from sandbox.workspace import Workspace, fresh_uid

KERNEL_RUNTIMES = frozenset(("runc", "crun", "youki", "nvidia", RUNTIME))
"""Runtimes whose containers are processes of the machine's own kernel; every other one is not observed."""

_REMOVAL_ATTEMPTS, _REMOVAL_PAUSE = 5, 0.5


class Surroundings:
    """What one run needs beside its container; what was not prepared is None."""

    def __init__(self, engine: Engine, spec: SandboxSpec, story: Story, placement: Placement) -> None:
        self._engine = engine
        self._spec = spec
        self._story = story
        self._state_dir = Path(placement.state)
        self._workspace: Workspace | None = None
        self._holder: OutputHolder | None = None
        self._sinkhole: Sinkhole | None = None
        self._listener: Listener | None = None
        self.placement = placement
        self.deadline = time.time() + spec.limits.wall_seconds
        self.meter: Meter | None = None
        self.tracer: Tracer | None = None

    def prepare(self, workspace: Workspace, request: SandboxRequest, cpuset: str, cleanup: ExitStack) -> None:
        """Make all of it; raises `CouldNotDecide` and `Refused`."""
        spec, facts = self._spec, self._engine.facts
        self._workspace = workspace
        sources, self._story.inputs = workspace.copy_inputs(request.inputs, spec.limits)
        self.deadline = time.time() + spec.limits.wall_seconds
        self.placement = replace(
            self.placement,
            uid=fresh_uid(facts.remaps_users),
            cpuset=cpuset,
            deadline=int(self.deadline),
            input_sources=tuple(str(source) for source in sources),
            cgroup_parent=self._prepare_group(spec.limits, cleanup),
        )
        self._prepare_output(workspace, cleanup)
        if spec.network is Network.SINKHOLE and self._seen_from_outside():
            mounts = (*(mount.target for mount in request.inputs), request.output_target)
            self._prepare_observation(workspace, mounts, cleanup)

    def _prepare_group(self, limits: Limits, cleanup: ExitStack) -> str:
        """A control group above the container's where that can be made; returns its path for the engine."""
        run_id = self.placement.run_id
        if not self._engine.root_here or (group := make_group(run_id, limits, self._engine.facts)) is None:
            return ""
        cleanup.callback(remove_group, run_id)
        self.meter, self._story.tier = Meter(group.files), 1
        return group.parent

    def _prepare_output(self, workspace: Workspace, cleanup: ExitStack) -> None:
        """A capped tmpfs of this machine, or where that cannot be, a capped tmpfs volume that a helper holds open."""
        limits = self._spec.limits
        if self._engine.root_here:
            # gosu's final uid is not known; with remapped users ours is another one outside
            anybody = self._spec.profile is Profile.GOSU or self._engine.facts.remaps_users
            uid, mode = (0, 0o1777) if anybody else (self.placement.uid, 0o700)
            try:
                source = str(workspace.mount_output(limits, uid=uid, mode=mode))
            except OSError as error:
                self._story.remark(f"no tmpfs could be mounted here ({error}), the engine keeps the output")
            else:
                self.placement = replace(self.placement, output_source=source)
                return
        self._holder = OutputHolder(self._engine, self._state_dir, self.placement)
        cleanup.callback(self.eventually, self._holder.remove)
        self._holder.start(limits)
        self.placement = replace(self.placement, output_volume=self._holder.volume)

    def _prepare_observation(self, workspace: Workspace, mounts: Sequence[str], cleanup: ExitStack) -> None:
        if why := why_not_notified(self._engine, self._spec.runtime):
            self._story.notice = NotifyReport(Observed.IMPOSSIBLE, why)
        else:
            self._listener = Listener()
            cleanup.callback(self._listener.close)
            self.placement = replace(self.placement, runtime=RUNTIME)
        self.tracer = self._start_tracer(mounts, cleanup)  # it attaches while the sinkhole starts
        self._sinkhole = Sinkhole(self._engine, self._state_dir, workspace.root, self.placement)
        cleanup.callback(self.eventually, self._sinkhole.remove)
        self.placement = replace(self.placement, network_of=self._sinkhole.start())
        self.tracer.wait_until_ready()

    def _start_tracer(self, mounts: Sequence[str], cleanup: ExitStack) -> Tracer:
        known = self._spec.profile is not Profile.GOSU and not self._engine.facts.remaps_users
        uid = self.placement.uid if known else None
        tracer = Tracer(uid=uid, seconds=self._spec.limits.wall_seconds, mounts=mounts)
        cleanup.callback(tracer.close)
        return tracer

    def _seen_from_outside(self) -> bool:
        """Whether the tool's calls and packets are the kernel's; a runtime with a kernel of its own keeps them inside.

        There a sinkhole would wait in vain and see nothing, which must not be taken for a tool that tried nothing.
        """
        if self._spec.runtime in KERNEL_RUNTIMES:
            return True
        why = f"the runtime {self._spec.runtime} has a network and a kernel of its own, which nothing outside sees"
        self._story.report = Report(Observed.IMPOSSIBLE, why, ())
        self._story.trace = TraceReport(Observed.IMPOSSIBLE, why)
        self._story.notice = NotifyReport(Observed.IMPOSSIBLE, why)
        return False

    def listen(self, container: str) -> None:
        """Be there before the container starts: its runtime looks for the listener then."""
        if self._listener is not None:
            self._listener.listen(container)

    def output_full(self) -> bool:
        """Whether the output has no byte or no file left; not known where the engine keeps it."""
        return self._holder is None and self._workspace is not None and self._workspace.output_full()

    def dismiss_observers(self) -> None:
        """The container has ended: let them begin to end."""
        if self.tracer is not None:
            self.tracer.dismiss()

    def hear_observers(self) -> None:
        """End those who watched and put what they saw into the story."""
        if self._sinkhole is not None:
            self._story.report = self._sinkhole.report()
        if self.tracer is not None:
            self._story.trace = self.tracer.report()
        if self._listener is not None:
            self._story.notice = self._listener.report()
            if self._story.tier and self._story.notice.notified in (Observed.COMPLETE, Observed.PARTIAL):
                self._story.tier = 2

    def harvest(self, output: Path) -> None:
        """Take over what the tool left; what cannot be taken over is refused and recorded."""
        if self._workspace is None:
            return
        try:
            self._story.harvest = self._take_over(self._workspace, output)
        except EngineUnavailable:
            raise
        except (CouldNotDecide, OSError) as error:
            self._story.harvest.refuse(b"", "not-collected")
            self._story.remark(f"{error}. {getattr(error, 'next_step', '')}")

    def _take_over(self, workspace: Workspace, output: Path) -> Harvest:
        output.mkdir(parents=True, exist_ok=True)
        if self._holder is not None:
            return self._holder.harvest(output, self._spec.limits)
        return harvest_directory(workspace.output, output, self._spec.limits)

    def eventually(self, remove: Callable[[], None]) -> None:
        """Clean up, also after an engine that was away for a moment; what stays is found by its label later."""
        for left in reversed(range(_REMOVAL_ATTEMPTS)):
            try:
                return remove()
            except CouldNotDecide as error:
                if not left or not isinstance(error, EngineUnavailable):
                    return self._story.remark(f"not everything could be removed now ({error}); the next run removes it")
                time.sleep(_REMOVAL_PAUSE)
        return None
