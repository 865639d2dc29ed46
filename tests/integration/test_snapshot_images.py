"""What a snapshot leaves in the file system: names, headers, sizes, owners; read back with qemu-img and stat."""
import os
import re
import stat

import pytest

from support import disks, images

MIB = 1 << 20


@pytest.fixture
def ctl(chainctl, vm):
    """A chainctl that knows that QEMU as "vm"."""
    ctl = chainctl()
    disks.register(ctl, vm)
    return ctl


def assert_header(overlay, backing, backing_format, size):
    """The overlay's header says all that whoever opens it by itself has to know."""
    header = images.info(overlay, "qcow2")
    assert header["backing-filename"] == str(backing) and os.path.isabs(header["backing-filename"])
    assert header["backing-filename-format"] == backing_format
    assert header["virtual-size"] == size
    assert images.is_clean(overlay)


def test_headers_name_their_backing_image_by_absolute_path_and_format(vm, ctl, folder):
    ctl.ok("snapshot", "vm", "one")
    ctl.ok("snapshot", "vm", "two")
    for name in ("vda", "vdb"):
        assert_header(folder / f"{name}.one.qcow2", folder / f"{name}.qcow2", "qcow2", 8 * MIB)
        assert_header(folder / f"{name}.two.qcow2", folder / f"{name}.one.qcow2", "qcow2", 8 * MIB)
        assert [entry["filename"] for entry in images.chain(folder / f"{name}.two.qcow2")] == vm.monitor().chain(name)


def test_document_names_images_and_overlays_as_qemu_has_them(vm, ctl, folder):
    before = {name: vm.monitor().chain(name) for name in ("vda", "vdb")}
    said = ctl.ok("snapshot", "vm", "one")
    after = {name: vm.monitor().chain(name) for name in ("vda", "vdb")}
    parts = {part["disk"]: part for part in said["snapshot"]["disks"]}
    assert list(parts) == ["vda", "vdb"]
    for name, part in parts.items():
        assert after[name] == [part["overlay"], part["image"]] == [part["overlay"], *before[name]]
    switched = [(entry["disk"], entry["before"], entry["after"]) for entry in said["active"]]
    assert switched == [(name, before[name][0], after[name][0]) for name in ("vda", "vdb")]


def test_writes_after_the_snapshot_reach_the_overlay_and_not_the_image(vm, ctl, folder):
    vm.qemu_io("vda", "write -P 1 0 64k")
    ctl.ok("snapshot", "vm", "one")
    frozen = images.sha256(folder / "vda.qcow2")
    vm.qemu_io("vda", "write -P 2 0 64k")
    vm.qemu_io("vda", "read -P 2 0 64k")
    assert images.sha256(folder / "vda.qcow2") == frozen
    assert images.to_raw(folder / "vda.qcow2", folder / "old").read_bytes()[:65536] == b"\1" * 65536
    assert images.to_raw(folder / "vda.one.qcow2", folder / "new").read_bytes()[:65536] == b"\2" * 65536


@pytest.mark.parametrize("size", [512, 8 * MIB + 512, 3 * MIB + 7 * 512])
def test_odd_sizes_are_kept_to_the_sector(qemu, chainctl, folder, size):
    base = images.create(folder / "odd.qcow2", size)
    vm, ctl = qemu(disks.blockdev("vda", base)), chainctl()
    disks.register(ctl, vm)
    ctl.ok("snapshot", "vm", "one")
    assert_header(folder / "odd.one.qcow2", base, "qcow2", size)
    assert disks.inserted(vm, "vda")["image"]["virtual-size"] == size


def test_raw_base_of_a_size_that_is_no_multiple_of_a_sector(qemu, chainctl, folder):
    base = folder / "odd.raw"
    base.write_bytes(b"\5" * 1_000_001)
    vm, ctl = qemu(disks.blockdev("vda", base, "raw")), chainctl()
    seen = disks.inserted(vm, "vda")["image"]["virtual-size"]
    disks.register(ctl, vm)
    ctl.ok("snapshot", "vm", "one")
    assert_header(folder / "odd.one.qcow2", base, "raw", seen)
    assert disks.inserted(vm, "vda")["image"]["virtual-size"] == seen >= 1_000_001
    vm.qemu_io("vda", "read -P 5 0 1000001")


