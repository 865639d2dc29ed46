"""A monitor's connection that is cut while a merge is under way, QEMU living on: the command ends at once and says so,
and what goes on in QEMU is waited for, cancelled or recovered by the next one."""
import signal
import time

import pytest

from support import disks, process
from support.chainctl import finish
from support.chains import assert_sound, chained, reads
from support.merges import SLOW, await_jobs, unleash
from support.proxy import Proxy

AT_ONCE = 5  # seconds, on a machine that is busy
AGAIN_WITHIN = 8


@pytest.fixture
def cut(qemu, chainctl, folder, tmp_path):
    """(vm, ctl, address): two disks with three snapshots; their monitor's address is a link."""
    vm, ctl, address = qemu(disks.two(folder)[0], paused=False), chainctl(), tmp_path / "address"
    chained(ctl, vm, count=4)
    address.symlink_to(vm.qmp)
    ctl.ok("vm", "set", "vm", "--qmp", address)
    return vm, ctl, address


def cut_off(cut, *words):
    """What these words say, whose connection was lost while both jobs ran; the next one is not."""
    vm, ctl, address = cut
    with Proxy(address.with_name("tap"), vm.qmp, []) as proxy:
        address.unlink()
        address.symlink_to(proxy.path)
        started = ctl.start(*words, "--speed", str(SLOW))
        await_jobs(vm, 2, "running")
        begun = time.monotonic()
        proxy.hang_up()
        result = finish(started)
    address.unlink()
    address.symlink_to(vm.qmp)
    assert time.monotonic() - begun < AT_ONCE
    assert result.status == 8, result
    assert len(vm.monitor().execute("query-jobs")) == 2
    return result.json


VERBS = [("commit", "vm", "--pivot"), ("commit", "vm", "--top", "three"), ("stream", "vm")]


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_it_is_waited_for(cut, words):
    vm, ctl, _ = cut
    said = cut_off(cut, *words)
    op = said["op"]
    assert op[:8] in said["error"]["hint"] and {job["op"] for job in ctl.ok("jobs", "vm")["jobs"]} == {op}
    assert ctl.fails(6, "snapshot", "vm", "late")["code"] == "held"
    unleash(vm)
    assert {merge["disk"] for merge in ctl.ok("job", "wait", "vm", op)["merges"]} == {"vda", "vdb"}
    reads(vm, "vda", *[1] * 4, *[2] * 4, *[3] * 4, *[9] * 4)
    assert len(vm.monitor().chain("vda")) == (2 if "--top" in words else 1)
    assert_sound(ctl, vm)


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_it_is_cancelled(cut, words):
    vm, ctl, _ = cut
    depth = len(vm.monitor().chain("vda"))
    op = cut_off(cut, *words)["op"]
    ctl.ok("job", "cancel", "vm", op)
    assert len(vm.monitor().chain("vda")) == depth
    reads(vm, "vda", *[1] * 4, *[2] * 4, *[3] * 4, *[9] * 4)
    assert_sound(ctl, vm)


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_it_is_recovered_once_qemu_is_gone(cut, words):
    vm, ctl, _ = cut
    cut_off(cut, *words)
    vm.kill()
    [recovered] = ctl.ok("recover", "vm")["recovered"]
    assert recovered["outcome"] == "undone"
    assert ctl.ok("recover", "vm")["recovered"] == []
    ctl.ok(*words)


def test_qemu_that_falls_silent_is_left_to_itself_and_waited_for_later(qemu, chainctl, folder):
    vm, ctl = qemu(disks.two(folder)[0], paused=False), chainctl()
    chained(ctl, vm, count=4)
    started = ctl.start("stream", "vm", "--speed", str(SLOW), "--timeout", "1", "--progress=json")
    await_jobs(vm, 2, "running")
    vm.process.send_signal(signal.SIGSTOP)
    try:
        result = finish(started)
    finally:
        vm.process.send_signal(signal.SIGCONT)
    assert result.status == 8 and "job wait" in result.json["error"]["hint"], result
    unleash(vm)
    ctl.ok("job", "wait", "vm", result.json["op"])
    reads(vm, "vda", *[1] * 4, *[2] * 4, *[3] * 4, *[9] * 4)
    assert_sound(ctl, vm)


@pytest.mark.parametrize("words, command", [(VERBS[0], "stop"), (VERBS[0], "job-complete"), (VERBS[0], "cont"), (VERBS[1], "job-finalize"), (VERBS[1], "cont"),
                                            (VERBS[2], "job-finalize"), (VERBS[2], "cont")], ids=str)  # fmt: skip
def test_connection_that_is_lost_while_the_vm_is_paused_leaves_no_guest_standing_still(qemu, chainctl, folder, tmp_path, words, command):
    vm, ctl, cuts = qemu(disks.two(folder)[0], paused=False), chainctl(), []

    def before(passed, _):
        if passed == command and not cuts:
            cuts.append(passed)
            proxy.hang_up()

    chained(ctl, vm, count=4)
    with Proxy(tmp_path / "tap", vm.qmp, [], before=before) as proxy:
        ctl.ok("vm", "set", "vm", "--qmp", proxy.path)
        result = ctl.run(*words)
        assert cuts and result.json["ok"] == (result.status == 0), result
        runs = lambda: vm.monitor().execute("query-status")["running"]  # noqa: E731
        process.wait_until(runs, AGAIN_WITHIN, "the guest to go on")
        reads(vm, "vda", *[1] * 4, *[2] * 4, *[3] * 4, *[9] * 4)
        ctl.ok("recover", "vm")
        assert_sound(ctl, vm)
        depths = {len(vm.monitor().chain(disk)) for disk in ("vda", "vdb")}
        assert len(depths) == 1, "both disks are on this side of it, or on the other"
        if depths == {4}:
            ctl.ok(*words)
        for disk in ("vda", "vdb"):
            reads(vm, disk, *[1] * 4, *[2] * 4, *[3] * 4, *[9] * 4)
