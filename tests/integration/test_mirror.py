"""Live disks copied to files: what the copies hold, what the guest goes on with, what is left in QEMU and beside the
images. Each copy is held against its source by qemu-img."""
import json
import os
import pathlib
import stat
import subprocess

import pytest

from support import disks, images, mounts
from support.chains import REGION, assert_sound, fill, reads
from support.mirrors import KEYS, Writer, allocated, assert_copied, last_number, leaves_nothing

NAMES = ("vda", "vdb")
BEFORE = "before-mirror-"


@pytest.fixture
def copies(tmp_path):
    (tmp_path / "copies").mkdir()
    return tmp_path / "copies"


def patterns(vm, names=NAMES):
    """1 in region 0, a hole, 3 in region 2."""
    for name in names:
        fill(vm, name, 1, 0)
        fill(vm, name, 3, 2)


@pytest.fixture
def two(qemu, chainctl, folder):
    """(vm, ctl, paths): two disks that hold something."""
    words, paths = disks.two(folder)
    vm, ctl = qemu(words, paused=False), chainctl()
    disks.register(ctl, vm)
    patterns(vm)
    return vm, ctl, paths


def targets(done):
    return {mirror["disk"]: mirror["target"] for mirror in done["mirrors"]}


def automatic(ctl):
    return [one["name"] for one in ctl.ok("list", "vm")["snapshots"] if one["name"].startswith(BEFORE)]


# ---- --finish ----


@pytest.mark.parametrize("form", ["qcow2", "raw"])
def test_finished_copies_are_whole_and_nothing_is_left_in_qemu(two, copies, form):
    vm, ctl, paths = two
    with leaves_nothing(vm):
        done = ctl.ok("mirror", "vm", "--to", copies, "--format", form)
    assert set(done) == KEYS
    assert targets(done) == {name: str(copies / f"{name}.{form}") for name in NAMES}
    assert {mirror["state"] for mirror in done["mirrors"]} == {"finished"} and done["active"] == []
    assert all(mirror["bytes"] >= 2 * REGION for mirror in done["mirrors"])
    assert done["consistency"] == "crash" and done["paused_us"] > 0 and done["automatic_snapshot"] is None
    for name, path in paths.items():
        copy = copies / f"{name}.{form}"
        assert images.info(copy)["format"] == form and "backing-filename" not in images.info(copy)
        assert images.info(copy)["virtual-size"] == 8 << 20
        assert_copied(path, copy, form)
        assert allocated(copy) < 1 << 20, "sparse stays sparse"
        assert vm.monitor().chain(name) == [str(path)]
        if form == "qcow2":
            assert images.is_clean(copy)
    assert sorted(entry.name for entry in copies.iterdir()) == [f"{name}.{form}" for name in NAMES]
    assert_sound(ctl, vm)


def test_one_disk_to_a_file_needs_no_pause(two, copies):
    vm, ctl, paths = two
    done = ctl.ok("mirror", "vm", "--disk", "vdb", "--to", copies / "it.qcow2")
    assert targets(done) == {"vdb": str(copies / "it.qcow2")}
    assert done["paused_us"] is None and done["frozen_us"] is None
    assert_copied(paths["vdb"], copies / "it.qcow2")
    assert [entry.name for entry in copies.iterdir()] == ["it.qcow2"]


def test_raw_disk_is_copied_and_its_holes_stay_holes(qemu, chainctl, folder, copies):
    path = images.create(folder / "vda.raw", "32M", "raw")
    vm, ctl = qemu(disks.blockdev("vda", path, "raw"), paused=False), chainctl()
    disks.register(ctl, vm)
    fill(vm, "vda", 5, 100)
    ctl.ok("mirror", "vm", "--to", copies / "it.raw", "--format", "raw")
    ctl.ok("mirror", "vm", "--to", copies / "it.qcow2")
    assert_copied(path, copies / "it.raw", "raw")
    assert_copied(path, copies / "it.qcow2")
    assert os.stat(copies / "it.raw").st_blocks * 512 < 1 << 20
    assert allocated(copies / "it.qcow2") < 1 << 20


