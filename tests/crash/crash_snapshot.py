"""The verb `snapshot` for the sweep: its side effects per scenario, and what is true after it has run or has not."""
import pathlib
import stat

import crash_oracle as oracle
from crash_cases import Scenario, Verb
from support import images

NAME = "crash"
SEALING = pathlib.Path(__file__).parent / "seal.conf"
HELPER, FREEZE, THAW = "process:watchdog", "qga:guest-fsfreeze-freeze", "qga:guest-fsfreeze-thaw"
STANDIN = "process:standin"
COMMIT, SWITCH = "db:commit", "qmp:transaction"
CREATE, SYNC, REMOVE = "file:create", "file:sync", "file:remove"
NOTE, SEAL = "file:note", "file:seal"
ADD, CLOSE = "qmp:blockdev-add", "qmp:blockdev-del"


class Snapshot(Verb):
    name, words, switch = "snapshot", ("snapshot", "vm", NAME), SWITCH

    def assert_settled(self, machine, happened):
        oracle.assert_settled(machine, [NAME] * happened)

    def assert_data(self, machine, happened, before):
        """What was frozen holds what the guest had written before the switch, and nothing later."""
        for name, base in machine.bases.items() if happened else ():
            oracle.assert_image_reads(base, before[name])

    def assert_goes_on(self, machine, happened):
        oracle.assert_goes_on(machine, [NAME] * happened)


class RefusedSnapshot(Snapshot):
    """QEMU itself refuses the switch of the last disk: somebody has put an image of theirs on its node."""

    name, switch = "refused", ""

    def prepare(self, machine):
        disk, monitor = machine.names[-1], machine.vm.monitor()
        theirs = images.create(machine.folder / "theirs.qcow2", None, backing=machine.bases[disk])
        monitor.execute("blockdev-add", driver="file", node_name="theirs-file", filename=str(theirs))
        on_disk = {"node_name": "theirs", "file": "theirs-file", "backing": f"{disk}-format"}
        monitor.execute("blockdev-add", driver="qcow2", **on_disk)

    def tidy(self, machine):
        for node in ("theirs", "theirs-file"):
            machine.vm.monitor().execute("blockdev-del", node_name=node)


class OfflineSnapshot(Snapshot):
    """Of a VM that is shut off: a storage daemon has its images open, and says what QEMU would."""

    name = "offline"

    def prepare(self, machine):
        machine.power_off()


class SealedSnapshot(Snapshot):
    """As a snapshot with `overlay.seal`: frozen images are read-only, and what stays active is not. Recovery has no such
    configuration: the journal tells it."""

    name, words = "sealed", ("snapshot", "vm", "--config", str(SEALING), NAME)

    def assert_settled(self, machine, happened):
        super().assert_settled(machine, happened)
        modes = {stat.S_IMODE(base.stat().st_mode) & 0o222 for base in machine.bases.values()}
        assert modes == ({0} if happened else {0o200})


def preparation(disks):
    steps = (CREATE, SYNC, ADD)
    return (COMMIT, *(step for step in steps for _ in range(disks)), COMMIT)


def notes(disks):
    return (NOTE,) * disks


def running(disks):
    return Scenario(Snapshot(), disks, False, (HELPER, *preparation(disks), FREEZE, SWITCH, THAW, *notes(disks), COMMIT))


def paused(disks):
    return Scenario(Snapshot(), disks, True, (*preparation(disks), SWITCH, *notes(disks), COMMIT))


def refused(disks):
    undo = (*(CLOSE,) * disks, *(REMOVE,) * disks, COMMIT)
    return Scenario(RefusedSnapshot(), disks, False, (HELPER, *preparation(disks), FREEZE, SWITCH, THAW, *undo))


def sealed(disks):
    return Scenario(SealedSnapshot(), disks, True, (*preparation(disks), SWITCH, *(SEAL,) * disks, *notes(disks), COMMIT))


def offline(disks):
    return Scenario(OfflineSnapshot(), disks, False, (STANDIN, *preparation(disks), SWITCH, *notes(disks), COMMIT), shut_off=True)


SCENARIOS = [running(1), paused(1), running(2), paused(2)]
REFUSED = refused(2)
SEALED = sealed(2)
OFFLINE = [offline(1), offline(2)]
