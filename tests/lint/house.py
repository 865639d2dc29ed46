"""The house's rules on C text, each a function from a Source to the breaches that it finds. The tests apply them to
the project, and to bad code made for the purpose. They read code as clang-format leaves it; they are no parser.
"""
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
PRODUCT = ("base", "qmp", "chains", "engine", "tools")
BAD_CODE = "tests/lint/fixtures/"

# One file a verb: they use the shared parts of engine/ and never each other; only recover sees them all.
VERBS = {
    "snapshot", "rollback", "delete", "commit", "stream", "mirror", "backup", "export", "prune", "check", "doctor",
    "request", "recover", "exec", "path", "rebuild", "state", "transfer", "registration", "rescan",
    "settings", "discover", "jobs", "protect",
}
SEES_ALL_VERBS = {"recover"}

# What tools/ may know of the folders under the engine: words that engine's own headers speak in.
VOCABULARY = {"qmp/error.h", "chains/error.h", "chains/model.h"}

MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 60
LONG_FUNCTION_LINES = 40
MIN_OPENING_LINES = 2  # of text

# The one counter of test builds; releases do not have it. And the key to what is the thread's own: which fibers it runs.
MAY_CHANGE = {("base/point.c", "points_passed"), ("base/fiber.c", "thread_scheduler")}

# Headers with a prefix that is not their own name.
OTHER_PREFIX = {"tools/chainctl/commands.h": "chainctl_cmd"}
# The structs' own functions: chains_<type>_ for each Chains<Type> of this file.
TYPE_PREFIXES = {"chains/model"}
# What these do is clear from the name; their type says who owns what.
SELF_EVIDENT = re.compile(r"_(free|unref|clear|quark|to_string|from_string) \(|_new \(void\)")
# GLib takes them without const and never writes into them.
CONSTANT_TYPES = {"GSourceFuncs"}


class Source:
    """A C file: path as the project names it, its text, and its code: the text with comments and strings blanked."""

    def __init__(self, path, text):
        self.path = str(path)
        self.folder, _, self.name = self.path.rpartition("/")
        self.stem = self.name.rpartition(".")[0]
        self.is_header = self.name.endswith(".h")
        self.text = text
        self.lines = text.splitlines()
        self.code = blank(text)

    def at(self, offset):
        return f"{self.path}:{self.code.count(chr(10), 0, offset) + 1}"


def blank(text):
    """Comments and the insides of literals become spaces, so that places stay the same. Names of includes stay."""
    pattern = r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"

    def spaces(match):
        found = match.group()
        if found[0] == "/":
            return re.sub(r"[^\n]", " ", found)
        return found[0] + " " * (len(found) - 2) + found[0]

    code = re.sub(pattern, spaces, text, flags=re.S)
    return re.sub(r'(?m)^([ \t]*#[ \t]*include[ \t]*)"( *)"',
                  lambda include: include.group(1) + text[include.start(2) - 1 : include.end()], code)