def test_raw_base_that_looks_like_a_qcow2_is_never_probed(qemu, chainctl, folder):
    trap = images.create(folder / "trap.qcow2", "1M", backing=None)
    base = folder / "disk.img"
    base.write_bytes(trap.read_bytes().ljust(MIB, b"\0"))
    vm, ctl = qemu(disks.blockdev("vda", base, "raw")), chainctl()
    assert disks.register(ctl, vm)["disks"][0]["format"] == "raw"
    ctl.ok("snapshot", "vm", "one")
    assert_header(folder / "disk.one.qcow2", base, "raw", MIB)
    assert images.to_raw(folder / "disk.one.qcow2", folder / "out").read_bytes() == base.read_bytes()


def test_disk_on_a_bare_file_node_becomes_a_raw_backing_image(qemu, chainctl, folder):
    base = images.create(folder / "bare.img", "1M", "raw")
    words = ["-blockdev", f"driver=file,node-name=f,filename={base}", "-device", "virtio-blk-pci,id=vda,drive=f"]
    vm, ctl = qemu(words), chainctl()
    vm.qemu_io("vda", "write -P 9 0 64k")
    assert disks.register(ctl, vm)["disks"][0]["format"] == "raw"
    ctl.ok("snapshot", "vm", "one")
    assert_header(folder / "bare.one.qcow2", base, "raw", MIB)
    assert images.to_raw(folder / "bare.one.qcow2", folder / "out").read_bytes()[:65536] == b"\x09" * 65536


def test_overlay_has_owner_and_mode_of_the_active_image(vm, ctl, folder):
    os.chown(folder / "vda.qcow2", 65534, 12345)
    os.chmod(folder / "vda.qcow2", 0o640)
    os.chmod(folder / "vdb.qcow2", 0o604)
    previous = os.umask(0o077)
    try:
        ctl.ok("snapshot", "vm", "one")
    finally:
        os.umask(previous)
    one, other = (folder / "vda.one.qcow2").stat(), (folder / "vdb.one.qcow2").stat()
    assert (one.st_uid, one.st_gid, stat.S_IMODE(one.st_mode)) == (65534, 12345, 0o640)
    assert (other.st_uid, other.st_gid, stat.S_IMODE(other.st_mode)) == (os.geteuid(), os.getegid(), 0o604)
    ctl.ok("snapshot", "vm", "two")
    two = (folder / "vda.two.qcow2").stat()
    assert (two.st_uid, two.st_gid, stat.S_IMODE(two.st_mode)) == (65534, 12345, 0o640)


