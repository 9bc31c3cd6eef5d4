"""The rows of a folder of embeddings, computed shard by shard in any number of processes.

A shard is `shard_rows` rows of every divided array. Beside its files lies a record with their
hashes and the key of the work, written last: a shard with a record that fits is finished, and is
never computed again. Which process computes a shard changes nothing in it.
"""

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from vmf_embeddings.embeddings.folder_writing import (
    DIVIDED,
    SHARD_ROWS,
    Written,
    refuse_other_content,
    shard_size,
    write_record,
    write_shard,
)
from vmf_embeddings.untrusted.array_folder import META, shard_name
from vmf_embeddings.untrusted.files import replacing
from vmf_embeddings.untrusted.json_text import read_json
from vmf_embeddings.untrusted.refused import Refused

_LEFT_SECONDS = 600.0  # without a change, the process that wrote a file is gone
_SHARD = re.compile(r"([a-z_]+)\.([0-9]{5,6})\.(npy|json)")


@dataclass(frozen=True)
class ShardPlan:
    """Which rows lie in which shard of a folder.

    Args:
        folder: of the embeddings, `….emb`.
        key: of what is computed: with another one, shards are computed again.
        n_rows: N > 0.
        shard_rows: rows per shard, a multiple of 1024.
    """

    folder: Path
    key: str
    n_rows: int
    shard_rows: int = SHARD_ROWS

    def __post_init__(self) -> None:
        if self.shard_rows < 1024 or self.shard_rows % 1024:
            raise ValueError(
                f"shard_rows must be a multiple of 1024, got {self.shard_rows}: the default is "
                f"{SHARD_ROWS}"
            )

    @property
    def n_shards(self) -> int:
        """Number of shards."""
        return -(-self.n_rows // self.shard_rows)

    def rows(self, shard: int) -> range:
        """The rows of a shard."""
        first = shard * self.shard_rows
        return range(first, min(first + self.shard_rows, self.n_rows))

    def part(self, number: int, count: int) -> range:
        """The shards of part `number`, from 0, of `count` parts: one after another, nearly equal.

        >>> plan = ShardPlan(Path("a.emb"), "", n_rows=5000, shard_rows=1024)
        >>> plan.part(0, 2), plan.part(1, 2)
        (range(0, 2), range(2, 5))
        """
        return range(self.n_shards * number // count, self.n_shards * (number + 1) // count)

    def finished(self, shard: int) -> dict[str, Any] | None:
        """The record of a finished shard; None where it is to be computed."""
        path = self._record(shard)
        if not path.exists():
            return None
        try:
            record = read_json(path)
        except Refused:
            return None
        arrays = record.get("arrays") if isinstance(record, dict) else None
        if not isinstance(arrays, dict) or record.get("key") != self._key(shard):
            return None
        try:
            there = all(self._is_whole(shard, *item) for item in arrays.items())
        except (LookupError, TypeError):  # the record is damaged
            return None
        return arrays if there and "embeddings" in arrays else None

    def unfinished(self) -> list[int]:
        """Numbers of the shards that are to be computed, of all parts."""
        return [shard for shard in range(self.n_shards) if self.finished(shard) is None]

    def begin(self) -> None:
        """Makes the folder, or takes back that an older one is complete if it lacks a shard.

        Raises:
            ValueError: there is something else of this name.
        """
        refuse_other_content(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.unfinished():
            (self.folder / META).unlink(missing_ok=True)

    def write(self, shard: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes the rows of a shard, then its record.

        Args:
            shard: its number.
            arrays: key of `DIVIDED` -> its rows [n, …].
        """
        self._record(shard).unlink(missing_ok=True)  # of other weights, perhaps
        described = {
            key: {
                "sha256": write_shard(self.folder, key, shard, rows),
                "dtype": npy.dtype_to_descr(rows.dtype),
                "shape": list(rows.shape[1:]),
            }
            for key, rows in arrays.items()
        }
        record = {"key": self._key(shard), "arrays": described}
        with replacing(self._record(shard)) as temporary:
            temporary.write_text(json.dumps(record, sort_keys=True), encoding="utf-8")

    def complete(
        self,
        others: Callable[[Path], Mapping[str, Written]],
        temperature: float,
        meta: Mapping[str, Any],
    ) -> bool:
        """Completes the folder, if no shard is missing.

        Args:
            others: writes all other arrays to the folder.
            temperature: see `EmbeddingFile`.
            meta: see `EmbeddingFile`.

        Returns:
            Whether the folder is complete.
        """
        records = [self.finished(shard) for shard in range(self.n_shards)]
        found = [record for record in records if record is not None]
        if len(found) < len(records):
            return False
        divided = {
            key: Written(
                np.dtype(said["dtype"]),
                (self.n_rows, *said["shape"]),
                [record[key]["sha256"] for record in found],
                is_divided=True,
            )
            for key, said in found[0].items()
        }
        self._remove_leftovers(divided)
        arrays = {**divided, **others(self.folder)}
        write_record(self.folder, arrays, temperature, meta, self.shard_rows, key=self.key)
        return True

    def _record(self, shard: int) -> Path:
        return self.folder / f"{DIVIDED[0]}.{shard:05d}.json"

    def _is_whole(self, shard: int, key: str, said: Mapping[str, Any]) -> bool:
        """Whether a file of a shard has its size: a machine that stops may leave it empty."""
        size = shard_size(np.dtype(said["dtype"]), (len(self.rows(shard)), *said["shape"]))
        path = self.folder / shard_name(key, shard)
        return bool(said["sha256"]) and path.is_file() and path.stat().st_size == size

    def _key(self, shard: int) -> str:
        rows = self.rows(shard)
        return f"{self.key} rows {rows.start} to {rows.stop}"

    def _remove_leftovers(self, divided: Mapping[str, Written]) -> None:
        """Removes shards of an older plan, and files that a killed process left half written."""
        for name in os.listdir(self.folder):
            shard = _SHARD.fullmatch(name)
            old = shard is not None and (shard[1] not in divided or int(shard[2]) >= self.n_shards)
            if old or (name.endswith(".part") and _is_left(self.folder / name)):
                (self.folder / name).unlink(missing_ok=True)


def _is_left(part: Path) -> bool:
    """Whether nobody writes a file: another job may be completing the same folder."""
    try:
        return time.time() - part.stat().st_mtime > _LEFT_SECONDS
    except FileNotFoundError:
        return False
