"""Completion in a real bash and a real zsh: what is offered is what the program has and what the database knows."""
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time

import pytest

from support import commands, process

BASH_COMPLETION = "/usr/share/bash-completion/bash_completion"

# A function in the program's place: it completes as the program does, and shows what it would be run with.
STAND_IN = """chainctl () {
  case $1 in --comp*) "$BINARY" "$@" ;; *) printf '<%s>' ran "$@"; echo; printf '%s%s\\n' en d ;; esac
}
"""


def environment(ctl, **more):
    return {**ctl.env, "BINARY": str(ctl.binary), "HOME": "/nonexistent", "INPUTRC": "/dev/null", "TERM": "dumb", **more}


def script(ctl, shell):
    result = subprocess.run([ctl.binary, "--completion", shell], env=ctl.env, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, ""), result
    return result.stdout


def complete(ctl, *words, setup="", cwd=None, **variables):
    """What bash has in COMPREPLY for these words, the last of which is being typed; split as readline does it."""
    split = [part for word in words for part in re.split(r"([=:]+)", word) if part or word == ""]
    program = 'eval "$SETUP"; eval "$SCRIPT"; COMP_WORDS=("$0" "$@"); COMP_CWORD=$#; _chainctl; printf "%s\\n" "${COMPREPLY[@]}"'
    env = environment(ctl, SETUP=setup, SCRIPT=script(ctl, "bash"), CHAINCTL_STATE=str(ctl.state_dir), **variables)
    done = subprocess.run(["bash", "--norc", "-c", program, ctl.binary, *split], env=env, cwd=cwd, text=True,
                          capture_output=True, timeout=30)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.split()


class Typist:
    """An interactive shell that is typed into: `say(line)` is what it shows from then until it has shown the mark."""

    def __init__(self, words, env, cwd):
        ours, theirs = pty.openpty()
        self.terminal = ours
        self.process = process.spawn(words, stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=cwd, start_new_session=True)
        os.close(theirs)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)

    def say(self, line, mark):
        os.write(self.terminal, line.encode())
        shown, deadline = "", time.monotonic() + 60
        while not re.search(mark, shown):
            assert select.select([self.terminal], [], [], max(0, deadline - time.monotonic()))[0], f"{line!r}: {shown!r}"
            shown += os.read(self.terminal, 65536).decode(errors="replace").replace("\r", "")
        return shown


SHELLS = {
    "bash": (["bash", "--norc", "--noediting"], ""),
    "plain bash": (["bash", "--norc"], 'eval "$SCRIPT"'),
    "bash with bash-completion": (["bash", "--norc"], f'. {BASH_COMPLETION}; eval "$SCRIPT"'),
    "zsh": (["zsh", "-f"], 'autoload -U compinit; compinit -u -D; eval "$SCRIPT"; LISTMAX=1000; unsetopt zle_bracketed_paste'),
    "zsh with fpath": (["zsh", "-f"], 'fpath=($PWD/functions $fpath); autoload -U compinit; compinit -u -D'),
}


@pytest.fixture(params=[name for name in SHELLS if name != "bash"])
def shell(request, shared_vm, tmp_path):
    """An interactive shell with our completion, in a folder of its own."""
    words, setup = SHELLS[request.param]
    assert shutil.which(words[0]), f"{words[0]} is not installed"
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions/_chainctl").write_text(script(shared_vm.chainctl, "zsh"))
    (tmp_path / "cwd").mkdir()
    env = environment(shared_vm.chainctl, CHAINCTL_STATE=str(shared_vm.chainctl.state_dir), PS1="$ ",
                      SCRIPT=script(shared_vm.chainctl, words[0]), STAND_IN=STAND_IN)  # fmt: skip
    with Typist([*words, "-i"], env, tmp_path) as typist:
        typist.say(f'eval "$STAND_IN"; {setup}; cd cwd; echo rea"d"y\n', r"(?m)^ready")
        yield typist