def test_overlay_lies_beside_the_active_image_or_where_dir_says(vm, ctl, folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    ctl.ok("snapshot", "vm", "one", "--dir", elsewhere)
    ctl.ok("snapshot", "vm", "two")
    assert sorted(path.name for path in elsewhere.glob("*.qcow2")) == [
        "vda.one.qcow2", "vda.two.qcow2", "vdb.one.qcow2", "vdb.two.qcow2",
    ]  # fmt: skip
    assert_header(elsewhere / "vda.one.qcow2", folder / "vda.qcow2", "qcow2", 8 * MIB)
    assert sorted(path.name for path in folder.iterdir()) == ["vda.qcow2", "vdb.qcow2"]


def test_dir_relative_to_the_callers_folder_becomes_absolute(vm, ctl, folder, tmp_path):
    (tmp_path / "relative").mkdir()
    ctl.ok("snapshot", "vm", "one", "--dir", "relative", cwd=tmp_path)
    assert vm.monitor().chain("vda")[0] == str(tmp_path / "relative/vda.one.qcow2")


def test_taken_file_name_gets_a_number_and_the_file_there_is_never_touched(vm, ctl, folder):
    taken = {folder / "vda.one.qcow2": b"precious", folder / "vda.one-2.qcow2": b"also precious"}
    for path, text in taken.items():
        path.write_bytes(text)
    (folder / "vdb.one.qcow2").symlink_to(folder / "nowhere")
    ctl.ok("snapshot", "vm", "one")
    assert {path: path.read_bytes() for path in taken} == taken
    assert (folder / "vdb.one.qcow2").is_symlink() and not (folder / "nowhere").exists()
    assert vm.monitor().chain("vda")[0] == str(folder / "vda.one-3.qcow2")
    assert vm.monitor().chain("vdb")[0] == str(folder / "vdb.one-2.qcow2")
    assert_header(folder / "vda.one-3.qcow2", folder / "vda.qcow2", "qcow2", 8 * MIB)


def test_two_disks_with_one_file_name_in_one_dir_do_not_collide(qemu, chainctl, folder, tmp_path):
    words = []
    for name in ("vda", "vdb"):
        (folder / name).mkdir()
        words += disks.blockdev(name, images.create(folder / name / "disk.qcow2", "1M"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    vm, ctl = qemu(words), chainctl()
    disks.register(ctl, vm)
    ctl.ok("snapshot", "vm", "one", "--dir", elsewhere)
    assert vm.monitor().chain("vda") == [str(elsewhere / "disk.one.qcow2"), str(folder / "vda/disk.qcow2")]
    assert vm.monitor().chain("vdb") == [str(elsewhere / "disk.one-2.qcow2"), str(folder / "vdb/disk.qcow2")]


def test_snapshot_without_a_name_is_called_by_the_time_and_a_second_one_gets_a_number(vm, ctl, folder):
    names = [ctl.ok("snapshot", "vm")["snapshot"]["name"] for _ in range(4)]
    assert len(set(names)) == 4
    assert all(re.fullmatch(r"\d{8}T\d{6}Z(-[2-9])?", name) for name in names)
    assert [entry["name"] for entry in ctl.ok("list", "vm")["snapshots"]] == names
    stamps = [name[:16] for name in names]
    assert len(set(stamps)) < 4 or not any(len(name) > 16 for name in names)
    assert len(vm.monitor().chain("vda")) == 5
    assert (folder / f"vda.{names[0]}.qcow2").exists()


def test_reused_overlay_is_switched_to_and_left_as_it_was_made(vm, ctl, folder):
    mine = images.create(folder / "mine.qcow2", None, backing=folder / "vda.qcow2", options="cluster_size=4k")
    made = mine.stat()
    ctl.ok("snapshot", "vm", "one", "--disk", "vda", "--reuse", f"vda={mine}")
    assert vm.monitor().chain("vda") == [str(mine), str(folder / "vda.qcow2")]
    assert vm.monitor().chain("vdb") == [str(folder / "vdb.qcow2")]
    assert images.info(mine)["cluster-size"] == 4096
    assert (mine.stat().st_ino, mine.stat().st_mode) == (made.st_ino, made.st_mode)


def test_reused_overlay_may_have_a_longer_name_in_it_than_one_of_ours(qemu, chainctl, folder):
    """There is no room for such a name in so small a cluster, but in theirs there is."""
    long = folder / ("d" * 200) / ("e" * 150)
    long.mkdir(parents=True)
    (folder / "conf").write_text("[overlay]\ncluster_size=512\n")
    path = images.create(long / "vda.qcow2", "1M")
    mine = images.create(folder / "mine.qcow2", None, backing=path)
    vm, ctl = qemu(disks.blockdev("vda", path)), chainctl(env={"CHAINCTL_CONFIG": str(folder / "conf")})
    disks.register(ctl, vm, "--quiesce", "off")
    ctl.fails(9, "snapshot", "vm", "one", "--dir", folder)
    ctl.ok("snapshot", "vm", "one", "--reuse", f"vda={mine}")
    assert vm.monitor().chain("vda") == [str(mine), str(path)]


@pytest.mark.parametrize("fault", ["size", "backing", "data", "absent"])
def test_reused_overlay_that_is_not_what_is_needed_is_refused(vm, ctl, folder, fault):
    mine = folder / "mine.qcow2"
    if fault != "absent":
        backing = folder / ("vdb.qcow2" if fault == "backing" else "vda.qcow2")
        images.create(mine, "4M" if fault == "size" else None, backing=backing)
    if fault == "data":
        images.write(mine, "write 0 64k")
    with disks.unchanged(vm, folder):
        ctl.fails(3 if fault == "absent" else 9, "snapshot", "vm", "one", "--reuse", f"vda={mine}")
