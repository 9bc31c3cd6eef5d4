"""The pages on the library and on the command line name everything that there is."""

import argparse
import inspect
import re
from pathlib import Path

import pytest

import vmf_embeddings as vmf
from vmf_embeddings.cli import (
    check_arguments,
    compare_arguments,
    convert_arguments,
    embed_arguments,
    evaluate_arguments,
    export_arguments,
    report_arguments,
    search_arguments,
    summarize_arguments,
)
from vmf_embeddings.cli.own_data import EXPERIMENTS

DOCS = Path(__file__).parents[2] / "docs"
LIBRARY = (DOCS / "library.md").read_text()
COMMANDS = (DOCS / "command-line.md").read_text()
PARSERS = {
    "check": check_arguments.check_parser,
    "compare": compare_arguments.compare_parser,
    "convert": convert_arguments.convert_parser,
    "embed": embed_arguments.embed_parser,
    "evaluate": evaluate_arguments.evaluate_parser,
    "export": export_arguments.export_parser,
    "report": report_arguments.report_parser,
    "search": search_arguments.search_parser,
    "summarize": summarize_arguments.summarize_parser,
}
FUNCTIONS = ("evaluate", "load", "objective", "read", "search", "train", "write", "write_table")


def named(word: str, page: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", page) is not None


@pytest.mark.parametrize("name", vmf.__all__)
def test_every_public_name_is_on_the_page_of_the_library(name):
    assert named(f"vmf.{name}", LIBRARY)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_argument_is_on_the_page_of_the_library(function):
    arguments = inspect.signature(getattr(vmf, function)).parameters
    assert not [name for name in arguments if not named(name, LIBRARY)]


def test_everything_public_of_a_run_is_on_the_page_of_the_library():
    names = [name for name in dir(vmf.Run) if not name.startswith("_")]
    attributes = [name for name in inspect.signature(vmf.Run).parameters if name != "self"]
    assert not [n for n in {*names, *attributes} if not named(f"run.{n}", LIBRARY)]


@pytest.mark.parametrize("command", PARSERS)
def test_every_option_is_on_the_page_of_the_command_line(command):
    section = COMMANDS.split(f"\n## {command}\n")[1].partition("\n## ")[0]
    actions = PARSERS[command](command)._actions
    shown = [
        a for a in actions if a.option_strings and a.help != argparse.SUPPRESS and a.dest != "help"
    ]
    assert shown
    missing = [a.dest for a in shown if not any(named(o, section) for o in a.option_strings)]
    assert not missing


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_on_own_data_is_on_its_page(experiment):
    assert named(experiment, (DOCS / "own-data.md").read_text())
