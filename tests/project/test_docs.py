"""The documentation says what the code does."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import shlex
import tomllib
from pathlib import Path

import pytest

import innoclone
from innoclone import errors
from innoclone.cli.reference import PAGES, commands, refresh
from innoclone.commands.options import CloneOptions
from innoclone.wire import descriptors as wire
from innoclone.wire.rpc import CommandCode, ResponseCode
from paths import ROOT

DOCS = ROOT / "docs"
AGAIN = "run: python -m innoclone.cli.reference docs"
PUBLIC = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "changelog.d").glob("*.md")]


@pytest.mark.parametrize("name", PAGES)
def test_generated_parts_are_up_to_date(name):
    page = (DOCS / name).read_text()
    assert refresh(page) == page, AGAIN


def test_every_command_and_option_is_documented():
    page = (DOCS / "cli.md").read_text()
    assert len(commands()) > 5
    for name, command in commands().items():
        assert f"<!-- generated: command {name} -->" in page
        for parameter in command.params:
            if parameter.param_type_name == "option" and not parameter.hidden:
                assert parameter.opts[0] in page


def test_every_error_is_documented():
    page = (DOCS / "errors.md").read_text()
    for kind in errors.registry():
        if not kind.__subclasses__():
            guide = kind.guide_number or ""
            row = (kind.__name__, kind.number, guide, kind.symbol, kind.sqlstate, kind.exit_status)
            assert f"| {' | '.join(map(str, row))} |" in page


def test_every_option_has_help_that_is_short_and_ends_with_a_period():
    for command in commands().values():
        for parameter in command.params:
            if not getattr(parameter, "hidden", False):
                assert re.fullmatch(r"[A-Zm].{5,90}\.", parameter.help or ""), parameter.name


def test_a_stale_page_would_be_noticed():
    stale = "<!-- generated: errors -->\nold\n<!-- end -->\nby hand"
    assert "UsageError" in refresh(stale)
    assert refresh(stale).endswith("by hand")
    with pytest.raises(KeyError):
        refresh("<!-- generated: nothing -->\n<!-- end -->")


def test_diagrams_are_up_to_date():
    spec = importlib.util.spec_from_file_location("make_diagrams", DOCS / "make_diagrams.py")
    diagrams = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(diagrams)
    page = diagrams.PAGE.read_text()
    assert set(re.findall(r"<!-- diagram: (\w+) -->", page)) == set(diagrams._BLOCKS)
    assert diagrams.refresh(page) == page, "run: python docs/make_diagrams.py"


def test_every_message_of_the_protocol_is_in_its_table():
    page = (DOCS / "protocol.md").read_text()
    for code in CommandCode:
        assert f"\n| {code.value} | COM_{code.name} |" in page
    for code in ResponseCode:
        assert f"\n| {code.value} | {code.name} |" in page


MARKED = [
    wire.Locator(0x0102030405060708, 0x1112131415161718, 0x21222324, wire.StageNumber.REDO_COPY, True),
    wire.TaskMetadata(0x01020304, 0x11121314, 0x21222324),
    wire.StateDescriptor(
        wire.StageNumber.PAGE_COPY, 0x01020304, 0x11121314, 0x21222324, 0x3132333435363738, 0x4142434445464748,
        wire.StateFlag.ACK,
    ),
    wire.FileMetadata(
        wire.StageNumber.FILE_COPY, 0x0102030405060708, 0x1112131415161718, 0x21222324, 0x31323334, wire.FileFlag(0x3F),
        0x41424344, 0x51525354, 0x61626364, 0x71727374, "a", bytes(64),
    ),
    wire.DataDescriptor(
        wire.StageNumber.REDO_COPY, 0x01020304, 0x11121314, 0x21222324, 0x31323334, 0x41424344, 0x5152535455565758,
        0x6162636465666768,
    ),
]  # fmt: skip
HEADINGS = ("LOCATOR", "TASK_METADATA", "STATE", "FILE_METADATA", "DATA")


@pytest.mark.parametrize(("heading", "descriptor"), list(zip(HEADINGS, MARKED, strict=True)), ids=HEADINGS)
def test_layouts_of_descriptors_are_the_codes(heading, descriptor):
    section = (DOCS / "protocol.md").read_text().partition(f"\n### {heading}\n")[2].partition("\n#")[0]
    rows = re.findall(r"^\| (\d+) \| (\d+) \| `(\w+)` \|", section, re.MULTILINE)
    data = descriptor.serialize()
    for offset, size, field in rows:
        place = data[int(offset) : int(offset) + int(size)]
        assert int.from_bytes(place, "big") == int(getattr(descriptor, field)), field
    unnamed = {"chunks", "name", "key"} if heading in ("LOCATOR", "FILE_METADATA") else set()
    assert {field for *_, field in rows} == {field.name for field in dataclasses.fields(descriptor)} - unnamed


@pytest.mark.parametrize("path", PUBLIC, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)#\s]*)(#[^)\s]*)?\)", path.read_text()):
        target = path if not link[0] else path.parent / link[0]
        if link[0].startswith(("http:", "https:", "mailto:")):
            continue
        assert target.exists(), link[0]
        if link[1] and target.suffix == ".md":
            assert link[1][1:] in _anchors(target), link


def _anchors(path: Path) -> set[str]:
    """The ids that GitHub gives to headings: lower case, without punctuation, dashes for spaces."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_api_is_documented():
    page = (DOCS / "api.md").read_text()
    for name in innoclone.__all__:
        assert name.startswith("__") or re.search(rf"\b{name}\b", page), name
    for field in dataclasses.fields(CloneOptions):
        default = {field.default} - {dataclasses.MISSING}
        assert (
            field.name in ("donor", "directory", "compression", "keep", "series")
            or f"| `{field.name}` | {default.pop()} |" in page
        )
    for field in dataclasses.fields(innoclone.CloneResult):
        assert f"`{field.name}`" in page
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        compile(block, "docs/api.md", "exec")