def project_files(*suffixes, folders=None):
    """The project's files, by suffix: what git knows or would add; no bad code of ours."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate"],
        cwd=ROOT, capture_output=True, text=True, check=True)
    for path in sorted(listed.stdout.splitlines()):
        inside = folders is None or path.split("/")[0] in folders
        if path.endswith(suffixes) and inside and not path.startswith(BAD_CODE) and (ROOT / path).is_file():
            yield path


def project_sources():
    """All C of the product."""
    return [Source(path, (ROOT / path).read_text()) for path in project_files(".c", ".h", folders=PRODUCT)]


def tree_sources(root):
    """All C below a folder, named as if that were the project."""
    return [Source(path.relative_to(root), path.read_text()) for path in sorted(root.rglob("*.[ch]"))]


# Layers


def includes(source):
    for match in re.finditer(r'(?m)^[ \t]*#[ \t]*include[ \t]*"([^"]*)"', source.code):
        yield match.group(1), source.at(match.start())


def is_verb(path):
    folder, _, name = path.rpartition("/")
    return folder == "engine" and name.rpartition(".")[0] in VERBS


def breaks_layers(source, included):
    layer, other = source.path.split("/")[0], included.split("/")[0]
    if other not in PRODUCT:
        return f'"{included}" is not named from the root'
    if other == "base":
        return None
    if layer in ("base", "qmp", "chains") and other != layer:
        return f"{layer}/ knows nothing of {other}/"
    if layer == "engine" and other == "tools":
        return "engine/ knows no tools/"
    if layer == "tools" and other == "tools" and not included.startswith(source.folder + "/"):
        return "a tool knows no other tool"
    if layer == "tools" and other in ("qmp", "chains") and included not in VOCABULARY:
        return f"tools/ know engine/, and of {other}/ only its vocabulary"
    if is_verb(source.path) and is_verb(included):
        own = included.rpartition(".")[0] == source.path.rpartition(".")[0]
        if not own and source.stem not in SEES_ALL_VERBS:
            return "a verb knows no other verb; what both need is a part of its own"
    return None


def layers(source):
    for included, place in includes(source):
        why = breaks_layers(source, included)
        if why:
            yield f"{place}: includes {included}: {why}"


# Names


def prefix_of(source):
    """engine/guard.c: engine_guard; tools/chainctl/output.c: chainctl_output; cmd-x.c: chainctl_cmd_x."""
    folder = source.folder.rpartition("/")[2]
    return OTHER_PREFIX.get(source.path, f"{folder}_{source.stem}".replace("-", "_"))


def snake(camel):
    return re.sub(r"(?<!^)(?=[A-Z])", "_", camel).lower()


def prefixes(source, sources):
    """All that names of this file may begin with."""
    yield prefix_of(source)
    if source.path.rpartition(".")[0] in TYPE_PREFIXES:
        for other in sources:
            if other.path == source.path.rpartition(".")[0] + ".h":
                for name in re.findall(r"(?m)^(?:\} |typedef enum \{.*\} )(\w+);", other.code):
                    yield snake(name)


def functions(source):
    """Definitions: (name, is static, first line, number of lines). As formatted: a brace of its own at the margin."""
    lines = source.code.splitlines()
    for i, line in enumerate(lines):
        if line.rstrip() != "{":
            continue
        head = next((j for j in range(i - 1, -1, -1) if re.match(r"\w", lines[j])), None)
        name = re.match(r"(?:.*?\W)?(\w+) \(", lines[head]) if head is not None else None
        end = next((j for j in range(i, len(lines)) if lines[j].startswith("}")), len(lines) - 1)
        if not name:
            continue
        first = head - 1 if re.match(r"(static|[A-Za-z])[\w \*]*$", lines[head - 1]) else head
        yield name.group(1), "static" in (lines[first] + lines[head]).split(), first + 1, end - first + 1


def without_macros(source):
    """The code without preprocessor lines and GLib's defining macros; places stay."""
    lines = r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*|^(?:G_DEFINE|G_BEGIN|G_END|G_STATIC)\w*(?: \([^)]*\))?;?"
    return re.sub(lines, lambda match: re.sub(r"[^\n]", " ", match.group()), source.code, flags=re.M)


def statements(source):
    """What stands at file scope: (text with each {...} emptied, its offset)."""
    code = without_macros(source)
    depth, start, text = 0, 0, ""
    for offset, char in enumerate(code):
        if depth == 0 and not text.strip() and not char.isspace():
            start, text = offset, ""
        if char == "{":
            text += "{" if depth == 0 else ""
            depth += 1
            continue
        if char == "}":
            depth -= 1
            text += "}" if depth == 0 else ""
            if depth == 0 and re.search(r"\)\s*\{\}$", text) and "=" not in text:
                yield text.strip(), start
                text = ""
            continue
        if depth == 0:
            text += char
            if char == ";":
                yield text.strip(), start
                text = ""


ATTRIBUTE = re.compile(r"\b(?:G_GNUC_\w+|__attribute__)\b(?: \((?:[^()]|\([^()]*\))*\))?")


