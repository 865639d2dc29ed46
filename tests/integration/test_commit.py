"""Merging downwards: what the disks read, which files are there, what is left in QEMU; told by QEMU and qemu-img."""
import pathlib

import pytest

from support import disks, images
from support.chains import REGION, assert_sound, chained, fill, reads

NAMES = ("one", "two", "three")


@pytest.fixture
def two(qemu, chainctl, folder):
    """(vm, ctl, paths): two disks with three snapshots."""
    words, paths = disks.two(folder)
    vm, ctl = qemu(words, paused=False), chainctl()
    chained(ctl, vm)
    return vm, ctl, paths


def test_pivot_moves_the_guest_into_the_base(two, folder):
    vm, ctl, paths = two
    done = ctl.ok("commit", "vm", "--pivot")
    assert sorted(done["snapshots_removed"]) == sorted(NAMES) and done["paused_us"] > 0
    assert all(merge["pivoted"] and merge["base"] == str(paths[merge["disk"]]) for merge in done["merges"])
    assert {one["after"] for one in done["active"]} == {str(path) for path in paths.values()}
    for disk, path in paths.items():
        reads(vm, disk, 1, 2, 3, 9)
        assert vm.monitor().chain(disk) == [str(path)]
        fill(vm, disk, 7, 4)
    assert ctl.ok("list", "vm")["snapshots"] == []
    assert sorted(folder.iterdir()) == sorted(paths.values())
    assert_sound(ctl, vm)


def test_layers_below_a_snapshot_are_merged_and_it_keeps_its_point_in_time(two):
    vm, ctl, paths = two
    frozen = ctl.ok("show", "vm", "three")["snapshot"]["disks"][0]["image"]
    before = images.to_raw(frozen, pathlib.Path(frozen).parent.parent / "before.raw")
    done = ctl.ok("commit", "vm", "--top", "three")
    assert sorted(done["snapshots_removed"]) == ["one", "two"] and done["active"] == []
    after = ctl.ok("show", "vm", "three")["snapshot"]["disks"][0]["image"]
    assert after == str(paths["vda"])
    assert images.compare(before, after)
    for disk in paths:
        reads(vm, disk, 1, 2, 3, 9)
        assert len(vm.monitor().chain(disk)) == 2
    assert_sound(ctl, vm)


def test_what_is_below_the_base_that_was_named_stays_as_it_is(two):
    vm, ctl, paths = two
    before = {path: images.sha256(path) for path in paths.values()}
    done = ctl.ok("commit", "vm", "--base", "one", "--pivot")
    assert sorted(done["snapshots_removed"]) == ["three", "two"]
    assert {path: images.sha256(path) for path in paths.values()} == before
    for disk in paths:
        reads(vm, disk, 1, 2, 3, 9)
        assert len(vm.monitor().chain(disk)) == 2
    assert_sound(ctl, vm)


def test_without_pivot_it_waits_and_is_completed_or_cancelled(two):
    vm, ctl, paths = two
    done = ctl.ok("commit", "vm")
    op = done["op"]
    assert {job["status"] for job in done["jobs"]} == {"ready"} and all(job["op"] == op for job in done["jobs"])
    for disk in paths:
        fill(vm, disk, 8, 4)
    assert ctl.fails(6, "snapshot", "vm", "late")["code"] == "held"
    assert {job["ours"] for job in ctl.ok("jobs", "vm")["jobs"]} == {True}
    done = ctl.ok("job", "complete", "vm", op)
    assert all(merge["pivoted"] for merge in done["merges"])
    for disk, path in paths.items():
        reads(vm, disk, 1, 2, 3, 9, 8)
        assert vm.monitor().chain(disk) == [str(path)]
    assert_sound(ctl, vm)


def test_cancelled_commit_leaves_the_guest_where_it_is(two):
    vm, ctl, paths = two
    op = ctl.ok("commit", "vm")["op"]
    before = {disk: vm.monitor().chain(disk) for disk in paths}
    ctl.ok("job", "cancel", "vm", op[:8])
    assert ctl.ok("list", "vm")["snapshots"] == []
    for disk in paths:
        reads(vm, disk, 1, 2, 3, 9)
        assert [path for path in vm.monitor().chain(disk)] == before[disk]
    assert_sound(ctl, vm)
    ctl.ok("commit", "vm", "--pivot")
    assert_sound(ctl, vm)


