"""The same promise with a real guest and its real agent: killed between the watchdog's start and the record.

One guest serves case after case, as a machine in use does. Its ledger tells whether an image is one point in time, and
that the guest runs on.
"""
import contextlib
import os
import signal

import pytest

import crash_oracle as oracle
from crash_cases import AFTER, BEFORE, BOTH, CHAINCTL, Case, Moment, moment
from crash_machine import watchdogs_of
from crash_points import Pointed, Stopped
from crash_snapshot import ADD, COMMIT, HELPER, SWITCH, running
from support import disks, images, ledger
from support.chainctl import Chainctl, finish
from support.guest import Guest

pytestmark = pytest.mark.xdist_group("guest")  # one worker: each would boot guests of its own
TWO = running(2)
DISKS = ("vda", "vdb")
# How soon the watchdog comes is measured without a guest (test_watchdog.py): one that is emulated takes its time to thaw.
SLOW_HOOK, MAX_FROZEN, GUEST_THAWS_WITHIN = 3, 5, 20  # seconds
KILLED = [Case(Moment(TWO, place, when), killed)
          for place in range(TWO.points.index(COMMIT, TWO.points.index(ADD)), len(TWO.points))
          for when in (BEFORE, AFTER)
          for killed in (CHAINCTL, BOTH)]  # fmt: skip
KILLED += [Case(moment(TWO, AFTER, HELPER), CHAINCTL), Case(moment(TWO, AFTER, ADD), CHAINCTL)]


def boot(guest_image, folder, words=""):
    return Guest(guest_image, folder, cmdline=words, size="64M")


class Host:
    """A guest and the chainctl that has known it all the while."""

    def __init__(self, vm, folder, binary):
        self.vm, self.taken = vm, []
        self.ctl = Chainctl(folder / "state", binary=binary)
        disks.register(self.ctl, vm, "--agent", f"unix:{vm.agent_socket}")

    def words(self, name):
        return ["snapshot", "vm", name]

    def points(self, folder):
        """The side effects of a snapshot that nothing disturbs."""
        pointed = Pointed(self.ctl, folder)
        assert pointed.ok(*self.words("reference"))["snapshot"]["consistency"] == "filesystem"
        self.taken.append("reference")
        return pointed.effects()

    def agent_says(self):
        with self.vm.agent() as agent:
            return agent.execute("guest-fsfreeze-status")

    def assert_settled(self, taken):
        """Database and graph agree, nothing is left over, and the guest writes."""
        self.taken += taken
        assert [entry["name"] for entry in self.ctl.ok("list", "vm")["snapshots"]] == self.taken
        assert self.ctl.ok("check", "vm")["problems"] == []
        assert oracle.recovered(self) == []
        paths = {disk["disk"]: disk["path"] for disk in self.ctl.ok("vm", "show", "vm")["vm"]["disks"]}
        for name in DISKS:
            chain = self.vm.monitor().chain(name)
            assert chain[0] == paths[name] and len(chain) == len(self.taken) + 1
        ours = [name for name in disks.nodes(self.vm) if name.startswith("cc-")]
        assert len(ours) == 2 * len(DISKS) * len(self.taken)
        assert self.vm.monitor().execute("query-jobs") == []
        assert len(list(self.vm.images_folder.glob("*.qcow2"))) == len(DISKS) * (len(self.taken) + 1)
        self.vm.wait_ledger_advance()

    def assert_one_point(self, name, quiesced):
        """The frozen images of a snapshot, read from outside."""
        shown = [entry for entry in self.ctl.ok("list", "vm")["snapshots"] if entry["name"] == name][0]
        frozen = [disk["image"] for disk in shown["disks"]]
        assert all(images.is_clean(path) for path in frozen)
        if quiesced:
            ledger.assert_quiesced(*frozen)
        else:
            ledger.assert_atomic(*frozen, replay=True)


@pytest.fixture(scope="module")
def whole_host(guest_image, tmp_path_factory, binary):
    with boot(guest_image, tmp_path_factory.mktemp("whole")) as vm:
        yield Host(vm.wait_ready(), tmp_path_factory.mktemp("host"), binary)


@pytest.fixture(scope="module")
def slow_host(guest_image, tmp_path_factory, binary):
    with boot(guest_image, tmp_path_factory.mktemp("slow"), "chainctl.hook=slow") as vm:
        yield Host(vm.wait_ready(), tmp_path_factory.mktemp("slow-host"), binary)


@pytest.fixture
def whole(whole_host):
    with whole_host.vm.awake():
        yield whole_host


@pytest.fixture
def slow(slow_host):
    with slow_host.vm.awake():
        yield slow_host


@pytest.fixture(scope="module")
def points(whole_host, tmp_path_factory):
    with whole_host.vm.awake():
        found = whole_host.points(tmp_path_factory.mktemp("reference"))
    assert tuple(point.name for point in found) == TWO.points
    return found


def stop(host, case, points, folder, name):
    """The chainctl that stands there."""
    return Stopped(host.ctl, host.words(name), points[case.moment.place], case.moment.when, folder)


