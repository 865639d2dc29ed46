"""What a person sees: colours on a terminal and nowhere else, nothing that moves the cursor, and lines that fit."""
import errno
import fcntl
import json
import os
import re
import select
import sqlite3
import struct
import termios
import time
import unicodedata

import pytest

from support import images, process
from support.chainctl import finish

from cli_vm import disk_words

ESCAPE = "\x1b"
SHOWING = [["vm", "list"], ["vm", "show", "vm1"], ["list", "vm1"], ["show", "vm1", "first"], ["tree", "vm1"], ["log", "vm1"], ["check", "vm1"],
           ["path", "vm1", "vda"]]  # fmt: skip


def on_terminal(chainctl, *words, columns=80, env=None, seconds=60, typed=""):
    """What a run writes to a terminal of so many columns, stdout and stderr together, and its exit status."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**chainctl.env, "TERM": "xterm-256color", **(env or {})}
    environment.pop("COLUMNS", None)
    command = [chainctl.binary, "--state", chainctl.state_dir, *words]
    started = process.spawn(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    os.write(ours, typed.encode())
    written, deadline = b"", time.monotonic() + seconds
    try:
        while select.select([ours], [], [], max(deadline - time.monotonic(), 0))[0]:
            try:
                received = os.read(ours, 65536)
            except OSError as error:
                assert error.errno == errno.EIO
                break
            if not received:
                break
            written += received
        return started.wait(60), written.decode().replace("\r\n", "\n")
    finally:
        os.close(ours)
        process.end(started)


def without_colours(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def width(line):
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in line)
    return len(line) + wide - sum(bool(unicodedata.combining(letter)) for letter in line)


@pytest.mark.parametrize("words", SHOWING, ids=" ".join)
def test_no_escape_code_and_no_tab_where_stdout_is_no_terminal(vm, words):
    vm.chainctl.ok("snapshot", "vm1", "first")
    vm.chainctl.env.update(TERM="xterm-256color")
    result = vm.chainctl.run(*words, json_output=False)
    assert result.status == 0 and result.out and ESCAPE not in result.out + result.err, result


def test_colours_on_a_terminal_and_none_with_no_color(vm):
    vm.chainctl.ok("snapshot", "vm1", "first")
    coloured = {tuple(words): on_terminal(vm.chainctl, *words) for words in SHOWING}
    assert all(status == 0 for status, _ in coloured.values()), coloured
    assert any(ESCAPE + "[" in text for _, text in coloured.values()), "nothing is coloured on a terminal"
    for words in SHOWING:
        status, plain = on_terminal(vm.chainctl, *words, env={"NO_COLOR": "1"})
        assert status == 0 and ESCAPE not in plain, (words, plain)
        assert without_colours(coloured[tuple(words)][1]).split() == plain.split(), words


def test_dumb_terminal_gets_no_colours(vm):
    vm.chainctl.ok("snapshot", "vm1", "first")
    for words in SHOWING:
        assert ESCAPE not in on_terminal(vm.chainctl, *words, env={"TERM": "dumb"})[1]


def test_empty_no_color_counts_as_unset(vm):
    """As no-color.org has it: present and not empty."""
    vm.chainctl.ok("snapshot", "vm1", "first")
    told = [on_terminal(vm.chainctl, *words, env={"NO_COLOR": ""})[1] for words in SHOWING]
    assert any(ESCAPE + "[" in text for text in told)


def test_json_on_a_terminal_has_no_colours(vm):
    status, text = on_terminal(vm.chainctl, "list", "vm1", "--json")
    assert status == 0 and ESCAPE not in text and text.lstrip().startswith('{"schema":1')


def test_path_on_a_terminal_is_the_path_alone(vm):
    assert on_terminal(vm.chainctl, "path", "vm1", "vda") == (0, f"{vm.paths['vda']}\n")


def test_what_is_read_back_from_the_terminal_holds_no_control_character(vm):
    evil = "a\x1b[2Jb\x07c\rd\x9b31me\u202eg\x7fh\ni\tj"
    vm.chainctl.ok("snapshot", "vm1", "first", "--description", evil, "--tag", "t\x1b[31mu\n")
    assert vm.chainctl.ok("show", "vm1", "first")["snapshot"]["description"] == evil
    for words in (["list", "vm1"], ["show", "vm1", "first"], ["tree", "vm1"], ["log", "vm1"]):
        plain = vm.chainctl.run(*words, json_output=False).out
        shown = without_colours(on_terminal(vm.chainctl, *words)[1])
        for text in (plain, shown):
            bad = {letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf") and letter != "\n"}
            assert not bad, (words, bad)
    assert len(vm.chainctl.run("list", "vm1", json_output=False).out.splitlines()) == 2, "a line break in a description breaks the table"


def test_control_characters_of_a_path_are_escaped(qemu, chainctl, tmp_path):
    folder = tmp_path / "a\x1b[31m\nb"
    folder.mkdir()
    path = images.create(folder / "vda.qcow2", "1M")
    made = qemu(disk_words({"vda": path}))
    vm = chainctl()
    assert vm.ok("vm", "add", "vm1", "--qmp", made.qmp)["vm"]["disks"][0]["path"] == str(path)
    vm.ok("snapshot", "vm1", "s")
    for words in (["vm", "show", "vm1"], ["show", "vm1", "s"], ["tree", "vm1"], ["list", "vm1"], ["check", "vm1"], ["snapshot", "vm1", "t"]):
        status, text = on_terminal(vm, *words)
        assert status == 0 and not set(without_colours(text)) & {ESCAPE, "\x07", "\r"}, (words, text)
        assert "\nb/" not in text, (words, text)
    assert vm.ok("path", "vm1", "vda")["path"].startswith(str(folder))


def test_arguments_in_error_messages_are_escaped(shared_vm):
    for words in (["list", "x\x1b[31m"], ["show", "vm1", "a\x07\x9b1m"], ["path", "vm1", "\x1b]0;title\x07"], ["no\x1b[2Jcommand"], ["list", "--\x1b[1m"],
                  ["vm", "add", "x", "--qmp", "/no\x1b[31m"], ["snapshot", "vm1", "\x1b[31m"], ["list", "--timeout=\x1b[31m"]):  # fmt: skip
        status, text = on_terminal(shared_vm.chainctl, *words, env={"NO_COLOR": "1"})
        bad = [letter for letter in text if unicodedata.category(letter) == "Cc" and letter != "\n"]
        assert status in (2, 3, 4) and not bad, (words, text)


def fill(vm, count, name=lambda number: f"snapshot-{number:04}"):
    """That many snapshots of the base of vda in the database, as if a long line of runs had made them."""
    with sqlite3.connect(vm.chainctl.state_dir / "chainctl.db") as database:
        (vm_id, disk, image), = database.execute("SELECT disk.vm, disk.id, active FROM disk WHERE name = 'vda'")
        for number in range(count):
            made = database.execute(
                "INSERT INTO snapshot (vm, id, name, description, created_us, protected, automatic, consistency, frozen_us)"
                " VALUES (?, ?, ?, '', ?, 0, 0, 'crash', -1)",
                (vm_id, f"{number:08x}-0000-4000-8000-000000000000", name(number), 1_700_000_000_000_000 + number * 1_000_000),
            ).lastrowid
            database.execute("INSERT INTO snapshot_disk VALUES (?, ?, ?, NULL)", (made, disk, image))
    database.close()


def test_thousand_snapshots_are_listed_quickly_and_in_order(vm):
    fill(vm, 1000)
    for words in (["list", "vm1"], ["tree", "vm1"], ["check", "vm1"], ["show", "vm1", "latest"], ["show", "vm1", "000003e7"], ["log", "vm1"]):
        started = time.monotonic()
        result = vm.chainctl.run(*words)
        assert result.status == 0, (words, result.err, result.out[:500])
        assert time.monotonic() - started < 2, words
    assert [one["name"] for one in vm.chainctl.ok("list", "vm1")["snapshots"]] == [f"snapshot-{number:04}" for number in range(1000)]
    assert vm.chainctl.ok("show", "vm1", "latest")["snapshot"]["name"] == "snapshot-0999"
    assert len(vm.chainctl.run("list", "vm1", json_output=False).out.splitlines()) == 1001
    assert vm.chainctl.ok("snapshot", "vm1", "next")["snapshot"]["name"] == "next"


@pytest.mark.parametrize("columns", [80, 200])
def test_tree_fits_the_terminal_with_long_names_and_many_snapshots(vm, columns):
    for number in range(6):
        vm.chainctl.ok("snapshot", "vm1", f"{number}" + "long-name." * 6)
    fill(vm, 30)
    status, text = on_terminal(vm.chainctl, "tree", "vm1", columns=columns)
    assert status == 0
    lines = without_colours(text).splitlines()
    assert len(lines) > 8
    too_long = [line for line in lines if width(line) > columns]
    assert not too_long, too_long


def test_tree_that_is_not_on_a_terminal_is_not_cut(vm):
    names = [f"{number}" + "long-name." * 6 for number in range(3)]
    for name in names:
        vm.chainctl.ok("snapshot", "vm1", name)
    shown = vm.chainctl.run("tree", "vm1", json_output=False).out
    assert all(name in shown for name in names), shown


def test_list_on_a_terminal_keeps_names_whole(vm):
    name = "n" * 64
    vm.chainctl.ok("snapshot", "vm1", name, "--description", "long words " * 20)
    status, text = on_terminal(vm.chainctl, "list", "vm1")
    assert status == 0 and name in text, text


def test_tree_shows_branches(vm):
    """Two images of vda hang off its base; the second one is made known by hand."""
    vm.chainctl.ok("snapshot", "vm1", "one")
    other = images.create(vm.folder / "vda.other.qcow2", None, backing=vm.paths["vda"])
    status = os.stat(other)
    with sqlite3.connect(vm.chainctl.state_dir / "chainctl.db") as database:
        (disk, base), = database.execute("SELECT id, base FROM disk WHERE name = 'vda'")
        database.execute(
            "INSERT INTO image (disk, parent, path, format, virtual_size, owned, device, inode) VALUES (?, ?, ?, 'qcow2', ?, 1, ?, ?)",
            (disk, base, os.fsencode(other), 64 << 20, status.st_dev, status.st_ino),
        )
    database.close()
    told = {image["path"]: image for image in vm.chainctl.ok("tree", "vm1")["disks"][0]["images"]}
    assert told[str(other)]["state"] == "branch" and told[str(other)]["parent"] == str(vm.paths["vda"])
    shown = vm.chainctl.run("tree", "vm1", json_output=False).out
    assert "vda.other.qcow2" in shown and "vda.one.qcow2" in shown


def test_quiet_leaves_out_text_and_warnings_but_not_what_was_asked_for(vm):
    quiet = vm.chainctl.run("snapshot", "vm1", "s", "--quiet", json_output=False)
    assert (quiet.status, quiet.out, quiet.err) == (0, "", ""), quiet
    asked = vm.chainctl.run("path", "vm1", "vda", "-q", json_output=False)
    assert (asked.status, asked.out) == (0, str(vm.folder / "vda.s.qcow2") + "\n")
    assert "s" in vm.chainctl.run("list", "vm1", "-q", json_output=False).out.split()
    failed = vm.chainctl.run("show", "vm1", "nothing", "-q", json_output=False)
    assert failed.status == 3 and failed.err and not failed.out, "an error is told even quietly"
    assert vm.chainctl.ok("list", "vm1", "-q")["snapshots"]


@pytest.mark.parametrize("json_output", [True, False], ids=["json", "human"])
@pytest.mark.parametrize("words", [["list", "vm1"], ["tree", "vm1"], ["path", "vm1", "vda"], ["vm", "list"], ["--version"], ["list", "--help"], ["check", "vm1"]],
                         ids=" ".join)  # fmt: skip
def test_stdout_that_is_full_is_a_failure(vm, words, json_output):
    vm.chainctl.ok("snapshot", "vm1", "first")
    with open("/dev/full", "w") as full:
        started = vm.chainctl.start(*words, json_output=json_output, stdout=full)
        _, err = started.communicate(timeout=60)
    assert started.returncode in range(1, 11), (started.returncode, err)
    assert "o space" in err, err


@pytest.mark.parametrize("json_output", [True, False], ids=["json", "human"])
def test_stdout_that_is_closed_is_a_failure_and_never_a_file_of_ours(vm, json_output):
    """With descriptor 1 free, the first file that is opened would become stdout: the database, an image, a socket."""
    before = vm.untouched()
    for words in (["list", "vm1"], ["path", "vm1", "vda"], ["vm", "list"], ["tree", "vm1"]):
        started = vm.chainctl.start(*words, json_output=json_output, prefix=["/bin/sh", "-c", 'exec "$@" >&-', "sh"])
        result = finish(started)
        assert result.status in range(1, 11), (words, result)
    assert vm.untouched() == before


def test_all_standard_descriptors_closed_harm_nothing(vm):
    for words in (["list", "vm1"], ["snapshot", "vm1", "s"], ["vm", "list"]):
        result = finish(vm.chainctl.start(*words, prefix=["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]))
        assert result.status in range(0, 11), (words, result)
    assert vm.chainctl.ok("check", "vm1")["problems"] == []
    with open(vm.chainctl.state_dir / "chainctl.db", "rb") as database:
        assert database.read(15) == b"SQLite format 3"


def test_snapshot_whose_stdout_is_full_is_taken_and_known_or_not_taken(vm):
    with open("/dev/full", "w") as full:
        started = vm.chainctl.start("snapshot", "vm1", "s", stdout=full)
        started.communicate(timeout=60)
    assert started.returncode in range(1, 11)
    known = [one["name"] for one in vm.chainctl.ok("list", "vm1")["snapshots"]]
    assert len(vm.qemu.monitor().chain("vda")) == 1 + len(known)


def test_reader_that_goes_away_is_no_crash(vm):
    fill(vm, 1000)
    started = vm.chainctl.start("list", "vm1", json_output=False)
    started.stdout.close()
    err = started.stderr.read()
    started.stderr.close()
    started.wait(60)
    assert started.returncode in (*range(1, 11), -13), (started.returncode, err)


def test_warning_goes_to_stderr_in_human_form_and_into_the_document_with_json(vm):
    """A paused VM with an agent cannot be quiesced, which is worth a warning."""
    with sqlite3.connect(vm.chainctl.state_dir / "chainctl.db") as database:
        database.execute("UPDATE vm SET agent = ?", (b"unix:/nowhere",))
    database.close()
    human = vm.chainctl.run("snapshot", "vm1", "a", json_output=False)
    assert human.status == 0 and "chainctl: warning:" in human.err and "warning:" not in human.out, human
    told = vm.chainctl.run("snapshot", "vm1", "b")
    assert told.json["warnings"] and told.err == "", told


@pytest.mark.parametrize("words", [["snapshot", "vm1", "s"], ["list", "vm1"], ["list", "vm9"], ["snapshot", "vm1", "s", "--bogus"], ["guest", "vm1", "ping"]], ids=" ".join)
def test_progress_json_makes_every_line_of_stderr_json(vm, words):
    result = vm.chainctl.run(*words, "--progress=json", json_output=False)
    for line in result.err.splitlines():
        assert isinstance(json.loads(line), dict), line


def test_no_prompt_is_ever_asked_without_a_terminal(vm):
    result = vm.chainctl.run("vm", "remove", "vm1", json_output=False)
    assert result.status == 0, result