def test_detached_commit_is_waited_for(two):
    vm, ctl, paths = two
    op = ctl.ok("commit", "vm", "--pivot", "--detach", "--speed", "1M")["op"]
    done = ctl.ok("job", "wait", "vm", op)
    assert all(merge["pivoted"] for merge in done["merges"])
    for disk in paths:
        reads(vm, disk, 1, 2, 3, 9)
    assert_sound(ctl, vm)


def test_images_are_kept_where_that_is_asked_for(two, folder):
    vm, ctl, paths = two
    before = sorted(path for path in folder.iterdir() if path.suffix == ".qcow2")
    done = ctl.ok("commit", "vm", "--pivot", "--keep-images")
    assert [merge["removed"] for merge in done["merges"]] == [[], []]
    assert sorted(path for path in folder.iterdir() if path.suffix == ".qcow2") == before
    assert_sound(ctl, vm)


def test_another_branch_is_never_merged_into(two, folder):
    vm, ctl, _ = two
    ctl.ok("rollback", "vm", "two", "--reset", "never")
    with disks.unchanged(vm, folder):
        refused = ctl.fails(9, "commit", "vm", "--pivot")
        assert "another branch" in refused["message"] and "--base two`" in refused["hint"]


def test_branch_itself_is_merged_as_far_as_it_is_alone(two):
    vm, ctl, paths = two
    ctl.ok("rollback", "vm", "two", "--reset", "never")
    for disk in paths:
        fill(vm, disk, 6, 5)
    ctl.ok("snapshot", "vm", "four")
    ctl.ok("commit", "vm", "--base", "two", "--pivot")
    for disk in paths:
        reads(vm, disk, 1, 2, 0, 0, 0, 6)
    automatic = next(one["name"] for one in ctl.ok("list", "vm")["snapshots"] if one["automatic"])
    ctl.ok("rollback", "vm", automatic, "--reset", "never")
    for disk in paths:
        reads(vm, disk, 1, 2, 3, 9)
    assert_sound(ctl, vm)


def test_protected_snapshot_is_not_merged(qemu, chainctl, folder):
    words, _ = disks.two(folder)
    vm, ctl = qemu(words, paused=False), chainctl()
    disks.register(ctl, vm)
    ctl.ok("snapshot", "vm", "kept", "--protect")
    with disks.unchanged(vm, folder):
        assert "'kept'" in ctl.fails(9, "commit", "vm", "--pivot")["message"]


def test_golden_image_is_read_and_never_written(qemu, chainctl, folder):
    golden = images.create(folder / "golden.qcow2", "8M")
    images.write(golden, f"write -P 5 {6 * REGION} {REGION}")
    before = images.sha256(golden)
    path = images.create(folder / "vda.qcow2", None, backing=golden)
    vm, ctl = qemu(disks.blockdev("vda", path), paused=False), chainctl()
    chained(ctl, vm, ["vda"])
    ctl.ok("commit", "vm", "--pivot")
    reads(vm, "vda", 1, 2, 3, 9, 0, 0, 5)
    assert images.sha256(golden) == before
    assert ctl.fails(2, "commit", "vm", "--pivot")["message"].endswith("nothing to merge")
    assert_sound(ctl, vm)


def test_shut_off_vm_is_merged(two):
    vm, ctl, paths = two
    vm.kill()
    done = ctl.ok("commit", "vm", "--pivot")
    assert all(merge["pivoted"] for merge in done["merges"]) and done["paused_us"] is None
    vm.arguments = [word for disk in paths for word in disks.blockdev(disk, ctl.ok("path", "vm", disk)["path"])]
    vm.start()
    for disk, path in paths.items():
        reads(vm, disk, 1, 2, 3, 9)
        assert vm.monitor().chain(disk) == [str(path)]
    assert_sound(ctl, vm)


