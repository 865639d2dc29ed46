"""Chains that a merge is to work on, and a merge that is held up half way until a test has done what it came for."""
import contextlib

from support import disks, images, process
from support.chainctl import finish
from support.qmp import QmpError

REGION = 64 * 1024
SLOW = 64 * 1024  # bytes a second


def fill(vm, disk, pattern, region=0, count=1):
    vm.qemu_io(disk, f"write -P {pattern} {region * REGION} {count * REGION}")


def reads(vm, disk, *patterns):
    """Pattern n is what region n reads."""
    vm.qemu_io(disk, *[f"read -P {pattern} {region * REGION} {REGION}" for region, pattern in enumerate(patterns)])


def chained(ctl, vm, names=("vda", "vdb"), snapshots=("one", "two", "three"), count=1):
    """Registers the VM; pattern n in region n before snapshot n, and 9 in the region behind the last one now."""
    disks.register(ctl, vm)
    for region, snapshot in enumerate((*snapshots, None)):
        for name in names:
            fill(vm, name, region + 1 if snapshot else 9, region * count, count)
        if snapshot:
            ctl.ok("snapshot", "vm", snapshot)


def assert_sound(ctl, vm):
    """Nothing is wrong, no node and no job is left over, and every image is clean."""
    assert ctl.ok("check", "vm")["problems"] == []
    assert vm.monitor().execute("query-jobs") == []
    live = {path for tree in ctl.ok("tree", "vm")["disks"] for path in vm.monitor().chain(tree["disk"])}
    assert {node["file"] for name, node in disks.nodes(vm).items() if name.startswith("cc-")} <= live
    for tree in ctl.ok("tree", "vm")["disks"]:
        assert vm.monitor().chain(tree["disk"])[0] == tree["active"]
        assert all(images.is_clean(image["path"]) for image in tree["images"] if image["format"] == "qcow2")


def await_jobs(vm, count, status=None):
    """The ids of so many jobs, once they are there and (where given) all are in that status."""
    def found():
        jobs = vm.monitor().execute("query-jobs")
        return len(jobs) == count and all(status in (None, job["status"]) for job in jobs)

    process.wait_until(found, 20, f"{count} jobs {status or ''}")
    return sorted(job["id"] for job in vm.monitor().execute("query-jobs"))


def unleash(vm):
    """All jobs of a VM lose their limit."""
    for job in vm.monitor().execute("query-block-jobs"):
        with contextlib.suppress(QmpError):  # it has just ended
            vm.monitor().execute("block-job-set-speed", device=job["device"], speed=0)


@contextlib.contextmanager
def held_up(ctl, vm, *words, count=1):
    """The merge of these words runs inside the block, slowly; `.result` is there once it has ended behind it."""
    held = _Held(ctl.start(*words, "--speed", str(SLOW)), vm)
    try:
        await_jobs(vm, count, "running")
        yield held
    finally:
        held.end()


class _Held:
    def __init__(self, started, vm):
        self.started, self.vm, self.result = started, vm, None

    def end(self):
        """Lets it run to its end. Returns the Result."""
        if self.result is None:
            if self.vm.process and self.vm.process.poll() is None:
                unleash(self.vm)
            self.result = finish(self.started)
        return self.result
