"""The text of `train --help`, read from the configuration files without composing them."""

from pathlib import Path

from vmf_embeddings.cli.runs_root import runs_root
from vmf_embeddings.untrusted.text import printable

CONF = Path(__file__).parents[1] / "conf"


def help_text(arguments: list[str]) -> str:
    """The template in `conf/config.yaml` with the options of all groups, also of `--config-dir`.

    Hydra would compose the whole configuration for it; importing Hydra alone takes longer.

    Args:
        arguments: the command line, without the program's name.
    """
    import yaml

    text = yaml.safe_load((CONF / "config.yaml").read_text())["hydra"]["help"]["template"]
    options: dict[str, set[str]] = {}
    for folder in [CONF, *config_folders(arguments)]:
        for path in folder.glob("*/*.yaml"):
            options.setdefault(path.parent.name, set()).add(path.stem)
    lines = [f"{group}: {', '.join(sorted(options[group]))}" for group in sorted(options)]
    text = text.replace("$RUNS", str(runs_root()))
    return text.replace("$APP_CONFIG_GROUPS", "".join(f"{printable(line)}\n" for line in lines))


def config_folders(arguments: list[str]) -> list[Path]:
    """The folder given by `--config-dir FOLDER`, as a list of one; empty if there is none."""
    import argparse

    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--config-dir", "-cd")
    given = parser.parse_known_args(arguments)[0].config_dir
    return [] if given is None else [Path(given).resolve()]
