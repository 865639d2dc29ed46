"""QEMU is not on the images that it should be on: every verb says so, names what is spoiled, and writes nothing."""
import os

import pytest

from support import disks, images

MIB = 1 << 20
UUID = "0b6d6a52-4f5a-4a0e-9d3b-6d1f2a7c8e90"


@pytest.fixture
def vm(qemu, folder):
    return qemu([*disks.two(folder)[0], "-device", "pcie-root-port,id=rp0"], uuid=UUID)


@pytest.fixture
def ctl(chainctl, vm):
    ctl = chainctl()
    disks.register(ctl, vm, "--quiesce", "off")
    for name, pattern in (("one", 2), ("two", 3)):
        vm.qemu_io("vda", f"write -P {pattern - 1} 0 64k")
        ctl.ok("snapshot", "vm", name)
    vm.qemu_io("vda", "write -P 3 0 64k")
    return ctl


def on(folder, **heads):
    """Words for a machine whose disks are on those files."""
    words = [word for name, file in heads.items() for word in disks.blockdev(name, folder / file)]
    return [*words, "-device", "pcie-root-port,id=rp0"]


ACTIVE = {"vda": "vda.two.qcow2", "vdb": "vdb.two.qcow2"}


def restart(vm, folder, **heads):
    vm.kill()
    vm.arguments = on(folder, **{**ACTIVE, **heads})
    vm.start()


def problems(ctl, status=7):
    result = ctl.run("check", "vm")
    assert result.status == status, result
    return result.json["problems"]


def assert_refused(vm, ctl, folder):
    """Snapshot and path: exit 9, no path on stdout, and nothing is another than before. Returns the snapshot's error."""
    database = disks.files(ctl.state_dir)
    with disks.unchanged(vm, folder):
        error = ctl.fails(9, "snapshot", "vm", "three")
        assert error["code"] == "drift" and error["hint"], error
        for disk in ("vda", "vdb"):
            plain = ctl.run("path", "vm", disk, json_output=False)
            assert (plain.status, plain.out) == (9, "") and plain.err
        problems(ctl)
    locks = {path for path in disks.files(ctl.state_dir) if path.suffix == ".lock"}
    assert {path: what for path, what in disks.files(ctl.state_dir).items() if path not in locks} == {
        path: what for path, what in database.items() if path not in locks
    }
    assert [entry["name"] for entry in ctl.ok("list", "vm")["snapshots"]] == ["one", "two"]
    return error


def read(path, tmp_path):
    return images.to_raw(path, tmp_path / "raw").read_bytes()[0]


@pytest.mark.parametrize("old, spoiled, kept", [("vda.qcow2", ["'one'", "'two'"], []), ("vda.one.qcow2", ["'two'"], ["'one'"])])
def test_snapshots_that_a_qemu_on_an_old_image_spoils_are_named(vm, ctl, folder, old, spoiled, kept):
    restart(vm, folder, vda=old)
    error = assert_refused(vm, ctl, folder)
    assert str(folder / old) in error["message"] and str(folder / "vda.two.qcow2") in error["message"]
    [problem] = problems(ctl)
    assert (problem["code"], problem["disk"], problem["path"]) == ("wrong-active-image", "vda", str(folder / old))
    for text in (problem["message"], error["message"]):
        assert all(name in text for name in spoiled) and not any(name in text for name in kept), text


@pytest.mark.parametrize("old, changed", [("vda.qcow2", "vda.qcow2"), ("vda.one.qcow2", "vda.one.qcow2")])
def test_what_was_written_to_an_old_image_is_found_when_the_right_one_runs_again(vm, ctl, folder, tmp_path, old, changed):
    restart(vm, folder, vda=old)
    vm.qemu_io("vda", "write -P 9 1M 64k")
    restart(vm, folder)
    found = problems(ctl)
    assert {(one["code"], one["disk"], one["path"]) for one in found} == {("image-changed", "vda", str(folder / changed))}
    assert any("spoiled" in one["message"] for one in found)
    with disks.unchanged(vm, folder):
        assert ctl.fails(9, "snapshot", "vm", "three")["code"] == "drift"
        plain = ctl.run("path", "vm", "vda", json_output=False)
        assert (plain.status, plain.out) == (9, "")
    assert ctl.run("path", "vm", "vdb", json_output=False).out == f"{folder / 'vdb.two.qcow2'}\n"
    vm.kill()
    assert {one["code"] for one in problems(ctl)} == {"image-changed"}, "it stays known when nothing runs"
    assert images.to_raw(folder / changed, tmp_path / "raw").read_bytes()[MIB] == 9


