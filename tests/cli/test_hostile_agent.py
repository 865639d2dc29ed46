"""`guest VM …` and a snapshot, on an agent that answers, lies, stalls or dies: its own request fails and nothing else."""
import json
import time

import pytest

from documents import assert_failure, assert_success, only_document
from support.chainctl import finish

from peers import Agent, Server, hold

INFO = {"version": "9.9.9", "supported_commands": [{"name": "guest-ping", "enabled": True, "success-response": True}]}
GOOD = {"guest-ping": {}, "guest-info": INFO, "guest-fsfreeze-status": "thawed", "guest-fsfreeze-thaw": 0}
SILENT = "4"  # seconds: what a silent agent costs, and what QEMU, which must not be silent, has on a busy machine
VERBS = {"ping": "guest-ping", "info": "guest-info", "status": "guest-fsfreeze-status", "thaw": "guest-fsfreeze-thaw"}


def add(vm, agent):
    vm.chainctl.ok("vm", "add", "vm1", "--qmp", vm.qemu.qmp, "--agent", f"unix:{agent.path}")
    return vm.chainctl


def error_line(name, text="the agent's words"):
    return json.dumps({"error": {"class": name, "desc": text}}).encode() + b"\n"


@pytest.mark.parametrize("verb", VERBS)
def test_guest_verb_says_what_the_agent_said(running_vm, verb):
    with Agent(GOOD) as agent:
        chainctl = add(running_vm, agent)
        agent.asked.clear()
        result = chainctl.run("guest", "vm1", verb)
        assert result.status == 0, result
        document = only_document(result.out)
        assert_success("guest", document)
        assert isinstance(document["guest"], dict)
        assert VERBS[verb] in agent.asked and agent.asked[0] == "guest-sync-delimited", agent.asked
        assert "guest-fsfreeze-freeze" not in agent.asked
        assert chainctl.run("guest", "vm1", verb, json_output=False).out.strip()


def test_info_keeps_the_keys_of_the_agent(running_vm):
    with Agent(GOOD) as agent:
        assert add(running_vm, agent).ok("guest", "vm1", "info")["guest"] == INFO


def test_dry_run_of_thaw_sends_no_thaw(running_vm):
    with Agent(GOOD) as agent:
        chainctl = add(running_vm, agent)
        agent.asked.clear()
        chainctl.ok("guest", "vm1", "thaw", "--dry-run")
        assert "guest-fsfreeze-thaw" not in agent.asked


@pytest.mark.parametrize("verb", VERBS)
def test_silent_agent_is_exit_4_after_the_timeout_and_says_so(running_vm, verb):
    with Agent({**GOOD, VERBS[verb]: None}) as agent:
        chainctl = add(running_vm, agent)
        started = time.monotonic()
        result = chainctl.run("guest", "vm1", verb, "--timeout", "0.5")
        took = time.monotonic() - started
        assert result.status == 4, result
        assert assert_failure("guest", only_document(result.out))["code"] == "agent-timeout"
        assert 0.4 < took < 4, took


def test_agent_that_never_synchronises_is_exit_4(running_vm):
    with Agent({"guest-sync-delimited": None}) as agent:
        result = running_vm.chainctl.run("vm", "add", "vm1", "--qmp", running_vm.qemu.qmp, "--agent", f"unix:{agent.path}", "--timeout", SILENT)
        assert result.status == 0 and result.json["warnings"], "a silent agent is a warning of vm add"
        started = time.monotonic()
        error = running_vm.chainctl.fails(4, "guest", "vm1", "ping", "--timeout", "0.5")
        assert error["code"] == "agent-timeout" and time.monotonic() - started < 4


def test_vm_without_an_agent_is_exit_4_with_a_hint(vm):
    error = vm.chainctl.fails(4, "guest", "vm1", "ping")
    assert "agent" in error["message"] and "--agent" in error["hint"]


def test_agent_whose_socket_is_gone_is_exit_4(running_vm):
    with Agent(GOOD) as agent:
        chainctl = add(running_vm, agent)
        path = agent.path
    error = chainctl.fails(4, "guest", "vm1", "ping")
    assert str(path) in error["message"]


