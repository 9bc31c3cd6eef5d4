"""What the other processes of torchrun add to their arguments is read as it is meant."""

from vmf_embeddings.cli import assembly, overrides


def test_arguments_that_a_rank_adds_pass_the_checks_of_typed_values(monkeypatch):
    assembly.register_resolvers()
    monkeypatch.setenv("RANK", "1")
    arguments = overrides.with_rank_overrides(["experiment=demo", "name=a"])
    assert len(arguments) == 2 + len(overrides.NO_OUTPUT)
    assert overrides.quoted(arguments) == arguments
    overrides.refuse_before_composing(arguments)
