"""The command line itself: what is wrong with it is said in one document with exit 2, wherever the options stand."""
import re

import subprocess

import pytest

from documents import assert_failure, assert_success, only_document

COMMANDS = ["vm add", "vm list", "vm show", "vm set", "vm rescan", "vm discover", "vm remove", "snapshot", "list", "show", "tree", "path", "exec", "log", "check", "doctor",
            "guest", "rollback", "commit", "stream", "mirror", "jobs", "job wait", "job pause", "job resume", "job cancel",
            "job complete", "job speed", "protect"]  # fmt: skip

WRONG = {
    "no command": ([], None),
    "unknown command": (["snapsot"], None),
    "unknown second word of vm": (["vm", "frobnicate"], None),
    "vm without a verb": (["vm"], None),
    "unknown option": (["list", "vm1", "--bogus"], "list"),
    "unknown short option": (["list", "vm1", "-Z"], "list"),
    "unknown option with a value": (["snapshot", "vm1", "--bogus=1"], "snapshot"),
    "unknown global option before the command": (["--bogus", "list", "vm1"], None),
    "option of another command": (["list", "vm1", "--protect"], "list"),
    "too many arguments": (["list", "vm1", "vm2"], "list"),
    "too many arguments of vm list": (["vm", "list", "vm1"], "vm list"),
    "too many arguments of show": (["show", "vm1", "a", "b"], "show"),
    "too many arguments of snapshot": (["snapshot", "vm1", "a", "b"], "snapshot"),
    "show without a snapshot": (["show", "vm1"], "show"),
    "path without a disk": (["path", "vm1"], "path"),
    "vm remove without a name": (["vm", "remove"], "vm remove"),
    "vm add without a name": (["vm", "add", "--qmp", "/nowhere"], "vm add"),
    "vm add with an empty monitor": (["vm", "add", "new", "--qmp="], "vm add"),
    "option without its value": (["snapshot", "vm1", "--disk"], "snapshot"),
    "empty disk": (["snapshot", "vm1", "--disk="], "snapshot"),
    "bad quiesce": (["snapshot", "vm1", "--quiesce", "maybe"], "snapshot"),
    "bad hooks": (["snapshot", "vm1", "--hooks", "maybe"], "snapshot"),
    "bad freeze timeout": (["snapshot", "vm1", "--freeze-timeout", "soon"], "snapshot"),
    "negative freeze timeout": (["snapshot", "vm1", "--freeze-timeout=-1"], "snapshot"),
    "reuse without a path": (["snapshot", "vm1", "--reuse", "vda"], "snapshot"),
    "disk both chosen and excluded": (["snapshot", "vm1", "--disk", "vda", "--exclude", "vda"], "snapshot"),
    "bad progress": (["list", "vm1", "--progress=loud"], "list"),
    "bad timeout": (["list", "vm1", "--timeout=ten"], "list"),
    "timeout with a unit left over": (["list", "vm1", "--timeout=10x"], "list"),
    "negative timeout": (["list", "vm1", "--timeout=-5"], "list"),
    "huge timeout": (["list", "vm1", "--timeout=99999999999999999999"], "list"),
    "nan timeout": (["list", "vm1", "--timeout=nan"], "list"),
    "empty timeout": (["list", "vm1", "--timeout="], "list"),
    "bad wait": (["list", "vm1", "--wait=long"], "list"),
    "negative wait": (["list", "vm1", "--wait=-1"], "list"),
    "empty state": (["list", "vm1", "--state="], "list"),
    "empty state in a word of its own": (["list", "vm1", "--state", ""], "list"),
    "empty disk in a word of its own": (["snapshot", "vm1", "--disk", ""], "snapshot"),
    "value for a flag": (["list", "vm1", "--json=yes"], "list"),
    "bad agent address": (["vm", "add", "new", "--qmp", "/nowhere", "--agent", "tcp:1:2"], "vm add"),
    "bad vsock address": (["vm", "add", "new", "--qmp", "/nowhere", "--agent", "vsock:x:y"], "vm add"),
    "vsock port too large": (["vm", "add", "new", "--qmp", "/nowhere", "--agent", "vsock:3:99999999999"], "vm add"),
    "bad quiesce of a VM": (["vm", "add", "new", "--qmp", "/nowhere", "--quiesce", "x"], "vm add"),
    "guest without a verb": (["guest", "vm1"], "guest"),
    "guest with an unknown verb": (["guest", "vm1", "pnig"], "guest"),
    "guest with a word too many": (["guest", "vm1", "ping", "pong"], "guest"),
    **{f"commit with a speed of {speed!r}": (["commit", "vm1", f"--speed={speed}"], "commit")
       for speed in ("fast", "-1", "10MB", "10 M", "1.2.3", "0x10", "1e3", "nan", "M", "0.1", "99999999999G", "1T")},
    "stream with a bad speed": (["stream", "vm1", "--speed", "1M/s"], "stream"),
    "mirror to nowhere": (["mirror", "vm1"], "mirror"),
    "mirror to a file and a server": (["mirror", "vm1", "--to", "/x", "--nbd", "host"], "mirror"),
    "mirror to no server": (["mirror", "vm1", "--nbd", "host:port"], "mirror"),
    "mirror with a word too many": (["mirror", "vm1", "x", "--to", "/x"], "mirror"),
    "mirror with two ends": (["mirror", "vm1", "--to", "/x", "--pivot", "--follow"], "mirror"),
    "mirror with a bad sync": (["mirror", "vm1", "--to", "/x", "--sync", "half"], "mirror"),
    "mirror with a bad copy mode": (["mirror", "vm1", "--to", "/x", "--copy-mode", "fast"], "mirror"),
    "mirror with a bad format": (["mirror", "vm1", "--to", "/tmp", "--format", "vmdk"], "mirror"),
    "mirror with a bad speed": (["mirror", "vm1", "--to", "/x", "--speed", "1M/s"], "mirror"),
    "mirror of what is written from now on, to go on on": (["mirror", "vm1", "--to", "/x", "--sync", "none", "--pivot"], "mirror"),
    "mirror over an export that is there anyway": (["mirror", "vm1", "--nbd", "host", "--existing"], "mirror"),
    "mirror with the format of an export": (["mirror", "vm1", "--nbd", "host", "--format", "raw"], "mirror"),
    "mirror to a file over TLS": (["mirror", "vm1", "--to", "/x", "--tls-creds", "/y"], "mirror"),
    "mirror over TLS without credentials": (["mirror", "vm1", "--nbd", "nbds://host/x"], "mirror"),
    "mirror of both disks to one file": (["mirror", "vm1", "--to", "/tmp/one-file.qcow2"], "mirror"),
    "job speed with a bad speed": (["job", "speed", "vm1", "job", "slow"], "job speed"),
    "job speed without a speed": (["job", "speed", "vm1", "job"], "job speed"),
    "job without a verb": (["job"], None),
    "job with an unknown verb": (["job", "halt", "vm1", "x"], None),
    "job wait without a job": (["job", "wait", "vm1"], "job wait"),
    "protect without a snapshot": (["protect", "vm1"], "protect"),
    "rollback with a bad reset": (["rollback", "vm1", "shared", "--reset", "maybe"], "rollback"),
    "name of a reserved word": (["snapshot", "vm1", "latest"], "snapshot"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_command_line_is_exit_2_in_one_document(shared_vm, what):
    words, command = WRONG[what]
    before = shared_vm.untouched()
    result = shared_vm.chainctl.run(*words)
    assert result.status == 2, result
    document = only_document(result.out)
    if command:
        assert_failure(command, document)
    assert document["ok"] is False and document["error"]["code"] and document["error"]["message"]
    assert "command" in document
    human = shared_vm.chainctl.run(*words, json_output=False)
    assert (human.status, human.out) == (2, ""), human
    assert human.err.strip() and len(human.err.splitlines()) <= 5, human.err
    assert shared_vm.untouched() == before


@pytest.mark.parametrize("words", [
    ["list", "--bogus", "--json"],
    ["list", "--json", "--bogus"],
    ["--bogus", "list", "--json"],
    ["nonsense", "--json"],
    ["show", "vm1", "--json"],
    ["vm", "--json"],
    ["vm", "nonsense", "--json"],
    ["--json"],
    ["list", "vm1", "--timeout", "x", "--json"],
    ["list", "vm1", "--state", "", "--json"],
    ["list", "vm1", "-qZ", "--json"],
    ["path", "vm1", "vda", "vdb", "vdc", "--json"],
])  # fmt: skip
def test_json_is_obeyed_wherever_it_stands_on_a_wrong_command_line(chainctl, words):
    result = chainctl().run(*words, json_output=False)
    assert result.status == 2, result
    document = only_document(result.out)
    assert document["ok"] is False and document["error"]["message"], document


def test_json_behind_two_dashes_is_an_argument_and_no_option(shared_vm):
    result = shared_vm.chainctl.run("show", "vm1", "--", "--json", json_output=False)
    assert result.status in (2, 3) and result.out == "", result


@pytest.mark.parametrize("words", [
    ["list", "--json", "vm1"],
    ["list", "vm1", "--json"],
    ["--json", "list", "vm1"],
    ["--json", "--timeout", "5", "list", "vm1"],
    ["--timeout=5", "list", "vm1", "--json"],
    ["list", "--timeout", "5", "vm1", "--json"],
    ["-q", "--json", "list", "vm1"],
    ["-v", "list", "vm1", "--json"],
    ["--wait", "--json", "list", "vm1"],
    ["list", "--wait", "vm1", "--json"],
    ["list", "--wait=3", "vm1", "--json"],
    ["--wait", "list", "vm1", "--json"],
    ["--dry-run", "list", "vm1", "--json"],
    ["--progress=none", "list", "--json", "vm1"],
    ["--yes", "list", "--json", "vm1"],
    ["list", "--json", "--", "vm1"],
    ["list", "--json", "--json", "vm1"],
])  # fmt: skip
def test_options_may_stand_anywhere(shared_vm, words):
    result = shared_vm.chainctl.run(*words, json_output=False)
    assert result.status == 0, result
    assert_success("list", only_document(result.out))


def test_options_of_vm_verbs_may_stand_anywhere(vm, chainctl, tmp_path):
    other = chainctl(tmp_path / "other")
    assert other.ok("vm", "add", "--qmp", vm.qemu.qmp, "--timeout=5", "x")["vm"]["name"] == "x"
    assert other.ok("vm", "list", "--timeout=5")["vms"][0]["name"] == "x"


def test_state_may_stand_behind_the_command(vm, tmp_path):
    vm.chainctl.ok("snapshot", "vm1", "s")
    words = ["list", "vm1", "--json", "--state", vm.chainctl.state_dir]
    elsewhere = type(vm.chainctl)(tmp_path / "nothing").run(*words, json_output=False)
    assert [s["name"] for s in only_document(elsewhere.out)["snapshots"]] == ["s"]


def test_options_are_not_cut_short(shared_vm):
    """An abbreviation that works today breaks when another option is added."""
    assert shared_vm.chainctl.run("list", "vm1", "--time=5").status == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_fits_the_terminal_and_names_its_options(chainctl, tmp_path, command):
    result = chainctl(tmp_path / "none").run(*command.split(), "--help", json_output=False)
    assert (result.status, result.err) == (0, ""), result
    assert f"chainctl {command}" in result.out
    too_long = [line for line in result.out.splitlines() if len(line) > 80]
    assert not too_long, too_long
    for option in ("--state", "--json", "--progress", "--dry-run", "--timeout", "--wait", "--yes", "--quiet", "--verbose"):
        assert option in result.out, f"{option} is not in the help of {command}"
    assert not (tmp_path / "none").exists()


def test_help_says_that_the_value_of_wait_may_be_left_out(chainctl):
    assert "--wait[=SECONDS]" in chainctl().run("snapshot", "--help", json_output=False).out


@pytest.mark.parametrize("words", [["list", "-h"], ["-h"], ["--help", "list"], ["list", "vm1", "--help"], ["vm", "--help"]])
def test_help_is_found_in_every_form(chainctl, words):
    result = chainctl().run(*words, json_output=False)
    assert (result.status, result.err) == (0, ""), result
    assert "Usage" in result.out


OPTIONS = {
    "vm add": ["--qmp", "--agent", "--guest", "--quiesce", "--ignore-disk"],
    "snapshot": ["--disk", "--exclude", "--description", "--tag", "--protect", "--dir", "--reuse", "--quiesce",
                 "--freeze-timeout", "--hooks"],
    "path": ["--blockdev"],
    "rollback": ["--disk", "--discard", "--reset"],
    "commit": ["--disk", "--top", "--base", "--pivot", "--speed", "--detach", "--keep-images"],
    "stream": ["--disk", "--base", "--top", "--speed", "--detach"],
    "mirror": ["--to", "--nbd", "--disk", "--sync", "--pivot", "--finish", "--follow", "--existing", "--format", "--speed",
               "--copy-mode", "--tls-creds", "--detach", "--quiesce", "--freeze-timeout", "--hooks"],
    "protect": ["--off"],
    "guest": ["ping", "info", "status", "thaw"],
}  # fmt: skip


@pytest.mark.parametrize("command", OPTIONS)
def test_help_names_every_option_of_the_contract(chainctl, command):
    shown = chainctl().run(*command.split(), "--help", json_output=False).out
    assert [option for option in OPTIONS[command] if option not in shown] == []


def test_general_help_names_every_command_and_fits_the_terminal(chainctl):
    result = chainctl().run("--help", json_output=False)
    assert (result.status, result.err) == (0, "")
    assert all(re.search(rf"^ +{command}\b", result.out, re.MULTILINE) for command in COMMANDS)
    assert max(map(len, result.out.splitlines())) <= 80


@pytest.mark.parametrize("words", [["--version"], ["list", "--version"]])
def test_version_is_one_line_and_exit_0(chainctl, words):
    result = chainctl().run(*words, json_output=False)
    assert (result.status, result.err) == (0, ""), result
    assert re.fullmatch(r"chainctl \d+\.\d+(\.\d+)?\S*\n", result.out), result.out


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["list", "--help"]])
def test_version_and_help_keep_the_promise_of_json(chainctl, words):
    """`--json`: one JSON document on stdout, nothing else there; or its text, and then exit 0 alone."""
    result = chainctl().run(*words)
    assert result.status == 0, result
    assert result.json is None or only_document(result.out)["ok"] is True


