"""A commit that never gets ready: because the guest writes faster than it copies, which is said, and the job's limit is
lifted; or because it is slow, which is nobody's fault.
"""
import json
import signal
import threading
import time

import pytest

from support import disks, images

LENGTH = 48
WINDOW = 10  # seconds: so long what is left must not have fallen

pytestmark = pytest.mark.time_limit(90)


@pytest.fixture
def rig(qemu, chainctl, folder):
    path = images.create(folder / "vda.qcow2", "64M")
    vm, ctl = qemu(disks.blockdev("vda", path), paused=False), chainctl()
    disks.register(ctl, vm)
    ctl.ok("snapshot", "vm", "s")
    vm.qemu_io("vda", f"write -P 1 0 {LENGTH}M")
    return vm, ctl


def commit(ctl, speed):
    """Started, and copying."""
    started = ctl.start("commit", "vm", "--pivot", "--yes", "--quiesce", "off", "--speed", speed, "--progress=json")
    assert json.loads(started.stderr.readline())["phase"] == "copy"
    return started


def speed(vm):
    (job,) = vm.monitor().execute("query-block-jobs")
    return job["speed"]


def end(started):
    """Its document."""
    document = json.loads(started.stdout.read())
    started.wait(60)
    started.stdout.close(), started.stderr.close()
    return document


def drain(started):
    threading.Thread(target=started.stderr.read, daemon=True).start()


def test_guest_that_writes_faster_than_the_copy_lifts_its_limit_and_is_said(rig):
    vm, ctl = rig
    started = commit(ctl, "4M")
    drain(started)
    time.sleep(2)  # less is left then than there ever will be again
    until, limited = time.monotonic() + 4 * WINDOW, speed(vm)
    while speed(vm) == limited and time.monotonic() < until:
        vm.qemu_io("vda", f"write -P 2 0 {LENGTH}M")
    assert (limited, speed(vm)) == (4 << 20, 0)
    document = end(started)
    assert document["ok"] and [warning["code"] for warning in document["warnings"]] == ["not-converging"]
    vm.qemu_io("vda", f"read -P 2 0 {LENGTH}M")


def test_copy_that_only_stands_still_keeps_its_limit_and_nothing_is_said(rig):
    vm, ctl = rig
    started = commit(ctl, "1K")  # the first piece is a mebibyte, and a while has to pass after it
    drain(started)
    time.sleep(WINDOW + 4)
    assert speed(vm) == 1024
    started.send_signal(signal.SIGINT)
    document = end(started)
    assert document["error"]["code"] == "interrupted" and document["warnings"] == []
    (job,) = ctl.ok("jobs", "vm")["jobs"]
    ctl.ok("job", "cancel", "vm", job["job"])
    vm.qemu_io("vda", f"read -P 1 0 {LENGTH}M")