# What is typed before Tab is pressed, and what the command is run with then.
TYPED = {
    "a command": ("snaps", "snapshot"),
    "a group": ("v", "vm"),
    "a command of two words": ("vm rem", "vm remove"),
    "an option": ("snapshot --descr", "snapshot --description"),
    "a global option": ("tree --dry", "tree --dry-run"),
    "a word of an option": ("snapshot --quiesce re", "snapshot --quiesce require"),
    "a word behind an equals sign": ("snapshot --quiesce=re", "snapshot --quiesce=require"),
    "a VM": ("tree v", "tree vm1"),
    "a disk": ("path vm1 vda", "path vm1 vda"),
    "a disk of an option": ("snapshot vm1 --exclude=vdb", "snapshot vm1 --exclude=vdb"),
    "a snapshot": ("show vm1 sh", "show vm1 shared"),
    "an action": ("guest vm1 pi", "guest vm1 ping"),
    "a file": ("vm add x --qmp mon", "vm add x --qmp monitor"),
    "a file behind where to listen": ("receive --listen unix:mon", "receive --listen unix:monitor"),
    "a file behind a server's address": ("mirror --nbd unix:mon", "mirror --nbd unix:monitor"),
    "a file behind a monitor's address": ("vm add x --qmp unix:mon", "vm add x --qmp unix:monitor"),
    "a file behind an address": ("vm add x --agent unix:mon", "vm add x --agent unix:monitor"),
    "a file behind a disk": ("snapshot vm1 --reuse vda=mon", "snapshot vm1 --reuse vda=monitor"),
    "a program to start": ("exec vm1 -- qemu-system-x86_6", "exec vm1 -- qemu-system-x86_64"),
    "a program to start where the VM is left out": ("exec -- qemu-system-x86_6", "exec -- qemu-system-x86_64"),
    "an argument of a program": ("exec vm1 -- cat mon", "exec vm1 -- cat monitor"),
    "a folder behind an equals sign": ("snapshot vm1 --dir=fol", "snapshot vm1 --dir=folder/"),
}


def test_tab_completes_what_is_typed_in_a_real_shell(shell, tmp_path):
    (tmp_path / "cwd/monitor").touch()
    (tmp_path / "cwd/folder").mkdir()
    for what, (typed, meant) in TYPED.items():
        shown = shell.say(f"chainctl {typed}\t\n", r"(?m)^end$")
        ran = re.findall(r"<ran>(.*)", shown)[-1]
        assert ran.replace("><", " ").strip("<>").strip().rstrip("/") == meant.rstrip("/"), f"{what}: {shown}"


def test_a_disk_is_completed_up_to_its_equals_sign_and_no_blank_follows(shell):
    shown = shell.say("chainctl snapshot vm1 --reuse vda\t/x\n", r"(?m)^end$")
    assert "<vda=/x>" in shown


@pytest.mark.parametrize("shell", ["zsh", "zsh with fpath"], indirect=True)
def test_zsh_shows_what_options_and_commands_mean(shell):
    assert re.search(r"--protect +-- not to be merged", shell.say("chainctl snapshot --\t", r"--wait +-- "))
    assert re.search(r"(?m)^tree +-- the images of a VM as a tree", shell.say("\x15chainctl \t", r"(?m)^vm +-- .*\n"))


def test_every_command_is_offered(shared_vm):
    ctl = shared_vm.chainctl
    known = commands.names(ctl)
    assert {"vm add", "snapshot", "guest"} <= set(known)
    first = complete(ctl, "")
    assert sorted(first) == sorted({name.split()[0] for name in known})
    for group in {name.split()[0] for name in known if " " in name}:
        assert complete(ctl, group, "") == [name.split()[1] for name in known if name.startswith(group + " ")]


def test_every_option_of_every_command_is_offered_and_no_other(shared_vm):
    ctl = shared_vm.chainctl
    for name in commands.names(ctl):
        known = commands.options(ctl, name)
        assert {"--state", "--wait", "--help"} <= set(known), name
        assert sorted(complete(ctl, *name.split(), "--")) == sorted(known), name


def test_every_option_with_words_offers_them(shared_vm):
    ctl = shared_vm.chainctl
    seen = 0
    for name in commands.names(ctl):
        for option, value in commands.options(ctl, name).items():
            if value and re.fullmatch(r"[a-z-]+(\|[a-z-]+)+", value):
                assert complete(ctl, *name.split(), option, "") == value.split("|"), (name, option)
                seen += 1
    assert seen > 5