@pytest.mark.parametrize("typed, meant", [
    ("snapshto", "snapshot"), ("lst", "list"), ("shwo", "show"), ("trees", "tree"), ("pth", "path"), ("chek", "check"), ("docter", "doctor"),
    ("geust", "guest"), ("vm remov", "vm remove"), ("vm lst", "vm list"), ("vm ad", "vm add"),
])  # fmt: skip
def test_mistyped_command_is_answered_with_the_nearest(chainctl, typed, meant):
    for options in ({"json_output": False}, {}):
        result = chainctl().run(*typed.split(), "vm1", **options)
        assert result.status == 2, result
        assert f"'{meant}'" in result.out + result.err, result


def test_command_that_resembles_nothing_gets_no_guess(chainctl):
    result = chainctl().run("zzzzzzzzzz", json_output=False)
    assert result.status == 2 and "did you mean" not in result.err, result


@pytest.mark.parametrize("typed, meant", [("--discription=x", "--description"), ("--exlude=vda", "--exclude"), ("--tmieout=3", "--timeout")])
def test_mistyped_option_is_answered_with_the_nearest(shared_vm, typed, meant):
    error = shared_vm.chainctl.fails(2, "snapshot", "vm1", typed)
    assert meant in f"{error['message']} {error['hint']}"


