"""What is refused before anything is begun: files, nodes and database are as before; and what is no reason to refuse."""
import contextlib
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import tempfile

import pytest

from support import disks, images
from support.qemu import Qemu, run_as

NOBODY = 65534
DEVICE = ["-device", "virtio-blk-pci,id=vda,drive=vda-format"]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: other users, mounts")


@pytest.fixture
def folder():
    """Where the images are: a folder that everybody may search."""
    home = pathlib.Path(tempfile.mkdtemp(prefix="ck-"))
    (home / "images").mkdir()
    for path in (home, home / "images"):
        path.chmod(0o755)
    yield home / "images"
    shutil.rmtree(home)


@pytest.fixture
def ctl(chainctl):
    return chainctl()


def one_disk(folder):
    """An image, and QEMU's words for it as vda."""
    path = images.create(folder / "vda.qcow2", "8M")
    return path, disks.blockdev("vda", path)


def refused(vm, ctl, folder, *words, status=9):
    """The snapshot is refused, really and in a dry run, and nothing is another than before. Returns the message."""
    with disks.unchanged(vm, folder):
        error = ctl.fails(status, "snapshot", "vm", "one", *words)
        assert ctl.fails(status, "--dry-run", "snapshot", "vm", "one", *words)["code"] == error["code"]
    assert ctl.ok("log", "vm")["operations"] == [] and ctl.ok("list", "vm")["snapshots"] == []
    assert "'vm'" in error["message"]
    return error["message"]


def accepted(vm, ctl, *words):
    """The snapshot is taken, nothing is wrong with it, and nothing was warned of."""
    taken = ctl.ok("snapshot", "vm", "one", *words)
    assert taken["warnings"] == []
    assert ctl.ok("check", "vm")["problems"] == []
    return [disk["after"] for disk in taken["active"]]


def configured(chainctl, tmp_path, text):
    """A chainctl with that configuration."""
    (tmp_path / "conf").write_text(text)
    return chainctl(env={"CHAINCTL_CONFIG": str(tmp_path / "conf")})


