"""The half-made copy of an interrupted mirror, after somebody has put it to use in place, so that its inode tells nothing:
it is not taken back. One that is still what was made goes."""
import shutil
import sqlite3

import pytest

from support import disks, images
from support.chains import REGION, fill
from support.merges import await_jobs
from support.mirrors import await_progress

SIZE = "8M"
SLOW = "1M"  # bytes a second


@pytest.fixture
def cut(qemu, chainctl, folder):
    """(ctl, copy): a mirror of a disk to that qcow2 was killed mid copy, with its QEMU."""
    return interrupted(qemu, chainctl(), folder, "qcow2")


def interrupted(qemu, ctl, folder, form):
    vm, copy = qemu(disks.blockdev("vda", images.create(folder / "vda.qcow2", SIZE)), paused=False), folder / f"X.{form}"
    disks.register(ctl, vm)
    fill(vm, "vda", 5, 0, 100)
    running = ctl.start("mirror", "vm", "--to", copy, "--format", form, "--pivot", "--speed", SLOW)
    await_jobs(vm, 1, "running")
    await_progress(vm)
    running.kill()
    running.communicate()
    vm.kill()
    return ctl, copy


def assert_kept(ctl, copy, word):
    """With a warning; the mirror is undone all the same, and never spoken of again."""
    before = images.sha256(copy)
    done = ctl.ok("recover", "vm")
    assert [entry["outcome"] for entry in done["recovered"]] == ["undone"]
    [warning] = [one["message"] for one in done["warnings"] if one["code"] == "left-alone"]
    assert str(copy) in warning and word in warning
    assert images.sha256(copy) == before
    assert ctl.ok("recover", "vm")["recovered"] == []


def test_copy_that_is_as_it_was_made_is_taken_back(cut):
    ctl, copy = cut
    assert images.info(copy)["actual-size"] > 1 << 20
    assert ctl.ok("recover", "vm")["warnings"] == []
    assert not copy.exists()


def test_copy_of_an_older_version_that_noted_no_stamp_is_taken_back(cut):
    ctl, copy = cut
    with sqlite3.connect(ctl.state_dir / "chainctl.db") as db:
        changed = db.execute("UPDATE operation SET intent = json_remove(intent, '$.copies.overlays[0].stamp') "
                             "WHERE json_extract(intent, '$.copies.overlays[0].stamp') IS NOT NULL AND state = 'open'")  # fmt: skip
        assert changed.rowcount == 1
    assert ctl.ok("recover", "vm")["warnings"] == []
    assert not copy.exists()


@pytest.mark.parametrize("made_by", ["qemu-img", "chainctl"])
def test_copy_that_something_was_copied_into_stays(cut, qemu, chainctl, tmp_path, made_by):
    """The user's image has the same shape; one that another mirror made is even laid out the same."""
    ctl, copy = cut
    mine = tmp_path / "mine.qcow2"
    if made_by == "qemu-img":
        images.create(mine, SIZE)
    else:
        (tmp_path / "other").mkdir()
        vm, other = qemu(disks.blockdev("vda", images.create(tmp_path / "other" / "vda.qcow2", SIZE)), paused=False), chainctl(tmp_path / "other-state")
        disks.register(other, vm)
        other.ok("mirror", "vm", "--to", mine)
    images.write(mine, f"write -P 9 0 {REGION}")
    inode = copy.stat().st_ino
    shutil.copyfile(mine, copy)
    assert copy.stat().st_ino == inode
    assert_kept(ctl, copy, "something else")
    images.reads(copy, 9, 0, REGION)


@pytest.mark.parametrize("form", ["qcow2", "raw"])
def test_copy_that_another_vm_was_moved_to_stays(qemu, chainctl, folder, tmp_path, form):
    """By another database: in this one it would be known. That VM is shut off, and nothing holds the file."""
    ctl, copy = interrupted(qemu, chainctl(), folder, form)
    (tmp_path / "other").mkdir()
    vm, other = qemu(disks.blockdev("vda", images.create(tmp_path / "other" / "vda.qcow2", SIZE)), paused=False), chainctl(tmp_path / "other-state")
    disks.register(other, vm)
    fill(vm, "vda", 7, 0)
    other.ok("mirror", "vm", "--to", copy, "--format", form, "--existing", "--pivot")
    vm.kill()
    assert (folder / f"{copy.name}.chainctl").exists()
    assert_kept(ctl, copy, "note")
    assert other.ok("path", "vm", "vda")["path"] == str(copy)
    assert other.ok("check", "vm")["problems"] == []