def test_error_in_human_form_goes_to_stderr_with_the_same_words(shared_vm):
    error = shared_vm.chainctl.fails(3, "show", "vm1", "nothing")
    human = shared_vm.chainctl.run("show", "vm1", "nothing", json_output=False)
    assert (human.status, human.out) == (3, "")
    assert error["message"] in human.err


def test_argument_that_is_not_utf8_is_refused_and_no_crash(vm):
    bad = b"\xff\xfe".decode("utf-8", "surrogateescape")
    for words in (["list", bad], ["snapshot", "vm1", bad], ["path", "vm1", bad], [bad], ["list", "vm1", "--" + bad],
                  ["snapshot", "vm1", "s", "--description", bad], ["snapshot", "vm1", "t", f"--tag={bad}"],
                  ["list", "--progress", bad]):  # fmt: skip
        result = vm.chainctl.run(*words)
        assert result.status in (2, 3), result
        only_document(result.out.encode("utf-8", "surrogateescape").decode("utf-8", "strict"))
        assert not any(word.startswith("--") for word in words) or result.status == 2


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_text_is_utf8_in_every_locale(vm, locale):
    """A job of cron's has none."""
    vm.chainctl.env["LC_ALL"] = locale
    vm.chainctl.ok("snapshot", "vm1", "s", "--description", "schöner Stand", "--tag", "тег")
    told = vm.chainctl.ok("show", "vm1", "s")["snapshot"]
    assert told["description"] == "schöner Stand" and told["tags"] == ["тег"]


