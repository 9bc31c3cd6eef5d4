"""What `--help` says, read from the configuration files without composing them."""

from pathlib import Path

from vmf_embeddings.untrusted.text import printable

CONF = Path(__file__).parents[1] / "conf"


def help_text(arguments: list[str]) -> str:
    """The text of `conf/config.yaml` with every group's options, those of `--config-dir` too.

    Hydra would compose everything to say it, and its import alone takes longer than all of this.
    """
    import yaml

    text = yaml.safe_load((CONF / "config.yaml").read_text())["hydra"]["help"]["template"]
    options: dict[str, set[str]] = {}
    for folder in [CONF, *folders_of_ones_own(arguments)]:
        for path in folder.glob("*/*.yaml"):
            options.setdefault(path.parent.name, set()).add(path.stem)
    lines = [f"{group}: {', '.join(sorted(options[group]))}" for group in sorted(options)]
    return text.replace("$APP_CONFIG_GROUPS", "".join(f"{printable(line)}\n" for line in lines))


def folders_of_ones_own(arguments: list[str]) -> list[Path]:
    """The folder that `--config-dir FOLDER` among the arguments names, if it does."""
    import argparse

    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--config-dir", "-cd")
    given = parser.parse_known_args(arguments)[0].config_dir
    return [] if given is None else [Path(given).resolve()]
