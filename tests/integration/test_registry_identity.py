"""Another VM at the registered socket: every verb that connects refuses it."""
import contextlib
import sqlite3

import pytest

from support import disks
from support.qmp import Qmp

UUID = "0b6d6a52-4f5a-4a0e-9d3b-6d1f2a7c8e90"
OTHER = UUID.replace("0b", "0c")


@pytest.fixture
def vm(qemu, folder):
    agent = ["-device", "virtio-serial", "-chardev", f"socket,id=ga,path={folder}/ga,server=on,wait=off",
             "-device", "virtserialport,chardev=ga,name=org.qemu.guest_agent.0"]  # fmt: skip
    return qemu([*disks.two(folder)[0], *agent], uuid=UUID)


@pytest.fixture
def ctl(chainctl, vm, folder):
    """Registered, and then another machine with the same images and sockets starts in its place."""
    ctl = chainctl()
    disks.register(ctl, vm, "--agent", f"unix:{folder}/ga")
    ctl.ok("snapshot", "vm", "one", "--quiesce", "off")
    vm.kill()
    vm.uuid = OTHER
    vm.arguments = [word.replace(f"{d}.qcow2", f"{d}.one.qcow2") if "filename=" in word else word
                    for word in vm.arguments for d in [word.rpartition("/")[2].partition(".")[0]]]  # fmt: skip
    vm.start()
    return ctl


@pytest.mark.parametrize("words", [["snapshot", "vm", "two"], ["path", "vm", "vda"], ["guest", "vm", "thaw"],
                                   ["guest", "vm", "ping"], ["guest", "vm", "status"], ["vm", "rescan", "vm"]])  # fmt: skip
def test_verb_refuses_it(ctl, vm, folder, words):
    with disks.unchanged(vm, folder):
        error = ctl.fails(9, *words, "--timeout", "5")
    assert error["code"] == "drift" and UUID in error["message"] and OTHER in error["message"], error
    assert "chainctl vm rescan vm --accept" in error["hint"]


def test_check_reports_it_and_show_warns_of_it(ctl):
    result = ctl.run("check", "vm")
    assert result.status == 7 and [one["code"] for one in result.json["problems"]] == ["another-vm"]
    assert "another-vm" in [one["code"] for one in ctl.ok("vm", "show", "vm")["warnings"]]
    assert "another-vm" in [one["code"] for one in ctl.ok("vm", "list")["warnings"]]


def test_recovery_touches_nothing_of_it(ctl, vm, folder):
    """What the other VM's graph shows says nothing of what became of an operation on this one."""
    with contextlib.closing(sqlite3.connect(ctl.state_dir / "chainctl.db")) as database, database:
        database.execute("INSERT INTO operation (id, vm, vm_name, verb, run_by, pid, boot, started_us, state, intent) "
                         "SELECT 'op', id, name, 'snapshot', 'me', 1, 'boot', 1, 'open', '{}' FROM vm")  # fmt: skip
    with disks.unchanged(vm, folder):
        error = ctl.fails(9, "recover", "vm")
    assert error["code"] == "drift" and OTHER in error["message"], error


def test_agent_is_still_reached_while_somebody_else_has_the_monitor(ctl, vm):
    """What thaws a guest by hand must not hang on a monitor that is busy."""
    with Qmp(vm.qmp):
        assert ctl.run("guest", "vm", "ping", "--timeout", "1").status == 4, "no agent runs there, but it was tried"
