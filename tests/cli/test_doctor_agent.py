"""`doctor` on the agent: why snapshots are worth less than they could be, each cause in its own words."""
import json
import socket
import tempfile

import pytest

from documents import only_document
from support import images

from cli_vm import RegisteredVm, disk_words
from peers import Agent

FSFREEZE = ["guest-fsfreeze-status", "guest-fsfreeze-freeze", "guest-fsfreeze-thaw"]


def info(disabled=(), absent=()):
    """What an agent says of its commands."""
    names = [name for name in [*FSFREEZE, "guest-ping", "guest-file-open", "guest-file-close"] if name not in absent]
    commands = [{"name": name, "enabled": name not in disabled, "success-response": True} for name in names]
    return {"version": "7.2.0", "supported_commands": commands}


def failure(words, kind="GenericError"):
    return json.dumps({"error": {"class": kind, "desc": words}}).encode() + b"\n"


NO_HOOK = failure("failed to open file '/etc/qemu/fsfreeze-hook' (mode: 'r'): No such file or directory")
PATIENCE = "4"  # seconds: what a silent agent costs, and what QEMU, which must not be silent, has on a busy machine
WELL = {"guest-info": info(), "guest-fsfreeze-status": "thawed", "guest-file-open": 1000, "guest-file-close": {}}


def register(vm, address, *words):
    vm.chainctl.ok("vm", "add", "vm1", "--qmp", vm.qemu.qmp, "--agent", f"unix:{address}", "--timeout", PATIENCE, *words)


def problems(vm, status=0):
    """What doctor finds about the agent and the guest."""
    result = vm.chainctl.run("doctor", "vm1", "--timeout", PATIENCE)
    assert result.status == status, result
    found = only_document(result.out)["problems"]
    return {problem["code"]: problem for problem in found if problem["code"] != "images-in-memory"}


def found_with(vm, answers, *words, status=0):
    """The same with an agent of these answers, on top of those of one that is well. Returns it and what was asked."""
    with Agent({**WELL, **answers}) as agent:
        register(vm, agent.path, *words)
        agent.asked.clear()
        return problems(vm, status), agent.asked


# ---- none, or none that answers ----


def test_no_agent_is_told_with_qemus_options_and_the_package(running_vm):
    running_vm.chainctl.ok("vm", "add", "vm1", "--qmp", running_vm.qemu.qmp)
    found = problems(running_vm)["no-agent"]
    assert found["severity"] == "warning"
    for word in ("virtserialport", "org.qemu.guest_agent.0", "qemu-guest-agent", "--agent"):
        assert word in found["repair"]


@pytest.mark.parametrize("quiesce, status, told", [("require", 7, {"no-agent"}), ("off", 0, set())])
def test_no_agent_is_an_error_where_it_is_required_and_nothing_where_it_is_not_wanted(running_vm, quiesce, status, told):
    running_vm.chainctl.ok("vm", "add", "vm1", "--qmp", running_vm.qemu.qmp, "--quiesce", quiesce)
    assert set(problems(running_vm, status)) == told


def test_socket_that_is_not_there_is_told(running_vm):
    register(running_vm, running_vm.folder / "absent")
    found = problems(running_vm)
    assert set(found) == {"agent-socket-missing"} and found["agent-socket-missing"]["path"].endswith("/absent")


def test_socket_at_which_nobody_listens_is_told(running_vm):
    address = running_vm.qemu.folder / "dead"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
    register(running_vm, address)
    assert set(problems(running_vm)) == {"agent-socket-dead"}


def test_agent_that_says_nothing_is_told(running_vm):
    found, _ = found_with(running_vm, {"guest-sync-delimited": None})
    assert set(found) == {"agent-silent"}


def test_agent_that_falls_silent_is_told(running_vm):
    found, _ = found_with(running_vm, {"guest-fsfreeze-status": None})
    assert set(found) == {"agent-silent"}


@pytest.fixture
def channel_vm(qemu, chainctl, image_folder):
    """A QEMU that runs, with a real channel for an agent that nobody in its guest opens."""
    paths = {"vda": images.create(image_folder / "vda.qcow2", "64M")}
    with tempfile.TemporaryDirectory(prefix="ck-", dir="/tmp") as folder:  # a socket's path has 107 bytes at most
        address = f"{folder}/agent"
        words = ["-device", "virtio-serial", "-chardev", f"socket,id=agent,path={address},server=on,wait=off",
                 "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"]  # fmt: skip
        made = RegisteredVm("vm1", qemu([*disk_words(paths), *words], paused=False), chainctl(), paths)
        register(made, address)
        yield made, address


