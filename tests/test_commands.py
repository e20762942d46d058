"""One command line: every command by its name, what there is to choose from, explanations and completions."""

import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import fields
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from parmtrain import serve
from parmtrain.__main__ import main
from parmtrain.command import Terminal
from parmtrain.commands.completing import SHELLS, candidates
from parmtrain.commands.explaining import explained
from parmtrain.commands.setting_names import setting_names
from parmtrain.commands.table import COMMANDS
from parmtrain.config.comments import about, groups, options_of, sentence
from parmtrain.errors import ConfigError
from parmtrain.settings import help_of


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    if name == "train":  # Hydra's help closes streams of the process
        line = [sys.executable, "-m", "parmtrain", name, "--help"]
        said = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    else:
        with suppress(SystemExit):  # argparse ends so
            assert main([name, "--help"]) == 0
        said = capsys.readouterr().out
    assert f"Example: parmtrain {'' if name == 'train' else f'{name} '}" in " ".join(said.split())
    assert not list(tmp_path.iterdir())


def test_the_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"parmtrain {name} {command.example}" in said
        assert callable(import_module(command.module).main)


@pytest.mark.parametrize("words", [["help", "compare"], ["-h", "compare"], ["--help", "compare"], ["help", "simulate"]])
def test_help_of_a_command_is_its_own(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    def said(arguments: list[str]) -> str:
        with suppress(SystemExit):
            assert main(arguments) == 0
        return capsys.readouterr().out

    assert said(words) == said([words[1], "--help"])
    assert said(["help"]) == said(["--help"])
    assert said(["help", "export"]).endswith(said(["export", "--help"]))
    assert "parmtrain list export" in said(["help", "export"])


def test_a_command_that_is_none_is_named_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulat", "k=2"]) == 1
    assert capsys.readouterr().err.endswith("or key=value; did you mean simulate?\n")


@pytest.mark.slow
def test_a_run_takes_train_or_nothing_before_its_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "k=no"]) == main(["k=no"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == second
    assert "k" in first


@pytest.mark.parametrize("group", groups())
def test_every_option_says_what_it_is(group: str) -> None:
    for option, path in options_of(group).items():
        assert sentence(path), f"{group}/{option}.yaml must begin with a sentence, got {sentence(path)}"
        assert not sentence(path).endswith((":", "v."))
        assert about(path).startswith(sentence(path))


def test_options_of_ones_own_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "mine.yaml").write_text("# My own code [mine].\n_target_: mine.Code\n")
    assert main(["list", "codes", "--config-dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "My own code [mine]." in said
    assert "lowres_own" in said


def test_a_group_that_is_none_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "colours"]) == 1
    assert capsys.readouterr().err.startswith("colours: must be a group of options, one of augment_query, ")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("k", "queries in a coding group"),
        ("code", "lowres_own: k small pictures"),
        ("code=sum", "_target_: parmtrain.codes.Sum"),
        ("trainer.max_epochs", "60 in task=cifar10"),
        ("accept", "accept.risk: promised share"),
        ("deployed.path", "null: train one and cache it"),
    ],
)
def test_keys_groups_and_options_are_explained(key: str, said: str) -> None:
    assert said in "\n".join(explained(key))


def test_a_value_is_that_under_overrides() -> None:
    assert next(explained("trainer.max_epochs", ["task=cifar10"])) == "trainer.max_epochs: 60"


@pytest.mark.parametrize(
    ("key", "why"), [("grups", "did you mean groups?"), ("code=some", "must be one of auto, backup")]
)
def test_what_is_no_key_is_one_sentence(key: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why.replace("?", r"\?")):
        list(explained(key))


