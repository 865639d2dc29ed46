"""Whoever froze a guest thaws it: after success, error, timeout and signal, and when it is killed while frozen.

Four guests, one for each kind of agent that the tests need: whole, slow to freeze, forbidden to freeze, silent.
"""
import contextlib
import os
import pathlib
import signal
import time

import pytest

from support import disks, images, ledger, process
from support.chainctl import Chainctl, finish
from support.guest import Guest
from support.proxy import Proxy
from support.qmp import QmpError, connect_unix

SLOW_HOOK_S = 3


class Rig:
    """A guest, and a chainctl that knows it as "vm"."""

    def __init__(self, vm, folder):
        self.vm, self.ctl = vm, Chainctl(folder / "state")
        disks.register(self.ctl, vm, "--agent", f"unix:{vm.agent_socket}")

    def agent_says(self):
        with self.vm.agent() as agent:
            return agent.execute("guest-fsfreeze-status")

    def depth(self):
        return len(self.vm.monitor().chain("vda")), len(self.vm.monitor().chain("vdb"))

    def names(self):
        return [entry["name"] for entry in self.ctl.ok("list", "vm")["snapshots"]]

    def files_called(self, name):
        """Files beside the active images that carry the name."""
        return [path for disk in self.vm.images
                for path in pathlib.Path(self.vm.monitor().chain(disk)[0]).parent.glob(f"*{name}*")]  # fmt: skip

    def assert_alive(self):
        assert self.agent_says() == "thawed"
        self.vm.wait_ledger_advance()


def guest_of(guest_image, tmp_path_factory, words=""):
    return Guest(guest_image, tmp_path_factory.mktemp("guard"), cmdline=words, size="64M")


@pytest.fixture(scope="module")
def whole_guest(guest_image, tmp_path_factory):
    with guest_of(guest_image, tmp_path_factory) as vm:
        yield vm.wait_ready()


@pytest.fixture(scope="module")
def slow_guest(guest_image, tmp_path_factory):
    with guest_of(guest_image, tmp_path_factory, "chainctl.hook=slow") as vm:
        yield vm.wait_ready()


@pytest.fixture
def whole(whole_guest, tmp_path):
    """The guest that all such tests share, as it is now, in a database of this test's own."""
    with whole_guest.awake():
        yield Rig(whole_guest, tmp_path)


@pytest.fixture
def slow(slow_guest, tmp_path):
    with slow_guest.awake():
        yield Rig(slow_guest, tmp_path)


def watchdogs(parent=None):
    """Watchdog processes: those of a chainctl that runs, or those that came to us when theirs had died."""
    if parent is None:
        return process.children_with("--watchdog")
    children = pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in children if b"--watchdog" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()]


def assert_no_watchdog(patience=8):
    process.wait_until(lambda: not watchdogs(), patience, "the end of the watchdog")


def sweep(vm):
    """Takes back by hand what a killed process left in QEMU, so that the next test finds the guest as new."""
    left = [name for name in disks.nodes(vm) if name.startswith("cc-")]
    for name in sorted(left, key=lambda name: name.endswith("f")):
        with contextlib.suppress(QmpError):  # what is in use was switched to
            vm.monitor().execute("blockdev-del", node_name=name)


@contextlib.contextmanager
def watched(rig, folder, before):
    """A chainctl with a database of its own that reaches the guest through proxies. Yields it, and their log."""
    vm, log = rig.vm, []
    with Proxy(vm.folder / "m", vm.qmp, log, before), Proxy(vm.folder / "a", vm.agent_socket, log, before):
        ctl = Chainctl(folder / "watched")
        ctl.ok("vm", "add", "vm", "--qmp", vm.folder / "m", "--agent", f"unix:{vm.folder / 'a'}")
        log.clear()
        yield ctl, log
    sweep(vm)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_killed_while_the_agent_freezes_the_guest_is_thawed_and_nothing_has_changed(slow, tmp_path, number):
    depth, nodes, console = slow.depth(), disks.nodes(slow.vm), len(slow.vm.console_text())
    ctl = slow.ctl
    started = ctl.start("snapshot", "vm", "killed", "--dir", tmp_path)
    slow.vm.wait_console(r"^chainctl-hook: freeze$", after=console)
    started.send_signal(number)
    result = finish(started)
    slow.vm.wait_console(r"^chainctl-hook: thaw$", timeout=SLOW_HOOK_S + 5, after=console)
    assert_no_watchdog()
    slow.assert_alive()
    assert slow.depth() == depth and ctl.ok("list", "vm")["snapshots"] == []
    if number == signal.SIGKILL:
        assert result.status == -signal.SIGKILL
    else:
        assert result.status == 1 and result.json["error"]["code"] == "cancelled"
    # After SIGKILL it was the first of these verbs that took back what was begun.
    assert ctl.ok("log", "vm")["operations"][-1]["state"] == "undone"
    assert ctl.ok("check", "vm")["problems"] == []
    assert not slow.files_called("killed") and not list(tmp_path.glob("*killed*"))
    assert not [name for name in disks.nodes(slow.vm) if name.startswith("cc-") and name not in nodes]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("moment", ["guest-fsfreeze-freeze", "transaction", "guest-fsfreeze-thaw"])