GARBAGE = {
    "bytes": b"\x00\x01\x02garbage\n", "not JSON": b"hello\n", "half a document": b'{"return": {\n', "an array": b"[1]\n", "a number": b"7\n",
    "nothing": b"\n", "no return": b'{"id": 1}\n', "return and error": b'{"return": {}, "error": {}}\n', "error of wrong type": b'{"error": 7}\n',
    "empty error": b'{"error": {}}\n', "nested deeply": b"[" * 100_000 + b"\n", "a string": b'"text"\n',
    "0xFF in the middle": b'{"return"\xff: {}}\n', "not UTF-8": b'{"return": {"version": "\xfe\xfd"}}\n', "NUL": b'{"return": {"a\x00b": 1}}\n',
    "twice": b'{"return": {}}\n{"return": {}}\n', "eight megabytes": b'{"return": "' + b"x" * (8 << 20) + b'"}\n', "no end": b'{"return": "' + b"x" * (1 << 20),
}  # fmt: skip


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_of_the_agent_fails_its_own_request_in_time(running_vm, what):
    answers = dict(GOOD)
    with Agent(answers) as agent:
        chainctl = add(running_vm, agent)
        answers.update(dict.fromkeys(VERBS.values(), GARBAGE[what]))
        agent.answers = answers
        started = time.monotonic()
        runs = {verb: chainctl.start("guest", "vm1", verb, "--timeout", "0.5") for verb in ("info", "status")}
        results = {verb: finish(run) for verb, run in runs.items()}
        assert time.monotonic() - started < 8
        for verb, result in results.items():
            assert result.status in (0, 1, 4), (verb, result)
            document = only_document(result.out.encode("utf-8", "surrogateescape").decode("utf-8", "strict"))
            assert result.status == 0 or len(document["error"]["message"]) < 4000
        assert results["status"].status != 0, "no status can be read from that"


LIES = {"a number": 7, "null": None, "a string": "lie", "an array": [1, [2]], "true": True, "an object": {"x": {"y": []}}, "a huge number": 1e308,
        "a negative": -5, "unknown status": "melting"}  # fmt: skip


@pytest.mark.parametrize("what", LIES)
def test_lying_types_of_the_agent_are_no_crash_and_a_snapshot_is_taken_all_the_same(running_vm, what):
    lie = json.dumps({"return": LIES[what]}).encode() + b"\n"
    with Agent(GOOD) as agent:
        chainctl = add(running_vm, agent)
        agent.answers = {command: lie for command in [*VERBS.values(), "guest-fsfreeze-freeze", "guest-get-fsinfo"]}
        for verb in VERBS:
            result = chainctl.run("guest", "vm1", verb, "--timeout", "0.5")
            assert result.status in (0, 1, 4, 9), (verb, result)
            only_document(result.out)
        assert chainctl.run("guest", "vm1", "status", "--timeout", "0.5").status != 0, "no status can be read from that"
        result = chainctl.run("snapshot", "vm1", "s", "--timeout", SILENT, "--freeze-timeout", "1")
        assert result.status in (0, 9, 10), result
        if result.status == 0:
            assert result.json["snapshot"]["consistency"] == "crash" and result.json["snapshot"]["reason"], result


@pytest.mark.parametrize("noise", [b'{"return": 4711}\n', b'\xff{"return": 1}\n', b"garbage\n", b'{"return": {"half": ', b"\xff\xff\xff"],
                         ids=["an old answer", "an old sync", "garbage", "half an answer", "only 0xFF"])  # fmt: skip
def test_what_the_agent_still_had_to_say_to_another_is_thrown_away(running_vm, noise):
    with Agent(GOOD, before_sync=noise) as agent:
        chainctl = add(running_vm, agent)
        assert chainctl.ok("guest", "vm1", "status", "--timeout", "3")["guest"]["status"] == "thawed"


def test_error_of_the_agent_is_told_in_its_words_and_escaped(running_vm):
    with Agent({**GOOD, "guest-info": error_line("GenericError", "no \x1b[31mred\nline\x07")}) as agent:
        chainctl = add(running_vm, agent)
        result = chainctl.run("guest", "vm1", "info")
        assert result.status in (1, 4) and "no " in result.json["error"]["message"], result
        human = chainctl.run("guest", "vm1", "info", json_output=False)
        assert not set(human.err) & {"\x1b", "\x07"} and human.out == "", human


def test_strings_of_the_agent_are_escaped_for_people(running_vm):
    with Agent({**GOOD, "guest-info": {"version": "1\x1b[31m\x07\x9b2J", "supported_commands": []}}) as agent:
        shown = add(running_vm, agent).run("guest", "vm1", "info", json_output=False)
        assert shown.status == 0 and not set(shown.out + shown.err) & {"\x1b", "\x07", "\x9b"}, shown


def test_agent_that_closes_mid_way_is_exit_4(running_vm):
    with Agent({**GOOD, "guest-ping": ConnectionError}) as agent:
        agent.answers = {**agent.answers}
        running_vm.chainctl.run("vm", "add", "vm1", "--qmp", running_vm.qemu.qmp, "--agent", f"unix:{agent.path}")
        error = running_vm.chainctl.fails(4, "guest", "vm1", "ping")
        assert error["message"]