def test_all_of_a_deep_chain_is_in_one_copy(two, copies):
    vm, ctl, paths = two
    for number, name in enumerate(("one", "two", "three")):
        ctl.ok("snapshot", "vm", name)
        for disk in NAMES:
            fill(vm, disk, 10 + number, 3 + number)
    before = {name: vm.monitor().chain(name) for name in NAMES}
    with leaves_nothing(vm):
        ctl.ok("mirror", "vm", "--to", copies)
    for name in NAMES:
        assert vm.monitor().chain(name) == before[name]
        assert "backing-filename" not in images.info(copies / f"{name}.qcow2")
        assert_copied(before[name][0], copies / f"{name}.qcow2")
        assert images.reads(copies / f"{name}.qcow2", 12, 5 * REGION, REGION)
    assert_sound(ctl, vm)


def test_top_copies_what_the_active_image_holds_onto_the_same_backing_image(two, copies):
    vm, ctl, paths = two
    ctl.ok("snapshot", "vm", "one")
    for name in NAMES:
        fill(vm, name, 0, 0)
        fill(vm, name, 9, 3)
    ctl.ok("mirror", "vm", "--to", copies, "--sync", "top")
    for name in NAMES:
        copy = copies / f"{name}.qcow2"
        assert images.info(copy)["full-backing-filename"] == str(paths[name])
        assert_copied(vm.monitor().chain(name)[0], copy)
        assert images.reads(copy, 0, 0, REGION), "zeroes over data are data"
    assert_sound(ctl, vm)


def test_top_of_a_disk_that_stands_on_nothing_is_all_of_it(two, copies):
    vm, ctl, paths = two
    for name in NAMES:
        (copies / f"{name}.raw").write_bytes(b"\xee" * (8 << 20))
    ctl.ok("mirror", "vm", "--to", copies, "--sync", "top", "--format", "raw", "--existing")
    for name in NAMES:
        assert_copied(paths[name], copies / f"{name}.raw", "raw")


def test_none_holds_what_was_written_since_on_the_active_image(two, copies):
    vm, ctl, paths = two
    op = ctl.ok("mirror", "vm", "--to", copies, "--sync", "none", "--follow")["op"]
    for name in NAMES:
        fill(vm, name, 7, 5)
    ctl.ok("job", "complete", "vm", op)
    for name in NAMES:
        copy = copies / f"{name}.qcow2"
        assert images.info(copy)["full-backing-filename"] == str(paths[name])
        assert images.reads(copy, 7, 5 * REGION, REGION)
        alone = images.qemu_img("map", "-U", "--output=json", copy)
        assert sum(part["length"] for part in json.loads(alone) if part["depth"] == 0) <= 2 * REGION
        assert_copied(paths[name], copy)
    assert_sound(ctl, vm)


def test_what_is_written_during_the_copy_is_in_it_and_both_disks_are_one_instant(qemu, chainctl, folder, copies):
    words, paths = disks.two(folder, "32M")
    vm, ctl = qemu(words, paused=False), chainctl()
    disks.register(ctl, vm)
    for name in NAMES:
        vm.qemu_io(name, "write -P 201 20M 8M")
    with Writer(vm, NAMES) as writer:
        writer.await_written(5)
        ctl.ok("mirror", "vm", "--to", copies, "--speed", "16M", "--copy-mode", "background")
        writer.await_written(writer.written + 3)
    vda, vdb = (last_number(copies / f"{name}.qcow2") for name in NAMES)
    assert vda - vdb in (0, 1), (vda, vdb)
    assert 5 <= vdb <= writer.written
    for name in NAMES:
        assert images.reads(copies / f"{name}.qcow2", 201, 20 << 20, 8 << 20)


# ---- --existing ----


