"""Going back under a real guest: it is reset into its old data, or goes on where nothing is mounted; and forward again."""
import pytest

from support import ledger


def register(guest, chainctl, **options):
    vm, ctl = guest(**options), chainctl()
    ctl.ok("vm", "add", "web", "--qmp", vm.qmp, "--agent", f"unix:{vm.agent_socket}")
    return vm, ctl


def booted(vm, seen):
    """Once more, after what the console had said by then; and it writes."""
    vm.wait_console(r"^chainctl-guest: ready$", after=seen)
    vm.wait_ledger_advance()


def images_of(ctl, snapshot):
    return [disk["image"] for disk in ctl.ok("show", "web", snapshot)["snapshot"]["disks"]]


def test_guest_is_reset_into_its_old_data_and_what_it_left_is_consistent(guest, chainctl):
    vm, ctl = register(guest, chainctl)
    vm.wait_ledger_advance()
    ctl.ok("snapshot", "web", "monday")
    vm.wait_ledger_advance()
    seen = len(vm.console_text())
    done = ctl.ok("rollback", "web", "monday")
    assert done["rollback"]["reset"] and done["frozen_us"] > 0 and done["paused_us"] > 0
    automatic = done["rollback"]["automatic_snapshot"]
    assert ctl.ok("show", "web", automatic)["snapshot"]["consistency"] == "filesystem"
    then, later = images_of(ctl, "monday"), images_of(ctl, automatic)
    ledger.assert_quiesced(*then)
    ledger.assert_quiesced(*later)
    booted(vm, seen)
    seen = len(vm.console_text())
    ctl.ok("rollback", "web", automatic)
    booted(vm, seen)
    assert ctl.ok("check", "web")["problems"] == []


def test_commit_moves_a_guest_that_writes_all_the_while(guest, chainctl):
    vm, ctl = register(guest, chainctl)
    for name in ("one", "two"):
        vm.wait_ledger_advance()
        ctl.ok("snapshot", "web", name)
    vm.wait_ledger_advance()
    done = ctl.ok("commit", "web", "--pivot", "--quiesce", "require")
    assert done["frozen_us"] > 0 and all(merge["pivoted"] for merge in done["merges"])
    vm.wait_ledger_advance()
    ctl.ok("snapshot", "web", "after")
    ledger.assert_quiesced(*images_of(ctl, "after"))
    assert ctl.ok("check", "web")["problems"] == []


@pytest.mark.parametrize("reset, status", [("never", 9), ("auto", 0)])
def test_guest_with_mounted_disks_is_not_left_with_what_it_remembers(guest, chainctl, reset, status):
    vm, ctl = register(guest, chainctl)
    ctl.ok("snapshot", "web", "monday")
    result = ctl.run("rollback", "web", "monday", "--reset", reset)
    assert result.status == status, result
    if status:
        assert "mounted" in result.json["error"]["message"]
        vm.wait_ledger_advance()


def test_guest_with_nothing_mounted_goes_on_without_a_reset(guest, chainctl):
    vm, ctl = register(guest, chainctl, cmdline="chainctl.mount=off")
    ctl.ok("snapshot", "web", "monday")
    done = ctl.ok("rollback", "web", "monday")
    assert not done["rollback"]["reset"]
