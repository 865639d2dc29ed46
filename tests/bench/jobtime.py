"""How fast a block job is, by QEMU's own events on a second monitor: from when it is made to when it has completed."""
import os
import time

from figures import Row

MIB = 1 << 20
SETTLES_IN_S = 0.7  # behind a sync the file system goes on: it gives back what was freed


def throughput(vm, size, action, *words):
    """MiB a second, of the one job of `size` bytes that the action lets run; all that is dirty is written out before."""
    os.sync()
    time.sleep(SETTLES_IN_S)
    monitor = vm.monitor()
    monitor.execute("query-status")
    monitor.events.clear()
    action(*words)
    completed = monitor.wait_event("BLOCK_JOB_COMPLETED")
    created = monitor.wait_event("JOB_STATUS_CHANGE", status="created")
    assert "error" not in completed["data"] and completed["data"]["len"] >= size // 2, completed
    return size / MIB / (moment(completed) - moment(created))


def moment(event):
    return event["timestamp"]["seconds"] + event["timestamp"]["microseconds"] / 1e6


def held_against(letter, what, samples, floor):
    """Two rows: chainctl's MiB a second, which must be at least `floor` of the bare client's; and those."""
    rival = Row(letter, f"{what}: bare", samples["bare"], unit="MiB/s")
    yield Row(letter, f"{what}: chainctl", samples["chainctl"], unit="MiB/s", ratios={"bare": rival}, floors={"bare": floor})
    yield rival