def test_existing_files_are_overwritten_only_when_told_to(two, copies):
    vm, ctl, paths = two
    for name in NAMES:
        images.create(copies / f"{name}.qcow2", "8M")
        images.write(copies / f"{name}.qcow2", "write -P 238 0 8M")
    with disks.unchanged(vm, copies):
        assert "--existing" in ctl.fails(1, "mirror", "vm", "--to", copies)["hint"]
    with leaves_nothing(vm):
        ctl.ok("mirror", "vm", "--to", copies, "--existing")
    for name in NAMES:
        assert_copied(paths[name], copies / f"{name}.qcow2")
        assert images.is_clean(copies / f"{name}.qcow2")


def test_existing_raw_file_has_to_be_as_large_as_the_disk(two, copies):
    vm, ctl, paths = two
    copy = copies / "it.raw"
    words = ("mirror", "vm", "--disk", "vda", "--to", copy, "--format", "raw", "--existing")
    for size, word in ((4 << 20, "small"), (12 << 20, "large")):
        copy.write_bytes(b"\xee" * size)
        with disks.unchanged(vm, copies):
            assert word in ctl.fails(9, *words)["message"]
    copy.write_bytes(b"\xee" * (8 << 20))
    ctl.ok(*words)
    assert_copied(paths["vda"], copy, "raw")


def test_block_device_is_overwritten_and_gets_raw(two, copies, tmp_path):
    vm, ctl, paths = two
    (tmp_path / "device").write_bytes(b"\xee" * (8 << 20))
    with mounts.loop(tmp_path / "device") as device:
        ctl.ok("mirror", "vm", "--disk", "vda", "--to", device, "--existing")
        subprocess.run(["blockdev", "--flushbufs", device], check=True)
        assert_copied(paths["vda"], device, "raw")


def test_existing_overlay_that_holds_something_is_refused_where_not_all_is_copied(two, copies):
    vm, ctl, paths = two
    ctl.ok("snapshot", "vm", "one")
    fill(vm, "vda", 9, 3)
    copy = images.create(copies / "it.qcow2", None, backing=paths["vda"])
    words = ("mirror", "vm", "--disk", "vda", "--to", copy, "--existing", "--sync", "top")
    ctl.ok(*words)
    assert_copied(vm.monitor().chain("vda")[0], copy)
    images.write(copy, f"write -P 238 {4 * REGION} {REGION}")
    with disks.unchanged(vm, copies):
        assert "holds" in ctl.fails(9, *words)["message"]


def test_image_that_anybody_needs_is_never_overwritten(two, copies, folder):
    vm, ctl, paths = two
    ctl.ok("snapshot", "vm", "one")
    (copies / "link.qcow2").symlink_to(paths["vda"])
    with leaves_nothing(vm):
        for path in (paths["vda"], paths["vdb"], vm.monitor().chain("vda")[0], copies / "link.qcow2"):
            error = ctl.fails(9, "mirror", "vm", "--disk", "vda", "--to", path, "--existing")
            assert str(path) in error["message"]
    assert images.is_clean(paths["vda"])


def test_image_whose_data_lies_in_another_file_is_never_overwritten(two, copies):
    vm, ctl, paths = two
    copy = images.create(copies / "it.qcow2", 8 << 20, options=f"data_file={copies / 'data'},data_file_raw=on")
    with disks.unchanged(vm, copies):
        for words in ((), ("--pivot",)):
            assert "another file" in ctl.fails(9, "mirror", "vm", "--disk", "vda", "--to", copy, "--existing", *words)["message"]


def test_image_of_a_vm_that_another_state_folder_knows_is_never_overwritten(two, copies, qemu, chainctl, tmp_path):
    vm, ctl, paths = two
    other = chainctl(tmp_path / "other-state")
    (tmp_path / "other").mkdir()
    path = images.create(tmp_path / "other" / "vda.qcow2", 8 << 20)
    theirs = qemu(disks.blockdev("vda", path))
    other.ok("vm", "add", "vm", "--qmp", theirs.qmp)
    overlay = other.ok("snapshot", "vm", "one")["active"][0]["after"]
    theirs.close()
    (copies / "link.qcow2").symlink_to(overlay)
    before = images.sha256(overlay)
    for target in (overlay, copies / "link.qcow2"):
        words = ("mirror", "vm", "--disk", "vda", "--to", target, "--existing", "--format", "raw")
        assert "note" in ctl.fails(9, *words)["message"]
    assert images.sha256(overlay) == before


