"""Pulling upwards: no point in time changes; what nothing needs goes; told by QEMU and qemu-img."""
import pytest

from support import disks, images
from support.chains import assert_sound, chained, fill, reads


@pytest.fixture
def one(qemu, chainctl, folder):
    """(vm, ctl, golden): one disk on a golden image, with three snapshots."""
    golden = images.create(folder / "golden.qcow2", "8M")
    images.write(golden, f"write -P 5 {6 * 65536} 65536")
    path = images.create(folder / "vda.qcow2", None, backing=golden)
    vm, ctl = qemu(disks.blockdev("vda", path), paused=False), chainctl()
    (folder.parent / "conf").write_text("[overlay]\nextended_l2=off\n")
    chained(ctl, vm, ["vda"])
    return vm, ctl, golden


def snapshots_read(ctl, folder):
    """{snapshot: sha256 of what its image reads}"""
    shown = {}
    for snapshot in ctl.ok("list", "vm")["snapshots"]:
        image = ctl.ok("show", "vm", snapshot["name"])["snapshot"]["disks"][0]["image"]
        shown[snapshot["name"]] = images.sha256(images.to_raw(image, folder.parent / "out.raw"))
    return shown


@pytest.mark.parametrize("base, depth", [(None, 2), ("none", 1), ("base", 3), ("two", 4)])
def test_stream_shortens_the_chain_and_no_snapshot_changes(one, folder, base, depth):
    vm, ctl, golden = one
    before, sha = snapshots_read(ctl, folder), images.sha256(golden)
    done = ctl.ok("stream", "vm", *(["--base", base] if base else []))
    assert done["snapshots_removed"] == [] and done["active"] == []
    assert len(vm.monitor().chain("vda")) == depth
    reads(vm, "vda", 1, 2, 3, 9, 0, 0, 5)
    assert snapshots_read(ctl, folder) == before and images.sha256(golden) == sha
    header = images.info(ctl.ok("path", "vm", "vda")["path"])
    assert header.get("backing-filename") == ([*vm.monitor().chain("vda"), None])[1]
    assert_sound(ctl, vm)


def test_images_that_no_snapshot_needs_are_removed(qemu, chainctl, folder):
    path = images.create(folder / "vda.qcow2", "8M")
    vm, ctl = qemu(disks.blockdev("vda", path), paused=False), chainctl()
    chained(ctl, vm, ["vda"])
    ctl.ok("rollback", "vm", "one", "--discard", "--reset", "never")
    fill(vm, "vda", 7, 1)
    done = ctl.ok("stream", "vm", "--base", "none")
    assert done["merges"][0]["base"] is None
    reads(vm, "vda", 1, 7)
    assert len(vm.monitor().chain("vda")) == 1
    assert_sound(ctl, vm)


def test_frozen_image_is_the_receiver_of_what_lies_below_it(one, folder):
    vm, ctl, _ = one
    before = snapshots_read(ctl, folder)
    ctl.ok("stream", "vm", "--top", "three", "--base", "base")
    assert len(vm.monitor().chain("vda")) == 4
    reads(vm, "vda", 1, 2, 3, 9, 0, 0, 5)
    assert snapshots_read(ctl, folder) == before
    assert_sound(ctl, vm)


def test_receiver_that_qemu_would_die_of_is_refused(qemu, chainctl, folder, tmp_path):
    path = images.create(folder / "vda.qcow2", "8M")
    vm, ctl = qemu(disks.blockdev("vda", path), paused=False), chainctl()
    (tmp_path / "conf").write_text("[overlay]\nextended_l2=on\n")
    disks.register(ctl, vm)
    for name in ("one", "two"):
        ctl.ok("snapshot", "vm", name, "--config", tmp_path / "conf")
    fill(vm, "vda", 1)
    if vm.version[0] >= 10:
        ctl.ok("stream", "vm", "--base", "one")
        reads(vm, "vda", 1)
        return
    with disks.unchanged(vm, folder):
        assert "commit" in ctl.fails(9, "stream", "vm", "--base", "one")["hint"]
    ctl.ok("commit", "vm", "--pivot")
    reads(vm, "vda", 1)


def test_shut_off_vm_is_streamed(one):
    vm, ctl, _ = one
    vm.kill()
    ctl.ok("stream", "vm", "--base", "base")
    path = ctl.ok("path", "vm", "vda")["path"]
    assert images.is_clean(path) and len(images.chain(path)) == 3
    vm.arguments = disks.blockdev("vda", path)
    vm.start()
    reads(vm, "vda", 1, 2, 3, 9, 0, 0, 5)
    assert_sound(ctl, vm)


def test_detached_stream_is_waited_for_or_cancelled(one):
    vm, ctl, _ = one
    op = ctl.ok("stream", "vm", "--base", "base", "--detach", "--speed", "65536")["op"]
    [job] = ctl.ok("jobs", "vm")["jobs"]
    assert job["type"] == "stream" and job["speed"] == 65536
    ctl.ok("job", "speed", "vm", job["job"], "0")
    ctl.ok("job", "wait", "vm", op)
    assert len(vm.monitor().chain("vda")) == 3
    op = ctl.ok("stream", "vm", "--detach", "--speed", "1")["op"]
    ctl.ok("job", "cancel", "vm", op)
    assert len(vm.monitor().chain("vda")) == 3
    reads(vm, "vda", 1, 2, 3, 9, 0, 0, 5)
    assert_sound(ctl, vm)
