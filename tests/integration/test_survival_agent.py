"""An agent that is late, lies, or goes away: the guest ends thawed, and the snapshot claims no more than is true.

Where the real agent cannot be made to do such a thing, a scripted one does it, which knows what was true.
"""
import contextlib
import signal
import time

import pytest

from support import disks, ledger, process
from support.chainctl import Chainctl, finish
from support.freezer import FILE_SYSTEMS, Freezer, Refusal, Silence
from support.guest import Guest
from support.proxy import Proxy

MAX_FROZEN_S = 5
SLACK_S = 1.5


class Rig:
    """A running machine of two disks, an agent that does as it is told, and a chainctl that knows both as "vm"."""

    def __init__(self, vm, ctl, agent, qmp=None):
        self.vm, self.ctl, self.agent = vm, ctl, agent
        ctl.ok("vm", "add", "vm", "--qmp", qmp or vm.qmp, "--agent", f"unix:{agent.path}")
        agent.asked.clear()

    def snapshot(self, *options):
        """Run with pipes to its end: who reads both outputs must not wait for a process that it has left behind."""
        return self.ctl.run("snapshot", "vm", "one", "--timeout", "3", *options)

    def switched(self):
        depth = {len(self.vm.monitor().chain(disk)) for disk in ("vda", "vdb")}
        assert len(depth) == 1, "all disks or none"
        return depth == {2}

    def operations(self):
        return [entry["state"] for entry in self.ctl.ok("log", "vm")["operations"]]

    def assert_not_taken(self):
        assert not self.switched() and self.ctl.ok("list", "vm")["snapshots"] == []
        assert self.operations() == ["undone"] and self.ctl.ok("check", "vm")["problems"] == []

    def assert_crash_consistent(self, result):
        """Taken on both disks, and never called quiesced: neither now nor later."""
        assert result.status == 0 and self.switched(), result
        [listed] = self.ctl.ok("list", "vm")["snapshots"]
        for said in (result.json["snapshot"], listed):
            assert said["consistency"] == "crash" and said["reason"], said
        assert self.operations() == ["done"] and self.ctl.ok("check", "vm")["problems"] == []


@pytest.fixture
def vm(qemu, tmp_path):
    (tmp_path / "images").mkdir()
    return qemu(disks.two(tmp_path / "images")[0], paused=False)


@pytest.fixture
def rig(vm, chainctl):
    """rig(freeze=…, thaw=…, status=…) is a Rig with such a Freezer."""
    with contextlib.ExitStack() as stack:
        yield lambda **answers: Rig(vm, chainctl(), stack.enter_context(Freezer(vm.folder / "agent", **answers)))


def assert_no_watchdog(patience=8):
    process.wait_until(lambda: not process.children_with("--watchdog"), patience, "the end of the watchdog")


@pytest.mark.parametrize("mode, status", [("auto", 0), ("require", 5)])
def test_freeze_that_is_answered_after_its_time_is_thawed_and_its_answer_is_no_other_s(rig, mode, status):
    def late(agent):
        time.sleep(1)
        return agent.freeze()

    told = rig(freeze=late)
    result = told.snapshot("--quiesce", mode, "--freeze-timeout", "0.3")
    assert len(told.agent.frozen_s) == 1 and not told.agent.frozen
    asked = told.agent.asked[told.agent.asked.index("guest-fsfreeze-freeze") + 1 :]
    assert asked[:3] == ["guest-sync-delimited", "guest-fsfreeze-thaw", "guest-fsfreeze-status"]
    assert result.status == status, result
    if status:
        assert result.json["error"]["code"] == "agent-timeout"
        told.assert_not_taken()
    else:
        told.assert_crash_consistent(result)
    assert_no_watchdog()


def test_answer_to_the_freeze_that_comes_in_place_of_the_one_to_the_thaw_is_not_believed(rig):
    """Out of order, as no honest agent does it: the thaw seems to be answered, and has not happened."""

    def silent(agent):
        agent.freeze()
        raise Silence

    def first_thaw_is_lost(agent):
        if agent.asked.count("guest-fsfreeze-thaw") == 1:
            return FILE_SYSTEMS
        return agent.thaw()

    told = rig(freeze=silent, thaw=first_thaw_is_lost)
    result = told.snapshot("--freeze-timeout", "0.3")
    assert not told.agent.frozen and told.agent.asked.count("guest-fsfreeze-thaw") >= 2
    told.assert_crash_consistent(result)
    assert_no_watchdog()


@pytest.mark.parametrize("mode, status", [("auto", 0), ("require", 5)])
def test_freeze_that_fails_and_freezes_all_the_same_is_thawed(rig, mode, status):
    def fails(agent):
        agent.freeze()
        raise Refusal("one of the file systems is broken")

    told = rig(freeze=fails)
    result = told.snapshot("--quiesce", mode)
    assert len(told.agent.frozen_s) == 1 and not told.agent.frozen
    assert result.status == status and "broken" in result.out, result
    if status:
        told.assert_not_taken()
    else:
        told.assert_crash_consistent(result)
    assert_no_watchdog()


