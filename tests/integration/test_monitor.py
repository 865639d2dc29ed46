"""Monitors of a real QEMU that are not quite as usual: pretty, silent, slow, gone half way."""
import os
import pathlib
import shutil
import signal
import tempfile
import threading
import time

import pytest

from support import disks, images, process
from support.proxy import Proxy

PATIENCE = 3  # seconds: what a monitor that is slow on purpose is given, and one on a busy machine needs


@pytest.fixture
def short():
    """A folder whose path leaves room for the name of a socket."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ck-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("spelling", ["-mon", "-qmp-pretty"])
def test_monitor_that_prints_prettily_is_understood(qemu, chainctl, folder, short, spelling):
    words = {
        "-mon": [
            *("-chardev", f"socket,id=p,path={short}/p,server=on,wait=off"),
            *("-mon", "chardev=p,mode=control,pretty=on"),
        ],
        "-qmp-pretty": ["-qmp-pretty", f"unix:{short}/p,server=on,wait=off"],
    }[spelling]  # fmt: skip
    vm, ctl = qemu([*words, *disks.two(folder)[0]]), chainctl()
    ctl.ok("vm", "add", "vm", "--qmp", short / "p", "--quiesce", "off")
    ctl.ok("snapshot", "vm", "one")
    assert vm.monitor().chain("vda") == [str(folder / "vda.one.qcow2"), str(folder / "vda.qcow2")]
    assert ctl.ok("check", "vm")["problems"] == []


@pytest.mark.parametrize("spelling", ["unix:", "", "relative"])
def test_socket_is_named_with_or_without_its_kind_and_kept_absolute(qemu, chainctl, folder, spelling):
    vm, ctl = qemu(disks.two(folder)[0]), chainctl()
    word = vm.qmp.name if spelling == "relative" else f"{spelling}{vm.qmp}"
    added = ctl.ok("vm", "add", "vm", "--qmp", word, cwd=vm.folder)["vm"]
    assert added["qmp"].removeprefix("unix:") == str(vm.qmp)
    ctl.ok("snapshot", "vm", "one", cwd="/")
    assert len(vm.monitor().chain("vda")) == 2


def test_hundreds_of_nodes_that_are_none_of_ours_do_no_harm(qemu, chainctl, folder):
    vm, ctl = qemu(disks.two(folder)[0]), chainctl()
    for number in range(300):
        vm.monitor().execute("blockdev-add", driver="null-co", node_name=f"n{number}", size=1 << 20)
    ctl.ok("vm", "add", "vm", "--qmp", vm.qmp, "--quiesce", "off")
    before = set(disks.nodes(vm))
    ctl.ok("snapshot", "vm", "one")
    assert before < set(disks.nodes(vm)) and len(set(disks.nodes(vm)) - before) == 4


def test_qemu_that_stands_still_is_given_up_in_time_and_works_later(qemu, chainctl, folder):
    vm, ctl = qemu(disks.two(folder)[0]), chainctl()
    ctl.ok("vm", "add", "vm", "--qmp", vm.qmp, "--quiesce", "off")
    vm.process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        error = ctl.fails(4, "--timeout", "1", "snapshot", "vm", "one")
        assert 0.9 < time.monotonic() - began < 3
        assert str(vm.qmp) in error["message"]
        assert ctl.ok("--timeout", "0.3", "vm", "show", "vm")["vm"]["state"] == "unreachable"
    finally:
        vm.process.send_signal(signal.SIGCONT)
    assert len(vm.monitor().chain("vda")) == 1
    ctl.ok("snapshot", "vm", "one")
    assert len(vm.monitor().chain("vda")) == 2


@pytest.mark.parametrize("command", ["qmp_capabilities", "query-status", "query-named-block-nodes", "blockdev-add"])
def test_monitor_that_greets_and_then_is_slow_costs_the_snapshot_and_nothing_else(qemu, chainctl, folder, command):
    """What was sent is still done, later; after the next verb nothing is there that was not there before."""
    vm, ctl, slow, sent = qemu(disks.two(folder)[0]), chainctl(), [], threading.Event()

    def linger(name, _):
        if name == command and slow == ["armed"]:
            slow[:] = ["done"]
            time.sleep(3 * PATIENCE)
            sent.set()

    before = disks.files(folder)
    with Proxy(vm.folder / "m", vm.qmp, [], linger):
        ctl.ok("vm", "add", "vm", "--qmp", vm.folder / "m", "--quiesce", "off")
        nodes = disks.nodes(vm)
        slow.append("armed")
        result = ctl.run("--timeout", str(PATIENCE), "snapshot", "vm", "one")
        assert result.status in (4, 8) and result.json["error"]["message"] and slow == ["done"], result
        assert sent.wait(60)
        time.sleep(1)  # what was sent is done now
        assert ctl.ok("list", "vm")["snapshots"] == []
        assert disks.nodes(vm) == nodes and disks.files(folder) == before
        assert vm.monitor().execute("query-jobs") == []
        assert ctl.ok("check", "vm")["problems"] == []
        ctl.ok("snapshot", "vm", "one")
    assert vm.monitor().chain("vda") == [str(folder / "vda.one.qcow2"), str(folder / "vda.qcow2")]


@pytest.mark.parametrize("lingers, status", [(3 * PATIENCE, 8), (0.5 * PATIENCE, 0)])
def test_transaction_that_is_answered_late_is_never_called_undone(qemu, chainctl, folder, lingers, status):
    vm, ctl, struck = qemu(disks.two(folder)[0]), chainctl(), []

    def linger(name, _):
        if name == "transaction":
            struck.append(name)
            time.sleep(lingers)

    with Proxy(vm.folder / "m", vm.qmp, [], linger):
        ctl.ok("vm", "add", "vm", "--qmp", vm.folder / "m", "--quiesce", "off")
        result = ctl.run("--timeout", str(PATIENCE), "snapshot", "vm", "one")
        assert result.status == status and struck == ["transaction"], result
        process.wait_until(lambda: len(vm.monitor().chain("vda")) == 2, 60, "the switch")
        assert len(vm.monitor().chain("vdb")) == 2
        [operation] = ctl.ok("log", "vm")["operations"]
        assert operation["state"] == "done", "and where it was not known at first, the next verb has found out"
        assert [entry["name"] for entry in ctl.ok("list", "vm")["snapshots"]] == ["one"]
        assert ctl.ok("check", "vm")["problems"] == []
    assert images.is_clean(folder / "vda.one.qcow2") and os.path.exists(folder / "vdb.one.qcow2")
