"""A commit that is to quiesce the guest and cannot: nothing is moved, what is copied stays ready, and the operation is
completed once it can, or may do without.
"""
import pytest

from support import disks, images
from support.chains import assert_sound
from support.freezer import Freezer, Refusal
from support.merges import await_jobs

REQUIRED = ["--quiesce", "require"]


def refuse(_):
    raise Refusal("no file system of mine is to be frozen now")


@pytest.fixture
def rig(qemu, chainctl, folder, tmp_path):
    """A guest that has written on, whose agent answers, and refuses to freeze."""
    with Freezer(tmp_path / "agent", freeze=refuse) as agent:
        path = images.create(folder / "vda.qcow2", "8M")
        vm, ctl = qemu(disks.blockdev("vda", path), paused=False), chainctl()
        ctl.ok("vm", "add", "vm", "--qmp", vm.qmp, "--agent", f"unix:{agent.path}")
        ctl.ok("snapshot", "vm", "one", "--quiesce", "off")
        vm.qemu_io("vda", "write -P 1 0 64k")
        yield vm, ctl, agent


def stays_ready(rig):
    """The id of its job, which waits."""
    vm, ctl, agent = rig
    error = ctl.fails(5, "commit", "vm", "--pivot", "--yes", *REQUIRED)
    assert error["code"] == "not-quiesced" and "job complete" in error["hint"], error
    (job,) = await_jobs(vm, 1, "ready")
    assert not agent.frozen and vm.monitor().execute("query-status")["status"] == "running"
    assert vm.monitor().chain("vda")[0].endswith("vda.one.qcow2")
    assert [job["ours"] for job in ctl.ok("jobs", "vm")["jobs"]] == [True]
    vm.qemu_io("vda", "write -P 2 64k 64k")
    return job


def assert_is_merged(rig):
    vm, ctl, agent = rig
    assert vm.monitor().chain("vda")[0].endswith("vda.qcow2") and not agent.frozen
    vm.qemu_io("vda", "read -P 1 0 64k", "read -P 2 64k 64k")
    assert_sound(ctl, vm)


def test_it_stays_ready_and_is_completed_once_the_guest_can_be_frozen(rig):
    _, ctl, agent = rig
    job = stays_ready(rig)
    assert ctl.fails(5, "job", "complete", "vm", job, *REQUIRED)["code"] == "not-quiesced"
    stays_ready_still = await_jobs(rig[0], 1, "ready")
    assert stays_ready_still == [job]
    agent.answers["guest-fsfreeze-freeze"] = Freezer.freeze
    ctl.ok("job", "complete", "vm", job, *REQUIRED)
    assert len(agent.frozen_s) == 1
    assert_is_merged(rig)


def test_it_is_completed_without_where_that_is_said(rig):
    _, ctl, agent = rig
    done = ctl.ok("job", "complete", "vm", stays_ready(rig), "--quiesce", "auto")
    assert [warning["code"] for warning in done["warnings"]] == ["agent-failed"] and agent.frozen_s == []
    assert_is_merged(rig)


def test_it_is_cancelled(rig):
    vm, ctl, _ = rig
    ctl.ok("job", "cancel", "vm", stays_ready(rig))
    assert vm.monitor().chain("vda")[0].endswith("vda.one.qcow2")
    vm.qemu_io("vda", "read -P 1 0 64k", "read -P 2 64k 64k")
    assert_sound(ctl, vm)