def test_readme_names_what_one_runs_first():
    page = (ROOT / "README.md").read_text()
    for script in ("./scripts/demo", "./scripts/test"):
        assert script in page
        assert (ROOT / script).stat().st_mode & 0o111


@pytest.mark.parametrize("path", PUBLIC, ids=lambda path: str(path.relative_to(ROOT)))
def test_shown_commands_exist(path):
    """Commands and options in console blocks are those that the program has."""
    for block in re.findall(r"```console\n(.*?)```", path.read_text(), re.DOTALL):
        for line in re.findall(r"^\$ (?:sudo )?innoclone (.+)$", block.replace("\\\n", " "), re.MULTILINE):
            words = shlex.split(line.partition(" | ")[0], comments=True)
            names = [max((name for name in commands() if words[: len(name.split())] == name.split()), key=len)]
            if names == ["unit"]:  # what follows its own options is another command
                rest = [" ".join(words[at : at + length]) for at in range(1, len(words)) for length in (2, 1)]
                names += [next(name for name in rest if name in commands())]
            parameters = [parameter for name in names for parameter in commands()[name].params]
            known = {option for parameter in parameters for option in (*parameter.opts, *parameter.secondary_opts)}
            used = {word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)}
            assert used <= known | {"--help"}, line


def test_rules_that_the_code_cites_are_in_the_design():
    section = (DOCS / "design.md").read_text().partition("\n## Rules that must never break\n")[2].partition("\n## ")[0]
    numbers = re.findall(r"^(\d+)\. \*\*", section, re.MULTILINE)
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    cited = {
        (number, path.name)
        for path in (ROOT / "src").rglob("*.py")
        for number in re.findall(r"\b[Rr]ule\s+(\d+)", path.read_text())
    }
    assert {number for number, _ in cited} == set(numbers), cited


@pytest.mark.parametrize("path", PUBLIC, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_are_named_exist(path):
    """Python files, documents and scripts of the tree, under their whole names or as their folder calls them."""
    if path.parent.name == "changelog.d" or path.name == "CHANGELOG.md":
        return  # what was
    folders = (ROOT / top for top in ("src", "tests", "bench", "docs", "scripts"))
    listed = [*ROOT.glob("*.py"), *(file for folder in folders for file in folder.rglob("*"))]
    known = [f"/{file.relative_to(ROOT)}" for file in listed if "__pycache__" not in file.parts]
    for name in re.findall(r"`([\w./-]+\.(?:py|js|css|html|md)|(?:\./)?(?:scripts|bench)/\w+)`", path.read_text()):
        assert any(file.endswith("/" + name.removeprefix("./")) for file in known), name


def test_every_dependency_has_its_reason():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    section = (DOCS / "design.md").read_text().partition("\n## Dependencies\n")[2].partition("\n## ")[0]
    table, _, rest = section.partition("\nFor development:")
    for name in settings["dependencies"]:
        assert f"\n| {re.split(r'[<>=~;]', name)[0]} |" in table, name
    for name in settings["optional-dependencies"]["dev"]:
        assert re.search(rf"\b{re.split('[[<>=~;]', name)[0]}\b", rest), name
