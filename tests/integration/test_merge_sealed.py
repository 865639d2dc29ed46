"""Sealed images under a QEMU that may write only where a file's mode lets it: a merge opens up what it writes to, and
seals it again."""
import contextlib
import os
import stat

import pytest

from support import disks, images
from support.chains import assert_sound, chained, fill, reads
from support.users import NOBODY, QemuOf, needs_root, open_folder

pytestmark = needs_root


@contextlib.contextmanager
def machine(ctl, owner, mode):
    """(vm, folder): three snapshots, in a QEMU that is nobody's, and in nobody's group."""
    with open_folder((NOBODY, NOBODY)) as home:
        path = images.create(home / "vda.qcow2", "8M")
        path.chmod(mode)
        os.chown(path, *owner)
        with QemuOf(disks.blockdev("vda", path), paused=False) as vm:
            chained(ctl, vm, ["vda"])
            yield vm, home


@pytest.fixture
def sealing(chainctl, tmp_path):
    (tmp_path / "conf").write_text("[overlay]\nseal=on\n")
    return chainctl(env={"CHAINCTL_CONFIG": str(tmp_path / "conf")})


@pytest.fixture
def sealed(sealing):
    """(vm, ctl, folder): its images are its own, and sealed."""
    with machine(sealing, (NOBODY, NOBODY), 0o640) as (vm, home):
        assert modes(home) == {"vda": "r--r-----", "vda.one": "r--r-----", "vda.two": "r--r-----", "vda.three": "rw-r-----"}
        yield vm, sealing, home


def modes(folder):
    """{image: its mode}"""
    return {path.stem: stat.filemode(path.stat().st_mode)[1:] for path in folder.glob("*.qcow2")}


def test_base_that_becomes_active_is_the_guests_to_write_to(sealed):
    vm, ctl, folder = sealed
    ctl.ok("commit", "vm", "--pivot")
    assert modes(folder) == {"vda": "rw-r-----"}
    fill(vm, "vda", 7, 4)
    reads(vm, "vda", 1, 2, 3, 9, 7)
    assert_sound(ctl, vm)


@pytest.mark.parametrize("top, left", [("three", {"vda"}), ("two", {"vda", "vda.two"})])
def test_image_that_stays_frozen_is_sealed_again(sealed, top, left):
    vm, ctl, folder = sealed
    ctl.ok("commit", "vm", "--top", top)
    assert modes(folder) == {**dict.fromkeys(left, "r--r-----"), "vda.three": "rw-r-----"}
    reads(vm, "vda", 1, 2, 3, 9)
    assert_sound(ctl, vm)


def test_receiver_of_a_stream_is_sealed_again(sealed):
    vm, ctl, folder = sealed
    ctl.ok("stream", "vm", "--top", "three", "--base", "base")
    assert modes(folder) == {"vda": "r--r-----", "vda.one": "r--r-----", "vda.two": "r--r-----", "vda.three": "rw-r-----"}
    reads(vm, "vda", 1, 2, 3, 9)
    assert_sound(ctl, vm)


def test_cancelled_commit_leaves_the_base_sealed(sealed):
    vm, ctl, folder = sealed
    op = ctl.ok("commit", "vm")["op"]
    assert modes(folder)["vda"] == "rw-r-----"
    ctl.ok("job", "cancel", "vm", op)
    assert modes(folder)["vda"] == "r--r-----"
    reads(vm, "vda", 1, 2, 3, 9)
    assert_sound(ctl, vm)


def test_commit_that_qemu_is_killed_in_is_sealed_by_its_recovery(sealed):
    vm, ctl, folder = sealed
    ctl.ok("commit", "vm")
    vm.kill()
    ctl.ok("recover", "vm")
    assert modes(folder)["vda"] == "r--r-----"
    vm.arguments = disks.blockdev("vda", ctl.ok("path", "vm", "vda")["path"])
    vm.start()
    reads(vm, "vda", 1, 2, 3, 9)
    ctl.ok("commit", "vm", "--pivot")
    assert modes(folder) == {"vda": "rw-r-----"}
    reads(vm, "vda", 1, 2, 3, 9)


def test_image_that_qemus_group_may_write_to_is_opened_up_for_the_group(sealing):
    with machine(sealing, (0, NOBODY), 0o660) as (vm, folder):
        assert modes(folder)["vda"] == "r--r-----"
        sealing.ok("commit", "vm", "--top", "two")
        sealing.ok("commit", "vm", "--pivot")
        assert modes(folder) == {"vda": "rw-rw----"}
        reads(vm, "vda", 1, 2, 3, 9)
        assert_sound(sealing, vm)


@pytest.mark.parametrize("words, image", [(("commit", "vm", "--top", "two"), "vda.qcow2"), (("commit", "vm", "--pivot"), "vda.qcow2"),
                                          (("commit", "vm", "--top", "two"), "vda.two.qcow2"),
                                          (("stream", "vm", "--top", "three", "--base", "base"), "vda.two.qcow2")])  # fmt: skip
def test_image_that_qemu_may_not_write_to_is_named_before_anything_is_begun(chainctl, words, image):
    """QEMU, which has it open for reading, would die of a header that it cannot change."""
    ctl = chainctl()
    with machine(ctl, (NOBODY, NOBODY), 0o640) as (vm, folder):
        os.chown(folder / image, 0, 0)
        (folder / image).chmod(0o644)
        with disks.unchanged(vm, folder):
            assert image in ctl.fails(9, *words)["message"]
        os.chown(folder / image, NOBODY, NOBODY)
        ctl.ok(*words)
        reads(vm, "vda", 1, 2, 3, 9)
