"""Disks of a real guest copied while it writes all the time: what the copies hold, how long it stood still, and that
they boot. The ledger tells whether copies are one point in time.

One guest serves the tests that leave it where it is.
"""
import re

import pytest

from support import disks, ledger
from support.chainctl import Chainctl, finish
from support.guest import Guest
from support.mirrors import leaves_nothing
from support.nbd import Nbdkit
from support.proxy import Proxy

FROZEN_AT_MOST_US = 2_000_000  # the moment itself takes some tens of milliseconds
NAMES = ("vda", "vdb")


@pytest.fixture(scope="module")
def vm(guest_image, tmp_path_factory):
    with Guest(guest_image, tmp_path_factory.mktemp("guest"), size="32M") as booted:
        booted.wait_ready().wait_ledger_advance()
        yield booted


@pytest.fixture(scope="module")
def ctl(vm, tmp_path_factory):
    """Knows the guest as "vm"."""
    ctl = Chainctl(tmp_path_factory.mktemp("state"))
    disks.register(ctl, vm, "--agent", f"unix:{vm.agent_socket}")
    return ctl


@pytest.fixture
def copies(tmp_path):
    (tmp_path / "copies").mkdir()
    return tmp_path / "copies"


def hook_lines(vm, after):
    return re.findall(r"^chainctl-hook: (\w+)$", vm.console_text()[after:], re.MULTILINE)


def assert_thawed_and_alive(vm):
    with vm.agent() as agent:
        assert agent.execute("guest-fsfreeze-status") == "thawed"
    vm.wait_ledger_advance()


def assert_quiesced(done):
    assert (done["consistency"], done["reason"], done["warnings"]) == ("filesystem", None, [])
    assert 0 < done["frozen_us"] < FROZEN_AT_MOST_US and 0 < done["paused_us"] < done["frozen_us"]


@pytest.mark.parametrize("form", ["qcow2", "raw"])
def test_quiesced_copies_are_clean_and_one_point_in_time(vm, ctl, copies, form):
    console = len(vm.console_text())
    with leaves_nothing(vm):
        done = ctl.ok("mirror", "vm", "--to", copies, "--quiesce", "require", "--format", form)
    assert_quiesced(done)
    vm.wait_ledger_advance()
    assert hook_lines(vm, console) == ["freeze", "thaw"]
    assert ledger.assert_quiesced(*[copies / f"{name}.{form}" for name in NAMES]) <= vm.ledger_position()
    assert_thawed_and_alive(vm)


def test_guest_is_frozen_for_the_moment_and_not_for_the_copy(vm, ctl, copies):
    console = len(vm.console_text())
    op = ctl.ok("mirror", "vm", "--to", copies, "--quiesce", "require", "--follow")["op"]
    assert hook_lines(vm, console) == []
    first = vm.wait_ledger_advance()
    done = ctl.ok("job", "complete", "vm", op, "--quiesce", "require")
    assert_quiesced(done)
    assert ledger.assert_quiesced(*[copies / f"{name}.qcow2" for name in NAMES]) >= first
    assert_thawed_and_alive(vm)


def test_copies_without_a_freeze_are_one_point_in_time_all_the_same(vm, ctl, copies):
    done = ctl.ok("mirror", "vm", "--to", copies, "--quiesce", "off")
    assert done["consistency"] == "crash" and done["frozen_us"] is None
    ledger.assert_atomic(*[copies / f"{name}.qcow2" for name in NAMES], replay=True)
    assert_thawed_and_alive(vm)


def test_copies_boot_and_the_ledger_in_them_goes_on(vm, ctl, copies, guest_image, tmp_path):
    ctl.ok("mirror", "vm", "--to", copies, "--quiesce", "require")
    paths = {name: copies / f"{name}.qcow2" for name in NAMES}
    position = ledger.assert_quiesced(*paths.values())
    with Guest(guest_image, tmp_path, disks=paths) as booted:
        booted.wait_ready()
        booted.wait_ledger_advance()  # of the number that the freeze cut short between two disks, if it did
        assert booted.wait_ledger_advance() > position
        booted.kill()
    assert ledger.assert_atomic(*paths.values(), replay=True) > position


