"""An image of the chain that is missing, was moved, is another file now, or names another backing image than the chain
has, while QEMU still has the right one open: what would write or remove is refused and changes nothing."""
import shutil
import struct

import pytest

from support import disks, images
from support.chains import assert_sound, chained, reads

VERBS = [("commit", "vm", "--pivot"), ("commit", "vm", "--top", "three"), ("stream", "vm"), ("stream", "vm", "--base", "one"),
         ("rollback", "vm", "two", "--reset", "never")]  # fmt: skip
NAME_OFFSET, NAME_LENGTH = 8, 16  # in a qcow2 header


def lie(path):
    """Its header names another backing image from now on; not by qemu-img, since QEMU has it open."""
    raw = str(images.create(path.parent / "v.qcow2", "8M")).encode()
    with open(path, "r+b") as file:
        file.seek(NAME_OFFSET)
        (offset,) = struct.unpack(">Q", file.read(8))
        file.seek(NAME_LENGTH)
        file.write(struct.pack(">I", len(raw)))
        file.seek(offset)
        file.write(raw)


def move(path):
    path.rename(path.parent.parent / "elsewhere")


def remove(path):
    path.unlink()


def replace(path):
    """By its own copy."""
    shutil.copy(path, path.parent.parent / "copy")
    (path.parent.parent / "copy").rename(path)


@pytest.fixture
def one(qemu, chainctl, folder):
    """(vm, ctl): [vda.qcow2] <- [one] <- [two] <- [three, active]"""
    path = images.create(folder / "vda.qcow2", "8M")
    vm, ctl = qemu(disks.blockdev("vda", path), paused=False), chainctl()
    chained(ctl, vm, ["vda"])
    return vm, ctl


PLACES = [(move, "vda.qcow2"), (move, "vda.two.qcow2"), (remove, "vda.one.qcow2"), (replace, "vda.qcow2"),
          (replace, "vda.two.qcow2"), (replace, "vda.three.qcow2"), (lie, "vda.one.qcow2"), (lie, "vda.two.qcow2")]  # fmt: skip


@pytest.mark.parametrize("meddle, image", PLACES, ids=lambda value: getattr(value, "__name__", value))
def test_every_verb_refuses_and_the_guest_goes_on(one, folder, meddle, image):
    vm, ctl = one
    snapshots = ctl.ok("list", "vm")["snapshots"]
    meddle(folder / image)
    for words in VERBS:
        with disks.unchanged(vm, folder):
            message = ctl.fails(9, *words)["message"]
        assert image in message and (meddle != replace or "another file" in message), words
    assert [snapshot["name"] for snapshot in ctl.ok("list", "vm")["snapshots"]] == [one["name"] for one in snapshots]
    assert any(problem["severity"] == "error" and image in str(problem) for problem in ctl.run("check", "vm").json["problems"])
    reads(vm, "vda", 1, 2, 3, 9)


@pytest.mark.parametrize("meddle, image", [*PLACES, (lie, "vda.three.qcow2")], ids=lambda value: getattr(value, "__name__", value))
def test_every_verb_refuses_where_the_vm_is_shut_off(one, folder, meddle, image):
    vm, ctl = one
    vm.monitor().execute("quit")
    vm.wait_exit()
    meddle(folder / image)
    before = disks.files(folder)
    for words in VERBS:
        assert image in ctl.fails(9, *words)["message"], words
    assert disks.files(folder) == before


def test_image_that_is_put_back_is_merged(one, folder):
    vm, ctl = one
    move(folder / "vda.one.qcow2")
    ctl.fails(9, "commit", "vm", "--pivot")
    (folder.parent / "elsewhere").rename(folder / "vda.one.qcow2")
    ctl.ok("commit", "vm", "--top", "three")
    ctl.ok("commit", "vm", "--pivot")
    reads(vm, "vda", 1, 2, 3, 9)
    assert_sound(ctl, vm)


def test_active_image_with_a_lying_header_is_merged_by_nobody_and_gone_back_from_by_what_is_live(one, folder):
    """QEMU has the right image below it; what it is put on then does not ask the header either."""
    vm, ctl = one
    lie(folder / "vda.three.qcow2")
    for words in VERBS[:-1]:
        with disks.unchanged(vm, folder):
            assert "v.qcow2" in ctl.fails(9, *words)["message"], words
    ctl.ok("rollback", "vm", "two", "--reset", "never")
    reads(vm, "vda", 1, 2, 0, 0)
    assert [problem["code"] for problem in ctl.run("check", "vm").json["problems"]] == ["wrong-backing-name"]