def test_folder_that_is_not_there_is_no_file(two, copies):
    vm, ctl, paths = two
    error = ctl.fails(3, "mirror", "vm", "--disk", "vda", "--to", f"{copies}/nowhere/")
    assert "no folder" in error["message"] and list(copies.iterdir()) == []


def test_block_device_that_a_disk_is_on_is_known_by_any_node(two, copies, tmp_path):
    vm, ctl, paths = two
    (tmp_path / "device").write_bytes(b"\xee" * (8 << 20))
    with mounts.loop(tmp_path / "device") as device:
        ctl.ok("mirror", "vm", "--disk", "vda", "--to", device, "--existing", "--pivot")
        node = tmp_path / "node"
        os.mknod(node, 0o600 | stat.S_IFBLK, os.stat(device).st_rdev)
        for path in (device, node):
            for disk in NAMES:
                ctl.fails(9, "mirror", "vm", "--disk", disk, "--to", path, "--existing")
        reads(vm, "vda", 1, 0, 3)
        vm.close()


def test_file_behind_a_block_device_that_a_disk_is_on_is_never_overwritten(two, copies, tmp_path):
    """Nor another loop device on that file, nor a partition of the device."""
    vm, ctl, paths = two
    image = tmp_path / "device"
    image.write_bytes(b"\xee" * (8 << 20))
    with mounts.loop(image) as device, mounts.loop(image) as second:
        ctl.ok("mirror", "vm", "--disk", "vda", "--to", device, "--existing", "--pivot")
        for path in (image, second):
            for disk in NAMES:
                message = ctl.fails(9, "mirror", "vm", "--disk", disk, "--to", path, "--existing", "--format", "raw")["message"]
                assert str(path) in message and "disk 'vda'" in message
        reads(vm, "vda", 1, 0, 3)
        vm.close()


def test_loop_device_on_an_image_of_the_vm_is_never_overwritten(two, copies):
    vm, ctl, paths = two
    ctl.ok("snapshot", "vm", "one")
    with mounts.loop(paths["vdb"]) as device, leaves_nothing(vm):
        message = ctl.fails(9, "mirror", "vm", "--disk", "vda", "--to", device, "--existing")["message"]
        assert device in message and "disk 'vdb'" in message
    assert images.is_clean(paths["vdb"])


def test_partition_and_disk_are_told_to_overlap_and_two_partitions_are_not(two, copies, tmp_path):
    vm, ctl, paths = two
    with mounts.partitions(tmp_path / "device", 2, 8) as (whole, one, other):
        ctl.ok("mirror", "vm", "--disk", "vda", "--to", one, "--existing", "--pivot")
        assert "disk 'vda'" in ctl.fails(9, "mirror", "vm", "--disk", "vdb", "--to", whole, "--existing")["message"]
        ctl.ok("mirror", "vm", "--disk", "vdb", "--to", other, "--existing")
        reads(vm, "vda", 1, 0, 3)
        vm.close()


# ---- --pivot ----


def assert_pivoted(vm, ctl, done, paths, copies, form="qcow2"):
    assert {one["disk"]: (one["before"], one["after"]) for one in done["active"]} == {
        name: (str(path), str(copies / f"{name}.{form}")) for name, path in paths.items()}  # fmt: skip
    assert {mirror["state"] for mirror in done["mirrors"]} == {"pivoted"}
    for name in paths:
        assert vm.monitor().chain(name)[0] == str(copies / f"{name}.{form}")
        assert ctl.ok("path", "vm", name)["path"] == str(copies / f"{name}.{form}")


