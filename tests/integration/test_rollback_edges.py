"""Going back where something is in the way: a device that refuses, a monitor that is lost, images that others need."""
import os
import pathlib
import stat

import pytest

from support import disks, images
from support.chains import REGION, fill, reads
from support.proxy import Proxy
from support.storage import fleet

NEVER = ("--reset", "never")


def runs(vm):
    return vm.monitor().execute("query-status")["status"] == "running"


def put_by(ctl, vm, names, pattern, snapshot):
    for name in names:
        fill(vm, name, pattern)
    ctl.ok("snapshot", "vm", snapshot)


def image_of(ctl, snapshot, disk=0):
    return ctl.ok("show", "vm", snapshot)["snapshot"]["disks"][disk]["image"]


@pytest.fixture
def one(qemu, chainctl, folder):
    """(vm, ctl): one disk, with pattern 1 in snapshot 'one', and 2 now."""
    path = images.create(folder / "vda.qcow2", "8M")
    vm, ctl = qemu(disks.blockdev("vda", path), paused=False), chainctl()
    disks.register(ctl, vm)
    put_by(ctl, vm, ["vda"], 1, "one")
    fill(vm, "vda", 2)
    return vm, ctl


class Watched:
    """A VM of two disks behind a proxy: pattern 1 in snapshot 'one', 2 now. `meddle` runs before the second qom-set."""

    def __init__(self, qemu, chainctl, folder, tmp_path, meddle):
        words, self.paths = disks.two(folder)
        self.vm, self.ctl, self.folder, self.meddle = qemu(words, paused=False), chainctl(), folder, meddle
        self.moved = []
        self.proxy = Proxy(tmp_path / "qmp", self.vm.qmp, [], before=self.before)

    def before(self, command, document):
        if command != "qom-set":
            return
        self.moved.append(document["arguments"])
        if len(self.moved) == 2:
            self.meddle(self, document["arguments"])

    def roll_back(self, status):
        with self.proxy:
            self.ctl.ok("vm", "add", "vm", "--qmp", self.proxy.path)
            put_by(self.ctl, self.vm, self.paths, 1, "one")
            for name in self.paths:
                fill(self.vm, name, 2)
            self.before_it = disks.nodes(self.vm), disks.files(self.folder)
            return self.ctl.run("rollback", "vm", "one", *NEVER)

    def assert_on_what_it_had(self):
        assert len(self.moved) > 1 and runs(self.vm)
        for name in self.paths:
            reads(self.vm, name, 2)
        assert self.before_it[1] == disks.files(self.folder)
        assert self.before_it[0] == disks.nodes(self.vm)


def delete_its_node(watched, arguments):
    watched.vm.monitor().execute("blockdev-del", node_name=arguments["value"])


def test_second_device_that_refuses_puts_the_first_one_back(qemu, chainctl, folder, tmp_path):
    watched = Watched(qemu, chainctl, folder, tmp_path, delete_its_node)
    result = watched.roll_back(1)
    assert result.status == 1 and "vdb" in result.json["error"]["message"], result
    watched.assert_on_what_it_had()


def hang_up(watched, arguments):
    watched.proxy.hang_up()


def test_monitor_that_is_lost_while_the_vm_is_paused_is_opened_again_and_the_guest_goes_on(qemu, chainctl, folder, tmp_path):
    watched = Watched(qemu, chainctl, folder, tmp_path, hang_up)
    result = watched.roll_back(4)
    assert result.status == 4, result
    watched.assert_on_what_it_had()


def test_branch_of_a_branch_reads_as_it_was_left(one):
    """[vda] <- [one] <- [A]; from 'one' a second branch with snapshots of its own, from that a third."""
    vm, ctl = one
    (first,) = [ctl.ok("rollback", "vm", "one", *NEVER)["rollback"]["automatic_snapshot"]]
    put_by(ctl, vm, ["vda"], 3, "three")
    put_by(ctl, vm, ["vda"], 4, "four")
    ctl.ok("rollback", "vm", "three", *NEVER)
    reads(vm, "vda", 3)
    put_by(ctl, vm, ["vda"], 5, "five")
    for snapshot, pattern in ((first, 2), ("five", 5), ("four", 4), ("one", 1), ("three", 3)):
        ctl.ok("rollback", "vm", snapshot, *NEVER)
        reads(vm, "vda", pattern)
    for snapshot, pattern in (("one", 1), (first, 2), ("three", 3), ("four", 4), ("five", 5)):
        assert images.reads(image_of(ctl, snapshot), pattern, 0, REGION), snapshot
    assert ctl.ok("check", "vm")["problems"] == []
    vm.kill()
    vm.arguments = disks.blockdev("vda", ctl.ok("path", "vm", "vda")["path"])
    vm.start()
    reads(vm, "vda", 3)
    ctl.ok("rollback", "vm", "five", *NEVER)
    reads(vm, "vda", 5)