@pytest.mark.parametrize("case", KILLED, ids=str)
def test_killed_beside_a_real_guest(case, whole, points, tmp_path):
    console = len(whole.vm.console_text())
    stopped = stop(whole, case, points, tmp_path, f"s{KILLED.index(case)}")
    frozen = "chainctl-hook: freeze" in whole.vm.console_text()[console:]
    thawed = "chainctl-hook: thaw" in whole.vm.console_text()[console:]
    if case.killed == BOTH:
        stopped.kill_watchdogs()
    stopped.kill()
    if case.killed == CHAINCTL and frozen and not thawed:
        whole.vm.wait_console(r"^chainctl-hook: thaw$", GUEST_THAWS_WITHIN, after=console)
    outcomes = oracle.recovered(whole)
    assert outcomes == ((["finished"] if case.happens else ["undone"]) if case.moment.open else [])
    assert whole.agent_says() == "thawed"
    name = stopped.name
    whole.assert_settled([name] * case.happens)
    if case.happens:
        whole.assert_one_point(name, quiesced=frozen)


@contextlib.contextmanager
def freezing_slowly(host, name):
    """A chainctl whose freeze is under way in the guest, which takes its time."""
    console = len(host.vm.console_text())
    started = host.ctl.start(*host.words(name))
    host.vm.wait_console(r"^chainctl-hook: freeze$", after=console)
    yield started
    host.vm.wait_console(r"^chainctl-hook: thaw$", SLOW_HOOK + GUEST_THAWS_WITHIN, after=console)
    assert host.agent_says() == "thawed"


@pytest.mark.parametrize("killed", [CHAINCTL, BOTH])
def test_killed_while_the_agent_is_slow_to_freeze(killed, slow):
    """The freeze goes on in the guest without anybody, and is ended once it is over."""
    with freezing_slowly(slow, f"slow-{len(slow.taken)}") as started:
        for pid in watchdogs_of(started.pid) if killed == BOTH else []:
            os.kill(pid, signal.SIGKILL)
        started.kill()
        started.communicate()
        assert oracle.recovered(slow) == ["undone"]
    slow.assert_settled([])
    next_name = f"after-{len(slow.taken)}"
    assert slow.ctl.ok(*slow.words(next_name))["snapshot"]["consistency"] == "filesystem"
    slow.assert_settled([next_name])
    slow.assert_one_point(next_name, quiesced=True)


def test_parent_that_hangs_while_the_agent_is_slow_to_freeze_is_overtaken(slow):
    began = len(slow.vm.console_text())
    started = slow.ctl.start(*slow.words("hung"))
    slow.vm.wait_console(r"^chainctl-hook: freeze$", after=began)
    started.send_signal(signal.SIGSTOP)
    slow.vm.wait_console(r"^chainctl-hook: thaw$", SLOW_HOOK + MAX_FROZEN + GUEST_THAWS_WITHIN, after=began)
    slow.vm.wait_ledger_advance()
    started.send_signal(signal.SIGCONT)
    result = finish(started)
    taken = result.status == 0
    if taken:
        assert result.json["snapshot"]["consistency"] == "crash" and result.json["snapshot"]["reason"]
    assert slow.agent_says() == "thawed"
    slow.assert_settled(["hung"] * taken)


def test_parent_that_hangs_beside_a_real_guest_is_overtaken(whole, points, tmp_path):
    case = Case(moment(TWO, BEFORE, SWITCH), CHAINCTL)
    console = len(whole.vm.console_text())
    stopped = stop(whole, case, points, tmp_path, "hung")
    whole.vm.wait_console(r"^chainctl-hook: thaw$", MAX_FROZEN + GUEST_THAWS_WITHIN, after=console)
    whole.vm.wait_ledger_advance()
    result = stopped.go_on()
    taken = result.status == 0
    if taken:
        assert result.json["snapshot"]["consistency"] == "crash" and result.json["snapshot"]["reason"]
    assert whole.agent_says() == "thawed"
    whole.assert_settled([stopped.name] * taken)


@pytest.mark.time_limit(300)  # it boots twice
def test_power_cut_of_a_real_guest_after_the_switch_keeps_what_it_wrote(guest_image, tmp_path, binary):
    """Everything dies at once, the guest having written on; it boots from what `path` says, with its whole ledger."""
    with boot(guest_image, tmp_path) as vm:
        host = Host(vm.wait_ready(), tmp_path, binary)
        points = host.points(tmp_path)
        stopped = stop(host, Case(moment(TWO, BEFORE, COMMIT, -1), CHAINCTL), points, tmp_path, "cut")
        told = vm.wait_ledger_advance()
        stopped.kill_watchdogs()
        vm.kill()
        stopped.kill()
        assert oracle.recovered(host) == ["finished"]
        host.taken.append(stopped.name)
        vm.images = {name: host.ctl.ok("path", "vm", name)["path"] for name in DISKS}
        assert ledger.assert_atomic(*vm.images.values(), replay=True) >= told
        host.assert_one_point(stopped.name, quiesced=True)
        vm.start().wait_ready()
        vm.wait_ledger_advance()
        assert host.ctl.ok(*host.words("next"))["snapshot"]["consistency"] == "filesystem"