@pytest.mark.parametrize("form", ["qcow2", "raw"])
def test_pivot_moves_the_guest_and_keeps_what_was_before(two, copies, form):
    vm, ctl, paths = two
    done = ctl.ok("mirror", "vm", "--to", copies, "--pivot", "--format", form)
    assert set(done) == KEYS
    assert_pivoted(vm, ctl, done, paths, copies, form)
    assert automatic(ctl) == [done["automatic_snapshot"]] and done["paused_us"] > 0
    assert vm.monitor().execute("query-status")["status"] == "running"
    for name in NAMES:
        reads(vm, name, 1, 0, 3)
        assert_copied(paths[name], copies / f"{name}.{form}", form)
        fill(vm, name, 7, 3)
        reads(vm, name, 1, 0, 3, 7)
        assert images.reads(paths[name], 0, 3 * REGION, REGION), "what was active before is frozen"
        assert len(vm.monitor().chain(name)) == 1
    assert {node["file"] for node in disks.nodes(vm).values()} == {str(copies / f"{name}.{form}") for name in NAMES}
    kept = ctl.ok("show", "vm", done["automatic_snapshot"])["snapshot"]
    assert kept["automatic"] and {disk["image"] for disk in kept["disks"]} == {str(path) for path in paths.values()}
    for tree in ctl.ok("tree", "vm")["disks"]:
        states = {image["path"]: image["state"] for image in tree["images"]}
        assert states[tree["active"]] == "active" and len(states) == 2
    assert_sound(ctl, vm)


def test_pivot_of_one_disk_leaves_the_other_where_it_is(two, copies):
    vm, ctl, paths = two
    ctl.ok("mirror", "vm", "--to", copies, "--pivot", "--disk", "vdb")
    assert vm.monitor().chain("vda") == [str(paths["vda"])]
    assert vm.monitor().chain("vdb") == [str(copies / "vdb.qcow2")]
    assert_sound(ctl, vm)


@pytest.mark.parametrize("sync", ["full", "top"])
def test_after_a_pivot_of_a_chain_snapshots_commits_and_the_way_back_work(two, copies, sync):
    vm, ctl, paths = two
    ctl.ok("snapshot", "vm", "one")
    for name in NAMES:
        fill(vm, name, 9, 3)
    done = ctl.ok("mirror", "vm", "--to", copies, "--pivot", "--sync", sync)
    for name in NAMES:
        reads(vm, name, 1, 0, 3, 9)
        assert len(vm.monitor().chain(name)) == (1 if sync == "full" else 2)
        fill(vm, name, 7, 4)
    assert_sound(ctl, vm)
    ctl.ok("snapshot", "vm", "two")
    for name in NAMES:
        fill(vm, name, 8, 5)
    ctl.ok("commit", "vm", "--pivot", "--base", "one" if sync == "top" else "base")
    for name in NAMES:
        reads(vm, name, 1, 0, 3, 9, 7, 8)
    assert_sound(ctl, vm)
    ctl.ok("rollback", "vm", done["automatic_snapshot"], "--reset", "never")
    for name in NAMES:
        reads(vm, name, 1, 0, 3, 9, 0, 0)
    ctl.ok("rollback", "vm", "one", "--reset", "never")
    for name in NAMES:
        reads(vm, name, 1, 0, 3, 0, 0)
    assert_sound(ctl, vm)


def test_pivot_while_the_guest_writes_loses_nothing(qemu, chainctl, folder, copies):
    words, paths = disks.two(folder, "32M")
    vm, ctl = qemu(words, paused=False), chainctl()
    disks.register(ctl, vm)
    with Writer(vm, NAMES) as writer:
        writer.await_written(5)
        done = ctl.ok("mirror", "vm", "--to", copies, "--pivot")
        moved = writer.written
        writer.await_written(moved + 3)
    assert_pivoted(vm, ctl, done, paths, copies)
    ends = [last_number(copies / f"{name}.qcow2", form="qcow2") for name in NAMES] if not vm.kill() else []
    assert ends == [writer.written, writer.written]
    frozen = [last_number(path) for path in paths.values()]
    assert frozen[0] - frozen[1] in (0, 1) and frozen[0] <= moved + 1


