"""The docs: what they name exists, what they say to type runs, and the site is built without a warning."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

from parmtrain.commands.completing import OF_A_RUN
from parmtrain.commands.setting_names import setting_names
from parmtrain.commands.table import COMMANDS
from parmtrain.config.comments import groups, keys_of, options_of
from parmtrain.config.folder import config_folder

HERE = Path(__file__).resolve().parents[1]
PAGES = sorted([HERE / "README.md", *(HERE / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """Return the blocks of a page in a language."""
    return [found["text"] for found in BLOCK.finditer(page.read_text()) if found["language"] == language]


def parts(line: str) -> list[list[str]]:
    """Return the words of each command on a line of a shell."""
    tokens = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    tokens.whitespace_split = True
    found: list[list[str]] = [[]]
    for token in tokens:
        if set(token) <= set(";&|"):
            found.append([])
        else:
            found[-1].append(token)
    return found


def commands(page: Path) -> list[list[str]]:
    """Return the arguments of each call of parmtrain in the shell blocks of a page."""
    found = []
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            for part in parts(line):
                words = [word for word in part if not re.match(r"[A-Z_]+=", word)]
                if words[:3] == ["python", "-m", "parmtrain"] or words[:1] == ["parmtrain"]:
                    found.append(words[words.index("parmtrain") + 1 :])
                elif words[:2] == ["python", "-m"] and words[2].startswith("parmtrain."):
                    found.append([words[2].removeprefix("parmtrain."), *words[3:]])
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_on_a_page_have_names_and_keys_that_exist(page: Path) -> None:
    keys = {one.key for one in keys_of(config_folder() / "config.yaml")} | {"hydra", "trainer", "code", "task", "model"}
    for words in commands(page):
        command = words[0] if words and words[0] in COMMANDS else "train"
        arguments = [word for word in words if "=" in word and not word.startswith("-")]
        if words and not words[0].startswith("-") and "=" not in words[0]:
            assert words[0] in COMMANDS, words
        for argument in arguments:
            key, _, value = argument.partition("=")
            if (where := COMMANDS[command].settings_under(words)) is not None:
                assert key in setting_names(where), words
            elif command in OF_A_RUN:
                top = key.partition(".")[0].partition("@")[0]
                assert top in keys or top in groups() or top == "budget", words
                if key in groups() and not re.search(r"[,\[…]|^all$", value):
                    assert value in options_of(key) or (page.stem == "own_parts" and value == "weighted"), words


def test_the_pages_name_every_task_code_and_export_format() -> None:
    for group, page in (("task", "tasks"), ("code", "codes"), ("export", "exports")):
        text = (HERE / "docs" / f"{page}.md").read_text()
        for option in options_of(group):
            assert f"`{option}`" in text, option


def test_the_links_of_the_readme_lead_somewhere() -> None:
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", (HERE / "README.md").read_text()):
        assert (HERE / path).exists(), path


def test_the_readme_is_short() -> None:
    assert len((HERE / "README.md").read_text().split()) < 760


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    build(load_config(str(HERE / "mkdocs.yml"), site_dir=str(tmp_path), strict=True))
    options = (tmp_path / "reference" / "options" / "index.html").read_text()
    assert "lowres_own" in options
    assert "alarm_length" in (tmp_path / "reference" / "settings" / "index.html").read_text()
    assert "reconstruct" in (tmp_path / "reference" / "api" / "index.html").read_text()
    assert (tmp_path / "experiments" / "serving" / "map.png").is_file()
    assert (tmp_path / "notebooks" / "kill_an_instance_0.png").is_file()


def run(folder: Path, text: str) -> str:
    """Run Python in a folder."""
    ended = subprocess.run([sys.executable, "-c", text], cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def parmtrain(folder: Path, words: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "parmtrain", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.thorough
def test_the_tutorial_runs(tmp_path: Path) -> None:
    page = HERE / "docs" / "tutorial.md"
    train, export, *serving = commands(page)
    parmtrain(tmp_path, [*train, "trainer.max_epochs=2"])
    (snippet,) = blocks(page, "python")
    said = run(tmp_path, snippet)
    assert said.startswith("prediction 0 lost: ")
    parmtrain(tmp_path, export)
    assert (tmp_path / "runs" / "tutorial" / "exports" / "torch_export" / "decoder.pt2").is_file()
    assert [words[0] for words in serving] == ["serve"] * 4


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    (snippet,) = blocks(HERE / "README.md", "python")
    assert run(tmp_path, f"{snippet}\nprint(predictions.shape)").endswith("torch.Size([4, 2, 10])\n")


@pytest.mark.thorough
def test_a_code_of_ones_own_is_as_short_as_the_page_says(tmp_path: Path) -> None:
    page = HERE / "docs" / "own_parts.md"
    (module,), (option,) = blocks(page, "python"), blocks(page, "yaml")
    (tmp_path / "mine.py").write_text(module)
    (tmp_path / "conf" / "code").mkdir(parents=True)
    (tmp_path / "conf" / "code" / "weighted.yaml").write_text(option)
    ((*words,),) = commands(page)
    ended = subprocess.run(
        [sys.executable, "-m", "parmtrain", *words, "trainer.max_epochs=1", "hydra.run.dir=run"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "run" / "metrics.json").is_file()
