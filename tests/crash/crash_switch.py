"""The verbs that move a guest or merge its images, for the sweep: what is ready before each, and what may be true after
a death. As if it had run, or as if it had not: on all disks the same; what a commit overwrites may be gone in either.
"""
import crash_oracle as oracle
from crash_cases import Verb
from crash_machine import REGION
from support import disks, images, process

ABANDONED = 21  # what the guest wrote after the snapshot that it goes back to
RUNS_AGAIN_WITHIN = 15  # seconds: five to its watchdog's turn, and two where a parent is to be woken first; on a busy machine


class Switch(Verb):
    """`before`, `after`: what the third region of each disk reads if the verb has not run, and if it has."""

    before = after = ABANDONED
    snapshots_before, snapshots_after = ["one"], []

    def prepare(self, machine):
        machine.ctl.ok("snapshot", "vm", "one")
        for name in machine.names:
            machine.write(name, ABANDONED)

    def assert_settled(self, machine):
        """Returns whether it happened."""
        assert oracle.recovered(machine) == [], "a second recover has nothing to do"
        assert not {"open", "detached"} & set(oracle.operations(machine))
        assert machine.ctl.ok("check", "vm")["problems"] == []
        if not machine.runs:
            oracle.restart(machine)
        assert machine.vm.monitor().execute("query-jobs") == []
        live = {path for name in machine.names for path in machine.chain(name)}
        nodes = disks.nodes(machine.vm)
        assert not [name for name in machine.nodes_of_ours() if nodes[name]["file"] not in live]
        happened = {self.look(machine, name) for name in machine.names}
        assert len(happened) == 1, "one disk has gone on without the other"
        self.assert_files(machine)
        self.assert_snapshots(machine, *happened)
        return happened.pop()

    def look(self, machine, name):
        raise NotImplementedError

    def assert_files(self, machine):
        """Each file belongs to a tree, or is a note."""
        known = {image["path"] for tree in machine.ctl.ok("tree", "vm")["disks"] for image in tree["images"]}
        files = {str(path) for path in machine.images.iterdir() if not path.name.endswith(".chainctl")}
        assert files <= known, files - known
        for path in files:  # a QEMU that was killed leaves clusters that nothing counts on
            found = images.check(path)
            assert not found.get("corruptions") and not found["check-errors"], f"{path}: {found}"

    def assert_snapshots(self, machine, happened):
        found = [name for name in oracle.snapshots(machine) if not name.startswith("before-rollback-")]
        assert found == (self.snapshots_after if happened else self.snapshots_before)

    def assert_goes_on(self, machine):
        assert images.sha256(machine.templates.golden) == machine.templates.golden_sha256
        machine.ctl.ok("snapshot", "vm", "next")
        machine.vm.qemu_io(machine.names[0], f"write -P 33 {5 * REGION} {REGION}")
        assert machine.ctl.ok("check", "vm")["problems"] == []


class Rollback(Switch):
    name, words = "rollback", ("rollback", "vm", "one", "--reset", "never")
    snapshots_after = ["one"]

    def look(self, machine, name):
        pattern = 0 if _reads(machine, name, 0) else ABANDONED
        machine.vm.qemu_io(name, f"read -P 11 0 {REGION}", f"read -P {pattern} {2 * REGION} {REGION}")
        return pattern == 0

    def assert_snapshots(self, machine, happened):
        super().assert_snapshots(machine, happened)
        automatic = [name for name in oracle.snapshots(machine) if name.startswith("before-rollback-")]
        assert len(automatic) == happened
        for name in automatic:  # the way back
            machine.ctl.ok("rollback", "vm", name, "--reset", "never")
            assert all(_reads(machine, disk, ABANDONED) for disk in machine.names)


class Commit(Switch):
    """What is active goes into the base; nothing that is read changes."""

    name, words = "commit", ("commit", "vm", "--pivot")

    def look(self, machine, name):
        machine.vm.qemu_io(name, f"read -P 11 0 {REGION}", f"read -P {ABANDONED} {2 * REGION} {REGION}")
        return machine.chain(name)[0] == str(machine.bases[name])

    def assert_snapshots(self, machine, happened):
        """Begun and not done is allowed, and then what it overwrites is gone."""
        assert oracle.snapshots(machine) in ([[]] if happened else [["one"], []])


class CommitBelow(Commit):
    """The layers below a snapshot go into the base."""

    name, words = "commit-below", ("commit", "vm", "--top", "two")

    def prepare(self, machine):
        super().prepare(machine)
        machine.ctl.ok("snapshot", "vm", "two")
        for name in machine.names:
            machine.write(name, 22)

    def look(self, machine, name):
        machine.vm.qemu_io(name, f"read -P {ABANDONED} {2 * REGION} {REGION}", f"read -P 22 {3 * REGION} {REGION}")
        return machine.chain(name)[1] == str(machine.bases[name])

    def assert_snapshots(self, machine, happened):
        assert oracle.snapshots(machine) in ([["two"]] if happened else [["one", "two"], ["two"]])


class Stream(CommitBelow):
    """What lies between the active image and the base is pulled up; no snapshot changes."""

    name, words = "stream", ("stream", "vm", "--base", "base")

    def assert_snapshots(self, machine, happened):
        assert oracle.snapshots(machine) == ["one", "two"]


def _reads(machine, name, pattern):
    try:
        machine.vm.qemu_io(name, f"read -P {pattern} {2 * REGION} {REGION}")
    except AssertionError:
        return False
    return True


def assert_runs_again(machine):
    """With its watchdog alive, a guest that was paused goes on by itself."""
    running = lambda: machine.vm.monitor().execute("query-status")["status"] == "running"  # noqa: E731
    process.wait_until(running, RUNS_AGAIN_WITHIN, "the guest to go on")
