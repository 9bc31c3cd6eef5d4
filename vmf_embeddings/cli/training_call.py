"""One training from inside Python: composed, checked and run as by the command `train`."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from vmf_embeddings.cli import app, composition, overrides, own_data
from vmf_embeddings.cli.assembly import Refused, register_resolvers
from vmf_embeddings.cli.help import CONF
from vmf_embeddings.cli.sweeps import TRAIN_NOTHING
from vmf_embeddings.typed import hydra_text
from vmf_embeddings.untrusted.log_lines import OneLineFormatter

if TYPE_CHECKING:
    from vmf_embeddings.datasets.base import Dataset

log = logging.getLogger(__name__)

LOG_FORMAT = "[%(asctime)s][%(levelname)s] %(message)s"


def train(arguments: Sequence[str], data: "Dataset | None" = None) -> Path:
    """Trains what a command line names.

    Args:
        arguments: overrides, as typed behind `train`.
        data: data set to train on instead of the one that the command line names.

    Returns:
        The folder of the run.

    Raises:
        Refused: a mistake in the arguments; nothing was trained.
    """
    _refuse_flags(arguments)
    given = list(arguments)
    if data is not None:
        _refuse_other_kinds(data, given)
        given.append(f"dataset.name={hydra_text(data.name)}")
    register_resolvers()
    given = overrides.quoted(own_data.typed_out(given, log.info))
    overrides.refuse_before_composing(given)
    outcome: list[Any] = []
    with _own_hydra() as hydra:
        try:
            hydra.run("config", _task(data, outcome), given, with_log_configuration=False)
        except (HydraException, OmegaConfBaseException) as error:
            raise Refused(overrides.explain(error, given)) from error
    (found,) = outcome
    if isinstance(found, Exception):
        raise found
    return found


def _task(data: "Dataset | None", outcome: list[Any]) -> Callable[[DictConfig], None]:
    """What Hydra calls with the composed configuration; the result goes into `outcome`."""

    def run(cfg: DictConfig) -> None:
        try:
            outcome.append(_run(cfg, data))
        except Exception as error:  # Hydra would print it and go on; `train` raises it
            outcome.append(error)

    return run


def _run(cfg: DictConfig, data: "Dataset | None") -> Path:
    overrides.check_keys(cfg)
    overrides.check_value_types(cfg)
    if cfg.mode.name in TRAIN_NOTHING:
        raise Refused(f"mode={cfg.mode.name} trains nothing: use the command line for it")
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    with _log_file(run_dir / f"main.{cfg.mode.name}.log"):
        if data is None:
            return _with_stages(cfg, run_dir)
        if cfg.get("stages") or cfg.mode.name != "train":
            raise Refused("dataset: only mode=train without stages= takes a data set object")
        kind = type(data)
        target = f"{kind.__module__}.{kind.__qualname__}"
        OmegaConf.resolve(cfg)
        with open_dict(cfg):
            cfg.dataset = {"name": data.name, "params": {"_target_": target}}
        app.train(cfg, run_dir, data)
        return run_dir


def _with_stages(cfg: DictConfig, run_dir: Path) -> Path:
    """Runs the mode, or both stages; the folder of what was trained last."""
    if not cfg.get("stages"):
        app.MODES[cfg.mode.name](cfg, run_dir)
        return run_dir
    app.both_stages(cfg, run_dir)
    stages = [path.parent for path in run_dir.glob("*/last.pt")]
    return max([run_dir, *stages], key=lambda folder: (folder / "last.pt").stat().st_mtime_ns)


def _refuse_flags(arguments: Sequence[str]) -> None:
    flags = [one for one in arguments if not isinstance(one, str) or one.startswith("-")]
    if isinstance(arguments, str) or flags:
        raise Refused(
            "overrides: expected a list of texts as ['experiment=demo', 'mode.epochs=2'], got "
            f"{arguments if isinstance(arguments, str) else flags[0]!r}; sweeps (-m) and other "
            "flags are for the command line"
        )


def _refuse_other_kinds(data: Any, arguments: Sequence[str]) -> None:
    from vmf_embeddings.datasets.base import Dataset

    if not isinstance(data, Dataset):
        raise Refused(
            "dataset: expected an instance of a subclass of vmf_embeddings.datasets.base.Dataset, "
            f"got {type(data).__name__}"
        )
    data.check()
    named = [one for one in arguments if one.lstrip("+").split("=")[0].split(".")[0] == "dataset"]
    if named:
        raise Refused(f"{named[0]}: the data set is given as an object; leave it out")


@contextlib.contextmanager
def _own_hydra() -> Iterator[Hydra]:
    """Hydra with this package's configuration; a Hydra of the caller is back afterwards."""
    composition.install()
    instance, before = GlobalHydra.instance(), GlobalHydra.instance().hydra
    base = version.getbase()
    instance.clear()
    version.setbase("1.3")
    try:
        yield Hydra.create_main_hydra2("main", create_config_search_path(str(CONF)))
    finally:
        instance.hydra = before
        if base is not None:
            version.setbase(str(base))


@contextlib.contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """Writes this package's log lines to a file too, from INFO on, as the command does."""
    logger = logging.getLogger("vmf_embeddings")
    level, handler = logger.level, logging.FileHandler(path)
    handler.setFormatter(OneLineFormatter(LOG_FORMAT))
    logger.addHandler(handler)
    logger.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()