def test_signalled_at_a_moment_of_the_frozen_phase_the_guest_is_thawed(whole, tmp_path, moment, number):
    """The signal arrives before the command does, so that what it interrupts is certain."""
    vm, running = whole.vm, {}

    def strike(command, _):
        if command == moment and "process" in running:
            running.pop("process").send_signal(number)
            time.sleep(0.05)  # for the signal to be taken before the command is

    with watched(whole, tmp_path, strike) as (ctl, log):
        depth, console = whole.depth(), len(vm.console_text())
        running["process"] = started = ctl.start("snapshot", "vm", "struck", "--dir", tmp_path)
        result = finish(started)
        assert "process" not in running, "the moment never came"
        assert_no_watchdog()
        assert ("a", "guest-fsfreeze-thaw") in log, log[-8:]
        vm.wait_console(r"^chainctl-hook: thaw$", timeout=5, after=console)
        whole.assert_alive()
        switched = [now - before for now, before in zip(whole.depth(), depth)]
        assert switched in ([0, 0], [1, 1]), "all disks or none"
        if number != signal.SIGKILL:
            taken = [entry["name"] for entry in ctl.ok("list", "vm")["snapshots"]]
            assert taken == (["struck"] if switched == [1, 1] else [])
            assert (result.status == 0) == (switched == [1, 1]), result
            assert ctl.ok("check", "vm")["problems"] == []


@pytest.mark.parametrize("moment", ["blockdev-add", "guest-fsfreeze-freeze", "transaction"])
def test_watchdog_that_dies_leaves_no_frozen_guest(whole, tmp_path, moment):
    running, killed = {}, []

    def strike(command, _):
        if command == moment and "process" in running and not killed:
            killed.extend(watchdogs(running["process"].pid))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    with watched(whole, tmp_path, strike) as (ctl, log):
        depth = whole.depth()
        running["process"] = started = ctl.start("snapshot", "vm", "lonely", "--dir", tmp_path)
        result = finish(started)
        assert len(killed) == 1
        if moment == "blockdev-add":
            assert result.status != 0 and whole.depth() == depth
            assert ("a", "guest-fsfreeze-freeze") not in log, "no watchdog, no freeze"
        elif result.status == 0:
            assert result.json["snapshot"]["consistency"] == "crash"
        whole.assert_alive()
        assert ctl.ok("check", "vm")["problems"] == []


def test_hung_chainctl_is_overtaken_by_its_watchdog_after_five_seconds(whole, tmp_path):
    vm, running, frozen_at = whole.vm, {}, []

    def strike(command, _):
        if command == "transaction" and "process" in running:
            frozen_at.append(time.monotonic())
            running.pop("process").send_signal(signal.SIGSTOP)

    with watched(whole, tmp_path, strike) as (ctl, _):
        console = len(vm.console_text())
        running["process"] = started = ctl.start("snapshot", "vm", "hung", "--dir", tmp_path)
        vm.wait_console(r"^chainctl-hook: thaw$", timeout=10, after=console)
        assert 3 < time.monotonic() - frozen_at[0] < 6.5
        vm.wait_ledger_advance()
        started.send_signal(signal.SIGCONT)
        result = finish(started)
        assert result.status == 0 and result.json["snapshot"]["consistency"] == "crash", result
        assert result.json["snapshot"]["reason"]
        whole.assert_alive()
        assert_no_watchdog()


def test_freeze_that_takes_too_long_is_thawed_and_auto_goes_on_without(slow):
    console, began = len(slow.vm.console_text()), time.monotonic()
    said = slow.ctl.ok("snapshot", "vm", "late", "--freeze-timeout", "0.5")
    assert said["snapshot"]["consistency"] == "crash" and said["snapshot"]["reason"]
    assert "agent-silent" in [warning["code"] for warning in said["warnings"]]
    assert time.monotonic() - began < SLOW_HOOK_S + 10
    slow.vm.wait_console(r"^chainctl-hook: thaw$", timeout=5, after=console)
    slow.assert_alive()
    assert_no_watchdog()
    ledger.assert_atomic(*[part["image"] for part in said["snapshot"]["disks"]], replay=True)


def test_freeze_that_takes_too_long_fails_under_require_and_nothing_has_changed(slow):
    depth = slow.depth()
    error = slow.ctl.fails(5, "snapshot", "vm", "never", "--quiesce", "require", "--freeze-timeout", "0.5")
    assert error["code"] == "agent-timeout"
    slow.assert_alive()
    assert_no_watchdog()
    assert slow.depth() == depth and "never" not in slow.names() and not slow.files_called("never")


def test_slow_freeze_within_its_time_is_quiesced(slow):
    said = slow.ctl.ok("snapshot", "vm", "patient")
    assert said["snapshot"]["consistency"] == "filesystem"
    assert said["frozen_us"] < SLOW_HOOK_S * 1_000_000, "what the hook took before the freeze is not frozen time"
    slow.assert_alive()
    ledger.assert_quiesced(*[part["image"] for part in said["snapshot"]["disks"]])


