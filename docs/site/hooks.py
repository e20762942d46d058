"""What the site has beside the pages: tables of options and settings, and the studies with their pictures."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from parmtrain.commands.table import COMMANDS
from parmtrain.config.comments import about, groups, keys_of, options_of
from parmtrain.config.folder import config_folder

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = (".png", ".csv", ".md", ".yaml", ".py", ".txt", ".json")
HIDDEN = ("hydra",)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the studies, and the files at the top that pages link to."""
    for path in sorted((ROOT / "experiments").glob("**/*")):
        if path.suffix in SHIPPED and "__pycache__" not in path.parts:
            name = f"experiments/{path.relative_to(ROOT / 'experiments').as_posix()}"
            files.append(File.generated(config, name, abs_src_path=str(path)))
    for name in ("CONTRIBUTING.md", "CHANGELOG.md", "parmtrain/examples/README.md"):
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Resolve links as they are on the site, and fill in the tables."""
    if page.file.src_uri.startswith("experiments/"):
        markdown = re.sub(r"\]\((\.\./)+docs/", "](../../", markdown)
    elif page.file.src_uri in ("CONTRIBUTING.md", "CHANGELOG.md"):
        markdown = markdown.replace("](docs/", "](")
    elif not page.file.src_uri.startswith("notebooks/"):  # whose links are right already
        markdown = re.sub(r"\]\(\.\./((\.\./)?notebooks/\w+)\.ipynb", r"](\1.md", markdown)
        above = r"\]\(\.\./((\.\./)?(experiments/|parmtrain/examples/|CONTRIBUTING|CHANGELOG))"
        markdown = re.sub(above, r"](\1", markdown)
    return markdown.replace("<!-- options -->", _options()).replace("<!-- settings -->", _settings())


def _options() -> str:
    """Return a section for the keys of a run, and one for each group of options."""
    lines = ["## Keys of a run", "", "| key | default | |", "|---|---|---|"]
    lines += [
        _row(f"`{one.key}`", one.value and f"`{one.value}`", one.comment)
        for one in keys_of(config_folder() / "config.yaml")
    ]
    for group in groups():
        if group in HIDDEN:
            continue
        lines += ["", f"## {group}", "", "| option | |", "|---|---|"]
        lines += [_row(f"`{group}={name}`", about(path)) for name, path in options_of(group).items()]
    return "\n".join(lines)


def _settings() -> str:
    """Return a section for each command with settings."""
    lines = []
    for name, option in [(name, option) for name, command in COMMANDS.items() for option in command.settings]:
        lines += ["", f"## parmtrain {name} {option}".rstrip(), "", "| setting | default | |", "|---|---|---|"]
        for one in fields(COMMANDS[name].settings_class(option)):
            default: Any = one.default_factory() if callable(one.default_factory) else one.default
            shown = ",".join(map(str, default)) if isinstance(default, list) else str(default)
            lines.append(_row(f"`{one.name}`", f"`{shown}`" if shown else "", one.metadata["help"]))
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