@contextlib.contextmanager
def mounted(folder, *words):
    """A file system mounted there; skipped where the tests may not mount."""
    folder.mkdir()
    if os.geteuid() or subprocess.run(["mount", *map(str, words), str(folder)], capture_output=True).returncode:
        pytest.skip(f"cannot mount here: {words}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def tmpfs(folder, size="4m"):
    return mounted(folder, "-t", "tmpfs", "-o", f"size={size}", "chainctl-test")


def is_in_memory(path):
    said = subprocess.run(["stat", "--file-system", "--format=%T", str(path)], capture_output=True, text=True)
    return said.stdout.strip() in ("tmpfs", "ramfs")


# ---- configuration ----


def test_configuration_that_is_not_understood_ends_every_command(chainctl, tmp_path):
    ctl = configured(chainctl, tmp_path, "[overlay]\nclustersize=1\n")
    error = ctl.fails(2, "vm", "list")
    assert error["code"] == "bad-configuration"
    for word in (str(tmp_path / "conf"), "[overlay]", "'clustersize'", "cluster_size"):
        assert word in error["message"]
    (tmp_path / "right").write_text("")
    ctl.ok("vm", "list", "--config", tmp_path / "right")
    assert ctl.fails(2, "vm", "list", "--config", tmp_path / "absent")["code"] == "bad-configuration"


def test_configured_folder_and_form_of_overlays(qemu, chainctl, folder, tmp_path):
    path, words = one_disk(folder)
    text = f"[overlay]\ndir={tmp_path}\ncluster_size=128K\nextended_l2=on\n"
    vm, ctl = qemu(words), configured(chainctl, tmp_path, text)
    disks.register(ctl, vm)
    assert accepted(vm, ctl) == [str(tmp_path / "vda.one.qcow2")]
    header = images.info(tmp_path / "vda.one.qcow2")
    assert header["cluster-size"] == 128 << 10
    assert header["format-specific"]["data"]["extended-l2"] is True
    ctl.ok("snapshot", "vm", "two", "--dir", folder)
    assert vm.monitor().chain("vda")[0] == str(folder / "vda.two.qcow2")


@pytest.mark.parametrize("size", ["512", "2M"])
def test_smallest_and_largest_clusters_work(qemu, chainctl, folder, tmp_path, size):
    path, words = one_disk(folder)
    vm, ctl = qemu(words), configured(chainctl, tmp_path, f"[overlay]\ncluster_size={size}\n")
    disks.register(ctl, vm)
    accepted(vm, ctl)
    vm.qemu_io("vda", "write -P 3 1M 64k", "read -P 3 1M 64k")


def test_subclusters_by_themselves_only_where_qemu_does_them_right(qemu, ctl, folder):
    path, words = one_disk(folder)
    vm = qemu(words)
    disks.register(ctl, vm)
    accepted(vm, ctl)
    subclusters = images.info(folder / "vda.one.qcow2")["format-specific"]["data"]["extended-l2"]
    assert subclusters is (vm.version >= (10, 0))


def test_configured_folder_that_is_not_there(qemu, chainctl, folder, tmp_path):
    path, words = one_disk(folder)
    vm, ctl = qemu(words), configured(chainctl, tmp_path, f"[overlay]\ndir={tmp_path / 'absent'}\n")
    disks.register(ctl, vm)
    with disks.unchanged(vm, folder):
        assert "[overlay]" in ctl.fails(3, "snapshot", "vm", "one")["message"]


# ---- space ----


def test_bytes_that_are_missing_to_the_reserve_are_named(qemu, chainctl, folder, tmp_path):
    path, words = one_disk(folder)
    vm, ctl = qemu(words), configured(chainctl, tmp_path, "[space]\nreserve=900000G\n")
    disks.register(ctl, vm)
    message = refused(vm, ctl, folder)
    missing, needed, reserve, free = map(int, re.findall(r"(?<!')\b\d{6,}\b", message))
    assert missing == needed + reserve - free and reserve == 900000 << 30
    assert str(folder) in message and "'vda'" in message


def test_overlays_on_one_file_system_are_added_up(qemu, chainctl, tmp_path):
    with tmpfs(tmp_path / "small") as small:
        vm = qemu(disks.two(small)[0])
        ctl = configured(chainctl, tmp_path, "[space]\nreserve=0\n")
        disks.register(ctl, vm)
        status = os.statvfs(small)
        (small / "filler").write_bytes(bytes(status.f_bavail * status.f_frsize - (400 << 10)))
        message = refused(vm, ctl, small)
        assert "'vda', 'vdb'" in message and str(small) in message
        accepted(vm, ctl, "--disk", "vda")
        vm.kill()


def test_what_qemu_writes_is_what_was_reckoned_with(qemu, chainctl, folder, tmp_path):
    path = images.create(folder / "vda.qcow2", "3T")
    vm, ctl = qemu(disks.blockdev("vda", path)), configured(chainctl, tmp_path, "[space]\nreserve=900000G\n")
    disks.register(ctl, vm)
    needed = int(re.search(r"need (\d+)", ctl.fails(9, "snapshot", "vm", "one")["message"])[1])
    (tmp_path / "conf").write_text("")
    accepted(vm, ctl)
    written = (folder / "vda.one.qcow2").stat().st_size
    assert written <= needed <= written + (128 << 10)


def test_no_inodes_left(qemu, chainctl, tmp_path):
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=4m,nr_inodes=3", "chainctl-test") as small:
        vm = qemu(one_disk(small)[1])
        ctl = configured(chainctl, tmp_path, "[space]\nreserve=0\n")
        disks.register(ctl, vm)
        (small / "filler").write_text("")
        assert "inodes" in refused(vm, ctl, small)
        vm.kill()


# ---- file systems ----


@needs_root
def test_folder_in_memory_under_an_image_on_disk(qemu, ctl, folder, tmp_path):
    if is_in_memory(folder):
        pytest.skip("the images lie in memory too here")
    path, words = one_disk(folder)
    vm = qemu(words)
    disks.register(ctl, vm)
    with tmpfs(tmp_path / "small", "200m") as small:
        assert str(small) in refused(vm, ctl, folder, "--dir", small)
        assert list(small.iterdir()) == []
    with mounted(tmp_path / "ram", "-t", "ramfs", "chainctl-test") as ram:
        assert "ramfs" in refused(vm, ctl, folder, "--dir", ram)
    assert "tmpfs" in refused(vm, ctl, folder, "--dir", "/dev")
    accepted(vm, ctl)


def test_image_in_memory_may_have_its_overlay_there(qemu, ctl, tmp_path):
    with tmpfs(tmp_path / "small", "200m") as small:
        vm = qemu(one_disk(small)[1])
        disks.register(ctl, vm)
        accepted(vm, ctl)
        vm.kill()


@pytest.fixture
def loop(folder):
    """A block device of 8 MiB."""
    file = folder / "loop.raw"
    file.write_bytes(bytes(8 << 20))
    made = subprocess.run(["losetup", "--find", "--show", str(file)], capture_output=True, text=True)
    if os.geteuid() or made.returncode:
        pytest.skip("cannot make a loop device here")
    yield made.stdout.strip()
    subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True)


