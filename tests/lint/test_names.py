"""Names and form: name = folder + file, nothing that changes at file scope, short, said before it is done."""
import pathlib

import house
import pytest
from bad_code import marked_lines, places

FIXTURES = pathlib.Path(__file__).parent / "fixtures" / "names"
RULES = {rule.__name__: rule for rule in house.EACH if rule not in (house.long_files, house.long_functions)}


def test_every_exported_name_is_folder_and_file():
    sources = house.project_sources()
    breaches = [breach for source in sources for breach in house.names(source, sources)]
    assert not breaches, "\n".join(breaches)


@pytest.mark.parametrize("rule", house.EACH, ids=lambda rule: rule.__name__)
def test_the_form_is_kept(rule):
    breaches = [breach for source in house.project_sources() for breach in rule(source)]
    assert not breaches, "\n".join(breaches)


def test_functions_and_declarations_are_seen_at_all():
    """The rules above would hold for code that they cannot read."""
    sources = house.project_sources()
    for source in sources:
        opened = sum(line.rstrip() == "{" for line in source.code.splitlines())
        assert len(list(house.functions(source))) == opened, source.path
    defined = {name for source in sources for name, static, _, _ in house.functions(source) if not static}
    declared = {name for source in sources if source.is_header for name, _, _ in house.declarations(source)}
    # Quarks are often defined by a macro.
    assert {name for name in defined ^ declared if not name.endswith("_quark")} <= {"main"}


def test_functions_over_40_lines_are_counted(record_property):
    long = [breach for source in house.project_sources()
            for breach in house.long_functions(source, limit=house.LONG_FUNCTION_LINES + 1)]
    record_property("functions over 40 lines", len(long))
    print(f"{len(long)} functions have over {house.LONG_FUNCTION_LINES} lines", *long, sep="\n")


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_each_breach_in_bad_code_is_found_and_nothing_else(path):
    """fixtures/names/RULE/FILE: the mark says which lines break RULE."""
    rule = path.parent.name
    tree = house.tree_sources(path) if path.is_dir() else []
    assert tree, f"{path} holds no bad code"
    for source in tree:
        found = house.names(source, tree) if rule == "names" else RULES[rule](source)
        assert places(found) == marked_lines(source)


def test_every_rule_has_its_bad_code():
    folders = {path.name for path in FIXTURES.iterdir()}
    assert folders == set(RULES) | {"names"}


def function_of(lines):
    """A file with one function of so many lines: type, name, two braces, and a body."""
    return "void\nlong_one (void)\n{\n" + "  step ();\n" * (lines - 4) + "}\n"


@pytest.mark.parametrize("lines, breaks", [(59, False), (60, True)])
def test_a_function_of_60_lines_is_found(lines, breaks):
    source = house.Source("engine/x.c", function_of(lines))
    assert places(house.long_functions(source)) == ({"engine/x.c:1"} if breaks else set())


@pytest.mark.parametrize("lines, breaks", [(599, False), (600, True)])
def test_a_file_of_600_lines_is_found(lines, breaks):
    source = house.Source("engine/x.c", "\n" * lines)
    assert places(house.long_files(source)) == ({"engine/x.c"} if breaks else set())
