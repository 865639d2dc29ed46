"""What is too wide for a terminal is fitted in, at words and whole; what is piped is the same at any width."""
import re

import pytest

from documents import said
from test_terminal import on_terminal, without_colours

from cli_vm import file_names

NARROW = 80


@pytest.fixture
def mirrored(vm):
    """A mirror of both disks goes on, slowly: vda has 32 MiB to copy."""
    vm.qemu.qemu_io("vda", "write -P 1 0 32M")
    (vm.folder / "copies").mkdir()
    vm.op = vm.chainctl.ok("mirror", "vm1", "--to", vm.folder / "copies", "--follow", "--speed", "1M", "--detach")["op"]
    return vm


def shown(vm, *words, columns=NARROW, status=0):
    code, text = on_terminal(vm.chainctl, *words, columns=columns)
    assert code == status, text
    lines = without_colours(text).splitlines()
    return lines


def assert_fits(lines, columns=NARROW):
    assert lines and not [line for line in lines if len(line) > columns], lines


def test_snapshots_of_rollbacks_fit_and_keep_their_names(vm):
    vm.chainctl.ok("snapshot", "vm1", "monday", "--tag", "nightly")
    vm.chainctl.ok("rollback", "vm1", "monday")
    lines = shown(vm, "list", "vm1")
    assert_fits(lines)
    name = vm.chainctl.ok("list", "vm1")["snapshots"][-1]["name"]
    assert name in lines and "(automatic)" in lines[lines.index(name) + 1], lines
    assert re.fullmatch(r"monday +\S+ \S+ [+-]\d{4} +crash +\S+ KiB +nightly", lines[1]), lines
    piped = vm.chainctl.run("list", "vm1", json_output=False).out
    assert "\n".join(shown(vm, "list", "vm1", columns=200)) + "\n" == piped, "where there is room nothing is fitted in"
    assert [len(line.split("  ")[0]) for line in piped.splitlines()[1:]] == [len("monday"), len(name)]


def test_jobs_fit_and_what_is_typed_to_mean_one_is_shown(mirrored):
    lines = shown(mirrored, "jobs")
    assert_fits(lines)
    assert [line.split()[:4] for line in lines[1:]] == [["vm1", disk, mirrored.op[:8], "mirror"] for disk in ("vda", "vdb")]
    piped = mirrored.chainctl.run("jobs", json_output=False).out.splitlines()
    assert piped[0].split() == ["VM", "DISK", "JOB", "OP", "TYPE", "STATUS", "DONE", "OF", "LIMIT"]
    assert len(piped[1]) > NARROW and mirrored.op[:8] in piped[1].split()


def test_how_to_go_on_with_a_mirror_fits_and_means_it_by_eight_digits(mirrored):
    mirrored.chainctl.ok("job", "cancel", "vm1", mirrored.op)
    lines = shown(mirrored, "mirror", "vm1", "--to", mirrored.folder / "copies", "--disk", "vda", "--follow", "--detach", "--speed", "1M")
    (job,) = mirrored.chainctl.ok("jobs")["jobs"]
    assert any(line.startswith(f"  chainctl job cancel vm1 {job['op'][:8]} ") for line in lines), lines
    assert job["op"] not in "".join(lines)
    assert_fits([line for line in lines if "job" in line])


def test_cancelled_mirror_says_so_and_draws_no_bar(mirrored):
    lines = shown(mirrored, "job", "cancel", "vm1", mirrored.op[:8])
    text = " ".join(" ".join(lines).split())
    assert "the mirror is cancelled" in text and "are removed" in text and "%" not in text, lines
    assert_fits(lines)
    assert file_names(mirrored.folder / "copies") == set()


def test_document_of_a_cancelled_mirror_has_no_jobs_in_it(mirrored):
    assert said(mirrored, "job", "cancel", "vm1", mirrored.op)["jobs"] == []


@pytest.mark.parametrize("columns", [80, 60])
def test_prose_is_broken_at_words_and_says_the_same(vm, columns):
    vm.chainctl.ok("snapshot", "vm1", "monday")
    piped = vm.chainctl.run("doctor", "vm1", json_output=False)
    lines = shown(vm, "doctor", "vm1", columns=columns)
    assert max(map(len, piped.out.splitlines())) > columns, "nothing here is too long"
    assert " ".join(lines).split() == (piped.err + piped.out).split()
    too_long = [line for line in lines if len(line) > columns]
    assert all(line.startswith("    `") or " " not in line.strip() for line in too_long), "only what is pasted, or one word, stays whole"
    assert sum(line.startswith("  ") for line in lines) > 2, "what goes on below is indented"


def test_error_and_hint_are_broken_at_words_on_a_terminal_alone(mirrored):
    lines = shown(mirrored, "snapshot", "vm1", status=6)
    assert_fits(lines)
    piped = mirrored.chainctl.run("snapshot", "vm1", json_output=False)
    assert len(piped.err.splitlines()) == 2 < len(lines)
    assert " ".join(lines).split() == piped.err.split()


def test_chain_that_stands_alone_is_set_apart_from_the_one_above_it(vm):
    vm.chainctl.ok("snapshot", "vm1", "monday")
    vm.chainctl.ok("stream", "vm1", "--disk", "vda")
    vda, vdb = vm.chainctl.run("tree", "vm1", json_output=False).out.split("vdb  ")
    assert re.search(r"vda\.qcow2 .*\n\n◉ vda\.monday\.qcow2", vda), vda
    assert re.search(r"vdb\.raw .*\n◉ vdb\.monday\.qcow2", vdb), vdb


def test_quiet_run_draws_no_table(vm):
    (vm.folder / "copies").mkdir()
    quiet = [["mirror", "vm1", "--to", vm.folder / "copies", "--follow", "--detach"], ["vm", "set", "vm1", "--quiesce", "off"], ["vm", "remove", "vm1"]]
    for words in quiet:
        done = vm.chainctl.run(*words, "-q", json_output=False)
        assert (done.status, done.out) == (0, ""), done
        for job in vm.chainctl.ok("jobs")["jobs"][:1]:
            vm.chainctl.ok("job", "cancel", "vm1", job["op"])
    added = vm.chainctl.run("vm", "add", "vm1", "--qmp", vm.qemu.qmp, "-q", json_output=False)
    assert (added.status, added.out) == (0, ""), added
