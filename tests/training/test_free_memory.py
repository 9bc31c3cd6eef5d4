"""Laws of the memory that a process may take."""

import psutil

from vmf_embeddings.training import free_memory


def limits(tmp_path, monkeypatch, limit, used):
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{used}\n")
    monkeypatch.setattr(free_memory, "CONTAINER", tmp_path)


def test_a_container_leaves_what_is_below_its_limit(tmp_path, monkeypatch):
    limits(tmp_path, monkeypatch, 3_000_000, 1_000_000)
    assert free_memory.free_memory() == 2_000_000
    limits(tmp_path, monkeypatch, 3_000_000, 4_000_000)
    assert free_memory.free_memory() == 0


def test_without_a_limit_the_machine_decides(tmp_path, monkeypatch):
    limits(tmp_path, monkeypatch, "max", 1_000_000)
    assert 0 < free_memory.free_memory() <= psutil.virtual_memory().total


def test_processes_of_a_machine_share_it(tmp_path, monkeypatch):
    limits(tmp_path, monkeypatch, 3_000_000, 1_000_000)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert free_memory.free_memory() == 500_000
