"""Many VMs at once: none waits for another, none is harmed by another, and an end in the middle is settled for all."""
import contextlib
import fcntl
import os
import signal
import socket
import threading
import time

import pytest

from support import disks, ledger, mounts, process
from support.chainctl import finish
from support.proxy import Proxy
from support.storage import fleet

NAMES = ["a", "b", "c", "d"]
SHORT, LONG = 4, 20  # seconds of patience with those that say nothing; the others answer sooner on a busy machine too


@pytest.fixture
def vms(chainctl, folder):
    with fleet(chainctl(), folder, NAMES) as made:
        yield made


class At:
    """Does something, once, when one of the fleet's monitors is about to get its so-manieth command of that name."""

    def __init__(self, command, occurrence=1):
        self.command, self.left, self.action = command, occurrence, None
        self._lock = threading.Lock()

    def fleet(self, ctl, folder, names=NAMES):
        return fleet(ctl, folder, names, monitor=self._stand_before)

    def stand_aside(self, vms):
        """From now on the registered sockets lead to the monitors themselves."""
        self.action = None
        for daemon in vms.values():
            (daemon.folder / "m").unlink()
            (daemon.folder / "m").symlink_to(daemon.qmp)

    def _stand_before(self, _, daemon, stack):
        return stack.enter_context(Proxy(daemon.folder / "m", daemon.qmp, [], self._look)).path

    def _look(self, command, _):
        with self._lock:
            if self.action is None or command != self.command:
                return
            self.left -= 1
            if self.left == 0:
                self.action()


@contextlib.contextmanager
def mute(daemon):
    """In the daemon's place somebody who takes connections, and says nothing."""
    daemon.kill()
    with socket.socket(socket.AF_UNIX) as listener:
        daemon.qmp.unlink()
        listener.bind(str(daemon.qmp))
        listener.listen(8)
        yield


def snapshots(ctl, name):
    return [entry["name"] for entry in ctl.ok("list", name)["snapshots"]]


def results(document):
    return {result["vm"]: result for result in document["results"]}


def assert_settled(ctl, vms, folder, name="one"):
    """Each VM has the snapshot, or has not, in database, graph and files alike. Returns those that have it."""
    taken = []
    for vm, daemon in vms.items():
        overlay, base = folder / f"{vm}.{name}.qcow2", folder / f"{vm}.qcow2"
        known = snapshots(ctl, vm)
        assert known in ([], [name])
        assert daemon.chain("disk") == [str(overlay)] * len(known) + [str(base)]
        assert overlay.exists() == bool(known)
        assert not {"open", "detached"} & {entry["state"] for entry in ctl.ok("log", vm)["operations"]}
        assert not [node for node in daemon.files() if node.startswith("cc-")] or known
        taken += [vm] * len(known)
    assert [result["problems"] for result in ctl.ok("check", "--all")["results"]] == [[]] * len(vms)
    ctl.ok("snapshot", "--all", "next")
    return taken


# ---- one of them is in trouble ----


def test_vm_that_says_nothing_holds_up_no_other(chainctl, vms, folder):
    ctl, others = chainctl(), [name for name in NAMES if name != "b"]
    with mute(vms["b"]):
        began = time.monotonic()
        running = ctl.start("--timeout", str(LONG), "snapshot", "--all", "one")
        process.wait_until(lambda: all(snapshots(ctl, name) == ["one"] for name in others), LONG, "the others' snapshots")
        assert running.poll() is None and time.monotonic() - began < LONG
        for name in others:
            assert vms[name].chain("disk")[0] == str(folder / f"{name}.one.qcow2")
        result = finish(running)
    assert result.status == 4
    assert {name: one["ok"] for name, one in results(result.json).items()} == {name: name != "b" for name in NAMES}
    assert results(result.json)["b"]["error"]["code"] == "monitor-busy"


@pytest.mark.parametrize("parallel", [1, 2])
def test_limit_lets_that_many_wait_at_once(chainctl, vms, parallel):
    """Two say nothing: one after the other, or both at once."""
    ctl = chainctl()
    with mute(vms["a"]), mute(vms["b"]):
        began = time.monotonic()
        result = ctl.run("--timeout", str(SHORT), "snapshot", "--vm", "a,b,c", "one", "--parallel", str(parallel))
        took = time.monotonic() - began
    assert result.status == 4 and results(result.json)["c"]["ok"]
    assert took >= (2 * SHORT if parallel == 1 else SHORT)


