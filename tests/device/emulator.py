"""CUDA tensors made of CPU data: device mismatches, waits and launches are seen without a GPU.

An `EmulatedTensor` says that it is on `cuda:0` and keeps its numbers on the CPU. Within
`emulated()` every ATen call passes through `_run`, which refuses what CUDA would refuse
(`DeviceMismatch`), tells the recorder what makes the host wait or copy and what would launch a
kernel, and then computes on the CPU. Not seen: kernels that CUDA lacks or that differ, memory,
streams. A call counts as one launch however many kernels it starts; `graphs.py` records calls as
a graph does. Needs `guard.load()` before torch is imported.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

from tests.device.recorder import BIG, Recorder

CUDA = torch.device("cuda", 0)
# calls whose result the host must know before it can go on: sizes or values that depend on data
WAITS = frozenset(
    "_local_scalar_dense nonzero masked_select _unique2 unique_consecutive unique_dim is_nonzero"
    " equal bincount repeat_interleave item".split()
)
# calls that launch nothing: views, metadata, allocation
FREE = frozenset(
    "view detach alias expand t transpose permute slice select unsqueeze squeeze as_strided split"
    " unbind _unsafe_view _reshape_alias lift_fresh empty empty_like new_empty empty_strided"
    " new_empty_strided split_with_sizes _local_scalar_dense diagonal chunk view_as reshape".split()
)
# CUDA kernels that refuse a CPU scalar tensor among their inputs; others take it as a number
STRICT = frozenset(
    "cat stack mm addmm bmm addcmul addcdiv gather scatter scatter_ index_select index_add"
    " index_add_ linear convolution embedding native_batch_norm _native_batch_norm_legit"
    " _foreach_add_ _fused_sgd_".split()
)
INDEXING = frozenset("index index_put index_put_ _index_put_impl_ _unsafe_index".split())
CROSSING = frozenset("copy_ _to_copy lift_fresh alias detach _copy_from".split())


def _executed(func, args, kwargs):
    return func(*args, **kwargs)


recorder = Recorder()
executor = _executed  # computes on the CPU what would run on the device; `graphs.py` replaces it
freezes = False  # whether tensors of the host that go into a call are copied, as into a graph
_tensor, _Generator = torch.tensor, torch.Generator
_on_cuda: dict[int, torch.Generator] = {}  # generators that claim to be on the device, kept alive


class DeviceMismatch(RuntimeError):
    """What CUDA would refuse: tensors or generators of two devices in one call."""


class EmulatedTensor(torch.Tensor):
    """A tensor on `cuda:0` whose numbers are on the CPU, in `numbers`."""

    numbers: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, numbers: torch.Tensor) -> "EmulatedTensor":
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            numbers.size(),
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            layout=numbers.layout,
            device=CUDA,
            requires_grad=False,
        )
        made.numbers = numbers
        return made

    def __repr__(self) -> str:
        return f"EmulatedTensor({self.numbers})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})

    def tolist(self):
        recorder.wait("tolist")
        return self.numbers.tolist()

    def new_tensor(self, data, *, dtype=None, device=None, requires_grad=False):
        """On CUDA a blocking copy of data of the host."""
        recorder.copy("new_tensor")
        recorder.launch()
        made = EmulatedTensor(_tensor(data, dtype=dtype or self.dtype))
        return made.requires_grad_() if requires_grad else made


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def _emulates(value: Any) -> bool:
    return isinstance(value, EmulatedTensor)


def _is_cuda(value: Any) -> bool:
    return isinstance(value, torch.device) and value.type == "cuda"


def _run(func, args, kwargs):
    """One ATen call."""
    name = func._schema.name.split("::")[1]
    leaves = tree_leaves((args, kwargs))
    tensors = [t for t in leaves if isinstance(t, torch.Tensor)]
    takes_cuda = any(map(_emulates, tensors))
    gives_cuda = takes_cuda
    if kwargs.get("device") is not None:
        gives_cuda = torch.device(kwargs["device"]).type == "cuda"
    _check_generator(func, name, leaves, gives_cuda)
    if takes_cuda and name not in CROSSING:
        _check_devices(func, name, args, tensors)
        _check_results(func, args, kwargs)
    _note_crossing(name, args, kwargs, takes_cuda, gives_cuda)
    if (takes_cuda or gives_cuda) and name not in FREE:
        recorder.launch()
    if any(_emulates(t) and t.dtype == torch.float64 and t.numel() > BIG for t in tensors):
        recorder.wide()
    run = executor if gives_cuda else _executed
    host_args = tree_map(_frozen if freezes and gives_cuda else _on_host, args)
    out = run(func, host_args, _host_options(name, kwargs, gives_cuda))
    if name == "_local_scalar_dense" or not gives_cuda:
        return out
    if name == "copy_" and not _emulates(args[0]):
        return args[0]
    return _wrapped(func, args, kwargs, out)


def _wrapped(func, args, kwargs, out):
    """The result as emulated tensors; one that is an argument is that argument itself."""
    arguments = {id(t.numbers): t for t in tree_leaves((args, kwargs)) if _emulates(t)}

    def wrap(value):
        if not isinstance(value, torch.Tensor) or _emulates(value):
            return value
        known = arguments.get(id(value))
        return EmulatedTensor(value) if known is None else known

    if func._schema.is_mutable:
        return tree_map(wrap, out)
    return return_and_correct_aliasing(func, args, kwargs, tree_map(wrap, out))


def _on_host(value):
    if _emulates(value):
        return value.numbers
    return torch.device("cpu") if _is_cuda(value) else value


def _frozen(value):
    """As `_on_host`, with the tensors of the host as they are now."""
    on_host = isinstance(value, torch.Tensor) and not _emulates(value)
    return value.clone() if on_host else _on_host(value)


def _host_options(name: str, kwargs: dict[str, Any], gives_cuda: bool) -> dict[str, Any]:
    """Keyword arguments for the same call on the CPU."""
    options = tree_map(_on_host, dict(kwargs))
    if options.get("device") is not None:
        options["device"] = torch.device("cpu")
    if "pin_memory" in options:
        options["pin_memory"] = False
    if name == "_to_copy" and gives_cuda:
        options.pop("non_blocking", None)
    return options


def _check_generator(func, name: str, leaves: list[Any], gives_cuda: bool) -> None:
    generator = next((g for g in leaves if isinstance(g, _Generator)), None)
    if generator is None or name == "_to_copy":
        return
    if gives_cuda != (generator._cdata in _on_cuda):  # the dispatcher makes new Python objects
        raise DeviceMismatch(f"a generator of the other device in {func}")


def _check_devices(func, name: str, args, tensors: list[torch.Tensor]) -> None:
    """Refuses tensors of two devices in one call, as CUDA does."""
    apart = [t for t in tensors if not _emulates(t)]
    if name in INDEXING:
        _check_index(func, name, args)
    elif any(t.dim() for t in apart):
        shapes = [tuple(t.shape) for t in apart if t.dim()]
        raise DeviceMismatch(f"CPU tensors {shapes} with CUDA ones in {func}")
    elif apart and name in STRICT:
        raise DeviceMismatch(f"a CPU scalar with CUDA tensors in {func}")


def _check_index(func, name: str, args) -> None:
    """An index on the CPU is copied to the device; a mask makes the host wait for its sum."""
    if not _emulates(args[0]):
        raise DeviceMismatch(f"a CPU tensor indexed by a CUDA one in {func}")
    values = args[2] if name != "index" and len(args) > 2 else None
    if isinstance(values, torch.Tensor) and not _emulates(values) and values.dim():
        raise DeviceMismatch(f"CPU values put into a CUDA tensor in {func}")
    indices = [t for t in args[1] or [] if isinstance(t, torch.Tensor)]
    if any(t.dtype in (torch.bool, torch.uint8) for t in indices):
        recorder.wait(f"mask in {name}")
    if any(not _emulates(t) and t.dim() for t in indices):
        recorder.copy("index on the CPU")


def _check_results(func, args, kwargs) -> None:
    schema = func._schema.arguments
    named = [*zip(schema, args, strict=False)]
    named += [(a, kwargs[a.name]) for a in schema if a.name in kwargs]
    for argument, value in named:
        writes = argument.alias_info is not None and argument.alias_info.is_write
        if writes and isinstance(value, torch.Tensor) and not _emulates(value):
            raise DeviceMismatch(f"a CPU result of CUDA inputs in {func}")


def _note_crossing(name: str, args, kwargs, takes_cuda: bool, gives_cuda: bool) -> None:
    """Tells the recorder of waits, and of copies between host and device."""
    if takes_cuda and name in WAITS:
        recorder.wait(name)
    if name == "_to_copy" and takes_cuda and not gives_cuda:
        recorder.wait("to the CPU")
    if name == "_to_copy" and gives_cuda and not takes_cuda:
        recorder.copy("to CUDA", blocking=not kwargs.get("non_blocking"))
    if name == "copy_" and _emulates(args[0]) and not _emulates(args[1]):
        recorder.copy("copy_ to CUDA")
    if name == "copy_" and _emulates(args[1]) and not _emulates(args[0]):
        recorder.wait("copy_ to the CPU")


def _made_tensor(data, *args, device=None, **kwargs):
    """Stands for `torch.tensor`, which does not pass through the dispatcher."""
    made = _tensor(data, *args, **kwargs)
    if device is None or torch.device(device).type != "cuda":
        return made
    recorder.copy("torch.tensor")
    return EmulatedTensor(made)


class _Kind(type):
    def __instancecheck__(cls, value) -> bool:
        return isinstance(value, _Generator)


class Generator(metaclass=_Kind):
    """Stands for `torch.Generator`; one for "cuda" is remembered as such."""

    def __new__(cls, device="cpu"):
        made = _Generator()
        if torch.device(device).type == "cuda":
            _on_cuda[made._cdata] = made
        return made


@contextlib.contextmanager
def emulated() -> Iterator[Recorder]:
    """Within, `.to("cuda:0")` gives emulated tensors."""
    state = _tensor([0] * 16, dtype=torch.uint8)
    changes = (
        (torch, "tensor", _made_tensor),
        (torch, "Generator", Generator),
        (torch.cuda, "_lazy_init", lambda: None),
        (torch.cuda, "get_rng_state", lambda device=None: state),
        (torch.cuda, "set_rng_state", lambda state, device=None: None),
    )
    before = [getattr(owner, name) for owner, name, _ in changes]
    overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    for owner, name, new in changes:
        setattr(owner, name, new)
    try:
        with _Mode():
            yield recorder
    finally:
        for (owner, name, _), old in zip(changes, before, strict=True):
            setattr(owner, name, old)
        torch.__future__.set_overwrite_module_params_on_conversion(overwrite)
