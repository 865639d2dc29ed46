"""`mirror` as a script sees it: documents, what a person reads instead, what --dry-run tells, progress."""
import json

import pytest

from documents import assert_failure, only_document, said
from support import images, process

from cli_vm import contents


@pytest.fixture
def filled(vm):
    vm.qemu.qemu_io("vda", "write -P 1 0 1M")
    vm.qemu.qemu_io("vdb", "write -P 2 0 64k")
    (vm.folder / "copies").mkdir()
    return vm


def test_finish_says_where_the_copies_are(filled):
    copies = filled.folder / "copies"
    done = said(filled, "mirror", "vm1", "--to", copies)
    assert [(one["disk"], one["target"], one["state"]) for one in done["mirrors"]] == [
        ("vda", str(copies / "vda.qcow2"), "finished"), ("vdb", str(copies / "vdb.qcow2"), "finished")]  # fmt: skip
    assert done["mirrors"][0]["bytes"] >= 1 << 20
    assert (done["consistency"], done["active"], done["automatic_snapshot"]) == ("crash", [], None)
    assert done["paused_us"] is None and done["frozen_us"] is None, "this QEMU does not run"
    assert "op" not in done and "jobs" not in done


def test_pivot_says_what_is_active_now_and_what_is_kept(filled):
    copies = filled.folder / "copies"
    done = said(filled, "mirror", "vm1", "--to", copies, "--pivot", "--disk", "vda")
    assert done["active"] == [{"disk": "vda", "before": str(filled.paths["vda"]), "after": str(copies / "vda.qcow2")}]
    assert done["mirrors"][0]["state"] == "pivoted" and done["automatic_snapshot"].startswith("before-mirror-")
    assert said(filled, "path", "vm1", "vda")["path"] == str(copies / "vda.qcow2")


def test_what_goes_on_is_told_with_its_jobs(filled):
    done = said(filled, "mirror", "vm1", "--to", filled.folder / "copies", "--follow")
    assert done["consistency"] is None and {one["state"] for one in done["mirrors"]} == {"following"}
    assert [(job["disk"], job["op"], job["type"], job["status"], job["ours"]) for job in done["jobs"]] == [
        (name, done["op"], "mirror", "ready", True) for name in ("vda", "vdb")]  # fmt: skip
    assert {job["job"] for job in done["jobs"]} == {one["job"] for one in done["mirrors"]}
    assert said(filled, "jobs", "vm1")["jobs"] == done["jobs"]
    told = filled.chainctl.run("log", "vm1", json_output=False).out
    assert "ends the copies in one instant" in told and "gives the copies up" in told and "moves the guest on" not in told
    ended = filled.chainctl.ok("job", "complete", "vm1", done["op"])
    assert {one["state"] for one in ended["mirrors"]} == {"finished"} and ended["consistency"] == "crash"


@pytest.mark.parametrize("words, told", [
    ((), ["vm1: copied, crash-consistent", "vda: ", "vdb: "]),
    (("--pivot",), ["which the guest writes to now", "What was active before is kept as snapshot 'before-mirror-"]),
    (("--follow",), ["kept in step as operation", "chainctl job complete vm1 ", "chainctl job cancel vm1 "]),
])  # fmt: skip
def test_a_person_reads_the_same(filled, words, told):
    result = filled.chainctl.run("mirror", "vm1", "--to", filled.folder / "copies", *words, json_output=False)
    assert result.status == 0, result
    assert [part for part in told if part not in result.out] == []
    assert filled.chainctl.run("mirror", "vm1", "--to", filled.folder / "copies", "--existing", "-q",
                               json_output=False).out == "" or words  # fmt: skip


@pytest.mark.parametrize("words, last", [((), "block-job-cancel"), (("--pivot",), "job-complete"), (("--follow",), "blockdev-mirror"),
                                         (("--format", "raw"), "block-job-cancel"), (("--sync", "none"), "block-job-cancel")])  # fmt: skip
