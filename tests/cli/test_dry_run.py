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


def told(vm, *words):
    """What is said before the steps."""
    shown = vm.chainctl.run(*words, "--dry-run", json_output=False)
    assert shown.status == 0 and shown.out.startswith("Nothing was changed."), shown
    return shown.out.split("By these steps:")[0]


def test_dry_run_says_in_a_sentence_what_would_come_of_it(vm):
    for name in ("old", "new"):
        vm.chainctl.ok("snapshot", "vm1", name)
    base, old, new = vm.paths["vda"], vm.folder / "vda.old.qcow2", vm.folder / "vda.new.qcow2"
    assert f"vda is merged from {new} down into {base}" in (merged := told(vm, "commit", "vm1", "--pivot")) and "old, new" in merged
    assert "ceases to exist: old" in told(vm, "commit", "vm1", "--top", "new")
    assert f"vda: all below {new} is copied into it" in told(vm, "stream", "vm1")
    assert f"copied into {new}" in told(vm, "stream", "vm1", "--base", "old")
    assert "vm1 goes back to 'old'" in (back := told(vm, "rollback", "vm1", "old")) and "kept as snapshot 'before-rollback-" in back
    assert f"vda is copied to {vm.folder / 'vda-copy.qcow2'}" in told(vm, "mirror", "vm1", "--disk", "vda", "--to", vm.folder / "vda-copy.qcow2")
    assert "snapshot 'next' of vm1" in (taken := told(vm, "snapshot", "vm1", "next")) and f"writes to {vm.folder / 'vda.next.qcow2'}" in taken
    assert "snapshot 'old' of vm1 is protected" in told(vm, "protect", "vm1", "old")
    assert "vm1 and its snapshots are forgotten" in told(vm, "vm", "remove", "vm1")
    assert "the database is copied to" in told(vm, "state", "backup", vm.folder / "copy.db")
    assert old.exists()


def test_what_a_discarding_rollback_would_remove_is_named_and_stays_and_what_it_did_remove_is_named_too(vm):
    vm.chainctl.ok("snapshot", "vm1", "old")
    vm.chainctl.ok("snapshot", "vm1", "new")
    words = ["rollback", "vm1", "old", "--discard"]
    heads = [str(vm.folder / f"{disk}.new.qcow2") for disk in ("vda", "vdb")]
    before = everything(vm)
    promised = vm.chainctl.ok(*words, "--dry-run")["removed"]
    text = told(vm, *words)
    assert everything(vm) == before
    assert promised == heads and all(head in text for head in heads)
    done = vm.chainctl.run(*words, json_output=False)
    assert done.status == 0 and all(f"removed {head}\n" in done.out for head in heads), done


def test_dry_run_of_a_job_verb_says_what_would_become_of_the_job(vm):
    vm.qemu.qemu_io("vda", "write -P 1 0 16M")
    op = vm.chainctl.ok("mirror", "vm1", "--to", vm.folder / "copy.qcow2", "--disk", "vda", "--follow", "--speed", "1M", "--detach")["op"]
    for verb, becomes in {"pause": "stands still", "resume": "goes on", "cancel": "is cancelled", "complete": "is completed"}.items():
        assert f"vm1: job {op[:8]} {becomes}\n" in told(vm, "job", verb, "vm1", op[:8])
    assert f"job {op} gets another limit" in told(vm, "job", "speed", "vm1", op, "2M")
    (job,) = vm.chainctl.ok("jobs", "vm1")["jobs"]
    assert (job["status"], job["speed"]) == ("running", 1 << 20)
    vm.chainctl.ok("job", "cancel", "vm1", op)