def test_usb_stick_goes_back_by_the_disk_inside_it(qemu, chainctl, folder):
    """The stick itself says yes to another image, and does nothing."""
    path = images.create(folder / "vda.qcow2", "8M")
    words = ["-device", "qemu-xhci,id=usb", *disks.blockdev("vda", path, device="usb-storage,bus=usb.0")]
    vm, ctl, inside = qemu(words, paused=False), chainctl(), "/machine/peripheral/vda/vda.0/legacy[0]"
    disks.register(ctl, vm)
    fill(vm, inside, 1)
    ctl.ok("snapshot", "vm", "one")
    fill(vm, inside, 2)
    (switched,) = ctl.ok("rollback", "vm", "one", *NEVER)["active"]
    reads(vm, inside, 1)
    fill(vm, inside, 3)
    assert images.reads(switched["after"], 3, 0, REGION)
    assert ctl.ok("check", "vm")["problems"] == []


def test_ide_disk_goes_back(qemu, chainctl, folder):
    path = images.create(folder / "vda.qcow2", "8M")
    vm, ctl = qemu(disks.blockdev("vda", path, device="ide-hd"), paused=False), chainctl()
    disks.register(ctl, vm)
    put_by(ctl, vm, ["vda"], 1, "one")
    fill(vm, "vda", 2)
    ctl.ok("rollback", "vm", "one", *NEVER)
    reads(vm, "vda", 1)


def test_storage_daemon_is_refused(chainctl, folder):
    ctl = chainctl()
    with fleet(ctl, folder, ["vm"]):
        ctl.ok("snapshot", "vm", "one")
        before = disks.files(folder)
        assert ctl.fails(9, "rollback", "vm", "one")["code"] == "unsupported"
        assert disks.files(folder) == before


def test_paused_vm_cannot_be_quiesced_where_that_is_required(qemu, chainctl, folder):
    words, _ = disks.two(folder)
    vm, ctl = qemu(words), chainctl()
    disks.register(ctl, vm)
    ctl.ok("snapshot", "vm", "one")
    with disks.unchanged(vm, folder):
        ctl.fails(5, "rollback", "vm", "one", "--quiesce", "require", *NEVER)


def test_what_is_abandoned_is_sealed_and_a_sealed_image_is_gone_back_to(qemu, chainctl, folder, tmp_path):
    (tmp_path / "conf").write_text("[overlay]\nseal=on\n")
    words, paths = disks.two(folder)
    vm, ctl = qemu(words, paused=False), chainctl(env={"CHAINCTL_CONFIG": str(tmp_path / "conf")})
    disks.register(ctl, vm)
    put_by(ctl, vm, paths, 1, "one")
    for name in paths:
        fill(vm, name, 2)
    automatic = ctl.ok("rollback", "vm", "one", *NEVER)["rollback"]["automatic_snapshot"]
    for disk in range(2):
        assert stat.S_IMODE(os.stat(image_of(ctl, automatic, disk)).st_mode) & 0o222 == 0
    for name in paths:
        reads(vm, name, 1)
        fill(vm, name, 3)
        assert os.stat(ctl.ok("path", "vm", name)["path"]).st_mode & 0o200
    ctl.ok("rollback", "vm", automatic, *NEVER)
    for name in paths:
        reads(vm, name, 2)
        fill(vm, name, 4)
    assert ctl.ok("check", "vm")["problems"] == []


@pytest.mark.parametrize("shut_off", [False, True])
@pytest.mark.parametrize("options", ["lazy_refcounts=on", "bitmap"])
def test_header_that_qemu_writes_when_it_closes_the_abandoned_head_is_no_change_by_others(options, shut_off, qemu, chainctl, folder):
    path = images.create(folder / "vda.qcow2", "8M", options=None if options == "bitmap" else options)
    vm, ctl = qemu(disks.blockdev("vda", path), paused=False), chainctl()
    disks.register(ctl, vm)
    put_by(ctl, vm, ["vda"], 1, "one")
    node = disks.inserted(vm, "vda")["node-name"]
    if options == "bitmap":
        vm.monitor().execute("block-dirty-bitmap-add", node=node, name="theirs", persistent=True)
    fill(vm, "vda", 2)
    if shut_off:
        vm.monitor().execute("quit")
        vm.wait_exit()
    automatic = ctl.ok("rollback", "vm", "one", *NEVER)["rollback"]["automatic_snapshot"]
    assert ctl.ok("check", "vm")["problems"] == []
    assert images.reads(image_of(ctl, automatic), 2, 0, REGION)
    ctl.ok("rollback", "vm", automatic, *NEVER)
    assert ctl.ok("check", "vm")["problems"] == []


