"""Checkpoints of any module and any optimizer: training goes on in the same bits as if nothing had been saved."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from lmablate.errors import UserError
from lmablate.files import sha256, write_json
from lmablate.training.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from lmablate.training.optim import AdamW, decay_groups

Made = tuple[nn.Module, torch.optim.Optimizer]


class Buffers(nn.Module):
    """A linear layer beside buffers, some of which its forward pass changes."""

    def __init__(self, **buffers: Tensor) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer)

    def forward(self, x: Tensor) -> Tensor:
        for buffer in self.buffers():
            if buffer.dtype == torch.bool:
                buffer.logical_not_()
            elif buffer.numel():
                buffer += 1
        return self.layer(x)


class Shared(nn.Module):
    """Tensors that share memory: a parameter and a buffer with two names each, and two views of one storage."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight
        counts = torch.arange(6.0)
        self.register_buffer("a", counts)
        self.register_buffer("b", counts)
        self.register_buffer("head", counts[:3])
        self.register_buffer("tail", counts[2:])

    def forward(self, x: Tensor) -> Tensor:
        self.get_buffer("a").add_(1)
        return self.second(self.first(x))


class Own(nn.Module):
    """One parameter, which the forward pass multiplies by."""

    def __init__(self, parameter: Tensor, name: str = "weight") -> None:
        super().__init__()
        self.name = name
        self.register_parameter(name, nn.Parameter(parameter))

    def forward(self, x: Tensor) -> Tensor:
        product = self.get_parameter(self.name) * x.new_ones(())
        return product.square().sum() * x.sum()


