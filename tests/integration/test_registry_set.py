"""`vm set`: what is remembered of a VM is changed, in one commit, and nothing else is."""
import os

import pytest

from support import disks, images

UUID = "0b6d6a52-4f5a-4a0e-9d3b-6d1f2a7c8e90"


@pytest.fixture
def ctl(chainctl):
    return chainctl()


@pytest.fixture
def chain(folder):
    """[deep] <- [base] <- [active], all of disk vda."""
    paths = [images.create(folder / "deep.qcow2", "8M")]
    for name in ("base", "active"):
        paths.append(images.create(folder / f"{name}.qcow2", None, backing=paths[-1]))
    return paths


def shown(ctl, name="vm"):
    return ctl.ok("vm", "show", name)["vm"]


def verbs(ctl, name="vm"):
    return [(one["verb"], one["state"]) for one in ctl.ok("log", name)["operations"]]


def test_settings_are_changed_and_the_change_is_in_the_log(vm, ctl, folder):
    disks.register(ctl, vm)
    with disks.unchanged(vm, folder):
        told = ctl.ok("vm", "set", "vm", "--quiesce", "off", "--agent", f"unix:{folder}/agent", "--guest", "vsock:auto")
    assert (told["vm"]["quiesce"], told["vm"]["agent"]) == ("off", f"unix:{folder}/agent")
    assert told["vm"] == shown(ctl) and told["command"] == "vm set"
    assert verbs(ctl) == [("vm set", "done")]
    assert ctl.ok("vm", "set", "vm", "--agent", "none", "--guest", "none")["vm"]["agent"] is None


def test_silent_new_agent_is_a_warning(guest, ctl):
    running = guest(cmdline="chainctl.agent=none", ready=False)
    ctl.ok("vm", "add", "vm", "--qmp", running.qmp)
    told = ctl.ok("vm", "set", "vm", "--agent", f"unix:{running.agent_socket}.not", "--timeout", "1")
    assert [one["code"] for one in told["warnings"]] == ["agent-silent"]


def test_the_name_of_the_vm_may_be_left_out(vm, ctl):
    disks.register(ctl, vm)
    assert ctl.ok("vm", "set", "--quiesce", "require")["vm"]["quiesce"] == "require"


@pytest.mark.parametrize("words", [[], ["--quiesce", "maybe"], ["--agent", "tcp:1"], ["--qmp", "vsock:x:y"], ["--qmp", ""]])
def test_wrong_words_are_refused_and_change_nothing(vm, ctl, words):
    disks.register(ctl, vm)
    before = shown(ctl)
    ctl.fails(2, "vm", "set", "vm", *words)
    assert shown(ctl) == before and verbs(ctl) == []


def test_monitor_of_another_vm_is_refused(qemu, ctl, folder):
    first, other = qemu(disks.two(folder)[0], uuid=UUID), qemu(uuid=UUID.replace("0b", "0c"))
    disks.register(ctl, first)
    error = ctl.fails(9, "vm", "set", "vm", "--qmp", other.qmp)
    assert error["code"] == "drift" and UUID in error["message"]
    assert shown(ctl)["qmp"] == str(first.qmp)


def test_monitor_at_which_nobody_is_yet_is_taken(vm, ctl, folder):
    disks.register(ctl, vm)
    vm.kill()
    assert ctl.ok("vm", "set", "vm", "--qmp", folder / "new")["vm"]["qmp"] == str(folder / "new")
    ctl.ok("vm", "set", "vm", "--qmp", vm.qmp)
    vm.start()
    assert shown(ctl)["state"] == "paused"


def test_disks_are_ignored_and_used_again(vm, ctl):
    disks.register(ctl, vm)
    ignored = lambda told: [disk["disk"] for disk in told["vm"]["disks"] if disk["ignored"]]  # noqa: E731
    assert ignored(ctl.ok("vm", "set", "vm", "--ignore-disk", "vdb")) == ["vdb"]
    assert [disk["disk"] for disk in ctl.ok("snapshot", "vm", "one")["snapshot"]["disks"]] == ["vda"]
    assert ignored(ctl.ok("vm", "set", "vm", "--ignore-disk", "vda")) == ["vda"], "the list is replaced"
    assert ignored(ctl.ok("vm", "set", "vm", "--ignore-disk", "none")) == []
    assert len(ctl.ok("snapshot", "vm", "two")["snapshot"]["disks"]) == 2


def test_unknown_disk_to_ignore_is_named_with_its_nearest(vm, ctl):
    disks.register(ctl, vm)
    error = ctl.fails(3, "vm", "set", "vm", "--ignore-disk", "vdaa")
    assert error["code"] == "no-such-disk" and "'vda'" in error["hint"]
    assert "'vda'" in ctl.fails(3, "vm", "add", "new", "--qmp", vm.qmp, "--ignore-disk", "vdaa")["hint"]