def test_paused_vm_is_merged_and_stays_paused(qemu, chainctl, folder):
    words, paths = disks.two(folder)
    vm, ctl = qemu(words), chainctl()
    chained(ctl, vm)
    ctl.ok("commit", "vm", "--pivot")
    assert vm.monitor().execute("query-status")["status"] in ("paused", "prelaunch")
    for disk in paths:
        reads(vm, disk, 1, 2, 3, 9)
    assert_sound(ctl, vm)


def test_throttle_stays_above_what_is_merged(qemu, chainctl, folder):
    path = images.create(folder / "vda.qcow2", "8M")
    words = ["-object", "throttle-group,id=limits", "-blockdev", f"driver=file,node-name=f,filename={path}",
             "-blockdev", "driver=qcow2,node-name=q,file=f", "-blockdev", "driver=throttle,node-name=t,throttle-group=limits,file=q",
             "-device", "virtio-blk-pci,id=vda,drive=t"]  # fmt: skip
    vm, ctl = qemu(words, paused=False), chainctl()
    chained(ctl, vm, ["vda"])
    ctl.ok("commit", "vm", "--top", "two")
    ctl.ok("commit", "vm", "--pivot")
    reads(vm, "vda", 1, 2, 3, 9)
    assert disks.inserted(vm, "vda")["node-name"] == "t"
    assert ctl.ok("check", "vm")["problems"] == []


def test_legacy_drive_is_merged(qemu, chainctl, folder):
    path = images.create(folder / "vda.qcow2", "8M")
    vm = qemu(["-drive", f"file={path},format=qcow2,if=none,id=drive0", "-device", "virtio-blk-pci,id=vda,drive=drive0"], paused=False)
    ctl = chainctl()
    chained(ctl, vm, ["vda"])
    ctl.ok("commit", "vm", "--pivot")
    reads(vm, "vda", 1, 2, 3, 9)
    assert ctl.ok("check", "vm")["problems"] == []


@pytest.mark.parametrize("words", [("--pivot",), ("--top", "two")], ids=" ".join)
def test_scsi_disks_are_merged(qemu, chainctl, folder, words):
    paths = {name: images.create(folder / f"{name}.qcow2", "8M") for name in ("vda", "vdb")}
    devices = [word for name, path in paths.items() for word in disks.blockdev(name, path, device="scsi-hd", more="bus=scsi.0")]
    vm, ctl = qemu(["-device", "virtio-scsi-pci,id=scsi", *devices], paused=False), chainctl()
    chained(ctl, vm)
    done = ctl.ok("commit", "vm", *words)
    assert {merge["disk"] for merge in done["merges"]} == set(paths)
    for disk in paths:
        reads(vm, disk, 1, 2, 3, 9)
        fill(vm, disk, 7, 4)
        reads(vm, disk, 1, 2, 3, 9, 7)
        assert vm.monitor().chain(disk)[-1] == str(paths[disk])
    assert_sound(ctl, vm)


def test_job_of_somebody_else_is_left_alone(two, folder):
    vm, ctl, _ = two
    vm.monitor().execute("blockdev-add", driver="null-co", node_name="null", size=8 << 20, read_zeroes=True)
    node = disks.inserted(vm, "vda")["node-name"]
    vm.monitor().execute("blockdev-backup", job_id="theirs", device=node, target="null", sync="full", speed=1)
    assert ctl.fails(9, "commit", "vm", "--pivot")["code"] == "refused"
    [job] = ctl.ok("jobs", "vm")["jobs"]
    assert (job["job"], job["ours"], job["op"]) == ("theirs", False, None)
    ctl.ok("job", "cancel", "vm", "theirs")


def test_dry_run_names_what_would_cease_and_changes_nothing(two, folder):
    vm, ctl, _ = two
    with disks.unchanged(vm, folder):
        done = ctl.ok("commit", "vm", "--pivot", "--dry-run")
    assert sorted(done["snapshots_removed"]) == sorted(NAMES)
    words = str(done["plan"])
    assert words.index("block-commit") < words.index("stop") < words.index("job-complete") < words.index("cont")
    assert len(ctl.ok("list", "vm")["snapshots"]) == 3
