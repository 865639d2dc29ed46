"""`doctor` with a real guest's agent: what its configuration forbids, its hook, a freeze of somebody else's."""
import pytest


def found(ctl, status=0):
    """{code: problem} of what doctor finds about the agent."""
    result = ctl.run("doctor", "web", "--timeout", "6")
    assert result.status == status, result
    return {problem["code"]: problem for problem in result.json["problems"] if problem["code"] != "images-in-memory"}


@pytest.fixture
def boot(guest, chainctl):
    """boot(words of the kernel's command line) is a guest, registered as `web`, and its chainctl."""

    def booted(cmdline=""):
        vm, ctl = guest(cmdline=cmdline), chainctl()
        ctl.ok("vm", "add", "web", "--qmp", vm.qmp, "--agent", f"unix:{vm.agent_socket}", "--timeout", "6")
        return vm, ctl

    return booted


def test_nothing_is_said_of_a_guest_with_an_agent_and_a_hook(boot):
    vm, ctl = boot()
    assert found(ctl) == {}
    with vm.agent() as agent:
        assert agent.execute("guest-fsfreeze-status") == "thawed"


def test_freeze_that_somebody_else_holds_is_told(boot):
    vm, ctl = boot()
    with vm.agent() as agent:
        agent.execute("guest-fsfreeze-freeze")
    try:
        assert set(found(ctl, status=7)) == {"guest-frozen"}
    finally:
        with vm.agent() as agent:
            agent.execute("guest-fsfreeze-thaw")
    assert found(ctl) == {}


def test_command_that_the_agents_configuration_forbids_is_told(boot):
    _, ctl = boot("chainctl.agent_args=-b%20guest-fsfreeze-freeze")
    problems = found(ctl)
    assert set(problems) == {"agent-commands-blocked"}
    assert "guest-fsfreeze-freeze:" in problems["agent-commands-blocked"]["message"]


def test_hook_that_is_not_there_is_told(boot):
    assert set(found(boot("chainctl.hook=missing")[1])) == {"no-freeze-hook"}


def test_guest_without_an_agent_is_told(boot):
    assert set(found(boot("chainctl.agent=off")[1])) == {"agent-not-running"}