def test_dry_run_tells_what_would_be_sent_and_changes_nothing(filled, words, last):
    before = contents(filled.chainctl.state_dir), contents(filled.folder), filled.graph()
    done = said(filled, "mirror", "vm1", "--to", filled.folder / "copies", *words, "--dry-run")
    assert (contents(filled.chainctl.state_dir), contents(filled.folder), filled.graph()) == before
    plan = [json.dumps(step) for step in done["plan"]]
    assert done["dry_run"] and any("blockdev-mirror" in step for step in plan) and any(last in step for step in plan)
    human = filled.chainctl.run("mirror", "vm1", "--to", filled.folder / "copies", *words, "--dry-run", json_output=False)
    assert human.status == 0 and "blockdev-mirror" in human.out
    assert (contents(filled.chainctl.state_dir), contents(filled.folder), filled.graph()) == before


def test_progress_is_lines_of_json(filled):
    filled.qemu.qemu_io("vda", "write -P 3 0 8M")
    started = filled.chainctl.start("mirror", "vm1", "--to", filled.folder / "copies", "--speed", "4M", "--progress=json")
    out, err = started.communicate(timeout=60)
    assert started.returncode == 0, out + err
    lines = [json.loads(line) for line in err.splitlines()]
    assert lines and all({"op", "vm", "disk", "phase", "current", "total", "rate"} <= set(line) for line in lines)
    assert {line["disk"] for line in lines} == {"vda", "vdb"} and lines[-1]["current"] == lines[-1]["total"]


def test_failure_is_one_document_and_the_others_way_is_named(filled):
    copy = images.create(filled.folder / "copies" / "it.qcow2", "1M")
    result = filled.chainctl.run("mirror", "vm1", "--disk", "vda", "--to", copy)
    error = assert_failure("mirror", only_document(result.out))
    assert (result.status, error["code"]) == (1, "exists") and "--existing" in error["hint"]
    result = filled.chainctl.run("mirror", "vm1", "--disk", "vda", "--to", copy, "--existing")
    error = assert_failure("mirror", only_document(result.out))
    assert (result.status, error["code"]) == (9, "refused") and str(1 << 20) in error["message"]


def test_tree_shows_both_sides_of_a_pivot(filled):
    filled.chainctl.ok("mirror", "vm1", "--to", filled.folder / "copies", "--pivot", "--disk", "vda")
    [tree, _] = said(filled, "tree", "vm1")["disks"]
    shown = {image["path"]: (image["state"], image["parent"]) for image in tree["images"]}
    assert shown == {str(filled.paths["vda"]): ("branch", None), str(filled.folder / "copies" / "vda.qcow2"): ("active", None)}
    human = filled.chainctl.run("tree", "vm1", json_output=False).out
    assert f"{filled.folder.name}/copies" in human and "before-mirror-" in human


def test_tree_shows_what_is_copied_elsewhere(filled):
    op = filled.chainctl.ok("mirror", "vm1", "--to", filled.folder / "copies", "--follow")["op"]
    for tree in said(filled, "tree", "vm1")["disks"]:
        assert [(image["job"]["op"], image["job"]["verb"], image["job"]["status"]) for image in tree["images"]] == [(op, "mirror", "ready")]
    assert "⇢ mirror ready" in filled.chainctl.run("tree", "vm1", json_output=False).out


def test_log_names_the_verb_and_how_it_ended(filled):
    filled.chainctl.ok("mirror", "vm1", "--to", filled.folder / "copies")
    filled.chainctl.fails(1, "mirror", "vm1", "--to", filled.folder / "copies")
    rows = [(one["verb"], one["state"]) for one in said(filled, "log", "vm1")["operations"] if one["verb"] == "mirror"]
    assert rows == [("mirror", "done")], "what was refused was never begun"
    process.wait_until(lambda: filled.qemu.monitor().execute("query-jobs") == [], 60, "no job")
