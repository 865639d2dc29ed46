"""A monitor's connection that is cut while a merge is under way, QEMU living on: the command ends at once and says so,
and what goes on in QEMU is waited for, cancelled or recovered by the next one."""
import time

import pytest

from support import disks
from support.chainctl import finish
from support.merges import SLOW, assert_sound, await_jobs, chained, reads, unleash
from support.proxy import Proxy

AT_ONCE = 5  # seconds, on a machine that is busy


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
    assert op in said["error"]["hint"] and {job["op"] for job in ctl.ok("jobs", "vm")["jobs"]} == {op}
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
