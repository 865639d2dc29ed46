"""One command on several VMs, as a script sees it: which are meant, a result for each, one exit status for all."""
import os

import pytest

import documents
from support import images
from support.chainctl import Chainctl
from support.storage import fleet

NAMES = ["web1", "web2", "db"]
COMMANDS = ["snapshot", "list", "check", "recover"]


@pytest.fixture
def vms(chainctl, image_folder):
    """{name: storage daemon} for NAMES, registered in that order."""
    with fleet(chainctl(), image_folder, NAMES) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A chainctl with VMs of NAMES, each with the snapshot "first", for tests that change nothing."""
    folder = tmp_path_factory.mktemp("several")
    (folder / "images").mkdir()
    ctl = Chainctl(folder / "state")
    with fleet(ctl, folder / "images", NAMES):
        ctl.ok("snapshot", "--all", "first")
        yield ctl


def results(document):
    return {result["vm"]: result for result in document["results"]}


def order(document):
    return [result["vm"] for result in document["results"]]


def registered(ctl):
    return [vm["name"] for vm in ctl.ok("vm", "list")["vms"]]


# ---- the document ----


@pytest.mark.parametrize("command", ["list", "check"])
def test_each_result_has_the_keys_of_the_command_itself(shared, command):
    document = documents.only_document(shared.run(command, "--all").out)
    documents.assert_success(command, {**document, **document["results"][0]})
    assert set(document) == {"schema", "command", "ok", "warnings", "results"}
    for result in document["results"]:
        alone = shared.ok(command, result["vm"])
        assert result == {"vm": result["vm"], **{key: alone[key] for key in alone if key not in ("schema", "command")}}


def test_snapshot_of_all_has_a_snapshot_of_each(chainctl, vms, image_folder):
    ctl = chainctl()
    document = ctl.ok("snapshot", "--all", "one", "--tag", "nightly")
    assert order(document) == registered(ctl)
    for name, result in results(document).items():
        documents.assert_success("snapshot", {"command": "snapshot", **result})
        assert result["snapshot"]["vm"] == name and result["snapshot"]["name"] == "one"
        assert result["snapshot"]["tags"] == ["nightly"]
        assert vms[name].chain("disk") == [str(image_folder / f"{name}.one.qcow2"), str(image_folder / f"{name}.qcow2")]
    assert all(result["problems"] == [] for result in ctl.ok("check", "--all")["results"])
    assert len({result["snapshot"]["id"] for result in document["results"]}) == len(NAMES)


def test_snapshots_without_a_name_are_named_by_the_time(chainctl, vms):
    document = chainctl().ok("snapshot", "--all")
    assert all(result["snapshot"]["name"].endswith("Z") for result in document["results"])


def test_recover_of_all_says_of_each_that_nothing_was_interrupted(shared):
    assert [result["recovered"] for result in shared.ok("recover", "--all")["results"]] == [[]] * len(NAMES)


def test_dry_run_has_a_plan_for_each_and_changes_nothing(shared):
    document = shared.ok("--dry-run", "snapshot", "--all", "two")
    for result in document["results"]:
        assert result["dry_run"] is True
        assert [step["execute"] for step in result["plan"]].count("transaction") == 1
    assert all(len(result["snapshots"]) == 1 for result in shared.ok("list", "--all")["results"])


def test_people_read_a_part_for_each_vm_under_its_name(shared):
    told = shared.run("list", "--all", json_output=False)
    assert told.status == 0 and told.err == ""
    parts = told.out.split("\n\n")
    assert [part.splitlines()[0] for part in parts] == [f"{name}:" for name in registered(shared)]
    assert all("first" in part for part in parts)


def test_text_that_names_its_vm_gets_no_heading(shared):
    told = shared.run("check", "--all", json_output=False)
    assert told.out.splitlines() == [f"{name}: all is well." for name in registered(shared)]


# ---- which VMs are meant ----


@pytest.mark.parametrize("words, expected", [
    (["--vm", "db,web1"], ["db", "web1"]),
    (["--vm", "web2"], ["web2"]),
    (["--vm=web2,db,web2,db"], ["web2", "db"]),
    (["--match", "web*"], ["web1", "web2"]),
    (["--match", "web?"], ["web1", "web2"]),
    (["--match", "db"], ["db"]),
])  # fmt: skip
@pytest.mark.parametrize("command", COMMANDS[1:])
def test_vms_that_are_named_or_fit_are_taken_once_and_in_order(shared, command, words, expected):
    found = order(shared.ok(command, *words))
    assert found == expected if "--vm" in words[0] else sorted(found) == sorted(expected)


@pytest.mark.parametrize("command", COMMANDS)
def test_name_that_nobody_has_is_an_error_of_its_own(chainctl, vms, command):
    ctl = chainctl()
    result = ctl.run(command, "--vm", "web1,nobody,db")
    assert result.status == 3 and result.json["ok"] is False
    assert order(result.json) == ["web1", "nobody", "db"]
    one, nobody, db = result.json["results"]
    assert one["ok"] and db["ok"] and not nobody["ok"]
    assert "nobody" in nobody["error"]["message"] and "error" not in one
    assert "1 of 3" in result.json["error"]["message"]
    assert len(ctl.ok("list", "db")["snapshots"]) == (command == "snapshot")


@pytest.mark.parametrize("command", COMMANDS)
def test_glob_that_fits_nobody_is_exit_3(shared, command):
    error = shared.fails(3, command, "--match", "mail*")
    assert "mail*" in error["message"]


@pytest.mark.parametrize("command", COMMANDS)
def test_all_of_no_vms_is_done(chainctl, command):
    assert chainctl().ok(command, "--all")["results"] == []


@pytest.mark.parametrize("words", [
    ["--all", "--match", "*"],
    ["--all", "--vm", "db"],
    ["--match", "*", "--vm", "db"],
    ["--vm", ""],
    ["--vm", ","],
    ["--vm", "db,"],
    ["--vm", ",db"],
    ["--vm", "db,,web1"],
    ["--match", ""],
    ["--parallel", "2"],
    ["--all", "--parallel", "-1"],
    ["--all", "--parallel", "0"],
    ["--all", "--parallel", "two"],
    ["--all", "--parallel", "99999999999999999999"],
    ["db", "--parallel", "2"],
])  # fmt: skip
@pytest.mark.parametrize("command", COMMANDS)
def test_options_that_contradict_or_name_nobody_are_exit_2(shared, command, words):
    assert shared.fails(2, command, *words)["code"] == "usage"


@pytest.mark.parametrize("command", ["list", "check", "recover"])
def test_vm_beside_all_is_exit_2(shared, command):
    assert shared.fails(2, command, "db", "--all")["code"] == "usage"


def test_word_beside_all_is_the_name_of_the_snapshots_and_two_are_too_many(shared):
    shared.fails(2, "snapshot", "--all", "db", "name")
    document = shared.ok("--dry-run", "snapshot", "--all", "db")
    assert {result["snapshot"]["name"] for result in document["results"]} == {"db"}


@pytest.mark.parametrize("command", ["show", "tree", "path", "log", "doctor", "vm show"])
def test_command_for_one_vm_knows_no_such_options(shared, command):
    shared.fails(2, *command.split(), "--all")


def test_default_vm_of_the_environment_does_not_count(chainctl, vms):
    ctl = chainctl(env={"CHAINCTL_VM": "db"})
    assert len(ctl.ok("list", "--all")["results"]) == len(NAMES)


# ---- the exit status, and what is done for whom ----


def test_worst_exit_status_is_that_of_all(chainctl, vms, image_folder):
    """One name is taken (1), one VM is unreachable (4), one runs on another image (9)."""
    ctl = chainctl()
    ctl.ok("snapshot", "web1", "one")
    ctl.ok("snapshot", "db", "before")
    vms["db"].kill()
    vms["db"].start()
    held = os.rename(vms["web2"].qmp, vms["web2"].folder / "moved")
    assert held is None
    result = ctl.run("snapshot", "--all", "one")
    assert result.status == 9
    codes = {name: one["error"]["code"] for name, one in results(result.json).items()}
    assert codes == {"web1": "exists", "web2": "unreachable", "db": "drift"}
    assert all("snapshot" not in one for one in result.json["results"])
    assert ctl.run("snapshot", "--vm", "web1,web2", "one").status == 4
    assert ctl.run("snapshot", "--vm", "web1", "one").status == 1
    told = ctl.run("snapshot", "--all", "one", json_output=False)
    assert told.status == 9 and told.out == ""
    assert all(name in told.err for name in NAMES) and "3 of 3" in told.err


def test_check_of_all_shows_the_problems_of_each(chainctl, vms, image_folder):
    ctl = chainctl()
    ctl.ok("snapshot", "--all", "one")
    images.write(image_folder / "web1.qcow2", "write -P 1 0 64k") if vms["web1"].kill() is None else None
    result = ctl.run("check", "--all")
    assert result.status == 7
    found = results(result.json)
    assert found["web2"]["problems"] == found["db"]["problems"] == []
    assert found["web1"]["error"]["code"] == "problems-found"
    assert "image-changed" in [problem["code"] for problem in found["web1"]["problems"]]
    told = ctl.run("check", "--all", json_output=False).out.split("\n\n")
    assert [part.splitlines()[0] for part in told] == ["db: all is well.", "web1:", "web2: all is well."]


@pytest.mark.parametrize("parallel", ["1", "2", "100"])
def test_limit_on_how_many_at_once_changes_no_result(chainctl, vms, parallel):
    ctl = chainctl()
    assert order(ctl.ok("snapshot", "--all", "one", "--parallel", parallel)) == registered(ctl)
    assert all(result["problems"] == [] for result in ctl.ok("check", "--all", "--parallel", parallel)["results"])


def test_options_that_are_wrong_for_the_command_fail_for_each(chainctl, vms):
    ctl = chainctl()
    result = ctl.run("snapshot", "--all", "one", "--disk", "nodisk")
    assert result.status == 3
    assert all(one["error"]["code"] == "no-such-disk" for one in result.json["results"])
    assert ctl.run("snapshot", "--all", "one", "--quiesce", "sometimes").status == 2
    assert all(one["snapshots"] == [] for one in ctl.ok("list", "--all")["results"])