def test_channel_that_nobody_in_the_guest_has_opened_is_told(channel_vm):
    found = problems(channel_vm[0])
    assert set(found) == {"agent-not-running"} and "qemu-guest-agent" in found["agent-not-running"]["repair"]


def test_channel_that_another_program_holds_is_told(channel_vm):
    vm, address = channel_vm
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(address)
        assert vm.qemu.monitor().execute("query-status")["running"]  # QEMU has seen the connection
        assert set(problems(vm)) == {"agent-held"}


def test_agent_of_a_paused_vm_is_not_asked(channel_vm):
    vm, _ = channel_vm
    vm.qemu.monitor().execute("stop")
    assert problems(vm) == {}


# ---- one that answers ----


def test_nothing_is_said_of_an_agent_that_is_well_and_its_file_is_closed(running_vm):
    found, asked = found_with(running_vm, {})
    assert found == {}
    assert asked[-2:] == ["guest-file-open", "guest-file-close"] and "guest-fsfreeze-freeze" not in asked


@pytest.mark.parametrize("quiesce, status, severity", [("auto", 0, "warning"), ("require", 7, "error")])
def test_forbidden_commands_are_told_with_what_allows_them(running_vm, quiesce, status, severity):
    answers = {"guest-info": info(disabled=["guest-fsfreeze-freeze", "guest-ping"])}
    found, _ = found_with(running_vm, answers, "--quiesce", quiesce, status=status)
    assert set(found) == {"agent-commands-blocked"}
    problem = found["agent-commands-blocked"]
    assert problem["severity"] == severity
    assert "guest-fsfreeze-freeze" in problem["message"] and "guest-ping" not in problem["message"]
    for word in ("/etc/qemu/qemu-ga.conf", "block-rpcs", "blacklist", "allow-rpcs"):
        assert word in problem["repair"]


def test_commands_are_forbidden_too_where_the_status_is(running_vm):
    refusal = failure("The command guest-fsfreeze-status has been disabled for this instance", "CommandNotFound")
    answers = {"guest-fsfreeze-status": refusal, "guest-info": info(disabled=FSFREEZE)}
    found, _ = found_with(running_vm, answers)
    assert set(found) == {"agent-commands-blocked"}


def test_agent_that_cannot_freeze_at_all_is_told(running_vm):
    found, _ = found_with(running_vm, {"guest-info": info(absent=FSFREEZE)})
    assert set(found) == {"agent-cannot-freeze"}


def test_hook_that_is_missing_is_told(running_vm):
    found, asked = found_with(running_vm, {"guest-file-open": NO_HOOK})
    assert set(found) == {"no-freeze-hook"} and found["no-freeze-hook"]["severity"] == "warning"
    assert "guest-file-close" not in asked


@pytest.mark.parametrize("answer", [
    failure("The command guest-file-open has been disabled for this instance", "CommandNotFound"),
    failure("failed to open file '/etc/qemu/fsfreeze-hook' (mode: 'r'): Permission denied"),
    None, {"handle": "x"}, "x", [1],
])  # fmt: skip
def test_nothing_is_said_of_a_hook_that_may_not_be_looked_for(running_vm, answer):
    found, _ = found_with(running_vm, {"guest-file-open": answer})
    assert found == {}


@pytest.mark.parametrize("said", ["x", [], {}, {"supported_commands": 7}, {"supported_commands": [7, {}, {"name": 1}]}],
                         ids=str)
def test_agent_that_talks_nonsense_does_no_harm(running_vm, said):
    found, _ = found_with(running_vm, {"guest-info": said, "guest-file-open": said})
    assert set(found) <= {"agent-cannot-freeze"}


@pytest.mark.parametrize("quiesce", ["auto", "off"])
def test_frozen_guest_is_an_error_and_what_it_forbids_meanwhile_is_none(running_vm, quiesce):
    answers = {"guest-fsfreeze-status": "frozen", "guest-info": info(disabled=["guest-fsfreeze-freeze"])}
    found, asked = found_with(running_vm, answers, "--quiesce", quiesce, status=7)
    assert set(found) == {"guest-frozen"} and "chainctl guest vm1 thaw" in found["guest-frozen"]["repair"]
    assert "guest-fsfreeze-thaw" not in asked
