"""Going back: which images the guest writes to, what it reads, and what is left, as QEMU and qemu-img tell it."""
import pytest

from support import disks, images

REGION = 64 * 1024


def fill(vm, name, pattern, region=0):
    vm.qemu_io(name, f"write -P {pattern} {region * REGION} {REGION}")


def reads(vm, name, pattern, region=0):
    vm.qemu_io(name, f"read -P {pattern} {region * REGION} {REGION}")


def nodes_of_ours(vm):
    return {name for name in disks.nodes(vm) if name.startswith("cc-")}


def assert_sound(ctl, vm, *names):
    """Nothing is wrong, no node is left over, no job, and every image is clean."""
    assert ctl.ok("check", "vm")["problems"] == []
    live = {node for name in names for node in vm.monitor().chain(name)}
    told = disks.nodes(vm)
    assert {told[name]["file"] for name in nodes_of_ours(vm)} <= live
    for tree in ctl.ok("tree", "vm")["disks"]:
        for image in tree["images"]:
            assert images.is_clean(image["path"]), image


@pytest.fixture
def two(qemu, chainctl, tmp_path):
    """(vm, ctl, paths): two disks, with pattern 1 in snapshot 'one', 2 in 'two', 3 now."""
    words, paths = disks.two(tmp_path)
    vm, ctl = qemu(words, paused=False), chainctl()
    disks.register(ctl, vm)
    for pattern, name in ((1, "one"), (2, "two")):
        for disk in paths:
            fill(vm, disk, pattern)
        ctl.ok("snapshot", "vm", name)
    for disk in paths:
        fill(vm, disk, 3)
    return vm, ctl, paths


@pytest.mark.parametrize("to, pattern", [("one", 1), ("two", 2)])
def test_rollback_takes_all_disks_back_while_qemu_stays(two, to, pattern):
    vm, ctl, paths = two
    pid = vm.pid
    done = ctl.ok("rollback", "vm", to, "--reset", "never")
    assert done["rollback"]["to"] == to and not done["rollback"]["reset"]
    assert done["paused_us"] > 0 and done["frozen_us"] is None
    for disk in paths:
        reads(vm, disk, pattern)
        fill(vm, disk, 9, region=1)
    assert vm.pid == pid and vm.monitor().execute("query-status")["status"] == "running"
    for switched in done["active"]:
        assert vm.monitor().chain(switched["disk"])[0] == switched["after"]
        assert images.info(switched["after"])["backing-filename"] == ctl.ok("show", "vm", to)["snapshot"]["disks"][
            [disk["disk"] for disk in done["active"]].index(switched["disk"])]["image"]  # fmt: skip
    assert_sound(ctl, vm, *paths)


def test_abandoned_head_is_kept_and_a_rollback_can_be_rolled_back(two):
    vm, ctl, paths = two
    automatic = ctl.ok("rollback", "vm", "one", "--reset", "never")["rollback"]["automatic_snapshot"]
    shown = ctl.ok("show", "vm", automatic)["snapshot"]
    assert automatic.startswith("before-rollback-") and shown["automatic"]
    for disk in paths:
        fill(vm, disk, 8)
    ctl.ok("rollback", "vm", automatic, "--reset", "never")
    for disk in paths:
        reads(vm, disk, 3)
    assert len(ctl.ok("list", "vm")["snapshots"]) == 4
    assert_sound(ctl, vm, *paths)


def test_discarded_head_leaves_no_file_and_no_snapshot(two):
    vm, ctl, paths = two
    before = {disk: ctl.ok("path", "vm", disk)["path"] for disk in paths}
    done = ctl.ok("rollback", "vm", "one", "--discard", "--reset", "never")
    assert done["rollback"]["automatic_snapshot"] is None
    assert sorted(done["removed"]) == sorted(before.values())
    assert not any(images.exists(path) for path in before.values())
    assert [snapshot["name"] for snapshot in ctl.ok("list", "vm")["snapshots"]] == ["one", "two"]
    for disk in paths:
        reads(vm, disk, 1)
    ctl.ok("rollback", "vm", "two", "--reset", "never")
    for disk in paths:
        reads(vm, disk, 2)
    assert_sound(ctl, vm, *paths)


def test_one_disk_goes_back_and_the_other_stays(two):
    vm, ctl, paths = two
    ctl.ok("rollback", "vm", "one", "--disk", "vda", "--reset", "never")
    reads(vm, "vda", 1)
    reads(vm, "vdb", 3)
    assert_sound(ctl, vm, *paths)