def declarations(source):
    """Functions that a header declares: (name, offset, text)."""
    for text, start in statements(source):
        plain = ATTRIBUTE.sub("", text)
        if re.match(r"\s*(typedef|struct|enum|union|static)\b", plain) and not re.match(r"\s*struct \w+ \*", plain):
            continue
        name = re.search(r"(\w+) ?\(", plain)
        if name and "=" not in plain[: name.start()] and not plain.endswith("}"):
            yield name.group(1), start, plain[name.start() :]


def has_prefix(name, allowed):
    return any(name == prefix or name.startswith(prefix + "_") for prefix in allowed)


def names(source, sources):
    allowed = list(prefixes(source, sources))
    if source.is_header:
        found = [(name, source.at(start)) for name, start, _ in declarations(source)]
    else:
        found = [(name, f"{source.path}:{line}") for name, static, line, _ in functions(source) if not static]
    for name, place in found:
        if name != "main" and not has_prefix(name, allowed):
            yield f"{place}: {name} does not begin with {allowed[0]}_"


# Form


def gotos(source):
    for match in re.finditer(r"\bgoto\b", source.code):
        yield f"{source.at(match.start())}: goto"


def promises(source):
    for number, line in enumerate(source.lines, 1):
        word = re.search(r"\b(TODO|FIXME|XXX)\b", line)
        if word:
            yield f"{source.path}:{number}: {word.group()}: do it, or say what is so"


def is_constant(declaration):
    """Whether the variable itself cannot change: `const int x`, `const char *const x[]`, never `const char *x`."""
    before = re.sub(r"(\[[^\]]*\]\s*)*$", "", declaration.split("=")[0].rstrip(" ;\n"))
    before = re.sub(r"\w+\s*$", "", before)
    if CONSTANT_TYPES & set(before.split()):
        return True
    return "const" in (before.rpartition("*")[2] if "*" in before else before).split()


def globals_that_change(source):
    kinds = r"(typedef|(static )?(struct|enum|union)( \w+)? ?\{\};$|struct \w+;)"
    for text, start in statements(source):
        plain = ATTRIBUTE.sub("", text)
        is_function = "(" in plain.split("=")[0] and not re.search(r"\(\*", plain.split("=")[0])
        if (source.path, re.sub(r".*\W", "", plain.rstrip(";"))) in MAY_CHANGE:
            continue
        if not re.match(kinds, plain) and not is_function and plain != ";" and not is_constant(plain):
            yield f"{source.at(start)}: a variable of the file that can change: {' '.join(plain.split())}"
    for match in re.finditer(r"(?m)^[ \t]+static [^;=({]*", without_macros(source)):
        if not is_constant(match.group()):
            yield f"{source.at(match.start())}: a static variable that can change: {match.group().strip()}"


def long_files(source):
    if len(source.lines) >= MAX_FILE_LINES:
        yield f"{source.path}: {len(source.lines)} lines; a file has fewer than {MAX_FILE_LINES}"


def long_functions(source, limit=MAX_FUNCTION_LINES):
    for name, _, line, length in functions(source):
        if length >= limit:
            yield f"{source.path}:{line}: {name} has {length} lines; a function has fewer than {limit}"


def openings(source):
    """A file says first what it owns, promises and leaves to others: two lines of text at least."""
    if source.is_header:
        return
    opening = re.match(r"/\*\n((?: \*.*\n)+?) \*/\n", source.text)
    if not opening or len(opening.group(1).splitlines()) < MIN_OPENING_LINES:
        yield f"{source.path}:1: does not open with a comment that says what it owns and promises"


def comments(source):
    """A header says for each function what it does; a group without an empty line in it shares one comment."""
    if not source.is_header:
        return
    for name, start, text in declarations(source):
        number = source.code.count("\n", 0, start)
        while number > 0 and source.lines[number - 1].strip() and "*/" not in source.lines[number - 1]:
            number -= 1
        explained = number > 0 and "*/" in source.lines[number - 1]
        if not explained and not SELF_EVIDENT.search(text):
            yield f"{source.at(start)}: {name} has no comment above it"


EACH = (gotos, promises, globals_that_change, long_files, long_functions, openings, comments)