@pytest.mark.parametrize("mode", ["auto", "require"])
def test_guest_that_somebody_else_froze_is_refused_and_left_frozen(whole, mode):
    depth = whole.depth()
    with whole.vm.agent() as agent:
        agent.execute("guest-fsfreeze-freeze")
    try:
        assert whole.ctl.fails(9, "snapshot", "vm", "never", "--quiesce", mode)["code"] == "frozen-by-other"
        assert whole.agent_says() == "frozen"
        assert whole.depth() == depth and "never" not in whole.names()
        assert whole.ctl.ok("guest", "vm", "status")["guest"] == {"status": "frozen"}
        assert whole.ctl.ok("guest", "vm", "thaw")["guest"]["status"] == "thawed"
        assert whole.agent_says() == "thawed"
    finally:
        with whole.vm.agent() as agent:
            agent.execute("guest-fsfreeze-thaw")
    whole.assert_alive()


def test_transaction_that_is_refused_thaws(whole, tmp_path):
    vm, monitor, other = whole.vm, whole.vm.monitor(), tmp_path / "other.qcow2"
    node, path = disks.inserted(vm, "vdb")["node-name"], monitor.chain("vdb")[0]
    images.create(other, "64M", backing=path)
    monitor.execute("blockdev-add", driver="file", node_name="of", filename=str(other))
    monitor.execute("blockdev-add", driver="qcow2", node_name="oq", file="of", backing=node)
    depth, console = whole.depth(), len(vm.console_text())
    whole.ctl.fails(1, "snapshot", "vm", "refused")
    monitor.execute("blockdev-del", node_name="oq")
    monitor.execute("blockdev-del", node_name="of")
    assert whole.depth() == depth
    vm.wait_console(r"^chainctl-hook: freeze$", timeout=5, after=console)
    vm.wait_console(r"^chainctl-hook: thaw$", timeout=5, after=console)
    whole.assert_alive()
    assert_no_watchdog()


def test_agent_socket_held_by_somebody_else_is_silence(whole):
    with whole.vm.agent():
        error = whole.ctl.fails(4, "--timeout", "1", "guest", "vm", "ping")
        assert error["code"] == "agent-timeout"
        said = whole.ctl.ok("--timeout", "4", "snapshot", "vm", "alone")
        assert said["snapshot"]["consistency"] == "crash"
        assert "agent-silent" in [warning["code"] for warning in said["warnings"]]
    process.wait_until(lambda: can_connect(whole.vm.agent_socket), 60, "an agent's socket without a queue")
    whole.assert_alive()


def can_connect(path):
    """Those who gave up still stand in the queue of a socket that serves one at a time, and the queue is short."""
    with contextlib.suppress(BlockingIOError):
        connect_unix(path, 5).close()
        return True


def test_forbidden_freeze_is_named_with_the_line_to_change(guest_image, tmp_path_factory, tmp_path):
    with guest_of(guest_image, tmp_path_factory, "chainctl.agent_args=-b%20guest-fsfreeze-freeze") as vm:
        rig = Rig(vm.wait_ready(), tmp_path)
        said = rig.ctl.ok("snapshot", "vm", "one")
        [warning] = said["warnings"]
        for word in ("guest-fsfreeze-freeze", "block-rpcs", "/etc/qemu/qemu-ga.conf"):
            assert word in warning["message"] and word in said["snapshot"]["reason"]
        assert said["snapshot"]["consistency"] == "crash"
        error = rig.ctl.fails(5, "snapshot", "vm", "two", "--quiesce", "require")
        assert error["code"] == "not-quiesced" and "block-rpcs" in error["message"]
        assert rig.names() == ["one"]
        rig.assert_alive()


def test_silent_agent_is_waited_for_no_longer_than_the_timeout(guest_image, tmp_path_factory, tmp_path):
    with guest_of(guest_image, tmp_path_factory, "chainctl.agent=off") as vm:
        vm.wait_ready()
        ctl = Chainctl(tmp_path / "state")
        added = ctl.ok("--timeout", "4", "vm", "add", "vm", "--qmp", vm.qmp, "--agent", f"unix:{vm.agent_socket}")
        assert [warning["code"] for warning in added["warnings"]] == ["agent-silent"]
        began = time.monotonic()
        said = ctl.ok("--timeout", "4", "snapshot", "vm", "one")
        assert time.monotonic() - began < 9  # by itself it would be 10
        assert said["snapshot"]["consistency"] == "crash"
        assert [warning["code"] for warning in said["warnings"]] == ["agent-silent"]
        error = ctl.fails(5, "--timeout", "4", "snapshot", "vm", "two", "--quiesce", "require")
        assert error["code"] == "agent-timeout"
        assert ctl.fails(4, "--timeout", "1", "guest", "vm", "ping")["code"] == "agent-timeout"
        assert len(vm.monitor().chain("vda")) == 2