@pytest.mark.slow
def test_a_configuration_is_checked_without_a_run(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["check", "task=digits", "k=3"]) == 0
    assert "no fault; its data is there; a deployed model would be trained" in capsys.readouterr().out
    assert main(["check", "task=digits", "k=1", "groups=0"]) == 1
    said = capsys.readouterr().err
    assert "k must be from 2 to 1000" in said
    assert "groups must be an integer of 1 or more" in said
    assert main(["check", "k=2", "k=3"]) == 1
    assert "k must be given once" in capsys.readouterr().err
    assert main(["check", "hydra.run.dir="]) == 1
    assert main(["check", "task=fashion_mnist", "data.download=false"]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name, command in COMMANDS.items() for option in command.settings]
)
def test_settings_are_completed_as_they_are(name: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    kind = COMMANDS[name].settings_class(option)
    assert set(setting_names(COMMANDS[name].settings[option])) == {one.name for one in fields(kind)}
    assert main([name, *([option] if option else []), "--help"]) == 0
    assert help_of(kind) in capsys.readouterr().out  # the table names the class that the command reads


def test_commands_with_settings_are_all_in_the_table() -> None:
    for name, command in COMMANDS.items():
        source = Path(str(import_module(command.module).__file__)).read_text()
        assert ("settings_command(" in source) == bool(command.settings), name


@pytest.mark.parametrize(
    ("line", "there"),
    [
        ("parmtrain ", [*sorted(COMMANDS)][:3]),
        ("parmtrain check task=dig", ["task=digits"]),
        ("parmtrain task=digits code=lowres_", ["code=lowres_own", "code=lowres_perceptron"]),
        ("parmtrain trainer.max_e", ["trainer.max_epochs="]),
        ("parmtrain help trainer.max_e", ["trainer.max_epochs"]),
        ("parmtrain help comp", ["compare", "completion"]),
        ("parmtrain serve grpc", ["grpc_port="]),
        ("parmtrain serve --c", ["--curve"]),
        ("parmtrain serve --curve ro", ["rounds="]),
        ("parmtrain list cod", ["code"]),
        ("parmtrain model@deployed.model=len", ["model@deployed.model=lenet"]),
    ],
)
def test_words_are_completed(line: str, there: list[str]) -> None:
    assert set(there) <= set(candidates(line))


def test_nothing_is_printed_where_nothing_fits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "--line", "parmtrain evaluate runs/mi"]) == 0
    assert capsys.readouterr().out == ""  # or shells would not complete paths


def test_completion_waits_for_no_pytorch() -> None:
    line = "main(['completion', '--line', 'parmtrain task='])"
    script = f"import sys; from parmtrain.__main__ import main; {line}; sys.exit('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "task=cifar100" in ended.stdout.split()


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_are_read_by_their_shells(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    ended = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_options_behind_the_equals_sign(tmp_path: Path) -> None:
    program = tmp_path / "parmtrain"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m parmtrain "$@"\n')
    program.chmod(0o755)
    script = f"""PATH={tmp_path}:$PATH; eval "$(parmtrain completion bash)"
COMP_LINE="parmtrain task=dig"; COMP_POINT=${{#COMP_LINE}}; _parmtrain; echo "${{COMPREPLY[@]}}" """
    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert ended.stdout.split() == ["digits"], ended.stderr


def test_a_simulation_without_simpy_says_what_to_install(monkeypatch: Any, tmp_path: Path, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "simpy", None)
    assert main(["simulate", "queries=100"]) == 1
    assert "simulations need simpy: pip install 'parmtrain[simulate]'" in capsys.readouterr().err


def test_a_table_in_a_pipe_is_as_wide_as_columns_say_or_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert Terminal(wide=True).width == 60
    for nothing in ("", "wide"):
        monkeypatch.setenv("COLUMNS", nothing)
        assert Terminal(wide=True).width == 190


def test_serve_asks_for_ray_once_its_settings_are_right(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serve, "find_spec", lambda name: None if name == "ray" else find_spec(name))
    for given, said in (([], "bundle must be the folder of a run"), (["bundle=x"], "or Ray to start them")):
        assert serve.main(given) == 1
        assert said in capsys.readouterr().err
    assert serve.main(["--help"]) == 0