class Channels(nn.Module):
    """A convolution whose weights lie in memory channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(4, 4, 3, padding=1)
        self.layer.weight.data = self.layer.weight.data.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.reshape(-1, 4, 1, 1).expand(-1, 4, 5, 3))


def frozen() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[0].requires_grad_(False)
    return model


def with_own(*modules: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), *modules)


MODULES: dict[str, Callable[[], nn.Module]] = {
    "a layer": lambda: nn.Linear(4, 4),
    "batch norm": lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)),
    "dropout, which draws": lambda: nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)),
    "float64 parameters": lambda: nn.Linear(4, 4).double(),
    "bf16 parameters": lambda: nn.Linear(4, 4).bfloat16(),
    "parameters of two types": lambda: with_own(nn.Identity(), Own(torch.ones(2, dtype=torch.float64))),
    "a float64 buffer": lambda: Buffers(x=torch.zeros(3, dtype=torch.float64)),
    "integer buffers": lambda: Buffers(a=torch.zeros(3, dtype=torch.int64), b=torch.zeros(2, dtype=torch.int8)),
    "unsigned buffers": lambda: Buffers(a=torch.zeros(3, dtype=torch.uint8)),
    "a bool buffer": lambda: Buffers(x=torch.tensor([True, False])),
    "16-bit buffers": lambda: Buffers(a=torch.ones(3, dtype=torch.bfloat16), b=torch.ones(3, dtype=torch.float16)),
    "a complex buffer": lambda: Buffers(x=torch.ones(3, dtype=torch.complex64)),
    "a conjugate as buffer": lambda: Buffers(x=torch.tensor([1 + 2j]).conj()),
    "a buffer without dimensions": lambda: Buffers(x=torch.tensor(5)),
    "buffers without elements": lambda: Buffers(a=torch.zeros(0), b=torch.zeros(2, 0)),
    "a transposed buffer": lambda: Buffers(x=torch.arange(6.0).view(2, 3).mT),
    "a frozen layer": frozen,
    "shared memory": Shared,
    "a parameter without dimensions": lambda: Own(torch.tensor(2.0)),
    "a parameter without elements": lambda: with_own(Own(torch.ones(0))),
    "a transposed parameter": lambda: Own(torch.arange(12.0).view(3, 4).mT / 7),
    "channels last": Channels,
    "a weight of two parts": lambda: weight_norm(nn.Linear(4, 4)),
    "names with a slash": lambda: Own(torch.ones(3), name="a/b"),
    "names like ours": lambda: nn.Sequential(Own(torch.ones(3), "run"), Own(torch.ones(2), "torch")),
    "a parameter that is never used": lambda: nn.ModuleList([nn.Linear(4, 4), nn.Linear(2, 2)]),
}

TORCH = torch.optim
OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "ours": lambda model: AdamW(model.parameters(), lr=0.01),
    "ours, two groups": lambda model: AdamW(decay_groups(model, 0.1), lr=0.01),
    "ours, named": lambda model: AdamW(model.named_parameters(), lr=0.01),
    "ours, rate in a tensor": lambda model: AdamW(model.parameters(), lr=torch.tensor(0.01)),
    "SGD": lambda model: TORCH.SGD(model.parameters(), lr=0.1),
    "SGD with momentum": lambda model: TORCH.SGD(model.parameters(), lr=0.1, momentum=0.9),
    "SGD with Nesterov's momentum": lambda model: TORCH.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True),
    "AdamW": lambda model: TORCH.AdamW(model.parameters()),
    "AMSGrad": lambda model: TORCH.AdamW(model.parameters(), amsgrad=True),
    "AdamW, foreach": lambda model: TORCH.AdamW(model.parameters(), foreach=True),
    "AdamW, fused": lambda model: TORCH.AdamW(model.parameters(), fused=True),
    "AdamW, rate in a tensor": lambda model: TORCH.AdamW(model.parameters(), lr=torch.tensor(0.01)),
    "Adam": lambda model: TORCH.Adam(model.parameters()),
    "Adam, maximizing": lambda model: TORCH.Adam(model.parameters(), maximize=True),
    "RMSprop": lambda model: TORCH.RMSprop(model.parameters(), centered=True, momentum=0.9),
    "Adagrad": lambda model: TORCH.Adagrad(model.parameters()),
    "Adadelta": lambda model: TORCH.Adadelta(model.parameters()),
    "Adamax": lambda model: TORCH.Adamax(model.parameters()),
    "NAdam": lambda model: TORCH.NAdam(model.parameters()),
    "RAdam": lambda model: TORCH.RAdam(model.parameters()),
    "ASGD": lambda model: TORCH.ASGD(model.parameters()),
    "Rprop": lambda model: TORCH.Rprop(model.parameters()),
    "Adafactor": lambda model: TORCH.Adafactor(model.parameters()),
    "LBFGS": lambda model: TORCH.LBFGS(model.parameters(), history_size=3, max_iter=2),
}


def made(module: str, optimizer: str, seed: int) -> Made:
    torch.manual_seed(seed)
    model = MODULES[module]()
    return model, OPTIMIZERS[optimizer](model)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    layer = model[0] if isinstance(model, nn.ModuleList) else model
    for step in steps:
        x = torch.randn(6, 4, generator=torch.Generator().manual_seed(step))
        x = x.to(next(model.parameters()).dtype)

        def closure(x: Tensor = x) -> float:
            optimizer.zero_grad()
            loss = layer(x).square().mean()
            loss.backward()
            return loss  # pyright: ignore[reportReturnType] (LBFGS wants a tensor where torch declares a float)

        optimizer.step(closure)


def remembered(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Everything that decides about the next steps, with the bits and the types of it."""
    found: dict[str, Any] = {"random": torch.get_rng_state().tolist()}

    def collect(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                collect(f"{name}.{key}", item)
        elif isinstance(value, list | tuple):
            found[name] = type(value)
            collect(name, dict(enumerate(value)))
        elif isinstance(value, Tensor):
            bits = value.detach().resolve_conj().contiguous().reshape(-1).view(torch.uint8).tolist()
            found[name] = (value.dtype, value.shape, bits)
        else:
            found[name] = (type(value), value)

    collect("model", dict(model.state_dict()))
    collect("optimizer", optimizer.state_dict())
    return found


def assert_it_goes_on(module: str, optimizer: str, folder: Path) -> None:
    whole = made(module, optimizer, seed=0)
    train(*whole, range(3))
    path = save_checkpoint(str(folder), 3, *whole)
    saved = remembered(*whole)
    resumed = made(module, optimizer, seed=1)
    train(*resumed, range(7, 9))
    assert load_checkpoint(str(folder), *resumed) == {"step": 3}
    assert remembered(*resumed) == saved
    torch.manual_seed(5)
    train(*whole, range(3, 6))
    torch.manual_seed(5)
    train(*resumed, range(3, 6))
    assert remembered(*resumed) == remembered(*whole)
    assert checkpoints(folder) == [path]


@pytest.mark.parametrize("optimizer", ["ours", "SGD", "SGD with momentum", "AdamW"])
@pytest.mark.parametrize("module", MODULES)
def test_any_module_goes_on_where_it_stopped(module: str, optimizer: str, tmp_path: Path) -> None:
    assert_it_goes_on(module, optimizer, tmp_path)


@pytest.mark.parametrize("module", ["a layer", "bf16 parameters", "a transposed parameter", "channels last"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_any_optimizer_goes_on_where_it_stopped(module: str, optimizer: str, tmp_path: Path) -> None:
    if optimizer == "LBFGS" and module in ("a transposed parameter", "channels last"):
        pytest.skip("torch's LBFGS wants contiguous parameters")
    assert_it_goes_on(module, optimizer, tmp_path)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_checkpoint_before_the_first_step_forgets_later_ones(optimizer: str, tmp_path: Path) -> None:
    fresh = made("a layer", optimizer, seed=0)
    save_checkpoint(tmp_path, 0, *fresh)
    used = made("a layer", optimizer, seed=1)
    train(*used, range(3))
    assert load_checkpoint(tmp_path, *used) == {"step": 0}
    for pair in (fresh, used):
        train(*pair, range(2))
    assert all(map(torch.equal, fresh[0].parameters(), used[0].parameters()))


# ---------------------------------------------------------------------------------------------- groups and refusals


def test_the_groups_come_back_as_they_were(tmp_path: Path) -> None:
    model, optimizer = made("a layer", "ours, two groups", seed=0)
    first, second = optimizer.param_groups
    first.update(
        lr=0.5, betas=(0.1, 0.2), weight_decay=0.7, eps=1e-3, initial_lr=1.0, note="warm", turns=[1, 2.5, None]
    )
    second.update(lr=torch.tensor(0.25), weight_decay=0.0, table={"a": (1, True)}, limits=(float("inf"), -0.0))
    save_checkpoint(tmp_path, 1, model, optimizer)
    other, fresh = made("a layer", "ours, two groups", seed=1)
    load_checkpoint(tmp_path, other, fresh)
    for old, new in zip(optimizer.param_groups, fresh.param_groups, strict=True):
        assert {k: v for k, v in old.items() if k != "params"} == {k: v for k, v in new.items() if k != "params"}
        assert type(old["betas"]) is type(new["betas"]) is tuple
        assert [len(old["params"])] == [len(new["params"])]
    assert {id(p) for group in fresh.param_groups for p in group["params"]} == {id(p) for p in other.parameters()}


def test_a_scheduler_goes_on_with_its_rate(tmp_path: Path) -> None:
    rates = []
    for stops in (False, True):
        model, optimizer = made("a layer", "ours", seed=0)
        scheduler = TORCH.lr_scheduler.ExponentialLR(optimizer, 0.5)
        for step in range(6):
            if stops and step == 3:
                save_checkpoint(tmp_path, step, model, optimizer)
                model, optimizer = made("a layer", "ours", seed=1)
                load_checkpoint(tmp_path, model, optimizer)
                scheduler = TORCH.lr_scheduler.ExponentialLR(optimizer, 0.5, last_epoch=step)
            train(model, optimizer, range(step, step + 1))
            scheduler.step()
        rates.append((optimizer.param_groups[0]["lr"], remembered(model, optimizer)))
    assert rates[0][0] == pytest.approx(0.01 / 64)
    assert rates[1][1]["model.weight"] == rates[0][1]["model.weight"]


def test_parameters_are_found_by_name_whatever_their_order(tmp_path: Path) -> None:
    model, optimizer = made("a layer", "ours", seed=0)
    train(model, optimizer, range(2))
    save_checkpoint(tmp_path, 2, model, optimizer)
    other = nn.Linear(4, 4)
    backwards = AdamW([*other.parameters()][::-1], lr=0.01)
    load_checkpoint(tmp_path, other, backwards)
    train(model, optimizer, range(2, 4))
    train(other, backwards, range(2, 4))
    assert all(map(torch.equal, model.parameters(), other.parameters()))


def late_group(model: nn.Module) -> torch.optim.Optimizer:
    first, *rest = model.parameters()
    optimizer = AdamW([first])
    for parameter in rest:
        optimizer.add_param_group({"params": [parameter]})
    return optimizer


REFUSED: dict[str, tuple[str, str, str, str, str]] = {
    # module and optimizer that were saved, module and optimizer that go on, the difference that is named
    "another optimizer": ("a layer", "SGD", "a layer", "ours", r"optimizer: 'SGD' -> 'AdamW'"),
    "momentum": ("a layer", "ours", "a layer", "SGD with momentum", r"optimizer: 'AdamW' -> 'SGD'"),
    "a new group": ("a layer", "ours", "a layer", "ours, two groups", r"groups: 1 -> 2"),
    "a group less": ("a layer", "ours, two groups", "a layer", "ours", r"groups: 2 -> 1"),
    "another grouping": ("a layer", "late group", "a layer", "ours, two groups backwards", r"group.bias: 1 -> 0"),
    "a parameter less": ("a layer", "ours", "a layer", "first alone", r"group.bias: 0 -> None"),
    "a buffer of another type": (
        "a float64 buffer",
        "ours",
        "a bool buffer",
        "ours",
        r"model.x: 'float64\[3\]' -> 'bool",
    ),
    "a buffer less": ("integer buffers", "ours", "unsigned buffers", "ours", r"model.b: 'int8\[2\]' -> None"),
    "half the bits": ("a layer", "ours", "bf16 parameters", "ours", r"model.weight: 'float32\[4, 4\]' -> 'bfloat16"),
    "a name like ours": ("a layer", "ours", "names like ours", "ours", r"model.0.run: None -> 'float32\[3\]'"),
    "an option we do not have": ("a layer", "AMSGrad", "a layer", "ours", r"amsgrad"),
}
OPTIMIZERS_OF_REFUSALS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    **OPTIMIZERS,
    "late group": late_group,
    "first alone": lambda model: AdamW([next(model.parameters())]),
    "ours, two groups backwards": lambda model: AdamW(decay_groups(model, 0.1)[::-1]),
}


@pytest.mark.parametrize(
    ("module", "optimizer", "new_module", "new_optimizer", "difference"), REFUSED.values(), ids=REFUSED
)
def test_a_checkpoint_of_something_else_is_refused_before_anything_is_loaded(
    module: str, optimizer: str, new_module: str, new_optimizer: str, difference: str, tmp_path: Path
) -> None:
    model = MODULES[module]()
    saved = model, OPTIMIZERS_OF_REFUSALS[optimizer](model)
    train(*saved, range(2))
    save_checkpoint(tmp_path, 2, *saved)
    other = MODULES[new_module]()
    goes_on = other, OPTIMIZERS_OF_REFUSALS[new_optimizer](other)
    train(*goes_on, range(1))
    before = remembered(*goes_on)
    with pytest.raises(UserError, match=difference):
        load_checkpoint(tmp_path, *goes_on)
    assert remembered(*goes_on) == before


class WithExtraState(nn.Linear):
    def get_extra_state(self) -> dict[str, int]:
        return {"calls": 3}

    def set_extra_state(self, state: dict[str, int]) -> None: ...


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return TORCH.SGD(model.parameters(), lr=0.1)


def with_group(**settings: Any) -> Callable[[nn.Module], torch.optim.Optimizer]:
    return lambda model: TORCH.SGD([{"params": [*model.parameters()], **settings}], lr=0.1)


def of_a_stranger(model: nn.Module) -> torch.optim.Optimizer:
    return AdamW([*model.parameters(), nn.Parameter(torch.ones(7))])


def with_loose_state(model: nn.Module) -> torch.optim.Optimizer:
    optimizer = sgd(model)
    optimizer.state["calls"] = {"count": 1}  # pyright: ignore[reportArgumentType] (torch allows it)
    return optimizer


UNSTORABLE: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module], torch.optim.Optimizer], str]] = {
    "complex128": (lambda: Buffers(x=torch.ones(2, dtype=torch.complex128)), sgd, "x is of the type torch.complex128"),
    "sparse": (lambda: Buffers(x=torch.eye(3).to_sparse()), sgd, "x is a sparse"),
    "compressed": (lambda: Buffers(x=torch.eye(3).to_sparse_csr()), sgd, "x is a sparse"),
    "quantized": (
        lambda: Buffers(x=torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.quint8)), sgd, "x is of the type"
    ),
    "on the meta device": (lambda: nn.Linear(4, 4, device="meta"), sgd, "weight is a parameter without values"),
    "lazy": (lambda: nn.LazyLinear(4), sgd, "weight is a parameter without values"),
    "extra state": (lambda: WithExtraState(4, 4), sgd, "_extra_state is of the type dict"),
    "a function in a group": (lambda: nn.Linear(4, 4), with_group(decay=abs), "decay/group 0 cannot be saved"),
    "a generator in a group": (lambda: nn.Linear(4, 4), with_group(draws=torch.Generator()), "draws/group 0"),
    "a set in a group": (lambda: nn.Linear(4, 4), with_group(names={"a"}), "names/group 0"),
    "numbers as keys": (lambda: nn.Linear(4, 4), with_group(table={1: 2}), "table/group 0"),
    "a parameter of another model": (lambda: nn.Linear(4, 4), of_a_stranger, r"of shape \[7\] that the model has not"),
    "state of no parameter": (lambda: nn.Linear(4, 4), with_loose_state, "'calls' cannot be saved"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize(("model", "optimizer", "message"), UNSTORABLE.values(), ids=UNSTORABLE)
def test_what_cannot_be_stored_is_named_and_leaves_the_folder_as_it_was(
    model: Callable[[], nn.Module],
    optimizer: Callable[[nn.Module], torch.optim.Optimizer],
    message: str,
    tmp_path: Path,
) -> None:
    save_checkpoint(tmp_path, 1, *made("a layer", "ours", seed=0))
    module = model()
    with pytest.raises(UserError, match=message):
        save_checkpoint(tmp_path, 2, module, optimizer(module))
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001"]


# ------------------------------------------------------------------------------------- files of the first version


def as_at_first(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write the optimizer's file as it was before it had JSON: the moments of AdamW, and no groups."""
    tensors = {"rng/torch": torch.get_rng_state()}
    for name, parameter in model.named_parameters():
        if state := optimizer.state.get(parameter):
            tensors |= {f"{key}/{name}": state[key] for key in ("exp_avg", "exp_avg_sq")}
    save_file(tensors, path / "optimizer.safetensors")
    write_json(
        path / "manifest.json",
        {name: sha256(path / name) for name in ("model.safetensors", "optimizer.safetensors", "state.json")},
    )


@pytest.mark.parametrize("optimizer", ["ours", "ours, two groups", "AdamW"])
@pytest.mark.parametrize("module", ["a layer", "a frozen layer", "a parameter without dimensions"])
def test_a_checkpoint_of_the_first_version_goes_on(module: str, optimizer: str, tmp_path: Path) -> None:
    whole = made(module, optimizer, seed=0)
    train(*whole, range(3))
    as_at_first(save_checkpoint(tmp_path, 3, *whole), *whole)
    resumed = made(module, optimizer, seed=1)
    assert load_checkpoint(tmp_path, *resumed) == {"step": 3}
    train(*whole, range(3, 6))
    train(*resumed, range(3, 6))
    assert remembered(*resumed) == remembered(*whole)


def test_new_files_have_the_tensors_of_the_first_version_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    model, optimizer = made("a layer", "ours", seed=0)
    train(model, optimizer, range(2))
    first, second = (save_checkpoint(tmp_path / name, 2, model, optimizer) for name in "ab")
    tensors = load_file(first / "optimizer.safetensors")
    names = {f"{key}/{name}" for key in ("exp_avg", "exp_avg_sq") for name, _ in model.named_parameters()}
    assert tensors.keys() == {"rng/torch"} | names
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes()


DAMAGED = {
    "no JSON": "{",
    "a list": "[]",
    "nothing in it": "{}",
    "no groups": '{"kind": "AdamW", "entries": {}}',
    "a tensor that is not there": '{"kind": "A", "entries": {"weight": {"m": {"tensor": "x"}}}, "groups": []}',
    "entries that are no objects": '{"kind": "A", "entries": [1], "groups": []}',
    "an entry that is no object": '{"kind": "A", "entries": {"weight": 1}, "groups": []}',
    "a group that is no object": '{"kind": "A", "entries": {}, "groups": [1]}',
    "nested without end": "[" * 100_000,
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED.keys())
def test_an_optimizers_file_that_says_nothing_counts_as_damaged(text: str, tmp_path: Path) -> None:
    saved = made("a layer", "ours", seed=0)
    save_checkpoint(tmp_path, 1, *saved)
    path = save_checkpoint(tmp_path, 2, *saved)
    tensors = load_file(path / "optimizer.safetensors")
    save_file(tensors, path / "optimizer.safetensors", metadata={"optimizer": text})
    names = ("model.safetensors", "optimizer.safetensors", "state.json")
    write_json(path / "manifest.json", {name: sha256(path / name) for name in names})
    assert load_checkpoint(tmp_path, *saved) == {"step": 1}
