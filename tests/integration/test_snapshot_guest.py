"""Snapshots of a real guest that writes all the time: what is consistent, what is atomic, what the guest noticed.

One guest serves all tests here; each takes snapshots of its own, and leaves the guest running and thawed.
"""
import re

import pytest

from support import disks, images, ledger
from support.chainctl import Chainctl
from support.guest import Guest
from support.proxy import Proxy

FREEZE_LIMIT_US = 5_000_000


@pytest.fixture(scope="module")
def vm(guest_image, tmp_path_factory):
    with Guest(guest_image, tmp_path_factory.mktemp("guest")) as booted:
        booted.wait_ready().wait_ledger_advance()
        yield booted


@pytest.fixture(scope="module")
def ctl(vm, tmp_path_factory):
    """Knows the guest as "vm"."""
    ctl = Chainctl(tmp_path_factory.mktemp("state"))
    disks.register(ctl, vm, "--agent", f"unix:{vm.agent_socket}")
    return ctl


def hook_lines(vm, after):
    return re.findall(r"^chainctl-hook: (\w+)$", vm.console_text()[after:], re.MULTILINE)


def frozen_images(said):
    return [part["image"] for part in said["snapshot"]["disks"]]


def assert_thawed_and_alive(vm):
    with vm.agent() as agent:
        assert agent.execute("guest-fsfreeze-status") == "thawed"
    vm.wait_ledger_advance()


def test_quiesced_snapshots_are_clean_and_one_point_in_time_while_the_guest_writes(vm, ctl):
    last = 0
    for number in range(4):
        console = len(vm.console_text())
        said = ctl.ok("snapshot", "vm", f"quiesced-{number}")
        snapshot = said["snapshot"]
        assert (snapshot["consistency"], snapshot["reason"], said["warnings"]) == ("filesystem", None, [])
        assert 0 < snapshot["frozen_us"] == said["frozen_us"] < FREEZE_LIMIT_US
        vm.wait_ledger_advance()
        assert hook_lines(vm, console) == ["freeze", "thaw"]
        position = ledger.assert_quiesced(*frozen_images(said))
        assert position > last
        last = position
        assert vm.wait_ledger_advance() > position


def test_frozen_time_is_measured_and_short(vm, ctl):
    frozen = [ctl.ok("snapshot", "vm", f"timed-{number}")["frozen_us"] for number in range(3)]
    assert all(100 < one < 1_000_000 for one in frozen), frozen


def test_require_is_content_with_an_agent_that_answers(vm, ctl):
    said = ctl.ok("snapshot", "vm", "required", "--quiesce", "require")
    assert said["snapshot"]["consistency"] == "filesystem"
    ledger.assert_quiesced(*frozen_images(said))
    assert_thawed_and_alive(vm)


def test_quiesce_off_does_not_freeze_and_is_still_one_point_in_time(vm, ctl):
    console, told = len(vm.console_text()), vm.ledger_position()
    said = ctl.ok("snapshot", "vm", "unquiesced", "--quiesce", "off")
    snapshot = said["snapshot"]
    assert (snapshot["consistency"], snapshot["frozen_us"]) == ("crash", None) and snapshot["reason"]
    assert said["warnings"] == []
    vm.wait_ledger_advance()
    assert hook_lines(vm, console) == []
    assert ledger.assert_atomic(*frozen_images(said), replay=True) >= told
    assert ledger.filesystem_state(frozen_images(said)[0])["needs_recovery"]


def test_paused_machine_is_not_frozen_and_says_so(vm, ctl, tmp_path):
    vm.monitor().execute("stop")
    try:
        console = len(vm.console_text())
        with disks.unchanged(vm, tmp_path):
            assert ctl.fails(5, "snapshot", "vm", "p1", "--quiesce", "require")["code"] == "not-quiesced"
        said = ctl.ok("snapshot", "vm", "p2")
        assert said["snapshot"]["consistency"] == "crash" and "paused" in said["snapshot"]["reason"]
        assert "paused" in said["warnings"][0]["message"]
        assert vm.monitor().execute("query-status")["status"] == "paused"
        assert ctl.ok("vm", "show", "vm")["vm"]["state"] == "paused"
        ledger.assert_atomic(*frozen_images(said), replay=True)
    finally:
        vm.monitor().execute("cont")
    vm.wait_ledger_advance()
    assert hook_lines(vm, console) == []
    assert "p1" not in [entry["name"] for entry in ctl.ok("list", "vm")["snapshots"]]


