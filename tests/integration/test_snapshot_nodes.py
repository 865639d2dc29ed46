"""Disks that are not one plain file under one format node: what works is right after a restart too, or is refused."""
import contextlib
import os
import subprocess

import pytest

from support import disks, images, process

MIB = 1 << 20
SECRET = "secret,id=s,data=abc"
DEVICE = ["-device", "virtio-blk-pci,id=vda,drive=q"]


def refused(vm, ctl, folder):
    """The machine cannot be added, or its disk not snapshotted; exit 9, and nothing has changed. Returns the error."""
    with disks.unchanged(vm, folder):
        added = ctl.run("vm", "add", "vm", "--qmp", vm.qmp, "--quiesce", "off")
        last = added if added.status else ctl.run("snapshot", "vm", "one")
    assert last.status == 9, last
    return last.json["error"]


def restarted_from_path(vm, ctl):
    """The machine again, on what `path --blockdev` says, which knows nothing of how it was started before."""
    value = ctl.ok("path", "vm", "vda")["blockdev"]
    vm.kill()
    value = ctl.ok("path", "vm", "vda")["blockdev"]
    vm.arguments = ["-blockdev", f"node-name=q,{value}", *DEVICE]
    vm.start()


@pytest.mark.parametrize("window", ["offset=1048576", "offset=1048576,size=4194304", "size=4194304"])
def test_window_of_a_raw_file_is_refused_as_no_header_can_say_it(qemu, chainctl, folder, window):
    base = images.create(folder / "base.raw", "8M", "raw")
    node = f"driver=raw,node-name=q,file.driver=file,file.filename={base},{window}"
    assert "vda" in refused(qemu(["-blockdev", node, *DEVICE]), chainctl(), folder)["message"]


def test_image_with_an_external_data_file_is_the_image_and_not_its_data(qemu, chainctl, folder):
    base = images.create(folder / "base.qcow2", "8M", options=f"data_file={folder / 'data.raw'}")
    vm = qemu(["-blockdev", f"driver=qcow2,node-name=q,file.driver=file,file.filename={base}", *DEVICE])
    ctl = chainctl()
    vm.qemu_io("vda", "write -P 7 0 64k")
    added = ctl.run("vm", "add", "vm", "--qmp", vm.qmp, "--quiesce", "off")
    if added.status == 9:
        return
    assert added.json["vm"]["disks"][0]["path"] == str(base)
    ctl.ok("snapshot", "vm", "one")
    assert images.info(folder / "base.one.qcow2")["backing-filename"] == str(base)
    restarted_from_path(vm, ctl)
    vm.qemu_io("vda", "read -P 7 0 64k")


@contextlib.contextmanager
def loop_device(path):
    """A block device that is the file; skipped where the tests may not make one."""
    made = subprocess.run(["losetup", "--find", "--show", path], capture_output=True, text=True)
    if made.returncode:
        pytest.skip("cannot make a loop device here")
    try:
        yield made.stdout.strip()
    finally:
        subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True)


def test_overlay_of_a_block_device_needs_a_folder_and_never_lands_in_dev(qemu, chainctl, folder):
    with loop_device(images.create(folder / "base.raw", "8M", "raw")) as device:
        node = f"driver=raw,node-name=q,file.driver=host_device,file.filename={device}"
        vm, ctl = qemu(["-blockdev", node, *DEVICE]), chainctl()
        vm.qemu_io("vda", "write -P 7 0 64k")
        shown = disks.register(ctl, vm, "--quiesce", "off")["disks"][0]
        assert (shown["path"], shown["format"], shown["virtual_size"]) == (device, "raw", 8 * MIB)
        assert "file.driver=host_device" in ctl.ok("path", "vm", "vda")["blockdev"]
        tried = ctl.run("snapshot", "vm", "never")
        strays = [name for name in os.listdir("/dev") if "never" in name]
        for name in strays:
            os.unlink(f"/dev/{name}")
        assert not strays and tried.status == 9 and "--dir" in tried.json["error"]["hint"], tried
        ctl.ok("snapshot", "vm", "one", "--dir", folder)
        [overlay] = folder.glob("*.one.qcow2")
        header = images.info(overlay)
        assert (header["backing-filename"], header["backing-filename-format"]) == (device, "raw")
        ctl.ok("snapshot", "vm", "two")
        restarted_from_path(vm, ctl)
        vm.qemu_io("vda", "read -P 7 0 64k")
        vm.kill()


def test_copy_on_read_filter_stays_above_the_disk(qemu, chainctl, folder):
    golden = images.create(folder / "golden.qcow2", "8M")
    base = images.create(folder / "base.qcow2", None, backing=golden)
    words = ["-blockdev", f"driver=qcow2,node-name=q0,file.driver=file,file.filename={base}"]
    vm = qemu([*words, "-blockdev", "driver=copy-on-read,node-name=q,file=q0", *DEVICE])
    ctl = chainctl()
    disks.register(ctl, vm, "--quiesce", "off")
    ctl.ok("snapshot", "vm", "one")
    assert disks.inserted(vm, "vda")["node-name"] == "q"
    assert vm.monitor().chain("vda") == [str(folder / "base.one.qcow2"), str(base), str(golden)]
    vm.qemu_io("vda", "write -P 3 0 64k")
    assert images.to_raw(folder / "base.one.qcow2", folder / "raw").read_bytes()[0] == 3