@pytest.mark.parametrize("words, offered", [
    (["snapshot", "vm1", "--disk", ""], ["vda", "vdb"]),
    (["snapshot", "--disk", ""], ["vda", "vdb"]),
    (["path", "vm1", ""], ["vda", "vdb"]),
    (["show", "vm1", ""], ["shared", "latest"]),
    (["vm", "show", ""], ["vm1"]),
    (["vm", "remove", ""], ["vm1"]),
    (["recover", ""], ["vm1"]),
    (["--timeout", "3", "tree", "--json", ""], ["vm1"]),
    (["tree", "--", ""], ["vm1"]),
    (["vm", "add", ""], []),
    (["snapshot", "vm1", ""], []),
    (["snapshot", "vm1", "--description", ""], []),
    (["tree", "vm1", ""], []),
    (["tree", "--", "--"], []),
    (["nonsense", ""], []),
    (["nonsense", "--js"], ["--json"]),
    (["tree", "--wait", ""], ["vm1"]),
    (["commit", "--base", ""], ["shared", "latest", "base"]),
    (["stream", "--base", ""], ["shared", "latest", "base", "none"]),
    (["stream", "--base", "n"], ["none"]),
    (["commit", "--speed", ""], []),
    (["mirror", "--disk", ""], ["vda", "vdb"]),
    (["mirror", "vm1", "--sync", ""], ["full", "top", "none"]),
    (["mirror", "--copy-mode", "w"], ["write-blocking"]),
    (["mirror", "--format", ""], ["qcow2", "raw"]),
    (["mirror", "--nbd", ""], ["unix:", "nbd://", "nbds://"]),
    (["mirror", "--nbd", "nbd"], ["nbd://", "nbds://"]),
    (["receive", "--listen", ""], ["unix:"]),
    (["receive", "--listen", "localhost"], []),
    (["vm", "add", "x", "--qmp", "v"], []),
    (["vm", "set", "vm1", "--agent", "v"], ["vsock:"]),
    (["mirror", "--p"], ["--pivot", "--progress"]),
    (["rollback", "vm1", ""], ["shared", "latest"]),
    (["protect", "vm1", "shared", "l"], ["latest"]),
    (["job", ""], ["wait", "pause", "resume", "cancel", "complete", "speed"]),
    (["job", "wait", ""], ["vm1"]),
    (["job", "wait", "vm1", ""], []),
    (["vm", "add", "x", "--agent", "v"], ["vsock:"]),
    (["list", "--vm", ""], ["vm1"]),
    (["list", "--vm", "other,"], ["other,vm1"]),
    (["list", "--all", ""], []),
    (["path", "another", ""], []),
    (["snapshot", "another", "--disk", ""], []),
    (["-"], ["--version", "--state", "--config", "--json", "--progress", "--dry-run", "--timeout", "--wait", "--yes",
             "--quiet", "-q", "--verbose", "-v", "--help", "-h"]),
])  # fmt: skip
def test_what_is_offered_is_what_may_stand_there(shared_vm, words, offered):
    assert complete(shared_vm.chainctl, *words) == offered


@pytest.mark.parametrize("setup", ["", f". {BASH_COMPLETION}", "COMP_WORDBREAKS=${COMP_WORDBREAKS//[=:]}"])
def test_bash_needs_nothing_but_itself(shared_vm, setup):
    assert complete(shared_vm.chainctl, "snapshot", "--disk", "vd", setup=setup) == ["vda", "vdb"]


def test_names_come_from_the_state_folder_that_is_typed(shared_vm, chainctl, tmp_path):
    elsewhere = chainctl(tmp_path / "elsewhere")
    assert complete(elsewhere, "tree", "") == []
    assert complete(elsewhere, "--state", str(shared_vm.chainctl.state_dir), "tree", "") == ["vm1"]
    assert complete(elsewhere, "tree", f"--state={shared_vm.chainctl.state_dir}", "") == ["vm1"]
    assert complete(elsewhere, "path", "--state", f"'{shared_vm.chainctl.state_dir}'", "vm1", "vda") == ["vda"]
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("damage", ["no folder", "no database", "a file that is none", "a file that cannot be read"])
def test_where_the_database_cannot_be_read_nothing_is_offered_and_nothing_said(chainctl, tmp_path, damage):
    state = tmp_path / "state"
    if damage != "no folder":
        state.mkdir()
    if damage == "a file that is none":
        (state / "chainctl.db").write_text("no database at all\n" * 100)
    if damage == "a file that cannot be read":
        (state / "chainctl.db").symlink_to("/proc/self/mem")
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run([chainctl().binary, "--complete", "--state", state, "tree", ""], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(tmp_path.rglob("*")) == before


def test_no_qemu_is_asked_and_the_database_stays_as_it_is(vm, tmp_path):
    """This QEMU has stopped: whoever asked it would wait."""
    before = vm.untouched()
    vm.qemu.process.send_signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        assert complete(vm.chainctl, "path", "vm1", "") == ["vda", "vdb"]
        assert time.monotonic() - started < 5
    finally:
        vm.qemu.process.send_signal(signal.SIGCONT)
    assert vm.untouched() == before


def test_the_bash_script_passes_shellcheck(shared_vm, tmp_path):
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", "--shell=bash", "-"], input=script(shared_vm.chainctl, "bash"), text=True,
                          capture_output=True)  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_a_shell_that_is_not_known_is_exit_2(chainctl):
    for words in (["--completion"], ["--completion", "fish"]):
        done = subprocess.run([chainctl().binary, *words], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, "") and done.stderr