def test_throttle_filter_stays_above_the_copy(qemu, chainctl, folder, copies):
    path = images.create(folder / "vda.qcow2", "8M")
    words = ["-object", "throttle-group,id=slow,x-iops-total=400", *disks.blockdev("vda", path)[:4]]
    words += ["-blockdev", "driver=throttle,node-name=limit,throttle-group=slow,file=vda-format"]
    words += ["-device", "virtio-blk-pci,id=vda,drive=limit"]
    vm, ctl = qemu(words, paused=False), chainctl()
    disks.register(ctl, vm)
    fill(vm, "vda", 1, 0)
    done = ctl.ok("mirror", "vm", "--to", copies, "--pivot")
    assert disks.inserted(vm, "vda")["node-name"] == "limit"
    assert_pivoted(vm, ctl, done, {"vda": path}, copies)
    reads(vm, "vda", 1)
    assert_sound(ctl, vm)
    ctl.ok("snapshot", "vm", "next")
    assert disks.inserted(vm, "vda")["node-name"] == "limit"


MACHINES = {
    "legacy": lambda path: ["-drive", f"if=virtio,format=qcow2,file={path}"],
    "drive with an id": lambda path: ["-drive", f"if=none,id=d,format=qcow2,file={path}", "-device", "virtio-blk-pci,id=vda,drive=d"],
    "iothread": lambda path: ["-object", "iothread,id=t", *disks.blockdev("vda", path, more="iothread=t")],
    "virtio-scsi": lambda path: ["-device", "virtio-scsi-pci,id=scsi0",
                                 *disks.blockdev("vda", path, device="scsi-hd", more="bus=scsi0.0")],
    "scsi in an iothread": lambda path: ["-object", "iothread,id=t", "-device", "virtio-scsi-pci,id=scsi0,iothread=t",
                                         *disks.blockdev("vda", path, device="scsi-hd", more="bus=scsi0.0")],
}  # fmt: skip


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("goal", ["--finish", "--pivot"])
def test_each_kind_of_disk_is_copied_and_moved(qemu, chainctl, folder, copies, machine, goal):
    path = images.create(folder / "vda.qcow2", "8M")
    vm, ctl = qemu(MACHINES[machine](path), paused=False), chainctl()
    disk = disks.register(ctl, vm)["disks"][0]["disk"]
    done = ctl.ok("mirror", "vm", "--to", copies, goal)
    copy = copies / f"{disk}.qcow2"
    assert done["mirrors"][0]["target"] == str(copy)
    assert vm.monitor().chain(disk if machine != "legacy" else "virtio0")[0] == str(copy if goal == "--pivot" else path)
    assert_copied(path, copy)
    assert ctl.ok("check", "vm")["problems"] == []
    ctl.ok("snapshot", "vm", "next")
    assert ctl.ok("check", "vm")["problems"] == []


@pytest.mark.parametrize("goal", ["--finish", "--pivot"])
def test_paused_vm_stays_paused(qemu, chainctl, folder, copies, goal):
    words, paths = disks.two(folder)
    vm, ctl = qemu(words), chainctl()
    disks.register(ctl, vm)
    patterns(vm)
    before = vm.monitor().execute("query-status")["status"]
    ctl.ok("mirror", "vm", "--to", copies, goal)
    assert vm.monitor().execute("query-status")["status"] == before
    for name, path in paths.items():
        assert_copied(path, copies / f"{name}.qcow2")
    assert_sound(ctl, vm)


# ---- shut off, started again, remembered anew ----


@pytest.mark.parametrize("goal", ["--finish", "--pivot"])
def test_vm_that_is_shut_off_is_copied(two, copies, goal):
    vm, ctl, paths = two
    vm.kill()
    done = ctl.ok("mirror", "vm", "--to", copies, goal)
    assert done["consistency"] == "offline"
    for name, path in paths.items():
        assert_copied(path, copies / f"{name}.qcow2")
        assert images.is_clean(copies / f"{name}.qcow2")
        assert ctl.ok("path", "vm", name)["path"] == str(copies / f"{name}.qcow2" if goal == "--pivot" else path)
    assert ctl.ok("check", "vm")["problems"] == []


