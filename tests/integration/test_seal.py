"""`overlay.seal`: frozen images are read-only, so that a QEMU started on one fails instead of spoiling a snapshot."""
import os
import stat

import pytest

from support import disks, images, mounts
from support.users import NOBODY, QemuOf, needs_root, open_folder

SEALING = "[overlay]\nseal=on\n"


@pytest.fixture
def ctl(chainctl, tmp_path):
    (tmp_path / "conf").write_text(SEALING)
    return chainctl(env={"CHAINCTL_CONFIG": str(tmp_path / "conf")})


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def modes(folder):
    return {path.name: mode(path) for path in folder.iterdir()}


def test_frozen_images_are_read_only_and_overlays_have_the_mode_from_before(vm, ctl, folder):
    (folder / "vda.qcow2").chmod(0o660)
    disks.register(ctl, vm)
    assert ctl.ok("snapshot", "vm", "one")["warnings"] == []
    assert ctl.ok("snapshot", "vm", "two", "--disk", "vda")["warnings"] == []
    assert modes(folder) == {"vda.qcow2": 0o440, "vda.one.qcow2": 0o440, "vda.two.qcow2": 0o660,
                             "vdb.qcow2": 0o444, "vdb.one.qcow2": 0o644,
                             "vda.one.qcow2.chainctl": 0o660, "vda.two.qcow2.chainctl": 0o660,
                             "vdb.one.qcow2.chainctl": 0o644}, "a note is written again, so it is never sealed"  # fmt: skip
    vm.qemu_io("vda", "write -P 1 0 64k", "read -P 1 0 64k")
    assert ctl.ok("check", "vm")["problems"] == [], "what was noted of a sealed image was noted once it was sealed"


def test_nothing_is_sealed_unless_it_was_asked_for(vm, chainctl, folder):
    ctl = chainctl()
    disks.register(ctl, vm)
    ctl.ok("snapshot", "vm", "one")
    assert set(modes(folder).values()) == {0o644}


def test_dry_run_seals_nothing(vm, ctl, folder):
    disks.register(ctl, vm)
    with disks.unchanged(vm, folder):
        ctl.ok("--dry-run", "snapshot", "vm", "one")


def test_snapshot_that_is_refused_seals_nothing(vm, ctl, folder):
    disks.register(ctl, vm)
    with disks.unchanged(vm, folder):
        ctl.fails(9, "snapshot", "vm", "x" * 60, "--dir", "/dev")


def test_template_is_never_touched(qemu, ctl, folder):
    template = images.create(folder / "template.qcow2", "8M")
    path = images.create(folder / "vda.qcow2", None, backing=template, backing_fmt="qcow2")
    vm = qemu(disks.blockdev("vda", path))
    disks.register(ctl, vm)
    before = os.stat(template)
    ctl.ok("snapshot", "vm", "one")
    assert (mode(path), os.stat(template)) == (0o444, before)


def test_file_that_cannot_be_changed_is_a_warning(vm, ctl, folder):
    disks.register(ctl, vm)
    mounts.set_immutable(folder / "vda.qcow2")
    try:
        taken = ctl.ok("snapshot", "vm", "one")
    finally:
        mounts.set_immutable(folder / "vda.qcow2", False)
    (warning,) = taken["warnings"]
    assert warning["code"] == "not-sealed" and str(folder / "vda.qcow2") in warning["message"]
    assert (mode(folder / "vda.qcow2"), mode(folder / "vdb.qcow2")) == (0o644, 0o444)


def test_overlay_on_an_image_that_nobody_may_write_to_is_its_owners_to_write_to(vm, chainctl, folder):
    ctl = chainctl()
    disks.register(ctl, vm)
    (folder / "vda.qcow2").chmod(0o440)
    ctl.ok("snapshot", "vm", "one")
    assert (mode(folder / "vda.one.qcow2"), mode(folder / "vdb.one.qcow2")) == (0o640, 0o644)


@needs_root
def test_qemu_of_its_own_user_fails_on_a_frozen_image_and_runs_on_the_active_one(ctl):
    with open_folder((NOBODY, NOBODY)) as home:
        path = images.create(home / "vda.qcow2", "8M")
        path.chmod(0o600)
        os.chown(path, NOBODY, NOBODY)
        with QemuOf(disks.blockdev("vda", path)) as vm:
            disks.register(ctl, vm)
            vm.qemu_io("vda", "write -P 1 0 64k")
            (switched,) = ctl.ok("snapshot", "vm", "one")["active"]
            vm.qemu_io("vda", "write -P 2 64k 64k")
            vm.kill()
            digest = images.sha256(path)
            with pytest.raises(RuntimeError, match="Permission denied"):
                vm.start()
            assert images.sha256(path) == digest
            vm.arguments = disks.blockdev("vda", switched["after"])
            vm.start()
            vm.qemu_io("vda", "read -P 1 0 64k", "read -P 2 64k 64k")
            assert ctl.ok("check", "vm")["problems"] == []
        status = os.stat(switched["after"])
        assert (status.st_uid, stat.S_IMODE(status.st_mode), mode(path)) == (NOBODY, 0o600, 0o400)


@needs_root
def test_commit_below_a_sealed_image_writes_its_header_and_seals_it_again(ctl):
    with open_folder((NOBODY, NOBODY)) as home:
        path = images.create(home / "vda.qcow2", "8M")
        os.chown(path, NOBODY, NOBODY)
        with QemuOf(disks.blockdev("vda", path)) as vm:
            disks.register(ctl, vm)
            for turn, name in enumerate(("one", "two", "three"), 1):
                vm.qemu_io("vda", f"write -P {turn} {turn}M 64k")
                ctl.ok("snapshot", "vm", name)
            above = home / "vda.two.qcow2"
            assert mode(above) == 0o444
            ctl.ok("commit", "vm", "--top", "two", "--yes")
            assert (mode(above), mode(path)) == (0o444, 0o444)
            assert images.info(above)["full-backing-filename"] == str(path)
            assert ctl.ok("check", "vm")["problems"] == []
            vm.qemu_io("vda", *(f"read -P {turn} {turn}M 64k" for turn in (1, 2, 3)))


def test_commit_that_is_cancelled_seals_its_base_again(vm, ctl, folder):
    disks.register(ctl, vm)
    ctl.ok("snapshot", "vm", "one", "--disk", "vda")
    ctl.ok("commit", "vm", "--disk", "vda", "--yes")
    assert mode(folder / "vda.qcow2") == 0o644, "it is written to"
    (job,) = ctl.ok("jobs", "vm")["jobs"]
    ctl.ok("job", "cancel", "vm", job["job"])
    assert mode(folder / "vda.qcow2") == 0o444
    assert ctl.ok("check", "vm")["problems"] == []
    ctl.ok("commit", "vm", "--disk", "vda", "--pivot", "--yes")
    assert mode(folder / "vda.qcow2") == 0o644, "the guest writes to it"


@needs_root
def test_label_of_the_image_below_is_taken_over(vm, chainctl, folder):
    label = b"system_u:object_r:svirt_image_t:s0:c1,c2\0"
    try:
        os.setxattr(folder / "vda.qcow2", "security.selinux", label)
    except OSError as error:
        pytest.skip(f"no security labels here: {error}")
    ctl = chainctl()
    disks.register(ctl, vm)
    assert ctl.ok("snapshot", "vm", "one")["warnings"] == []
    assert os.getxattr(folder / "vda.one.qcow2", "security.selinux") == label
    assert "security.selinux" not in os.listxattr(folder / "vdb.one.qcow2")
