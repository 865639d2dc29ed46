"""Going back: which images the guest writes to, what it reads, and what is left, as QEMU and qemu-img tell it."""
import pathlib

import pytest

from support import disks, images
from support.chains import REGION, assert_sound, fill, reads
from support.proxy import Proxy


@pytest.fixture
def two(qemu, chainctl, folder):
    """(vm, ctl, paths): two disks, with pattern 1 in snapshot 'one', 2 in 'two', 3 now."""
    words, paths = disks.two(folder)
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
    assert_sound(ctl, vm)


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
    assert_sound(ctl, vm)


def test_discarded_head_leaves_no_file_and_no_snapshot(two):
    vm, ctl, paths = two
    before = {disk: ctl.ok("path", "vm", disk)["path"] for disk in paths}
    done = ctl.ok("rollback", "vm", "one", "--discard", "--reset", "never")
    assert done["rollback"]["automatic_snapshot"] is None
    assert sorted(done["removed"]) == sorted(before.values())
    assert not any(pathlib.Path(path).exists() for path in before.values())
    assert [snapshot["name"] for snapshot in ctl.ok("list", "vm")["snapshots"]] == ["one", "two"]
    for disk in paths:
        reads(vm, disk, 1)
    ctl.ok("rollback", "vm", "two", "--reset", "never")
    for disk in paths:
        reads(vm, disk, 2)
    assert_sound(ctl, vm)


def test_one_disk_goes_back_and_the_other_stays(two):
    vm, ctl, paths = two
    ctl.ok("rollback", "vm", "one", "--disk", "vda", "--reset", "never")
    reads(vm, "vda", 1)
    reads(vm, "vdb", 3)
    assert_sound(ctl, vm)


DEVICES = {
    "iothread": (["-object", "iothread,id=io"], {"more": "iothread=io"}),
    "scsi": (["-device", "virtio-scsi-pci,id=scsi"], {"device": "scsi-hd"}),
    "scsi-iothread": (["-object", "iothread,id=io", "-device", "virtio-scsi-pci,id=scsi,iothread=io"], {"device": "scsi-hd"}),
    "nvme": ([], {"device": "nvme", "more": "serial=one"}),
    "raw": ([], {"format": "raw"}),
}


@pytest.mark.parametrize("device", DEVICES)
def test_rollback_on_a_device_of_another_kind(device, qemu, chainctl, folder):
    words, options = DEVICES[device]
    path = images.create(folder / "vda.img", "8M", options.get("format", "qcow2"))
    vm, ctl = qemu([*words, *disks.blockdev("vda", path, **options)], paused=False), chainctl()
    disks.register(ctl, vm)
    fill(vm, "vda", 1)
    ctl.ok("snapshot", "vm", "one")
    fill(vm, "vda", 2)
    ctl.ok("rollback", "vm", "one", "--reset", "never")
    reads(vm, "vda", 1)
    automatic = ctl.ok("list", "vm")["snapshots"][-1]["name"]
    ctl.ok("rollback", "vm", automatic, "--reset", "never")
    reads(vm, "vda", 2)
    assert ctl.ok("check", "vm")["problems"] == []


def test_rollback_of_a_legacy_drive(qemu, chainctl, folder):
    path = images.create(folder / "vda.qcow2", "8M")
    vm = qemu(["-drive", f"file={path},format=qcow2,if=none,id=drive0", "-device", "virtio-blk-pci,id=vda,drive=drive0"], paused=False)
    ctl = chainctl()
    disks.register(ctl, vm)
    fill(vm, "vda", 1)
    ctl.ok("snapshot", "vm", "one")
    fill(vm, "vda", 2)
    for _ in range(2):
        ctl.ok("rollback", "vm", "one", "--reset", "never")
        reads(vm, "vda", 1)
        fill(vm, "vda", 5)
    assert ctl.ok("check", "vm")["problems"] == []


def test_paused_vm_stays_paused(qemu, chainctl, folder):
    words, paths = disks.two(folder)
    vm, ctl = qemu(words), chainctl()
    disks.register(ctl, vm)
    fill(vm, "vda", 1)
    ctl.ok("snapshot", "vm", "one")
    fill(vm, "vda", 2)
    done = ctl.ok("rollback", "vm", "one", "--reset", "never")
    assert done["paused_us"] is None and done["frozen_us"] is None
    assert vm.monitor().execute("query-status")["status"] in ("prelaunch", "paused")
    reads(vm, "vda", 1)


def test_shut_off_vm_goes_back_and_is_started_there(two, folder):
    vm, ctl, paths = two
    vm.kill()
    done = ctl.ok("rollback", "vm", "one")
    automatic = done["rollback"]["automatic_snapshot"]
    assert ctl.ok("show", "vm", automatic)["snapshot"]["consistency"] == "offline"
    vm.arguments = [word for disk in paths for word in disks.blockdev(disk, ctl.ok("path", "vm", disk)["path"])]
    vm.start()
    for disk in paths:
        reads(vm, disk, 1)
    assert_sound(ctl, vm)


def test_filter_that_would_be_lost_is_refused(qemu, chainctl, folder):
    path = images.create(folder / "vda.qcow2", "8M")
    words = ["-object", "throttle-group,id=limits", "-blockdev", f"driver=file,node-name=f,filename={path}",
             "-blockdev", "driver=qcow2,node-name=q,file=f", "-blockdev", "driver=throttle,node-name=t,throttle-group=limits,file=q",
             "-device", "virtio-blk-pci,id=vda,drive=t"]  # fmt: skip
    vm, ctl = qemu(words, paused=False), chainctl()
    disks.register(ctl, vm)
    ctl.ok("snapshot", "vm", "one")
    with disks.unchanged(vm, folder):
        assert "filter" in ctl.fails(9, "rollback", "vm", "one")["message"]