@pytest.mark.parametrize("at", ["block-job-cancel", "blockdev-del"])
def test_server_that_dies_while_the_guest_is_frozen_costs_it_five_seconds_at_most(vm, ctl, tmp_path, at):
    """One disk, so that the VM is frozen and not paused."""
    console = len(vm.console_text())
    with Nbdkit("memory", "32M") as server, leaves_nothing(vm):
        with Proxy(tmp_path / "tap", vm.qmp, [], before=lambda command, _: server.kill() if command == at else None) as proxy:
            ctl.ok("vm", "set", "vm", "--qmp", proxy.path)
            done = ctl.run("mirror", "vm", "--disk", "vda", "--nbd", server.nbd, "--quiesce", "require", timeout=100)
            assert_thawed_and_alive(vm)
            assert hook_lines(vm, console)[:1] == ["freeze"] and hook_lines(vm, console)[-1:] == ["thaw"]
            assert done.json.get("frozen_us") is None or done.json["frozen_us"] < 5_500_000, done
            ctl.ok("recover", "vm")
            ctl.ok("vm", "set", "vm", "--qmp", vm.qmp)


def test_guest_that_cannot_be_frozen_as_required_keeps_its_copies_in_step(guest, chainctl, copies):
    vm, ctl = guest(size="32M", cmdline="chainctl.hook=fail"), chainctl()
    disks.register(ctl, vm, "--agent", f"unix:{vm.agent_socket}")
    with leaves_nothing(vm):
        result = ctl.run("mirror", "vm", "--to", copies, "--quiesce", "require")
        assert result.status == 5, result
        assert {mirror["state"] for mirror in result.json["mirrors"]} == {"following"}
        ctl.ok("job", "complete", "vm", result.json["op"], "--quiesce", "off")
    ledger.assert_atomic(*[copies / f"{name}.qcow2" for name in NAMES], replay=True)
    assert_thawed_and_alive(vm)


def test_guest_that_is_moved_to_its_copies_goes_on_without_a_gap(guest, chainctl, copies):
    vm, ctl = guest(size="32M"), chainctl()
    disks.register(ctl, vm, "--agent", f"unix:{vm.agent_socket}")
    position = vm.wait_ledger_advance()
    done = ctl.ok("mirror", "vm", "--to", copies, "--pivot", "--quiesce", "require")
    assert_quiesced(done)
    left = ledger.assert_quiesced(*[one["before"] for one in done["active"]])
    assert position <= left < vm.wait_ledger_advance()
    shown = ctl.ok("show", "vm", done["automatic_snapshot"])["snapshot"]
    assert (shown["consistency"], shown["frozen_us"]) == ("filesystem", done["frozen_us"])
    vm.wait_ledger_advance()
    vm.kill()
    assert ledger.assert_atomic(*[one["after"] for one in done["active"]], replay=True) > left


def test_guest_that_writes_faster_than_the_link_is_caught_up_with(guest, chainctl, tmp_path):
    """Its writes wait for a server that takes 30 ms for each; none is lost."""
    vm, ctl = guest(size="32M"), chainctl()
    disks.register(ctl, vm, "--agent", f"unix:{vm.agent_socket}")
    (tmp_path / "exported").mkdir()
    for name in NAMES:
        with open(tmp_path / "exported" / name, "wb") as file:
            file.truncate(32 << 20)
    with Nbdkit("file", f"dir={tmp_path / 'exported'}", filters=("delay",), words=("wdelay=30ms",)) as server:
        with leaves_nothing(vm):
            started = ctl.start("mirror", "vm", "--nbd", f"unix:{server.socket}/%d", "--copy-mode", "write-blocking",
                                "--quiesce", "require")  # fmt: skip
            result = finish(started, timeout=100)
        assert result.status == 0, result
        assert result.json["consistency"] == "filesystem"
        ledger.assert_quiesced(*[tmp_path / "exported" / name for name in NAMES])
    assert_thawed_and_alive(vm)