@pytest.mark.parametrize("words", [("--follow",), ("--detach",)])
def test_vm_that_is_shut_off_has_no_qemu_to_go_on_in(two, copies, words):
    vm, ctl, _ = two
    vm.kill()
    before = disks.files(copies)
    ctl.fails(2, "mirror", "vm", "--to", copies, *words)
    assert disks.files(copies) == before


def test_exec_starts_the_vm_on_its_copies(two, copies):
    vm, ctl, paths = two
    ctl.ok("mirror", "vm", "--to", copies, "--pivot")
    for name in NAMES:
        fill(vm, name, 7, 3)
    vm.kill()
    said = ctl.run("exec", "vm", "--", "echo", "{vda} {vdb}", json_output=False)
    assert said.status == 0, said
    assert all(f"filename={copies / name}.qcow2" in said.out for name in NAMES)
    for name in NAMES:
        assert images.reads(copies / f"{name}.qcow2", 7, 3 * REGION, REGION)


@pytest.mark.parametrize("words, later", [(("--format", "qcow2"), False), (("--format", "raw"), False),
                                          (("--sync", "top"), False), (("--format", "raw"), True),
                                          (("--format", "qcow2"), True)], ids=str)  # fmt: skip
@pytest.mark.parametrize("way", ["rebuild", "export"])
def test_database_made_anew_has_the_guest_on_its_copies(two, copies, folder, chainctl, tmp_path, words, later, way):
    vm, ctl, paths = two
    ctl.ok("snapshot", "vm", "one")
    ctl.ok("mirror", "vm", "--to", copies, "--pivot", *words)
    for name in NAMES:
        fill(vm, name, 7, 3)
    if later:
        ctl.ok("snapshot", "vm", "two")
    active = {name: ctl.ok("path", "vm", name)["path"] for name in NAMES}
    vm.kill()
    again = chainctl(tmp_path / "again")
    if way == "rebuild":
        again.ok("state", "rebuild", folder, copies)
    else:
        exported = tmp_path / "vm.json"
        exported.write_text(ctl.run("vm", "export", "vm", json_output=False).out)
        again.ok("vm", "import", exported)
    for name in NAMES:
        assert again.ok("path", "vm", name)["path"] == active[name]
    before, after = ({one["name"]: [disk["image"] for disk in one["disks"]] for one in one_of.ok("list", "vm")["snapshots"]}
                     for one_of in (ctl, again))  # fmt: skip
    assert after == before
    assert again.ok("check", "vm")["problems"] == []


# ---- --follow, and refusals ----


def test_followed_copies_are_kept_in_step_until_told(two, copies):
    vm, ctl, paths = two
    done = ctl.ok("mirror", "vm", "--to", copies, "--follow")
    assert {mirror["state"] for mirror in done["mirrors"]} == {"following"} and done["consistency"] is None
    assert {job["status"] for job in done["jobs"]} == {"ready"}
    for name in NAMES:
        fill(vm, name, 7, 3)
    error = ctl.fails(6, "snapshot", "vm", "late")
    assert error["code"] == "held"
    assert {job["op"] for job in ctl.ok("jobs", "vm")["jobs"]} == {done["op"]}
    ended = ctl.ok("job", "complete", "vm", done["op"])
    assert {mirror["state"] for mirror in ended["mirrors"]} == {"finished"} and ended["paused_us"] > 0
    for name, path in paths.items():
        assert_copied(path, copies / f"{name}.qcow2")
        assert images.reads(copies / f"{name}.qcow2", 7, 3 * REGION, REGION)
        fill(vm, name, 8, 4)
        assert images.reads(copies / f"{name}.qcow2", 0, 4 * REGION, REGION)
    assert_sound(ctl, vm)


def test_followed_copies_that_are_cancelled_are_gone(two, copies):
    vm, ctl, paths = two
    with leaves_nothing(vm):
        op = ctl.ok("mirror", "vm", "--to", copies, "--follow")["op"]
        ctl.ok("job", "cancel", "vm", op)
    assert list(copies.iterdir()) == []
    assert_sound(ctl, vm)


