"""`rollback` as a script and a person see it: its document, what it says, and the question before anything is lost."""
import pytest

from support import disks, images
from test_terminal import on_terminal


@pytest.fixture
def vm(qemu, chainctl, tmp_path):
    """(vm, ctl): one disk, with a snapshot 'one'."""
    path = images.create(tmp_path / "vda.qcow2", "8M")
    made, ctl = qemu(disks.blockdev("vda", path), paused=False), chainctl()
    disks.register(ctl, made)
    ctl.ok("snapshot", "vm", "one")
    return made, ctl


def test_document_has_the_keys_of_the_contract(vm):
    _, ctl = vm
    done = ctl.ok("rollback", "vm", "one", "--reset", "never")
    assert set(done["rollback"]) == {"to", "automatic_snapshot", "reset"}
    assert [set(disk) for disk in done["active"]] == [{"disk", "before", "after"}]
    assert done["frozen_us"] is None and done["paused_us"] > 0 and done["removed"] == []


@pytest.mark.parametrize("answer, status", [("n\n", 1), ("\n", 1), ("y\n", 0)])
def test_a_person_is_asked_before_a_head_is_lost(vm, answer, status):
    machine, ctl = vm
    before = ctl.ok("path", "vm", "vda")["path"]
    code, text = on_terminal(ctl, "rollback", "vm", "one", "--discard", "--reset", "never", typed=answer)
    assert code == status and "lost" in text and "[y/N]" in text
    assert (machine.monitor().chain("vda")[0] == before) == (status != 0)


@pytest.mark.parametrize("words", [["--discard", "--yes"], ["--discard", "--dry-run"], []])
def test_nobody_is_asked_where_nothing_is_lost_or_it_was_said_before(vm, words):
    _, ctl = vm
    code, text = on_terminal(ctl, "rollback", "vm", "one", "--reset", "never", *words)
    assert code == 0 and "[y/N]" not in text


def test_way_back_is_said(vm):
    _, ctl = vm
    code, text = on_terminal(ctl, "rollback", "vm", "one", "--reset", "never")
    automatic = ctl.ok("list", "vm")["snapshots"][-1]["name"]
    assert code == 0 and f"chainctl rollback vm {automatic}" in text