def test_block_device_needs_a_folder_for_its_overlay(chainctl, folder, loop, tmp_path):
    words = ["-blockdev", f"driver=host_device,node-name=f,filename={loop}"]
    words += ["-blockdev", "driver=raw,node-name=vda-format,file=f", *DEVICE]
    with Qemu(words) as vm:
        ctl = configured(chainctl, tmp_path, "")
        disks.register(ctl, vm)
        message = refused(vm, ctl, folder)
        assert loop in message and "regular file" in message
        assert "tmpfs" in refused(vm, ctl, folder, "--dir", "/dev")
        (tmp_path / "conf").write_text(f"[overlay]\ndir={folder}\n")
        (overlay,) = accepted(vm, ctl)
        made, device = os.stat(overlay), os.stat(loop)
        assert (made.st_uid, made.st_gid, made.st_mode & 0o777) == (device.st_uid, device.st_gid, device.st_mode & 0o777)


# ---- rights ----


def acl(*entries):
    """The bytes of a POSIX ACL. Source: linux/posix_acl_xattr.h"""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@pytest.fixture
def other_user(qemu, folder, ctl):
    """A QEMU that has become nobody, on an image of nobody's."""
    path, words = one_disk(folder)
    os.chown(path, NOBODY, NOBODY)
    path.chmod(0o600)
    vm = qemu([*words, *run_as(NOBODY)])
    disks.register(ctl, vm)
    return vm


@needs_root
def test_qemu_of_another_user_with_an_image_of_its_own(other_user, ctl, folder):
    (overlay,) = accepted(other_user, ctl)
    assert os.stat(overlay).st_uid == NOBODY


@needs_root
@pytest.mark.parametrize("link", [False, True])
def test_folder_that_qemu_may_not_search_is_named(other_user, ctl, folder, tmp_path, link):
    closed, inner = folder.parent / "closed", folder.parent / "closed/inner"
    inner.mkdir(parents=True)
    closed.chmod(0o700)
    where = inner
    if link:
        where = folder.parent / "link"
        where.symlink_to(inner)
    message = refused(other_user, ctl, folder, "--dir", where)
    assert f"'{closed}'" in message and str(NOBODY) in message
    assert list(inner.iterdir()) == []


@needs_root
def test_folder_that_an_acl_opens_to_qemu(other_user, ctl, folder):
    closed = folder.parent / "closed"
    closed.mkdir(mode=0o700)
    other = acl((1, 7, 0xFFFFFFFF), (2, 1, 4242), (4, 0, 0xFFFFFFFF), (0x10, 1, 0xFFFFFFFF), (0x20, 0, 0xFFFFFFFF))
    os.setxattr(closed, "system.posix_acl_access", other)
    assert f"'{closed}'" in refused(other_user, ctl, folder, "--dir", closed)
    its = acl((1, 7, 0xFFFFFFFF), (2, 1, NOBODY), (4, 0, 0xFFFFFFFF), (0x10, 1, 0xFFFFFFFF), (0x20, 0, 0xFFFFFFFF))
    os.setxattr(closed, "system.posix_acl_access", its)
    accepted(other_user, ctl, "--dir", closed)


@needs_root
def test_image_that_qemu_opened_before_it_became_another_user(qemu, ctl, folder):
    path, words = one_disk(folder)
    path.chmod(0o640)
    vm = qemu([*words, *run_as(NOBODY)])
    disks.register(ctl, vm)
    assert "vda.one.qcow2" in refused(vm, ctl, folder)
    path.chmod(0o666)
    accepted(vm, ctl)


@needs_root
def test_overlay_of_the_user_that_qemu_may_not_write_to(other_user, ctl, folder):
    mine = images.create(folder / "mine.qcow2", None, backing=folder / "vda.qcow2", backing_fmt="qcow2")
    mine.chmod(0o644)
    assert str(mine) in refused(other_user, ctl, folder, "--reuse", f"vda={mine}")
    os.chown(mine, NOBODY, NOBODY)
    accepted(other_user, ctl, "--reuse", f"vda={mine}")


# ---- what QEMU sees ----


class Apart(Qemu):
    """A QEMU in a mount namespace of its own, with one folder bound over another there."""

    bound = ()

    def command_line(self, monitor_fd):
        script = 'mount --bind "$0" "$1" && shift && exec "$@"'
        words = ["unshare", "--mount", "--propagation=private", "sh", "-c", script, *self.bound]
        return [*words, *super().command_line(monitor_fd)]


@contextlib.contextmanager
def apart(words, source, target):
    if os.geteuid() or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("cannot make a mount namespace here")
    vm = Apart(words)
    vm.bound = (str(source), str(target))
    with vm:
        yield vm


def test_other_file_at_the_same_path_in_qemus_mount_namespace(ctl, folder):
    path, words = one_disk(folder)
    other = folder.parent / "other"
    shutil.copytree(folder, other)
    with apart(words, other, folder) as vm:
        disks.register(ctl, vm)
        message = refused(vm, ctl, folder.parent)
        assert str(path) in message and "another file" in message