def test_disk_in_an_iothread_is_snapshotted_while_it_is_there(qemu, chainctl, folder):
    words = ["-object", "iothread,id=io"]
    for name in ("vda", "vdb"):
        words += disks.blockdev(name, images.create(folder / f"{name}.qcow2", "8M"), more="iothread=io")
    vm, ctl = qemu(words, paused=False), chainctl()
    disks.register(ctl, vm)
    ctl.ok("snapshot", "vm", "one")
    ctl.ok("snapshot", "vm", "two")
    assert [len(vm.monitor().chain(name)) for name in ("vda", "vdb")] == [3, 3]
    assert vm.monitor().execute("qom-get", path="/machine/peripheral/vda", property="iothread") == "/objects/io"
    vm.qemu_io("vdb", "write -P 3 0 64k")
    assert images.to_raw(folder / "vdb.two.qcow2", folder / "raw").read_bytes()[0] == 3


def create_encrypted(path):
    """An encrypted qcow2 with the secret "s". qemu-img measures how fast the CPU is, and on a busy one may give up."""
    options = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"
    words = ["create", "-q", "--object", SECRET, "-f", "qcow2", "-o", options, path, "1M"]
    for _ in range(10):
        with contextlib.suppress(AssertionError):
            images.qemu_img(*words)
            return path
    images.qemu_img(*words)
    return path


def test_encrypted_disk_is_refused_and_never_gets_an_overlay_in_the_clear(qemu, chainctl, folder):
    base = create_encrypted(folder / "base.qcow2")
    node = f"driver=qcow2,node-name=q,file.driver=file,file.filename={base},encrypt.format=luks,encrypt.key-secret=s"
    vm = qemu(["-object", SECRET, "-blockdev", node, *DEVICE])
    assert "encrypted" in refused(vm, chainctl(), folder)["message"]


def test_disk_behind_nbd_is_refused_and_can_be_left_out(qemu, chainctl, folder, tmp_path):
    remote, local = images.create(folder / "remote.raw", "8M", "raw"), images.create(folder / "local.qcow2", "8M")
    with contextlib.ExitStack() as stack:
        vm = qemu()  # for its short folder
        socket = vm.folder / "nbd"
        words = [process.program("qemu-nbd"), "--socket", socket, "--format", "raw", "--persistent", remote]
        stack.enter_context(process.running(words))
        process.wait_until(socket.exists, 60, "qemu-nbd's socket")
        node = f"driver=raw,node-name=q,file.driver=nbd,file.server.type=unix,file.server.path={socket}"
        vm.kill()
        vm.arguments = ["-blockdev", node, *DEVICE, *disks.blockdev("vdb", local)]
        vm.start()
        ctl = chainctl()
        assert "no local file" in refused(vm, ctl, folder)["message"]
        ctl.ok("snapshot", "vm", "one", "--exclude", "vda")
        assert vm.monitor().chain("vdb") == [str(folder / "local.one.qcow2"), str(local)]
        vm.kill()


def test_base_of_another_format_is_named_as_that(qemu, chainctl, folder):
    base = images.create(folder / "base.vmdk", "8M", "vmdk")
    vm, ctl = qemu(["-blockdev", f"driver=vmdk,node-name=q,file.driver=file,file.filename={base}", *DEVICE]), chainctl()
    vm.qemu_io("vda", "write -P 7 0 64k")
    disks.register(ctl, vm, "--quiesce", "off")
    ctl.ok("snapshot", "vm", "one")
    assert images.info(folder / "base.one.qcow2")["backing-filename-format"] == "vmdk"
    restarted_from_path(vm, ctl)
    vm.qemu_io("vda", "read -P 7 0 64k")


@pytest.mark.parametrize("backing", ["another", "none"])
def test_live_chain_that_the_header_contradicts_is_told(qemu, chainctl, folder, backing):
    """The next start would go by the header, and show the guest other data."""
    golden, other = images.create(folder / "golden.qcow2", "8M"), images.create(folder / "other.qcow2", "8M")
    base = images.create(folder / "base.qcow2", None, backing=golden)
    below = '"o"' if backing == "another" else "null"
    words = ["-blockdev", f"driver=qcow2,node-name=o,read-only=on,file.driver=file,file.filename={other}"]
    file = f'{{"driver":"file","filename":"{base}"}}'
    words += ["-blockdev", f'{{"driver":"qcow2","node-name":"q","backing":{below},"file":{file}}}', *DEVICE]
    vm, ctl = qemu(words), chainctl()
    added = ctl.run("vm", "add", "vm", "--qmp", vm.qmp, "--quiesce", "off")
    if added.status == 9:
        return
    checked = ctl.run("check", "vm")
    assert checked.status == 7, "check says that all is well"
    assert str(base) in [problem["path"] for problem in checked.json["problems"]]


def test_temporary_image_of_snapshot_on_is_refused(qemu, chainctl, folder):
    base = images.create(folder / "base.qcow2", "8M")
    words = ["-drive", f"if=none,id=d,format=qcow2,file={base},snapshot=on", "-device", "virtio-blk-pci,id=vda,drive=d"]
    assert refused(qemu(words), chainctl(), folder)["message"]


def test_image_behind_a_symbolic_link_gets_its_overlay_where_the_link_is_said_to_be(qemu, chainctl, folder):
    (folder / "links").mkdir()
    base, link = images.create(folder / "base.qcow2", "8M"), folder / "links/link.qcow2"
    link.symlink_to(base)
    vm, ctl = qemu(disks.blockdev("vda", link)), chainctl()
    vm.qemu_io("vda", "write -P 7 0 64k")
    disks.register(ctl, vm, "--quiesce", "off")
    ctl.ok("snapshot", "vm", "one")
    assert vm.monitor().chain("vda")[0] == str(folder / "links/link.one.qcow2")
    restarted_from_path(vm, ctl)
    vm.qemu_io("vda", "read -P 7 0 64k")
    assert ctl.ok("check", "vm")["problems"] == []
