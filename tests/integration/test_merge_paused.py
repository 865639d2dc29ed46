"""A person pauses the VM, or lets it go on, while a merge copies: what is so at the pivot counts, and stays so."""
import pytest

from support import disks
from support.chains import assert_sound, chained, reads
from support.merges import held_up


def status(vm):
    return vm.monitor().execute("query-status")["status"]


@pytest.mark.parametrize("verb", [("commit", "vm", "--pivot"), ("stream", "vm")])
def test_vm_that_is_paused_meanwhile_stays_paused(qemu, chainctl, folder, verb):
    vm, ctl = qemu(disks.two(folder)[0], paused=False), chainctl()
    chained(ctl, vm, count=4)
    with held_up(ctl, vm, *verb, count=2) as held:
        vm.monitor().execute("stop")
    assert held.result.status == 0, held.result
    assert status(vm) == "paused" and held.result.json.get("paused_us") is None
    reads(vm, "vda", 1, 1, 1, 1, 2)
    assert_sound(ctl, vm)


@pytest.mark.parametrize("verb", [("commit", "vm", "--pivot"), ("stream", "vm")])
def test_vm_that_goes_on_meanwhile_is_paused_for_the_pivot_alone(qemu, chainctl, folder, verb):
    vm, ctl = qemu(disks.two(folder)[0]), chainctl()
    chained(ctl, vm, count=4)
    with held_up(ctl, vm, *verb, count=2) as held:
        vm.monitor().execute("cont")
        vm.monitor().wait_event("RESUME")
        held.end()
        vm.monitor().wait_event("STOP")
    assert held.result.status == 0, held.result
    assert status(vm) == "running"
    assert_sound(ctl, vm)
