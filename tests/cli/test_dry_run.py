"""`--dry-run`: every check is done, all that would be sent is told, and nothing at all is different afterwards."""
import pytest

from documents import only_document
from support import images

from cli_vm import contents, disk_words

VERBS = {
    "snapshot": ["snapshot", "vm1", "new", "--tag", "t", "--description", "d", "--protect"],
    "snapshot without a name": ["snapshot", "vm1"],
    "snapshot of one disk": ["snapshot", "vm1", "new", "--disk", "vdb"],
    "list": ["list", "vm1"],
    "show": ["show", "vm1", "old"],
    "tree": ["tree", "vm1"],
    "path": ["path", "vm1", "vda"],
    "log": ["log", "vm1"],
    "check": ["check", "vm1"],
    "doctor": ["doctor", "vm1"],
    "vm list": ["vm", "list"],
    "vm show": ["vm", "show", "vm1"],
    "vm set": ["vm", "set", "vm1", "--quiesce", "off", "--ignore-disk", "vda"],
    "vm rescan": ["vm", "rescan", "vm1", "--accept"],
    "vm discover": ["vm", "discover"],
    "vm remove": ["vm", "remove", "vm1"],
}


def everything(vm):
    return contents(vm.chainctl.state_dir), contents(vm.folder), vm.graph()


@pytest.mark.parametrize("json_output", [True, False], ids=["json", "human"])
@pytest.mark.parametrize("verb", VERBS)
def test_dry_run_of_a_verb_changes_nothing(vm, verb, json_output):
    vm.chainctl.ok("snapshot", "vm1", "old")
    before = everything(vm)
    result = vm.chainctl.run(*VERBS[verb], "--dry-run", json_output=json_output)
    assert result.status == 0, result
    assert everything(vm) == before
    assert not json_output or only_document(result.out)["ok"] is True


def test_dry_run_of_vm_add_registers_nothing_and_makes_no_folder(vm, chainctl, tmp_path):
    other = chainctl(tmp_path / "other")
    before = everything(vm)
    told = other.ok("vm", "add", "new", "--qmp", vm.qemu.qmp, "--dry-run")["vm"]
    assert [disk["disk"] for disk in told["disks"]] == ["vda", "vdb"]
    assert not (tmp_path / "other").exists()
    assert everything(vm) == before


def test_dry_run_of_vm_add_beside_other_vms_changes_nothing(vm, qemu):
    other = qemu(disk_words({"vda": images.create(vm.folder / "other.qcow2", "1M")}))
    before = everything(vm)
    vm.chainctl.ok("vm", "add", "new", "--qmp", other.qmp, "--dry-run")
    assert everything(vm) == before


def test_dry_run_tells_what_would_be_sent(vm):
    told = vm.chainctl.run("snapshot", "vm1", "new", "--dry-run", json_output=False)
    assert "transaction" in told.out and "blockdev-snapshot" in told.out and str(vm.folder / "vda.new.qcow2") in told.out
    sent = str(vm.chainctl.ok("snapshot", "vm1", "new", "--dry-run"))
    assert "'execute': 'transaction'" in sent and "blockdev-snapshot" in sent


@pytest.mark.parametrize("words, status", [
    (["snapshot", "vm1", "old"], None), (["snapshot", "vm1", "base"], 2), (["snapshot", "vm1", "x", "--disk", "vdx"], 3),
    (["snapshot", "vm2", "x"], 3), (["vm", "remove", "vm2"], 3), (["snapshot", "vm1", "x", "--dir", "/nowhere/at/all"], None),
    (["snapshot", "vm1", "x", "--quiesce", "require"], 5), (["snapshot", "vm1", "x", "--reuse", "vda=/nowhere/x.qcow2"], None),
])  # fmt: skip
def test_dry_run_fails_as_the_verb_itself_would(vm, words, status):
    vm.chainctl.ok("snapshot", "vm1", "old")
    before = everything(vm)
    dry = vm.chainctl.run(*words, "--dry-run")
    assert everything(vm) == before
    graph = vm.graph(), contents(vm.folder), vm.chainctl.ok("list", "vm1")
    real = vm.chainctl.run(*words)
    assert dry.status == real.status and dry.status in (range(1, 11) if status is None else (status,)), (dry, real)
    assert dry.json["error"]["code"] == real.json["error"]["code"]
    assert (vm.graph(), contents(vm.folder), vm.chainctl.ok("list", "vm1")) == graph


def test_snapshot_can_be_taken_after_a_dry_run_of_it(vm):
    promised = vm.chainctl.ok("snapshot", "vm1", "s", "--dry-run")["snapshot"]["disks"]
    assert vm.chainctl.ok("snapshot", "vm1", "s")["snapshot"]["disks"] == promised


def test_dry_run_of_a_snapshot_where_the_vm_is_shut_off_changes_nothing(vm):
    vm.qemu.kill()
    before = contents(vm.chainctl.state_dir), contents(vm.folder)
    vm.chainctl.run("snapshot", "vm1", "s", "--dry-run")
    assert (contents(vm.chainctl.state_dir), contents(vm.folder)) == before


def test_reading_verbs_change_nothing(vm):
    vm.chainctl.ok("snapshot", "vm1", "old")
    before = everything(vm)
    for verb in ("list", "show", "tree", "path", "log", "check", "vm list", "vm show"):
        vm.chainctl.ok(*VERBS[verb])
    assert everything(vm) == before