def test_very_long_arguments_are_refused_and_no_crash(shared_vm):
    long = "x" * 100_000
    for words in (["list", long], ["snapshot", "vm1", long], [long], ["path", "vm1", long], ["show", "vm1", long]):
        result = shared_vm.chainctl.run(*words)
        assert result.status in (2, 3), (result.status, result.out[:300])
        only_document(result.out)


def test_mistyped_global_option_is_told_before_the_word_that_was_its_value(chainctl):
    result = chainctl().run("--stat", "/nowhere", "list", json_output=False)
    assert result.status == 2 and "no option --stat; did you mean --state?" in result.err, result
    assert "/nowhere" not in result.err, result


def test_working_folder_that_is_gone_is_told_instead_of_the_root_being_taken_for_it(chainctl, tmp_path):
    ctl, gone = chainctl(), tmp_path / "gone"
    gone.mkdir()
    words = f'cd "{gone}" && rmdir "{gone}" && exec "{ctl.binary}" --state "{tmp_path}/state" list'
    done = subprocess.run(["sh", "-c", words], capture_output=True, text=True)
    assert done.returncode == 2 and "working folder is gone" in done.stderr, done


@pytest.mark.parametrize("words, told", [
    (["list", "--state-dir", "/x"], "there is no option --state-dir; did you mean --state?"),
    (["list", "--sta"], "there is no option --sta; did you mean --state?"),
    (["-V"], "there is no option -V; did you mean --version?"),
    (["list", "-V"], "there is no option -V; did you mean --version?"),
    (["list", "vm1", "-qn"], "there is no option -n"),
    (["--bogus"], "there is no option --bogus"),
    (["help"], "there is no command 'help'; use `chainctl --help`"),
    (["help", "snapshot"], "there is no command 'help'; use `chainctl snapshot --help`"),
    (["help", "vm", "add"], "there is no command 'help'; use `chainctl vm --help`"),
    (["version"], "there is no command 'version'; use `chainctl --version`"),
    (["commit", "--base"], "--base: SNAPSHOT|base is missing behind it"),
    (["list", "vm1", "--timeout"], "--timeout: SECONDS is missing behind it"),
    (["list", "--timeout", "abc"], "--timeout abc: not a number of seconds"),
    (["list", "--timeout=abc"], "--timeout abc: not a number of seconds"),
    (["snapshot", "--all", "--parallel", "two"], "--parallel two: not a number"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")  # fmt: skip
def test_what_is_wrong_is_said_in_our_words_with_what_was_meant(shared_vm, words, told):
    result = shared_vm.chainctl.run(*words, json_output=False)
    assert (result.status, result.out, result.err) == (2, "", f"chainctl: {told}\n"), result


def test_value_that_looks_like_an_option_is_a_value(vm):
    vm.chainctl.ok("snapshot", "vm1", "s", "--description", "-5 degrees")
    vm.chainctl.ok("snapshot", "vm1", "t", "--description", "--see-below")
    described = [one["description"] for one in vm.chainctl.ok("list", "vm1")["snapshots"]]
    assert described == ["-5 degrees", "--see-below"]


def test_general_help_is_in_groups_and_shows_the_global_options(chainctl):
    shown = chainctl().run("--help", json_output=False).out
    assert len(re.findall(r"^[A-Z][a-z ,]+:$", shown, re.MULTILINE)) >= 5
    assert "GLOBAL, before COMMAND or anywhere behind it:" in shown
    for option in ("--state DIR", "--config FILE", "--json", "--dry-run", "--wait[=SECONDS]", "-q, --quiet", "--version"):
        assert re.search(rf"^ +{re.escape(option)}  +[a-z]", shown, re.MULTILINE), option
    columns = {line.index(re.split(r"  +", line.strip(), maxsplit=1)[1]) for line in shown.split("GLOBAL, ")[0].splitlines()
               if line.startswith("  ")}  # fmt: skip
    assert len(columns) == 1, "one command's name overruns its column"