def test_old_image_that_was_opened_and_not_written_to_has_spoiled_nothing(vm, ctl, folder, tmp_path):
    restart(vm, folder, vda="vda.qcow2", vdb="vdb.qcow2")
    assert len(problems(ctl)) == 2
    vm.qemu_io("vda", "read -P 1 0 64k")
    vm.monitor().execute("quit")
    vm.wait_exit()
    restart(vm, folder)
    assert problems(ctl, 0) == []
    ctl.ok("snapshot", "vm", "three")
    assert [read(folder / file, tmp_path) for file in ("vda.qcow2", "vda.one.qcow2", "vda.two.qcow2")] == [1, 2, 3]


def test_disk_that_is_on_a_foreign_image_is_drift(vm, ctl, folder):
    images.create(folder / "other.qcow2", "8M")
    restart(vm, folder, vdb="other.qcow2")
    error = assert_refused(vm, ctl, folder)
    assert "'vdb'" in error["message"] and str(folder / "other.qcow2") in error["message"]
    assert "spoil" not in error["message"]
    assert [(one["code"], one["disk"]) for one in problems(ctl)] == [("wrong-active-image", "vdb")]


def test_two_disks_that_changed_places_are_drift(vm, ctl, folder):
    restart(vm, folder, vda="vdb.two.qcow2", vdb="vda.two.qcow2")
    assert_refused(vm, ctl, folder)
    assert [one["disk"] for one in problems(ctl)] == ["vda", "vdb"]


def test_copy_of_the_active_image_under_another_name_is_drift(vm, ctl, folder):
    vm.kill()
    images.qemu_img("convert", "-O", "qcow2", folder / "vda.two.qcow2", folder / "copy.qcow2")
    vm.start()
    restart(vm, folder, vda="copy.qcow2")
    assert "copy.qcow2" in assert_refused(vm, ctl, folder)["message"]


def test_active_image_that_was_replaced_under_its_name_is_drift(vm, ctl, folder):
    """Restored from a copy: the same name, and perhaps older data."""
    vm.kill()
    images.qemu_img("convert", "-O", "qcow2", folder / "vda.two.qcow2", folder / "copy.qcow2")
    os.replace(folder / "copy.qcow2", folder / "vda.two.qcow2")
    restart(vm, folder)
    assert_refused(vm, ctl, folder)


def test_resized_disk_is_told_and_snapshotted_in_its_new_size(vm, ctl, folder):
    vm.kill()
    images.qemu_img("resize", folder / "vda.two.qcow2", "16M")
    restart(vm, folder)
    [problem] = problems(ctl, 0)
    assert (problem["code"], problem["severity"], problem["disk"]) == ("resized", "warning", "vda")
    assert str(16 * MIB) in problem["message"]
    said = ctl.ok("snapshot", "vm", "three")
    assert "resized" in [warning["code"] for warning in said["warnings"]]
    assert images.info(folder / "vda.three.qcow2")["virtual-size"] == 16 * MIB
    assert problems(ctl, 0) == []


def test_hot_plugged_disk_is_told_by_check_and_no_error(vm, ctl, folder):
    new, monitor = images.create(folder / "new.qcow2", "1M"), vm.monitor()
    monitor.execute("blockdev-add", driver="file", node_name="nf", filename=str(new))
    monitor.execute("blockdev-add", driver="qcow2", node_name="nq", file="nf")
    monitor.execute("device_add", driver="virtio-blk-pci", id="vdc", drive="nq", bus="rp0")
    [problem] = problems(ctl, 0)
    assert (problem["code"], problem["severity"], problem["disk"]) == ("disk-added", "warning", "vdc")
    assert ctl.ok("path", "vm", "vda")["path"] == str(folder / "vda.two.qcow2")
    ctl.fails(3, "path", "vm", "vdc")