def test_disk_that_was_resized_since_is_refused_while_it_runs(two, folder):
    vm, ctl, _ = two
    vm.monitor().execute("block_resize", node_name=disks.inserted(vm, "vda")["node-name"], size=16 << 20)
    ctl.ok("vm", "rescan", "vm")
    with disks.unchanged(vm, folder):
        assert "resized" in ctl.fails(9, "rollback", "vm", "one")["message"]


def test_changed_image_of_the_branch_is_refused(two, folder):
    vm, ctl, paths = two
    automatic = ctl.ok("rollback", "vm", "one", "--reset", "never")["rollback"]["automatic_snapshot"]
    head = ctl.ok("show", "vm", automatic)["snapshot"]["disks"][0]["image"]
    images.write(head, f"write -P 7 0 {REGION}")
    with disks.unchanged(vm, folder):
        assert ctl.fails(9, "rollback", "vm", automatic)["code"] == "drift"


def test_wrong_names_change_nothing(two, folder):
    vm, ctl, _ = two
    with disks.unchanged(vm, folder):
        assert "one" in ctl.fails(3, "rollback", "vm", "onne")["message"]
        ctl.fails(3, "rollback", "vm", "one", "--disk", "vdx")
        ctl.fails(2, "rollback", "vm", "one", "--reset", "perhaps")


def test_dry_run_says_what_it_would_send_and_changes_nothing(two, folder):
    vm, ctl, paths = two
    with disks.unchanged(vm, folder):
        done = ctl.ok("rollback", "vm", "one", "--dry-run", "--reset", "always")
    sent = [step["command"] if "command" in step else step for step in done["plan"] if step["to"] == "qemu"]
    words = str(sent)
    assert words.index("stop") < words.index("qom-set") < words.index("system_reset") < words.index("cont")


def test_reset_that_is_asked_for_happens_also_where_a_reboot_would_end_qemu(qemu, chainctl, folder):
    words, paths = disks.two(folder)
    vm, ctl = qemu([*words, "-no-reboot"], paused=False), chainctl()
    disks.register(ctl, vm)
    fill(vm, "vda", 1)
    ctl.ok("snapshot", "vm", "one")
    fill(vm, "vda", 2)
    assert ctl.ok("rollback", "vm", "one", "--reset", "always")["rollback"]["reset"]
    reads(vm, "vda", 1)
    assert vm.monitor().execute("query-status")["status"] == "running"
    vm.monitor().execute("system_reset")
    assert vm.wait_exit() == 0  # as -no-reboot has it


def test_golden_image_is_never_written(qemu, chainctl, folder):
    golden = images.create(folder / "golden.qcow2", "8M")
    images.write(golden, f"write -P 4 0 {REGION}")
    before = images.sha256(golden)
    path = images.create(folder / "vda.qcow2", None, backing=golden)
    vm, ctl = qemu(disks.blockdev("vda", path), paused=False), chainctl()
    disks.register(ctl, vm)
    ctl.ok("snapshot", "vm", "one")
    fill(vm, "vda", 5)
    ctl.ok("rollback", "vm", "one", "--discard", "--reset", "never")
    reads(vm, "vda", 4)
    assert images.sha256(golden) == before


def test_lost_database_is_made_again_with_its_branches(two, chainctl, folder, tmp_path):
    vm, ctl, paths = two
    ctl.ok("rollback", "vm", "one", "--reset", "never")
    ctl.ok("snapshot", "vm", "three")
    ctl.ok("rollback", "vm", "two", "--reset", "never")
    tree, snapshots = ctl.ok("tree", "vm")["disks"], ctl.ok("list", "vm")["snapshots"]
    other = chainctl(state_dir=tmp_path / "other")
    other.ok("state", "rebuild", folder)
    assert other.ok("tree", "vm")["disks"] == tree
    assert other.ok("check", "vm")["problems"] == []
    assert [one["name"] for one in other.ok("list", "vm")["snapshots"]] == [one["name"] for one in snapshots]


def test_discarded_head_leaves_its_snapshot_a_note(two, chainctl, folder, tmp_path):
    vm, ctl, paths = two
    ctl.ok("rollback", "vm", "one", "--discard", "--reset", "never")
    tree = ctl.ok("tree", "vm")["disks"]
    other = chainctl(state_dir=tmp_path / "other")
    other.ok("state", "rebuild", folder)
    assert other.ok("tree", "vm")["disks"] == tree
    assert [one["name"] for one in other.ok("list", "vm")["snapshots"]] == ["one", "two"]
    assert len(list(folder.glob("*.chainctl"))) == 4


@pytest.mark.parametrize("device, asked", [("virtio-blk-pci", []), ("scsi-hd", ["query-block"])])
def test_nothing_is_asked_during_the_pause_that_need_not_be(qemu, chainctl, folder, tmp_path, device, asked):
    """Virtio-blk does what it says; what takes QEMU time then, the guest stands still for."""
    words = ["-device", "virtio-scsi"] if device == "scsi-hd" else []
    for name in ("vda", "vdb"):
        words += disks.blockdev(name, images.create(folder / f"{name}.qcow2", "8M"), device=device)
    vm, ctl, log = qemu(words, paused=False), chainctl(), []
    disks.register(ctl, vm)
    ctl.ok("snapshot", "vm", "one")
    with Proxy(tmp_path / "tap", vm.qmp, log) as proxy:
        ctl.ok("vm", "set", "vm", "--qmp", proxy.path)
        ctl.ok("rollback", "vm", "one", "--reset", "never")
    sent = [command for _, command in log]
    assert sent[sent.index("stop") + 1 : sent.index("cont")] == ["qom-set", "qom-set", *asked]
