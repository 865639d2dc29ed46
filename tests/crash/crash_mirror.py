"""Mirrors, for the sweep: copies of all disks are there and whole, or none is and nothing tells of one; where the guest
was to be moved, it is on all of its copies or on none. The source is never another than it was.
"""
import crash_oracle as oracle
from crash_cases import BEFORE, Scenario
from crash_machine import REGION
from crash_points import Stopped
from crash_switch import ABANDONED, Rollback, Switch
from support import disks, images, mirrors
from support.qemu import Qemu

BEFORE_MIRROR = "before-mirror-"


class Mirror(Switch):
    """Copies go to a folder of their own, which `prepare` makes: `words` are those of the machine that it made ready."""

    snapshots_after = ["one"]
    how = ()

    def prepare(self, machine):
        super().prepare(machine)
        self.folder = self.copies(machine)
        self.folder.mkdir()

    @property
    def words(self):
        return ("mirror", "vm", "--to", self.folder, *self.how)

    @staticmethod
    def copies(machine):
        return machine.folder / "copies"

    def copy(self, machine, name):
        return self.copies(machine) / f"{name}.qcow2"

    def look(self, machine, name):
        machine.vm.qemu_io(name, f"read -P 11 0 {REGION}", f"read -P {ABANDONED} {2 * REGION} {REGION}")
        return self.has_happened(machine, name)

    def has_happened(self, machine, name):
        copy = self.copy(machine, name)
        if copy.exists():
            mirrors.assert_copied(machine.chain(name)[0], copy)
            assert not images.check(copy).get("corruptions") and not images.check(copy)["check-errors"]
        return copy.exists()

    def assert_files(self, machine):
        """Nothing but the copies, and none of them in part."""
        super().assert_files(machine)
        copies = {self.copy(machine, name).name for name in machine.names}
        assert {path.name for path in self.copies(machine).iterdir()} in (copies, set())


class MirrorFinish(Mirror):
    name = "mirror-finish"


class MirrorFollow(Mirror):
    """In step, and to be completed by whoever comes next; given up, where the journal does not have it in step."""

    name, how = "mirror-follow", ("--follow",)

    def assert_settled(self, machine):
        if machine.runs and "detached" in oracle.operations(machine):
            op = next(one["op"] for one in machine.ctl.ok("log", "vm")["operations"] if one["state"] == "detached")
            machine.ctl.ok("job", "complete", "vm", op)
        return super().assert_settled(machine)


class MirrorPivot(Mirror):
    name, how = "mirror-pivot", ("--pivot",)

    def has_happened(self, machine, name):
        moved = machine.chain(name)[0] == str(self.copy(machine, name))
        assert moved == self.copy(machine, name).exists()
        return moved

    def assert_files(self, machine):
        known = {image["path"] for tree in machine.ctl.ok("tree", "vm")["disks"] for image in tree["images"]}
        for folder in (machine.images, self.copies(machine)):
            files = {str(path) for path in folder.iterdir() if not path.name.endswith(".chainctl")}
            assert files <= known, files - known
            notes = {str(path).removesuffix(".chainctl") for path in folder.iterdir() if path.name.endswith(".chainctl")}
            assert notes <= known, "a note of nothing"
            for path in files:
                found = images.check(path)
                assert not found.get("corruptions") and not found["check-errors"], f"{path}: {found}"

    def assert_snapshots(self, machine, happened):
        found = oracle.snapshots(machine)
        automatic = [name for name in found if name.startswith(BEFORE_MIRROR)]
        assert len(automatic) == happened and [name for name in found if name not in automatic] == ["one"]
        for name in automatic:  # the way back
            machine.ctl.ok("rollback", "vm", name, "--reset", "never")
            assert all(machine.chain(disk)[1].startswith(str(machine.images)) for disk in machine.names)


# ---- what a bug that can be seeded breaks ----


def keeps_what_was_in_step(rig):
    """QEMU ends while copies are followed: they are all that is left of it elsewhere."""
    verb = MirrorFollow()
    with rig.machine(disks=2) as made:
        verb.prepare(made)
        made.ctl.ok(*verb.words)
        made.power_off()
        oracle.recovered(made)
        assert all(verb.copy(made, name).exists() for name in made.names)


def keeps_what_somebody_uses(rig):
    """Whoever started a machine on a copy, or on what a rollback has made, after the death of ours, does not lose its disk."""
    for verb, effect in ((Rollback(), "qmp:qom-set"), (MirrorFinish(), "qmp:block-job-cancel")):
        scenario = Scenario(verb, 1, False, ())
        point = [one for one in rig.effects(scenario) if one.name == effect][-1]
        with rig.machine(**scenario.machine_options()) as made:
            verb.prepare(made)
            before = set(made.folder.rglob("*.qcow2"))
            stopped = Stopped(made.ctl, verb.words, point, BEFORE, rig.folder, rig.mutant)
            stopped.kill_watchdogs()
            made.power_off()
            stopped.kill()
            [new] = set(made.folder.rglob("*.qcow2")) - before
            with Qemu(disks.blockdev("other", new)):
                oracle.recovered(made)
                assert new.exists()