@pytest.mark.parametrize("with_our_images", [True, False])
def test_another_machine_at_the_same_socket_is_refused(vm, ctl, folder, tmp_path, with_our_images):
    """Even where it runs on our images: it is not known what else is different."""
    vm.kill()
    vm.uuid = UUID.replace("0b", "1c")
    if with_our_images:
        vm.arguments = on(folder, **ACTIVE)
    else:
        (tmp_path / "theirs").mkdir()
        vm.arguments = disks.two(tmp_path / "theirs")[0]
    vm.start()
    theirs = disks.files(tmp_path / "theirs")
    error = assert_refused(vm, ctl, folder)
    assert UUID in error["message"] and vm.uuid in error["message"]
    assert "another-vm" in [one["code"] for one in problems(ctl)]
    assert disks.files(tmp_path / "theirs") == theirs


def test_machine_that_is_shut_off_is_told_of_as_while_it_ran_and_its_snapshot_is_offline(vm, ctl, folder):
    verbs = [["list", "vm"], ["show", "vm", "one"], ["tree", "vm"], ["log", "vm"], ["path", "vm", "vda"]]
    vm.qemu_io("vda", "flush")
    before = [ctl.ok(*verb) for verb in verbs]
    vm.kill()
    files = disks.files(folder)
    assert [ctl.ok(*verb) for verb in verbs] == before
    assert ctl.ok("vm", "show", "vm")["vm"]["state"] == "shut-off"
    assert problems(ctl, 0) == []
    for disk in ("vda", "vdb"):
        plain = ctl.run("path", "vm", disk, json_output=False)
        assert (plain.status, plain.out) == (0, f"{folder / ACTIVE[disk]}\n")
    assert disks.files(folder) == files
    assert ctl.ok("snapshot", "vm", "three")["snapshot"]["consistency"] == "offline"
    overlays = {folder / f"{name}.three.qcow2{suffix}" for name in ("vda", "vdb") for suffix in ("", ".chainctl")}
    assert {path: what for path, what in disks.files(folder).items() if path not in overlays} == files
    assert overlays < set(disks.files(folder)) and ctl.ok("path", "vm", "vda")["path"] == str(folder / "vda.three.qcow2")
    vm.arguments = ["-blockdev", f"node-name=q,{ctl.ok('path', 'vm', 'vda')['blockdev']}"]
    vm.arguments += ["-device", "virtio-blk-pci,id=vda,drive=q", *disks.blockdev("vdb", folder / "vdb.three.qcow2")]
    vm.start()
    vm.qemu_io("vda", "read -P 3 0 64k")
    ctl.ok("snapshot", "vm", "four")
    assert problems(ctl, 0) == []


@pytest.mark.parametrize("lost", ["vda.qcow2", "vda.one.qcow2"])
@pytest.mark.parametrize("running", [True, False])
def test_image_of_a_snapshot_that_is_missing_is_told_with_its_path_and_nothing_is_built_on_it(vm, ctl, folder, lost, running):
    if not running:
        vm.kill()
    os.rename(folder / lost, folder / "moved")
    found = [(one["code"], one["disk"], one["path"]) for one in problems(ctl)]
    assert ("image-missing", "vda", str(folder / lost)) in found
    plain = ctl.run("path", "vm", "vda", json_output=False)
    assert (plain.status, plain.out) == (9, "") and str(folder / lost) in plain.err
    files = disks.files(folder)
    assert ctl.fails(9, "snapshot", "vm", "three")["code"] == "drift"
    assert disks.files(folder) == files
    states = {os.path.basename(image["path"]): image["state"] for image in ctl.ok("tree", "vm")["disks"][0]["images"]}
    assert states[lost] == "missing"
    os.rename(folder / "moved", folder / lost)
    assert [one for one in problems(ctl, 0) if one["severity"] == "error"] == []