LIES = {
    "it says thawed after a freeze": {"status": lambda agent: "thawed"},
    "nothing was there to freeze": {"freeze": lambda agent: agent.freeze() and 0},
    "nothing was there to thaw": {"thaw": lambda agent: agent.thaw() and 0},
    "a thaw of its own before ours": {"status": lambda agent: agent.frozen and agent.thaw() and "frozen" or "thawed"},
}


@pytest.mark.parametrize("lie", LIES)
def test_freeze_that_is_not_borne_out_is_called_a_crash_consistent_snapshot(rig, lie):
    told = rig(**LIES[lie])
    result = told.snapshot()
    assert not told.agent.frozen and "guest-fsfreeze-thaw" in told.agent.asked
    assert len(told.agent.frozen_s) == 1
    told.assert_crash_consistent(result)
    assert_no_watchdog()


def test_guest_that_cannot_be_thawed_is_told_and_looked_after_by_whoever_comes_next(rig):
    broken = [True]

    def thaw(agent):
        if broken:
            raise Refusal("not now")
        return agent.thaw()

    told = rig(thaw=thaw)
    result = told.snapshot()
    assert result.status == 10 and result.json["error"]["code"] == "not-thawed", result
    assert "thaw" in result.json["error"]["hint"] and told.switched() and told.agent.frozen
    assert result.json["snapshot"]["name"] == "one", "a verb that is done in part says what is done"
    assert len(told.agent.asked) < 2000, "an agent that refuses is not asked without a pause"
    broken.clear()
    told.ctl.ok("recover", "vm")
    assert not told.agent.frozen
    assert told.operations() == ["done"]
    assert_no_watchdog()


def test_guest_whose_thaw_is_slow_is_waited_for_and_not_disturbed(rig):
    """The file systems are thawed at once, and a hook takes its time: the watchdog's five seconds pass meanwhile."""

    def slow(agent):
        thawed = agent.thaw()
        time.sleep(MAX_FROZEN_S + 0.3)
        return thawed

    told = rig(thaw=slow)
    result = told.snapshot()
    assert result.status == 0 and result.json["warnings"] == [], result
    assert told.agent.asked.count("guest-fsfreeze-thaw") == 1 and told.operations() == ["done"]
    assert_no_watchdog(1)


# ---- the channel goes away ----


def test_qemu_that_goes_away_with_a_frozen_guest_is_seen_at_once(rig):
    def power_cut(agent):
        if agent.frozen:
            told.vm.process.kill()
            told.vm.process.wait()
            agent.leave()
            raise Silence
        return agent.status()

    told = rig(status=power_cut)
    began = time.monotonic()
    result = told.snapshot("--timeout", "20")
    assert time.monotonic() - began < 4, "nobody is waited for who cannot come"
    assert result.status in (4, 8) and result.json["error"]["message"], result
    assert_no_watchdog(3)
    told.vm.kill()
    assert told.ctl.ok("list", "vm")["snapshots"] == []
    told.ctl.ok("recover", "vm")
    assert told.operations() == ["undone"] and told.ctl.ok("check", "vm")["problems"] == []


def test_guest_whose_channel_is_gone_for_good_is_not_called_thawed(rig):
    """The agent has ended, QEMU and its frozen guest have not."""

    ended = []

    def ends(agent):
        if agent.frozen and not ended:
            ended.append(True)
            agent.leave()
            raise Silence
        return agent.status()

    told = rig(status=ends)
    result = told.snapshot()
    assert result.status == 10 and result.json["error"]["code"] == "not-thawed", result
    assert told.agent.frozen and told.switched()
    told.agent.listen()
    told.ctl.ok("recover", "vm")
    assert not told.agent.frozen
    assert_no_watchdog()


def test_watchdog_waits_for_an_agent_that_starts_again(rig):
    started = []

    def dies_with_chainctl(agent):
        if agent.frozen and started:
            started.pop().send_signal(signal.SIGKILL)
            agent.leave()
            raise Silence
        return agent.status()

    told = rig(status=dies_with_chainctl)
    started.append(process_of := told.ctl.start("snapshot", "vm", "one"))
    assert finish(process_of).status == -signal.SIGKILL
    assert told.agent.frozen
    time.sleep(0.5)
    told.agent.listen()
    process.wait_until(lambda: not told.agent.frozen, MAX_FROZEN_S, "the thaw")
    assert_no_watchdog()
    told.ctl.ok("recover", "vm")
    told.assert_not_taken()


@pytest.fixture(scope="module")
def booted(guest_image, tmp_path_factory):
    with Guest(guest_image, tmp_path_factory.mktemp("survival"), size="64M") as vm:
        yield vm.wait_ready()


