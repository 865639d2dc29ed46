"""The way through the house: tools -> engine -> qmp and chains -> base; verbs never see each other."""
import pathlib

import house
import pytest
from bad_code import marked_lines, places

FIXTURES = pathlib.Path(__file__).parent / "fixtures" / "layers"


def test_no_include_breaks_the_layers():
    breaches = [breach for source in house.project_sources() for breach in house.layers(source)]
    assert not breaches, "\n".join(breaches)


def test_every_verb_that_exists_is_a_file_of_engine():
    there = {pathlib.PurePath(path).stem for path in house.project_files(".c", folders=("engine",))}
    assert there & house.VERBS, "the list of verbs in house.py names no file that exists"
    assert house.SEES_ALL_VERBS <= house.VERBS


@pytest.mark.parametrize("source", house.tree_sources(FIXTURES), ids=lambda source: source.path)
def test_each_breach_in_bad_code_is_found_and_nothing_else(source):
    assert places(house.layers(source)) == marked_lines(source)


def test_bad_code_breaks_every_kind_of_rule():
    whys = {breach.split(": ")[-1] for source in house.tree_sources(FIXTURES) for breach in house.layers(source)}
    assert whys == {
        "base/ knows nothing of qmp/",
        "qmp/ knows nothing of chains/",
        "qmp/ knows nothing of engine/",
        "chains/ knows nothing of qmp/",
        "chains/ knows nothing of engine/",
        "chains/ knows nothing of tools/",
        "engine/ knows no tools/",
        "a tool knows no other tool",
        "tools/ know engine/, and of qmp/ only its vocabulary",
        "tools/ know engine/, and of chains/ only its vocabulary",
        "a verb knows no other verb; what both need is a part of its own",
        '"guard.h" is not named from the root',
    }