def test_agent_that_floods_does_not_hold_the_time_limit_off(running_vm):
    def serve(connection):
        import contextlib

        with contextlib.suppress(OSError):
            while True:
                connection.sendall(b'{"return": 1}\n' * 50)
                time.sleep(0.02)

    with Server(serve) as agent:
        running_vm.chainctl.ok("vm", "add", "vm1", "--qmp", running_vm.qemu.qmp, "--agent", f"unix:{agent.path}", "--timeout", SILENT)
        started = time.monotonic()
        running_vm.chainctl.fails(4, "guest", "vm1", "ping", "--timeout", "0.5")
        assert time.monotonic() - started < 4


def test_frozen_guest_of_another_is_refused_and_left_frozen(running_vm):
    with Agent({**GOOD, "guest-fsfreeze-status": "frozen", "guest-fsfreeze-freeze": error_line("CommandNotFound")}) as agent:
        chainctl = add(running_vm, agent)
        agent.asked.clear()
        chainctl.fails(9, "snapshot", "vm1", "s")
        assert "guest-fsfreeze-thaw" not in agent.asked and "guest-fsfreeze-freeze" not in agent.asked
        assert len(running_vm.qemu.monitor().chain("vda")) == 1


class Freezer(Agent):
    """An agent that keeps the state of a freeze, as a good one does."""

    def __init__(self):
        self.frozen = False
        super().__init__({"guest-ping": {}, "guest-info": INFO, "guest-fsfreeze-status": lambda _: "frozen" if self.frozen else "thawed",
                          "guest-fsfreeze-freeze": lambda _: self._set(True), "guest-fsfreeze-thaw": lambda _: self._set(False)})  # fmt: skip

    def _set(self, frozen):
        self.frozen = frozen
        return 1


def test_snapshot_with_a_good_agent_is_quiesced_and_thawed(running_vm):
    with Freezer() as agent:
        document = add(running_vm, agent).ok("snapshot", "vm1", "s", "--quiesce", "require")
        assert document["snapshot"]["consistency"] in ("filesystem", "application")
        assert document["snapshot"]["reason"] is None
        assert isinstance(document["frozen_us"], int) and document["frozen_us"] > 0
        assert document["snapshot"]["frozen_us"] == document["frozen_us"]
        assert document["paused_us"] is None or isinstance(document["paused_us"], int)
        assert not agent.frozen


def test_quiesce_off_asks_the_agent_for_no_freeze(running_vm):
    with Freezer() as agent:
        chainctl = add(running_vm, agent)
        agent.asked.clear()
        chainctl.ok("snapshot", "vm1", "s", "--quiesce", "off")
        assert "guest-fsfreeze-freeze" not in agent.asked


def test_dry_run_of_a_snapshot_freezes_nothing(running_vm):
    with Freezer() as agent:
        chainctl = add(running_vm, agent)
        agent.asked.clear()
        sent = str(chainctl.ok("snapshot", "vm1", "s", "--dry-run")["plan"])
        assert "guest-fsfreeze-freeze" in sent and "guest-fsfreeze-freeze" not in agent.asked


@pytest.mark.parametrize("answer", [None, error_line("CommandNotFound"), error_line("GenericError"), 0], ids=["silent", "unknown", "failed", "froze nothing"])
def test_required_quiescing_that_is_not_reached_is_exit_5_and_changes_nothing(running_vm, answer):
    with Freezer() as agent:
        chainctl = add(running_vm, agent)
        agent.answers = {**agent.answers, "guest-fsfreeze-freeze": answer}
        error = chainctl.fails(5, "snapshot", "vm1", "s", "--quiesce", "require", "--freeze-timeout", "1", "--timeout", SILENT)
        assert error["message"] and not agent.frozen
        assert len(running_vm.qemu.monitor().chain("vda")) == 1 and chainctl.ok("list", "vm1")["snapshots"] == []
        assert sorted(running_vm.folder.iterdir()) == [running_vm.paths["vda"]]


def test_required_quiescing_of_a_paused_vm_is_exit_5(vm):
    before = vm.untouched()
    vm.chainctl.fails(5, "snapshot", "vm1", "s", "--quiesce", "require")
    state, folder, graph = vm.untouched()
    assert (folder, graph) == before[1:] and vm.chainctl.ok("list", "vm1")["snapshots"] == []


def test_agent_held_by_another_client_is_exit_4(running_vm):
    with Server(hold) as agent:
        document = running_vm.chainctl.ok("vm", "add", "vm1", "--qmp", running_vm.qemu.qmp, "--agent", f"unix:{agent.path}", "--timeout", SILENT)
        assert document["warnings"], "a silent agent is a warning"
        running_vm.chainctl.fails(4, "guest", "vm1", "info", "--timeout", "0.5")