class Between:
    """Proxies before a real guest's monitor and agent; strike(command) is called when one is on its way."""

    def __init__(self, vm, folder, strike, after=None):
        def before(command, _):
            strike(command)

        self.vm, self.log = vm, []
        self.monitor = Proxy(vm.folder / "m", vm.qmp, self.log, before, after)
        self.agent = Proxy(vm.folder / "a", vm.agent_socket, self.log, before)
        self.ctl = Chainctl(folder / "state")

    def __enter__(self):
        self.monitor.__enter__()
        self.agent.__enter__()
        self.ctl.ok("vm", "add", "vm", "--qmp", self.monitor.path, "--agent", f"unix:{self.agent.path}")
        self.console = len(self.vm.console_text())
        return self

    def __exit__(self, *_):
        self.agent.__exit__()
        self.monitor.__exit__()

    def assert_thawed(self):
        self.vm.wait_console(r"^chainctl-hook: thaw$", timeout=MAX_FROZEN_S, after=self.console)
        with self.vm.agent() as agent:
            assert agent.execute("guest-fsfreeze-status") == "thawed"
        self.vm.wait_ledger_advance()
        assert_no_watchdog()

    def depth(self):
        return [len(self.vm.monitor().chain(disk)) for disk in ("vda", "vdb")]


@pytest.mark.parametrize("moment", ["transaction", "guest-fsfreeze-thaw"])
def test_channel_that_closes_between_freeze_and_thaw_is_opened_again_and_the_guest_thawed(booted, tmp_path, moment):
    def cut(command):
        if command == moment and armed:
            armed.clear()
            between.agent.hang_up()

    armed = []
    with Between(booted, tmp_path, cut) as between:
        before = between.depth()
        armed.append(True)
        said = between.ctl.ok("snapshot", "vm", "cut", "--dir", tmp_path)
        assert not armed
        between.assert_thawed()
        assert between.depth() == [depth + 1 for depth in before]
        parts = [part["image"] for part in said["snapshot"]["disks"]]
        if said["snapshot"]["consistency"] == "filesystem":
            ledger.assert_quiesced(*parts)
        else:
            ledger.assert_atomic(*parts, replay=True)
        assert between.ctl.ok("check", "vm")["problems"] == []


def test_watchdog_opens_a_closed_channel_again_when_chainctl_was_killed(booted, tmp_path):
    def strike(command):
        if command == "transaction" and running:
            running.pop().send_signal(signal.SIGKILL)
            between.agent.hang_up()

    running = []
    with Between(booted, tmp_path, strike) as between:
        before = between.depth()
        started = between.ctl.start("snapshot", "vm", "killed", "--dir", tmp_path)
        running.append(started)
        assert finish(started).status == -signal.SIGKILL
        between.assert_thawed()
        between.ctl.ok("recover", "vm")
        taken = [entry["name"] for entry in between.ctl.ok("list", "vm")["snapshots"]]
        switched = [now - then for now, then in zip(between.depth(), before)]
        assert switched == ([1, 1] if taken == ["killed"] else [0, 0])
        assert between.ctl.ok("check", "vm")["problems"] == []


# ---- QEMU is slow while the guest is frozen ----


@pytest.mark.parametrize("held", ["the command", "the answer", "the answer for ever"])
def test_frozen_guest_is_thawed_in_five_seconds_though_the_switch_is_not_answered(booted, tmp_path, held):
    """What came after the thaw, or cannot be told from it, is never called quiesced."""

    def strike(command):
        if command == "transaction" and held == "the command":
            time.sleep(5)

    def hold_back(command):
        if command != "transaction" or held == "the command":
            return True
        if held == "the answer":
            time.sleep(6)
        return held == "the answer"

    with Between(booted, tmp_path, strike, hold_back) as between:
        before, began = between.depth(), time.monotonic()
        started = between.ctl.start("snapshot", "vm", "slow", "--dir", tmp_path)
        booted.wait_console(r"^chainctl-hook: freeze$", after=between.console)
        frozen_at = time.monotonic()
        booted.wait_console(r"^chainctl-hook: thaw$", timeout=MAX_FROZEN_S + SLACK_S, after=between.console)
        assert time.monotonic() - frozen_at < MAX_FROZEN_S + SLACK_S
        result = finish(started, 30)
        assert time.monotonic() - began < 20
        between.assert_thawed()
        assert result.status == 0 and between.depth() == [depth + 1 for depth in before], result
        assert result.json["snapshot"]["consistency"] == "crash" and result.json["snapshot"]["reason"], result
        assert result.json["snapshot"]["frozen_us"] < (MAX_FROZEN_S + SLACK_S) * 1_000_000
        [listed] = between.ctl.ok("list", "vm")["snapshots"]
        assert listed["consistency"] == "crash"
        ledger.assert_atomic(*[part["image"] for part in listed["disks"]], replay=True)


def test_monitor_that_falls_silent_while_the_guest_is_frozen_is_settled_by_the_next_verb(booted, tmp_path):
    silent = []

    def mute(command):
        if command == "transaction":
            silent.append(command)
        return not silent

    with Between(booted, tmp_path, lambda command: None, mute) as between:
        before = between.depth()
        result = between.ctl.run("--timeout", "4", "snapshot", "vm", "mute", "--dir", tmp_path)
        between.assert_thawed()
        assert result.status == 8 and "recover" in result.json["error"]["hint"], result
        between.monitor.after = None
        between.ctl.ok("recover", "vm")
        assert between.depth() == [depth + 1 for depth in before]
        [listed] = between.ctl.ok("list", "vm")["snapshots"]
        assert listed["consistency"] == "crash" and listed["reason"]