def test_disk_whose_image_another_vm_needs_stays_ignored(qemu, ctl, folder):
    shared = images.create(folder / "shared.qcow2", "8M")
    top = images.create(folder / "top.qcow2", None, backing=shared)
    disks.register(ctl, qemu(disks.blockdev("vda", top)), name="first")
    own = images.create(folder / "own.qcow2", "8M")
    reads = disks.blockdev("vda", shared, file="read-only=on", top="read-only=on")
    disks.register(ctl, qemu([*reads, *disks.blockdev("vdb", own)]), "--ignore-disk", "vda", name="second")
    error = ctl.fails(9, "vm", "set", "second", "--ignore-disk", "none")
    assert "VM 'first'" in error["message"]
    assert [disk["ignored"] for disk in shown(ctl, "second")["disks"]] == [True, False]


def test_disk_of_a_vm_that_is_shut_off_stays_ignored(vm, ctl):
    disks.register(ctl, vm, "--ignore-disk", "vdb")
    vm.kill()
    assert ctl.fails(4, "vm", "set", "vm", "--ignore-disk", "none")["code"] == "shut-off"
    assert [disk["ignored"] for disk in shown(ctl)["disks"]] == [False, True]


def test_disk_that_moved_on_while_it_was_ignored_is_taken_as_it_is(vm, ctl, folder):
    disks.register(ctl, vm, "--ignore-disk", "vdb")
    moved = images.create(folder / "moved.qcow2", None, backing=folder / "vdb.qcow2")
    vm.kill()
    vm.arguments = [*disks.blockdev("vda", folder / "vda.qcow2"), *disks.blockdev("vdb", moved)]
    vm.start()
    ctl.ok("vm", "set", "vm", "--ignore-disk", "none")
    assert shown(ctl)["disks"][1]["path"] == str(moved)
    assert [part["image"] for part in ctl.ok("snapshot", "vm", "one")["snapshot"]["disks"]][1] == str(moved)


def states(ctl, name="vm"):
    return [(os.path.basename(image["path"]), image["state"]) for image in ctl.ok("tree", name)["disks"][0]["images"]]


def test_base_is_moved_down_within_the_chain(qemu, ctl, chain):
    disks.register(ctl, qemu(disks.blockdev("vda", chain[2])))
    assert states(ctl) == [("deep.qcow2", "foreign"), ("base.qcow2", "foreign"), ("active.qcow2", "active")]
    told = ctl.ok("vm", "set", "vm", "--own", chain[1])
    assert told["vm"]["disks"][0]["base"] == str(chain[1])
    assert states(ctl) == [("deep.qcow2", "foreign"), ("base.qcow2", "backing"), ("active.qcow2", "active")]
    ctl.ok("vm", "set", "vm", "--own", chain[1])
    assert ctl.fails(9, "vm", "set", "vm", "--own", chain[2])["code"] == "refused", "never up"
    assert ctl.fails(3, "vm", "set", "vm", "--own", chain[0].parent / "other.qcow2")["code"] == "no-such-image"
    assert ctl.run("check", "vm").status == 0
    assert ctl.ok("vm", "set", "vm", "--own", chain[0])["vm"]["disks"][0]["base"] == str(chain[0])


def test_what_becomes_owned_is_watched_from_then_on(qemu, ctl, chain):
    machine = qemu(disks.blockdev("vda", chain[2]))
    disks.register(ctl, machine)
    ctl.ok("vm", "set", "vm", "--own", chain[1])
    machine.kill()
    images.write(chain[1], "write -P 5 0 64k")
    assert "image-changed" in [one["code"] for one in ctl.run("check", "vm").json["problems"]]


def test_image_that_another_vm_needs_is_not_owned(qemu, ctl, chain, folder):
    other = images.create(folder / "other.qcow2", None, backing=chain[1])
    disks.register(ctl, qemu(disks.blockdev("vda", chain[2])))
    disks.register(ctl, qemu(disks.blockdev("vda", other)), name="other")
    for words in (["vm", "set", "vm", "--own", chain[1]], ["vm", "set", "vm", "--own", chain[0]]):
        error = ctl.fails(9, *words)
        assert "VM 'other'" in error["message"], error
    assert shown(ctl)["disks"][0]["base"] == str(chain[2])
    assert verbs(ctl) == []


def test_dry_run_of_set_and_rescan_changes_nothing(qemu, ctl, chain):
    disks.register(ctl, qemu(disks.blockdev("vda", chain[2])))
    before = shown(ctl), states(ctl), verbs(ctl)
    assert ctl.ok("vm", "set", "vm", "--own", chain[0], "--quiesce", "off", "--dry-run")["vm"]["quiesce"] == "off"
    ctl.ok("vm", "rescan", "vm", "--accept", "--dry-run")
    assert (shown(ctl), states(ctl), verbs(ctl)) == before