def test_golden_image_under_two_vms_is_the_same_through_everything(qemu, chainctl, folder):
    golden = images.create(folder / "golden.qcow2", "8M")
    images.write(golden, f"write -P 9 0 {REGION}")
    before, ctl, vms = images.sha256(golden), chainctl(), {}
    for name in ("a", "b"):
        path = images.create(folder / f"{name}.qcow2", None, backing=golden)
        vms[name] = qemu(disks.blockdev("vda", path), paused=False)
        disks.register(ctl, vms[name], name=name)
    for name, vm in vms.items():
        ctl.ok("snapshot", name, "one")
        fill(vm, "vda", 2)
        automatic = ctl.ok("rollback", name, "one", *NEVER)["rollback"]["automatic_snapshot"]
        reads(vm, "vda", 9)
        fill(vm, "vda", 3)
        ctl.ok("rollback", name, automatic, "--discard", *NEVER)
        reads(vm, "vda", 2)
        assert ctl.ok("check", name)["problems"] == []
    assert images.sha256(golden) == before


def test_discarded_image_that_another_vm_stands_on_is_left(one, folder, tmp_path):
    vm, ctl = one
    head = pathlib.Path(ctl.ok("path", "vm", "vda")["path"])
    vm.monitor().execute("quit")
    vm.wait_exit()
    other = images.create(folder / "other.qcow2", None, backing=head)
    ctl.ok("vm", "add", "other", "--qmp", tmp_path / "nobody", "--disk", f"vda={other}")
    assert ctl.ok("rollback", "vm", "one", "--discard")["removed"] == []
    assert images.reads(other, 2, 0, REGION)


def test_discard_removes_all_that_nobody_needs_and_nothing_else(one):
    """[vda] <- [one] <- [two] <- [three]: 'two' is a snapshot, what comes above it goes."""
    vm, ctl = one
    ctl.ok("snapshot", "vm", "two")
    fill(vm, "vda", 3)
    active = ctl.ok("path", "vm", "vda")["path"]
    assert ctl.ok("rollback", "vm", "one", "--discard", *NEVER)["removed"] == [active]
    ctl.ok("rollback", "vm", "two", "--discard", *NEVER)
    reads(vm, "vda", 2)
    assert ctl.ok("check", "vm")["problems"] == []


@pytest.mark.parametrize("words", [["-no-reboot"], ["-action", "reboot=shutdown"], []])
def test_reset_of_a_paused_vm_leaves_it_paused_and_its_way_to_reboot_as_it_was(words, qemu, chainctl, folder):
    path = images.create(folder / "vda.qcow2", "8M")
    vm, ctl = qemu([*words, *disks.blockdev("vda", path)]), chainctl()
    disks.register(ctl, vm)
    ctl.ok("snapshot", "vm", "one")
    for _ in range(5):
        assert ctl.ok("rollback", "vm", "one", "--discard", "--reset", "always")["rollback"]["reset"]
        assert vm.monitor().execute("query-status")["status"] in ("prelaunch", "paused")
    vm.monitor().execute("cont")
    vm.monitor().execute("system_reset")
    if words:
        assert vm.wait_exit() == 0


def test_disk_that_came_later_stays_as_it_is(qemu, chainctl, folder):
    words, paths = disks.two(folder)
    vm, ctl = qemu(words, paused=False), chainctl()
    disks.register(ctl, vm)
    fill(vm, "vda", 1)
    ctl.ok("snapshot", "vm", "one", "--disk", "vda")
    for name in paths:
        fill(vm, name, 2)
    ctl.ok("rollback", "vm", "one", *NEVER)
    reads(vm, "vda", 1)
    reads(vm, "vdb", 2)


def test_one_and_the_same_snapshot_can_be_gone_back_to_many_times(one):
    vm, ctl = one
    for pattern in range(3, 12):
        ctl.ok("rollback", "vm", "one", *NEVER)
        reads(vm, "vda", 1)
        fill(vm, "vda", pattern)
    assert len(ctl.ok("list", "vm")["snapshots"]) == 10
    assert ctl.ok("check", "vm")["problems"] == []