def test_agent_by_hand_says_what_the_agent_says(vm, ctl):
    with vm.agent() as agent:
        info = agent.execute("guest-info")
    assert ctl.ok("guest", "vm", "ping")["guest"] == {}
    assert ctl.ok("guest", "vm", "info")["guest"] == info
    assert ctl.ok("guest", "vm", "status")["guest"] == {"status": "thawed"}
    with vm.agent() as agent:
        agent.execute("guest-fsfreeze-freeze")
    try:
        assert ctl.ok("guest", "vm", "status")["guest"] == {"status": "frozen"}
        assert "frozen" in ctl.run("guest", "vm", "status", json_output=False).out
        assert ctl.ok("guest", "vm", "thaw")["guest"] == {"status": "thawed", "thawed": 2}
    finally:
        with vm.agent() as agent:
            agent.execute("guest-fsfreeze-thaw")
    assert_thawed_and_alive(vm)


def test_all_frozen_images_still_are_what_they_were(vm, ctl):
    """What has been written since has reached none of them."""
    listed = ctl.ok("list", "vm")["snapshots"]
    quiesced = [entry for entry in listed if entry["consistency"] == "filesystem"]
    assert len(quiesced) >= 5
    positions = [ledger.assert_quiesced(*[part["image"] for part in entry["disks"]]) for entry in quiesced[:5:4]]
    assert positions == sorted(set(positions))
    assert ctl.ok("check", "vm")["problems"] == []
    for entry in listed:
        assert all(images.is_clean(part["image"]) for part in entry["disks"])


# From here on snapshots are taken that `ctl` does not know of.


def test_machine_without_a_registered_agent_gets_a_crash_consistent_snapshot(vm, tmp_path):
    told, mute = vm.ledger_position(), Chainctl(tmp_path / "state")
    disks.register(mute, vm)
    said = mute.ok("snapshot", "vm", "mute", "--dir", tmp_path)
    assert said["snapshot"]["consistency"] == "crash" and "agent" in said["snapshot"]["reason"]
    assert ledger.assert_atomic(*frozen_images(said), replay=True) >= told
    chain = vm.monitor().chain("vda")
    error = mute.fails(5, "snapshot", "vm", "never", "--quiesce", "require")
    assert "agent" in error["message"]
    assert vm.monitor().chain("vda") == chain and not list(tmp_path.glob("*.never*"))


def test_between_freeze_and_thaw_there_is_one_transaction_and_nothing_else(vm, ctl, tmp_path):
    log, switched = [], []

    def look(command, document):
        if command == "transaction":
            switched.append([action["data"]["node"] for action in document["arguments"]["actions"]])

    heads = [disks.inserted(vm, disk)["node-name"] for disk in vm.images]
    with Proxy(vm.folder / "m", vm.qmp, log, look), Proxy(vm.folder / "a", vm.agent_socket, log):
        watched = Chainctl(tmp_path / "state")
        watched.ok("vm", "add", "vm", "--qmp", vm.folder / "m", "--agent", f"unix:{vm.folder / 'a'}")
        log.clear()
        watched.ok("snapshot", "vm", "watched", "--dir", tmp_path)
    commands = [command for _, command in log]
    assert commands.count("guest-fsfreeze-freeze") == commands.count("guest-fsfreeze-thaw") == 1
    begin, end = commands.index("guest-fsfreeze-freeze"), commands.index("guest-fsfreeze-thaw")
    assert commands[begin + 1 : end] == ["guest-fsfreeze-status", "transaction"]
    assert commands.count("transaction") == 1 and switched == [heads]
    assert not [name for name in commands if name.startswith("blockdev-snapshot")]
    after = [command for socket, command in log[end:] if socket == "m"]
    assert after == [], "nothing is left to do in QEMU once it has switched"


def test_guest_boots_from_the_overlays_after_a_power_cut_and_goes_on(vm, tmp_path):
    fresh = Chainctl(tmp_path / "state")
    disks.register(fresh, vm, "--agent", f"unix:{vm.agent_socket}")
    frozen = frozen_images(fresh.ok("snapshot", "vm", "before-the-cut", "--dir", tmp_path))
    vm.wait_ledger_advance()  # the first number told may be the last before the freeze
    written = vm.wait_ledger_advance()
    vm.kill()
    assert fresh.ok("vm", "show", "vm")["vm"]["state"] == "shut-off"
    assert fresh.ok("check", "vm")["problems"] == []
    vm.images = {disk: fresh.ok("path", "vm", disk)["path"] for disk in vm.images}
    vm.start()
    vm.wait_ready()
    assert int(vm.wait_console(r"goes on from (\d+)$")[1]) >= written
    said = fresh.ok("snapshot", "vm", "after-the-cut")
    assert said["snapshot"]["consistency"] == "filesystem"
    vm.wait_ledger_advance()
    assert ledger.assert_quiesced(*frozen) < written <= ledger.assert_quiesced(*frozen_images(said))
    vm.kill()
