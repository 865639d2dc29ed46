"""The documents of commit, stream, jobs, job and protect, and what a person reads instead."""
import pytest

from documents import assert_failure, only_document, said

from cli_vm import contents


@pytest.fixture
def filled(vm):
    """Two snapshots, and data above each."""
    for number, name in enumerate(("monday", "tuesday")):
        vm.qemu.qemu_io("vda", f"write -P {number + 1} {number}M 1M")
        vm.chainctl.ok("snapshot", "vm1", name)
    vm.qemu.qemu_io("vda", "write -P 9 4M 40M")
    return vm


def test_commit_says_what_went_where_what_ceased_and_what_was_removed(filled):
    before = {path for path, _ in contents(filled.folder).items()}
    done = said(filled, "commit", "vm1", "--pivot")
    first = done["merges"][0]
    assert first["base"] == str(filled.paths["vda"]) and first["top"].endswith("vda.tuesday.qcow2") and first["pivoted"]
    assert done["snapshots_removed"] == ["monday", "tuesday"]
    assert done["paused_us"] is None and done["frozen_us"] is None, "this QEMU does not run"
    gone = {path for path in before - set(contents(filled.folder)) if not path.endswith(".chainctl")}
    assert {path for merge in done["merges"] for path in merge["removed"]} == gone
    assert first["freed"] >= 40 << 20 and first["bytes"] >= 40 << 20


def test_stream_says_what_lies_below_now(filled):
    done = said(filled, "stream", "vm1", "--disk", "vda", "--base", "monday")
    assert done["merges"][0]["base"] == str(filled.paths["vda"])
    assert done["snapshots_removed"] == [] and done["active"] == []


def test_what_goes_on_is_told_with_its_jobs(filled):
    done = said(filled, "commit", "vm1", "--detach", "--speed", "1M", "--disk", "vda")
    (job,) = done["jobs"]
    assert job["op"] == done["op"] and job["ours"] and job["speed"] == 1 << 20 and job["disk"] == "vda"
    assert said(filled, "jobs")["jobs"][0]["op"] == said(filled, "jobs", "vm1")["jobs"][0]["op"] == done["op"]
    assert said(filled, "job", "pause", "vm1", job["job"])["jobs"][0]["op"] == done["op"]
    assert said(filled, "jobs", "vm1")["jobs"][0]["status"] == "paused"
    said(filled, "job", "resume", "vm1", done["op"][:4])
    assert filled.chainctl.fails(3, "job", "speed", "vm1", "nonsense", "1M")["code"] == "no-such-job"
    said(filled, "job", "speed", "vm1", done["op"], "16M")
    assert said(filled, "jobs", "vm1")["jobs"][0]["speed"] == 16 << 20
    said(filled, "job", "complete", "vm1", done["op"])
    assert said(filled, "jobs", "vm1")["jobs"] == []


def test_a_commit_that_was_cancelled_says_so_and_what_is_lost(filled):
    op = said(filled, "commit", "vm1", "--detach", "--speed", "1M", "--disk", "vda")["op"]
    done = said(filled, "job", "cancel", "vm1", op)
    assert [merge["merged"] for merge in done["merges"]] == [False]
    assert done["snapshots_removed"] == ["monday", "tuesday"] and done["active"] == []


def test_a_job_of_somebody_else_is_shown_as_not_ours(filled):
    target = filled.folder / "copy.qcow2"
    monitor = filled.qemu.monitor()
    monitor.execute("drive-mirror", device=monitor.execute("query-block")[0]["inserted"]["node-name"], job_id="theirs",
                    target=str(target), sync="full", format="qcow2", speed=1 << 20)  # fmt: skip
    (job,) = said(filled, "jobs", "vm1")["jobs"]
    assert (job["job"], job["ours"], job["op"], job["disk"]) == ("theirs", False, None, None)
    assert "not ours" in filled.chainctl.run("jobs", json_output=False).out
    assert filled.chainctl.fails(9, "commit", "vm1", "--pivot")["message"].count("theirs") == 1
    (shown,) = said(filled, "tree", "vm1")["jobs_of_others"]
    assert (shown["job"], shown["ours"], shown["op"], shown["disk"]) == ("theirs", False, None, "vda")
    assert "⇢ mirror" in (drawn := filled.chainctl.run("tree", "vm1", json_output=False).out) and "(not ours)" in drawn


def test_dry_run_of_a_merge_tells_its_commands_and_changes_nothing(filled):
    for verb in (["commit", "vm1", "--pivot"], ["stream", "vm1"], ["protect", "vm1", "monday"]):
        before = filled.untouched()
        assert said(filled, *verb, "--dry-run")["plan"], verb
        assert filled.untouched() == before


def test_protected_snapshots_are_marked_and_let_go(filled):
    done = said(filled, "protect", "vm1", "monday", "latest", "monday")
    assert [(one["name"], one["protected"]) for one in done["snapshots"]] == [("monday", True), ("tuesday", True)]
    assert all(one["protected"] for one in said(filled, "list", "vm1")["snapshots"])
    assert filled.chainctl.run("tree", "vm1", json_output=False).out.count("(protected)") == 4
    assert "MARKS" in filled.chainctl.run("list", "vm1", json_output=False).out
    assert "'monday'" in filled.chainctl.fails(9, "commit", "vm1", "--pivot")["message"]
    said(filled, "protect", "vm1", "monday", "tuesday", "--off")
    assert "MARKS" not in filled.chainctl.run("list", "vm1", json_output=False).out
    assert said(filled, "check", "vm1")["problems"] == [], "a note was not brought up to date"
    assert [one["verb"] for one in said(filled, "log", "vm1")["operations"]][-2:] == ["protect", "protect"]


def test_protecting_again_changes_nothing(filled):
    said(filled, "protect", "vm1", "monday")
    before = filled.untouched()
    said(filled, "protect", "vm1", "monday")
    assert filled.untouched() == before


def test_protect_is_all_or_nothing(filled):
    result = filled.chainctl.run("protect", "vm1", "monday", "nonsense")
    assert result.status == 3
    assert_failure("protect", only_document(result.out))
    assert not any(one["protected"] for one in said(filled, "list", "vm1")["snapshots"])


def test_human_text_says_how_a_ready_job_is_finished(filled):
    told = filled.chainctl.run("commit", "vm1", "--disk", "vda", json_output=False)
    op = said(filled, "jobs", "vm1")["jobs"][0]["op"][:8]
    assert told.status == 0 and f"chainctl job complete vm1 {op}" in told.out and "job wait" not in told.out
    told = filled.chainctl.run("job", "complete", "vm1", op, json_output=False)
    assert "which the guest writes to now" in told.out and " freed" in told.out and "'monday', 'tuesday'" in told.out