def test_other_folder_at_the_same_path_in_qemus_mount_namespace(ctl, folder):
    path, words = one_disk(folder)
    target, other = folder.parent / "target", folder.parent / "other"
    target.mkdir()
    other.mkdir()
    with apart(words, other, target) as vm:
        disks.register(ctl, vm)
        assert str(target) in refused(vm, ctl, folder.parent, "--dir", target)
        accepted(vm, ctl)


def test_image_that_was_replaced_behind_qemus_back(qemu, ctl, folder):
    path, words = one_disk(folder)
    vm = qemu(words)
    disks.register(ctl, vm)
    shutil.copy(path, folder / "copy")
    os.rename(folder / "copy", path)
    assert str(path) in refused(vm, ctl, folder)


# ---- what QEMU is busy with ----


def test_vm_that_is_being_migrated(qemu, ctl, folder):
    path, words = one_disk(folder)
    vm = qemu(words)
    disks.register(ctl, vm)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(vm.folder / "migration"))
        listener.listen(1)
        vm.monitor().execute("migrate-set-parameters", max_bandwidth=1)
        vm.monitor().execute("migrate", uri=f"unix:{vm.folder}/migration")
        assert "migrated" in refused(vm, ctl, folder)
        vm.monitor().execute("migrate_cancel")
    accepted(vm, ctl)


def test_vm_that_was_migrated_away(qemu, ctl, folder):
    path, words = one_disk(folder)
    vm = qemu(words)
    disks.register(ctl, vm)
    vm.monitor().execute("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
    vm.monitor().execute("migrate", uri="exec:cat > /dev/null")
    while vm.monitor().wait_event("MIGRATION")["data"]["status"] != "completed":
        pass
    assert "postmigrate" in refused(vm, ctl, folder)


def test_vm_that_waits_for_a_migration(qemu, ctl, folder):
    path, words = one_disk(folder)
    vm = qemu(words)
    disks.register(ctl, vm)
    vm.kill()
    vm.arguments, vm.paused = [*words, "-incoming", "defer"], False
    vm.start()
    assert "inmigrate" in refused(vm, ctl, folder)


def backup(vm, folder, job):
    """A job that goes on until it is cancelled."""
    target, monitor = images.create(folder / "target.qcow2", "8M"), vm.monitor()
    monitor.execute("blockdev-add", driver="qcow2", node_name="t", file={"driver": "file", "filename": str(target)})
    vm.qemu_io("vda", "write -P 1 0 8M")
    words = {"job-id": job, "device": "vda-format", "target": "t", "sync": "full", "speed": 65536}
    monitor.execute_raw("blockdev-backup", words)


@pytest.mark.parametrize("job, status", [("theirs", 9), ("cc-0123456789abcdef-0", 6)])
def test_job_is_refused_and_one_of_ours_holds_the_vm(qemu, ctl, folder, job, status):
    path, words = one_disk(folder)
    vm = qemu(words)
    disks.register(ctl, vm)
    backup(vm, folder, job)
    before = disks.nodes(vm)
    for prefix in ((), ("--dry-run",)):
        assert f"'{job}'" in ctl.fails(status, *prefix, "snapshot", "vm", "one")["message"]
    assert disks.nodes(vm) == before and ctl.ok("log", "vm")["operations"] == []
    vm.monitor().execute("block-job-cancel", device=job, force=True)
    vm.monitor().wait_event("BLOCK_JOB_CANCELLED")
    accepted(vm, ctl)


def test_job_of_an_internal_snapshot_that_is_over_is_in_nobodys_way(qemu, ctl, folder):
    path, words = one_disk(folder)
    vm = qemu(words)
    disks.register(ctl, vm)
    arguments = {"job-id": "save", "tag": "t", "vmstate": "vda-format", "devices": ["vda-format"]}
    vm.monitor().execute_raw("snapshot-save", arguments)
    while vm.monitor().execute("query-jobs")[0]["status"] != "concluded":
        vm.monitor().wait_event("JOB_STATUS_CHANGE")
    accepted(vm, ctl)
    vm.monitor().execute("job-dismiss", id="save")


# ---- the graph ----


@pytest.mark.parametrize("between", ["throttle,throttle-group=g", "raw"])
def test_node_between_format_and_file(qemu, ctl, folder, between):
    path = images.create(folder / "vda.qcow2", "8M")
    words = ["-object", "throttle-group,id=g", "-blockdev", f"driver=file,node-name=f,filename={path}"]
    words += ["-blockdev", f"driver={between},node-name=b,file=f"]
    words += ["-blockdev", "driver=qcow2,node-name=vda-format,file=b", *DEVICE]
    vm = qemu(words)
    disks.register(ctl, vm, "--ignore-disk", "vda")
    assert "another node" in refused(vm, ctl, folder, "--disk", "vda")
