"""Who else needs an image: another VM, whatever it calls the file, and an export. Merges refuse, and say who."""
import os

import pytest

from support import disks, images
from support.chains import assert_sound, chained, reads


@pytest.fixture
def one(qemu, chainctl, folder):
    """(vm, ctl): one disk with three snapshots."""
    path = images.create(folder / "vda.qcow2", "8M")
    vm, ctl = qemu(disks.blockdev("vda", path), paused=False), chainctl()
    chained(ctl, vm, ["vda"])
    return vm, ctl


def image_of(ctl, snapshot):
    return ctl.ok("show", "vm", snapshot)["snapshot"]["disks"][0]["image"]


def register_other(ctl, folder, template):
    """A VM "other", shut off, on an overlay on that image."""
    path = images.create(folder / "other.qcow2", None, backing=template)
    ctl.ok("vm", "add", "other", "--qmp", folder / "nobody", "--disk", f"vda={path}")
    return path


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("snapshot", ["one", "two", "three"])
def test_image_that_another_vm_stands_on_is_not_merged(one, folder, snapshot, linked):
    vm, ctl = one
    template = image_of(ctl, snapshot)
    if linked:
        os.link(template, folder / "link.qcow2")
        template = folder / "link.qcow2"
    other = register_other(ctl, folder, template)
    before = images.to_raw(other, folder / "before.raw")
    with disks.unchanged(vm, folder):
        assert "'other'" in ctl.fails(9, "commit", "vm", "--pivot")["message"]
    assert images.compare(before, other)


@pytest.fixture
def bare(qemu, chainctl, folder):
    """(vm, ctl): a disk vdb with two overlays that no snapshot has any more."""
    vm, ctl = qemu(disks.two(folder)[0], paused=False), chainctl()
    chained(ctl, vm, snapshots=("one", "two"))
    ctl.ok("commit", "vm", "--disk", "vda", "--pivot")
    assert ctl.ok("list", "vm")["snapshots"] == []
    return vm, ctl


def test_images_that_nothing_needs_any_more_go_with_the_stream(bare, folder):
    vm, ctl = bare
    [merge] = ctl.ok("stream", "vm", "--base", "base")["merges"]
    assert merge["removed"] == [str(folder / "vdb.one.qcow2")]
    assert sorted(path.name for path in folder.iterdir()) == ["vda.qcow2", "vdb.qcow2", "vdb.two.qcow2"]
    reads(vm, "vdb", 1, 2, 9)
    assert_sound(ctl, vm)


@pytest.mark.parametrize("name", ["vdb.one.qcow2", "link.qcow2"])
def test_image_that_another_vm_stands_on_is_not_removed_by_a_stream(bare, folder, name):
    vm, ctl = bare
    template = folder / name
    if not template.exists():
        template.symlink_to(folder / "vdb.one.qcow2")
    other = register_other(ctl, folder, template)
    before = images.to_raw(other, folder / "before.raw")
    [merge] = ctl.ok("stream", "vm", "--base", "base")["merges"]
    assert merge["removed"] == [] and images.compare(before, other)
    reads(vm, "vdb", 1, 2, 9)
    assert_sound(ctl, vm)


def test_image_that_is_exported_is_not_merged(one, folder):
    vm, ctl = one
    monitor = vm.monitor()
    node = next(name for name, node in disks.nodes(vm).items()
                if node["drv"] == "qcow2" and node["file"] == image_of(ctl, "two"))  # fmt: skip
    monitor.execute("nbd-server-start", addr={"type": "unix", "data": {"path": str(vm.folder / "nbd")}})
    monitor.execute("block-export-add", type="nbd", id="theirs", node_name=node, name="x")
    with disks.unchanged(vm, folder):
        assert "'theirs'" in ctl.fails(9, "commit", "vm", "--pivot")["message"]
        assert "'theirs'" in ctl.fails(9, "stream", "vm")["message"]
    monitor.execute("block-export-del", id="theirs", mode="hard")
    ctl.ok("commit", "vm", "--pivot")
    reads(vm, "vda", 1, 2, 3, 9)