def test_dead_locked_and_drifted_vms_each_have_their_own_error(chainctl, vms, folder, qemu):
    ctl = chainctl()
    ctl.ok("snapshot", "c", "before")
    vms["c"].kill()
    vms["c"].start()
    os.rename(vms["b"].qmp, vms["b"].folder / "moved")
    with open(ctl.state_dir / "locks/a.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = ctl.run("snapshot", "--all", "one")
    assert result.status == 9
    found = {name: one.get("error", {}).get("code") for name, one in results(result.json).items()}
    assert found == {"a": "held", "b": "unreachable", "c": "drift", "d": None}
    assert sorted(path.name for path in folder.glob("*.one.qcow2")) == ["d.one.qcow2"]


def test_locked_vm_is_waited_for_while_the_others_go_on(chainctl, vms):
    ctl = chainctl()
    with open(ctl.state_dir / "locks/a.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        running = ctl.start("--wait", "snapshot", "--all", "one")
        process.wait_until(lambda: all(snapshots(ctl, name) for name in NAMES[1:]), 60, "the others' snapshots")
        assert snapshots(ctl, "a") == [] and running.poll() is None
    assert finish(running).status == 0
    assert snapshots(ctl, "a") == ["one"]


def test_vms_that_run_and_vms_that_are_shut_off_are_snapshotted_together(chainctl, vms, folder):
    ctl = chainctl()
    for name in ("b", "d"):
        vms[name].kill()
    document = ctl.ok("snapshot", "--all", "one")
    assert {name: one["snapshot"]["consistency"] for name, one in results(document).items()} == {
        "a": "crash", "b": "offline", "c": "crash", "d": "offline"}  # fmt: skip
    assert [result["problems"] for result in ctl.ok("check", "--all")["results"]] == [[]] * 4


def test_stand_in_that_hangs_holds_up_no_other(chainctl, vms, tmp_path):
    """It neither answers nor ends when it is told to."""
    hanging = tmp_path / "bin/qemu-storage-daemon"
    hanging.parent.mkdir()
    os.mkfifo(tmp_path / "never")
    hanging.write_text(f"#!/bin/sh\ntrap '' TERM\nread line <{tmp_path}/never\n")
    hanging.chmod(0o755)
    ctl = chainctl(env={"PATH": f"{hanging.parent}:{os.environ['PATH']}"})
    vms["a"].kill()
    running = ctl.start("--timeout", str(SHORT), "snapshot", "--all", "one", "--parallel", "1")
    process.wait_until(lambda: all(snapshots(ctl, name) for name in NAMES[1:]), 60, "the others' snapshots")
    result = finish(running)
    assert result.status in (1, 4) and [one["ok"] for one in result.json["results"]] == [False, True, True, True]
    assert snapshots(chainctl(), "a") == []


# ---- all of it ends in the middle ----

MIDDLES = [("blockdev-add", 1), ("blockdev-add", 3), ("transaction", 1), ("transaction", 3)]


@pytest.mark.parametrize("command, occurrence", MIDDLES)
def test_kill_in_the_middle_of_many_is_recovered_for_each(chainctl, folder, command, occurrence):
    ctl, at = chainctl(), At(command, occurrence)
    with at.fleet(ctl, folder) as vms:
        started = threading.Event()

        def kill():
            started.wait(60)
            running.kill()

        at.action = kill
        running = ctl.start("snapshot", "--all", "one")
        started.set()
        assert finish(running).status == -signal.SIGKILL
        at.stand_aside(vms)
        document = ctl.ok("recover", "--all")
        outcomes = {name: [entry["outcome"] for entry in one["recovered"]] for name, one in results(document).items()}
        assert all(entry["recovered"] == [] for entry in ctl.ok("recover", "--all")["results"])
        taken = assert_settled(ctl, vms, folder)
        assert all((said == ["finished"]) == (name in taken) for name, said in outcomes.items() if said)


@pytest.mark.parametrize("command, occurrence", MIDDLES)
def test_ctrl_c_in_the_middle_of_many_leaves_each_done_or_undone(chainctl, folder, command, occurrence):
    ctl, at = chainctl(), At(command, occurrence)
    with at.fleet(ctl, folder) as vms:
        started = threading.Event()

        def interrupt():
            started.wait(60)
            running.send_signal(signal.SIGINT)

        at.action = interrupt
        running = ctl.start("snapshot", "--all", "one")
        started.set()
        result = finish(running)
        at.stand_aside(vms)
        assert result.status in (0, 1), result
        done = [one["vm"] for one in result.json["results"] if one["ok"]]
        assert all(one["ok"] or one["error"]["code"] == "cancelled" for one in result.json["results"])
        assert assert_settled(ctl, vms, folder) == done


def test_ctrl_c_ends_the_wait_for_those_that_say_nothing(chainctl, vms):
    ctl = chainctl()
    with mute(vms["a"]), mute(vms["c"]):
        running = ctl.start("--timeout", "100", "snapshot", "--all", "one")
        process.wait_until(lambda: snapshots(ctl, "b") and snapshots(ctl, "d"), 60, "the others' snapshots")
        running.send_signal(signal.SIGINT)
        result = finish(running, 10)
    assert result.status == 1
    codes = {name: one.get("error", {}).get("code") for name, one in results(result.json).items()}
    assert codes == {"a": "cancelled", "b": None, "c": "cancelled", "d": None}


def test_ctrl_c_begins_no_further_vm(chainctl, vms, folder):
    ctl = chainctl()
    with mute(vms["a"]):
        running = ctl.start("--timeout", "100", "snapshot", "--vm", "a,b,c,d", "one", "--parallel", "1")
        wait_connected(running, vms["a"])
        running.send_signal(signal.SIGINT)
        result = finish(running, 10)
    assert result.status == 1
    assert [one.get("error", {}).get("code") for one in result.json["results"]] == ["cancelled"] * 4
    assert not list(folder.glob("*.one*"))


def wait_connected(running, daemon):
    """Until that process waits for the daemon's greeting: a lock that is held, and a socket that is open."""

    def sockets():
        return [fd for fd in os.listdir(f"/proc/{running.pid}/fd")
                if os.readlink(f"/proc/{running.pid}/fd/{fd}").startswith("socket:")]  # fmt: skip

    process.wait_until(sockets, 60, f"a connection to {daemon.qmp}")


# ---- the database cannot be written ----


def test_group_commit_that_fails_fails_all_and_nothing_is_begun(chainctl, folder, tmp_path):
    with mounts.ext4(tmp_path / "small", 8) as small:
        ctl = chainctl(small / "state")
        with fleet(ctl, folder, NAMES) as vms:
            before = disks.files(folder)
            filler = mounts.fill(small)
            result = ctl.run("snapshot", "--all", "one")
            assert result.status == 1 and not any(one["ok"] for one in result.json["results"]), result
            assert disks.files(folder) == before
            assert all(len(vms[name].files()) == 2 for name in NAMES)
            filler.unlink()
            assert assert_settled(ctl, vms, folder) == []


def test_group_commit_that_fails_after_the_switch_is_recovered_for_all(chainctl, folder, tmp_path):
    with mounts.ext4(tmp_path / "small", 8) as small:
        ctl, at = chainctl(small / "state"), At("transaction")
        with at.fleet(ctl, folder) as vms:
            at.action = lambda: mounts.fill(small)
            result = ctl.run("snapshot", "--all", "one")
            at.stand_aside(vms)
            assert result.status in (1, 8), result
            (small / "filler").unlink()
            assert not all(one["ok"] for one in result.json["results"])
            ctl.ok("recover", "--all")
            taken = assert_settled(ctl, vms, folder)
            assert {name for name, one in results(result.json).items() if one["ok"]} <= set(taken)


def test_database_that_cannot_be_written_fails_all_and_nothing_is_begun(chainctl, folder, tmp_path):
    ctl = chainctl(tmp_path / "kept/state")
    with fleet(ctl, folder, NAMES):
        before = disks.files(folder)
        with mounts.read_only(tmp_path / "kept"):
            result = ctl.run("snapshot", "--all", "one")
            assert result.status == 1 and result.json["ok"] is False
            assert len(ctl.ok("list", "--all")["results"]) == len(NAMES)
        assert disks.files(folder) == before
        ctl.ok("snapshot", "--all", "one")


# ---- guests ----


@pytest.mark.time_limit(240)
def test_two_guests_are_frozen_at_once_and_thawed_at_once(guest, chainctl, tmp_path):
    ctl, guests = chainctl(), {}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        guests[name] = guest(folder=tmp_path / name)
        ctl.ok("vm", "add", name, "--qmp", guests[name].qmp, "--agent", f"unix:{guests[name].agent_socket}")
    for vm in guests.values():
        vm.wait_ledger_advance()
    for snapshot in ("s1", "s2"):
        document = ctl.ok("snapshot", "--all", snapshot)
        for result in document["results"]:
            assert result["snapshot"]["consistency"] == "filesystem" and result["frozen_us"] < 3_000_000
            ledger.assert_quiesced(*[disk["image"] for disk in result["snapshot"]["disks"]])
        for vm in guests.values():
            with vm.agent() as agent:
                assert agent.execute("guest-fsfreeze-status") == "thawed"
            vm.wait_ledger_advance()
