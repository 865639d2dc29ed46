"""The note beside each snapshot's overlay: what is in it, who may read it, what becomes of it; and what misses it."""
import base64
import json
import os

import pytest

from support import disks


@pytest.fixture
def ctl(chainctl, vm):
    """A chainctl that knows that QEMU as "vm"."""
    ctl = chainctl()
    disks.register(ctl, vm, "--quiesce", "off")
    return ctl


def note_of(folder, name, snapshot):
    return folder / f"{name}.{snapshot}.qcow2.chainctl"


def problems(ctl):
    return [(found["code"], found["severity"], found["path"]) for found in ctl.ok("check", "vm")["problems"]]


def test_note_tells_what_the_database_knows_of_its_part(ctl, folder, vm):
    ctl.ok("snapshot", "vm", "one", "--description", "before /* the */ \"upgrade\"", "--tag", "b", "--tag", "a", "--protect")
    said = ctl.ok("show", "vm", "one")["snapshot"]
    for position, name in enumerate(("vda", "vdb")):
        note = json.loads(note_of(folder, name, "one").read_text())
        assert note["chainctl_note"] == 1
        assert (note["vm"]["name"], note["vm"]["qmp"], note["vm"]["quiesce"]) == ("vm", str(vm.qmp), "off")
        assert (note["disk"]["name"], note["disk"]["position"], note["disk"]["ignored"]) == (name, position, False)
        assert note["disk"]["base"]["path"] == note["image"]["path"] == str(folder / f"{name}.qcow2")
        assert note["overlay"]["path"] == str(folder / f"{name}.one.qcow2")
        assert json.loads(note["overlay"]["options"])["aio"]
        for key in ("id", "name", "description", "tags", "protected", "automatic", "consistency", "reason"):
            assert note["snapshot"][key] == said[key], key
        assert note["snapshot"]["disks"] == ["vda", "vdb"] and note["snapshot"]["sequence"] == 1


def test_note_has_the_mode_and_owner_of_its_overlay(ctl, folder):
    os.chmod(folder / "vda.qcow2", 0o640)
    os.chown(folder / "vda.qcow2", 1234, 2345)
    ctl.ok("snapshot", "vm", "one")
    status = note_of(folder, "vda", "one").stat()
    assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o640, 1234, 2345)


def test_check_misses_notes_and_recover_writes_them_again(ctl, folder):
    for name in ("one", "two"):
        ctl.ok("snapshot", "vm", name)
    assert problems(ctl) == []
    missing, outdated = note_of(folder, "vda", "one"), note_of(folder, "vdb", "two")
    texts = {path: path.read_text() for path in (missing, outdated)}
    missing.unlink()
    outdated.write_text(outdated.read_text().replace('"protected":false', '"protected":true'))
    assert problems(ctl) == [("note-missing", "warning", str(missing)), ("note-outdated", "warning", str(outdated))]
    assert ctl.ok("recover", "vm", "--dry-run")["recovered"] == [] and not missing.exists()
    said = ctl.ok("recover", "vm")
    assert [warning["code"] for warning in said["warnings"]] == ["notes-written"]
    assert problems(ctl) == [] and {path: path.read_text() for path in texts} == texts
    assert ctl.ok("recover", "vm")["warnings"] == []


def test_damaged_note_is_told_and_left(ctl, folder):
    ctl.ok("snapshot", "vm", "one")
    path = note_of(folder, "vda", "one")
    path.write_text(path.read_text()[:-20])
    assert problems(ctl) == [("note-damaged", "warning", str(path))]
    assert [warning["code"] for warning in ctl.ok("recover", "vm")["warnings"]] == ["note-not-written"]
    path.rename(folder / "kept")
    ctl.ok("recover", "vm")
    assert problems(ctl) == []


def test_file_in_the_way_of_a_note_stays_and_the_snapshot_is_taken(ctl, folder):
    path = note_of(folder, "vda", "one")
    path.write_text("mine")
    said = ctl.ok("snapshot", "vm", "one")
    assert [warning["code"] for warning in said["warnings"]] == ["note-not-written"]
    assert path.read_text() == "mine" and note_of(folder, "vdb", "one").exists()


def test_vm_that_is_removed_leaves_its_notes(ctl, folder):
    ctl.ok("snapshot", "vm", "one")
    before = disks.files(folder)
    ctl.ok("vm", "remove", "vm")
    assert disks.files(folder) == before and note_of(folder, "vda", "one").exists()


def test_dry_run_writes_no_note(ctl, vm, folder):
    with disks.unchanged(vm, folder):
        ctl.ok("snapshot", "vm", "one", "--dry-run")


def test_own_monitor_path_that_is_no_utf_8_comes_through(qemu, chainctl, folder, tmp_path):
    """Images with such names no QMP could name; a socket of such a name is opened by us alone."""
    vm, ctl = qemu(disks.two(folder)[0]), chainctl()
    odd = os.fsencode(tmp_path) + b"/m\xff"
    os.symlink(os.fsencode(vm.qmp), odd)
    ctl.ok("vm", "add", "vm", "--qmp", os.fsdecode(odd))
    ctl.ok("snapshot", "vm", "one")
    note = json.loads(note_of(folder, "vda", "one").read_text())
    assert base64.b64decode(note["vm"]["qmp_b64"]) == odd
    assert problems(ctl) == []
