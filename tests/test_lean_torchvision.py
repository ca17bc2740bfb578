"""torchvision is imported without torch's compiler, and nobody who needs the compiler can tell."""

import subprocess
import sys
from types import ModuleType

import pytest

from tlsweep import lean_torchvision


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_that_a_sweep_has_of_torchvision_imports_the_compiler() -> None:
    """Of networks, too, whose values come from elsewhere: to draw some for nothing, torch would."""
    run(
        "import sys\n"
        "from torch import nn\n"
        "import tlsweep.data.sources.torchvision_sets as sets\n"
        "from tlsweep.models.architectures import construct, is_torchvision\n"
        "from tlsweep.models.dropping import drop_paths\n"
        "from tlsweep.spec import ModelSpec\n"
        "assert is_torchvision('resnet18') and sets._datasets().MNIST and not list(drop_paths(nn.ReLU()))\n"
        "from torchvision import models, ops, transforms\n"
        "for name in models.list_models(module=models):\n"
        "    construct(ModelSpec(name=name), 2, 3, 224, without_values=True)\n"
        "    assert not any(module.startswith('torch._dynamo') for module in sys.modules), name"
    )


def test_the_compiler_is_there_for_those_who_need_it() -> None:
    run(
        "import sys, torch\nfrom tlsweep.lean_torchvision import import_torchvision\nimport_torchvision()\n"
        "from torchvision.ops import roi_align\n"  # asks the compiler whether it is in charge
        "assert roi_align(torch.ones(1, 1, 8, 8), torch.tensor([[0, 0., 0., 4., 4.]]), 2).mean() == 1\n"
        "import torch._dynamo.utils as utils\n"
        "assert utils.__file__ and utils.is_compile_supported('cpu') is not None\n"
        "assert torch._dynamo.__file__"
    )


def test_what_else_is_asked_of_the_compiler_comes_from_itself() -> None:
    """So that another version of torchvision, which imports more of it, works as well."""
    run(
        "import sys\nfrom tlsweep import lean_torchvision\n"
        "lean_torchvision._ASKED_WHEN_RUN = ''\nlean_torchvision.import_torchvision()\n"
        "from torchvision.ops.roi_align import is_compile_supported as found\n"
        "import torch._dynamo.utils as utils\nassert found is utils.is_compile_supported"
    )


def test_a_compiler_that_is_there_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    there, seen = ModuleType("torch._dynamo"), []
    monkeypatch.setitem(sys.modules, "torch._dynamo", there)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(
        lean_torchvision, "import_module", lambda name: seen.append((name, sys.modules[there.__name__]))
    )
    lean_torchvision.import_torchvision()
    assert seen == [("torchvision", there)]
    assert sys.modules["torch._dynamo"] is there