def test_what_cannot_be_is_refused_and_changes_nothing(two, copies, tmp_path):
    vm, ctl, paths = two
    with disks.unchanged(vm, copies):
        assert "folder" in ctl.fails(2, "mirror", "vm", "--to", copies / "file.qcow2")["message"]
        assert "folder" in ctl.fails(3, "mirror", "vm", "--disk", "vda", "--to", copies / "none" / "it.qcow2")["message"]
        ctl.fails(3, "mirror", "vm", "--disk", "vdz", "--to", copies)
        ctl.fails(2, "mirror", "vm", "--to", copies, "--sync", "none", "--pivot")
        ctl.fails(2, "mirror", "vm", "--to", copies, "--format", "vmdk")
        ctl.fails(2, "mirror", "vm", "--to", copies, "--format", "raw", "--sync", "none")
    assert list(pathlib.Path(copies).iterdir()) == []


def test_encrypted_disk_is_refused(qemu, chainctl, folder, copies):
    secret = ["-object", "secret,id=s,data=secret"]
    path = images.create_encrypted(folder / "vda.qcow2", "8M", "secret")
    vm = qemu([*secret, *disks.blockdev("vda", path, top="encrypt.format=luks,encrypt.key-secret=s")], paused=False)
    ctl = chainctl()
    disks.register(ctl, vm)
    with disks.unchanged(vm, copies):
        assert "encrypted" in ctl.fails(9, "mirror", "vm", "--to", copies)["message"]


# ---- as the disk was ----


@pytest.mark.parametrize("form", ["qcow2", "raw"])
def test_guest_finds_its_copy_opened_as_its_disk_was(qemu, chainctl, folder, copies, form):
    path = images.create(folder / "vda.qcow2", "8M")
    options = {"file": "cache.direct=on,discard=unmap", "top": "cache.direct=on,discard=unmap,detect-zeroes=unmap"}
    vm, ctl = qemu(disks.blockdev("vda", path, **options), paused=False), chainctl()
    disks.register(ctl, vm)
    before = disks.nodes(vm)
    ctl.ok("mirror", "vm", "--to", copies, "--pivot", "--format", form)
    after = {node["drv"]: node for node in disks.nodes(vm).values()}
    assert set(after) == {form, "file"}
    assert after[form]["detect_zeroes"] == before["vda-format"]["detect_zeroes"] == "unmap"
    assert after[form]["cache"] == before["vda-format"]["cache"] and after["file"]["cache"] == before["vda-file"]["cache"]
    vm.qemu_io("vda", "write -P 7 0 4M", "discard 0 4M")
    assert allocated(copies / f"vda.{form}") < 1 << 20, "what the guest discards is given back"
    ctl.ok("snapshot", "vm", "next")
    assert disks.inserted(vm, "vda")["detect_zeroes"] == "unmap"


def test_names_of_any_kind_are_no_trouble(two, tmp_path):
    vm, ctl, paths = two
    odd = tmp_path / "a,b c=d%e \N{LATIN SMALL LETTER U WITH DIAERESIS}:f"
    odd.mkdir()
    ctl.ok("mirror", "vm", "--to", odd)
    for name in NAMES:
        assert_copied(paths[name], odd / f"{name}.qcow2")
    ctl.ok("mirror", "vm", "--to", odd, "--pivot", "--existing")
    assert vm.monitor().chain("vda")[0] == str(odd / "vda.qcow2")
    assert ctl.ok("check", "vm")["problems"] == []


def test_disk_that_grew_is_copied_as_it_is_now(two, copies):
    vm, ctl, paths = two
    vm.monitor().execute("block_resize", node_name="vda-format", size=16 << 20)
    ctl.ok("vm", "rescan", "vm", "--accept")
    vm.qemu_io("vda", "write -P 4 12M 64k")
    ctl.ok("mirror", "vm", "--to", copies, "--pivot")
    assert images.info(copies / "vda.qcow2")["virtual-size"] == 16 << 20
    assert_copied(paths["vda"], copies / "vda.qcow2")
    assert_sound(ctl, vm)
