"""Networks as graphs, which need neither tlsweep nor the code that built them: torch.export's pt2, and ONNX."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from tlsweep.data.items import Pixels
from tlsweep.errors import ModelError, ResultsError
from tlsweep.models.statistics import PREPROCESSING
from tlsweep.text import one_line
from tlsweep.training.exported import CLASSES, METRICS, MODEL, ExportInfo, info_of

KEY: Final = "tlsweep"
"""What an ONNX file calls its metadata; a pt2 has a file of this name."""
INSTALL: Final = "pip install 'tlsweep[onnx]'"
_NEEDS = ("onnx", "onnxscript", "onnxruntime")
_TRACED = 2
"""Images of the batch that a graph is traced with: with one image, torch would take 1 for a constant."""
_CLOSE = 1e-4


class Preprocessed(nn.Module):
    """A network behind the last steps of its preprocessing: centre crop, scale, normalise.

    Decoding and resizing stay outside: Pillow's resize works in whole numbers, and no operator of a graph gives the
    same pixels, so that a graph that resized would have other logits than the network was tested with.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, info: ExportInfo) -> None:
        super().__init__()
        rule = info.preprocessing
        self.network = network
        self.size = rule["image_size"]
        self.margin = (rule["stored_size"] - self.size) // 2
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(rule[name]).view(-1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute the logits (N, classes) of uint8 pictures (N, stored_size, stored_size, channels)."""
        start, end = self.margin, self.margin + self.size
        centre = pixels[:, start:end, start:end].permute(0, 3, 1, 2)
        logits: Tensor = self.network((centre / 255 - self.mean) / self.std)
        return logits


@dataclass(frozen=True)
class Graph:
    """A network that is about to be written as a graph, and an input that it takes."""

    module: nn.Module
    example: Tensor
    input_name: str
    """`pixels`: uint8, with preprocessing; `images`: the network's own input."""
    facts: str
    """What has to be known to use it, as JSON; it is kept within the file."""


def make_graph(module: nn.Module, info: ExportInfo, *, with_preprocessing: bool) -> Graph:
    """The network, with the end of its preprocessing before it if wanted."""
    rule = info.preprocessing
    shape = (_TRACED, rule["stored_size"], rule["stored_size"], rule["channels"])
    # Noise of a fixed seed: no image of the data leaves its folder with the model.
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    parts = {MODEL: info.model, CLASSES: list(info.classes), PREPROCESSING: info.preprocessing, METRICS: info.metrics}
    facts = json.dumps(parts | {"with_preprocessing": with_preprocessing})
    if with_preprocessing:
        return Graph(Preprocessed(module, info).eval(), torch.from_numpy(pixels), "pixels", facts)
    return Graph(module, info.transform().normalise(pixels), "images", facts)


def to_pt2(graph: Graph) -> bytes:
    """The graph as torch.export writes it, for batches of any size; its logits are those of the network.

    Raises:
        ModelError: torch cannot trace the network, or the graph computes something else.
    """
    with _told("torch.export"):
        batch = torch.export.Dim("batch", min=1)
        program = torch.export.export(graph.module, (graph.example,), dynamic_shapes=({0: batch},))
        file = io.BytesIO()
        torch.export.save(program, file, extra_files={KEY: graph.facts})
        # Read back, as what was written counts: a program in memory may hold what its file does not.
        again = torch.export.load(io.BytesIO(file.getvalue())).module()
    _check(graph, again)
    return file.getvalue()


def to_onnx(graph: Graph) -> bytes:
    """The graph as ONNX, for batches of any size; onnxruntime computes the logits of the network from it.

    Raises:
        ModelError: packages are missing, the network cannot be written as ONNX, or the graph computes something else.
    """
    for package in _NEEDS:
        need_onnx(package)
    with _told("torch.onnx"):
        program = torch.onnx.export(
            graph.module,
            (graph.example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            input_names=[graph.input_name],
            output_names=["logits"],
            verbose=False,
        )
        assert program is not None
        # In the file itself, so that it can be moved alone; onnxruntime hands it back as text.
        program.model.metadata_props[KEY] = graph.facts
        content: bytes = program.model_proto.SerializeToString()
    _check(graph, _session(content))
    return content


def _check(graph: Graph, computes: Callable[[Tensor], Tensor]) -> None:
    """Compare the graph with the network, also for a batch of another size than it was traced with.

    Raises:
        ModelError: they differ.
    """
    with torch.inference_mode():
        for batch in (graph.example, graph.example[:1]):
            expected, found = graph.module(batch), computes(batch)
            if not torch.allclose(found, expected, rtol=_CLOSE, atol=_CLOSE):
                raise ModelError(
                    f"the graph is not the network: its logits differ by {float((found - expected).abs().max()):.2g}; "
                    "export it as safetensors"
                )


@contextmanager
def _told(who: str) -> Iterator[None]:
    """Says in one line why a network is no graph; what torch notes about it on the way is nobody's concern.

    Raises:
        ModelError: instead of what torch raises, which may be anything.
    """
    # What torch logs on the way is for its developers, and would stand between the lines of the program.
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        reason = one_line((str(error).splitlines() or [type(error).__name__])[0])[:200]
        raise ModelError(f"{who} makes no graph of this network ({reason}); export it as safetensors") from error
    finally:
        logging.disable(before)


def need_onnx(package: str) -> Any:
    """Import a package of the extra `onnx`.

    Raises:
        ModelError: it is not installed.
    """
    try:
        return import_module(package)
    except ImportError:
        raise ModelError(f"ONNX needs the package {package}, which is not installed: {INSTALL}") from None


def read_onnx(path: Path) -> tuple[ExportInfo, Callable[[Pixels], Tensor]]:
    """What an ONNX file of ours says of itself, and what computes logits of pictures as they are stored.

    Raises:
        ResultsError: it is none, or damaged.
        ModelError: onnxruntime is not installed.
    """
    need_onnx("onnxruntime")
    try:
        content = path.read_bytes()
        computes = _session(content)
    except Exception as error:  # onnxruntime has an exception of its own for each kind of damage
        raise _unreadable(path, error) from error
    info, whole = _facts(path, computes.facts)
    return info, _of_squares(info, computes, whole=whole)


def read_pt2(path: Path) -> tuple[ExportInfo, Callable[[Pixels], Tensor]]:
    """The same of a pt2 file, which may hold code that loading runs.

    Raises:
        ResultsError: it is none, or damaged.
    """
    extra = {KEY: ""}
    try:
        module = torch.export.load(path, extra_files=extra).module()
    except Exception as error:  # as anything may be in such a file
        raise _unreadable(path, error) from error
    info, whole = _facts(path, extra[KEY])
    return info, _of_squares(info, module, whole=whole)


def _of_squares(info: ExportInfo, computes: Callable[[Tensor], Tensor], *, whole: bool) -> Callable[[Pixels], Tensor]:
    transform = info.transform()

    def logits(squares: Pixels) -> Tensor:
        with torch.inference_mode():
            return computes(torch.from_numpy(squares) if whole else transform.normalise(squares))

    return logits


class _Session:
    """An ONNX graph, computed by onnxruntime on the CPU."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self.facts: str = session.get_modelmeta().custom_metadata_map.get(KEY, "")

    def __call__(self, batch: Tensor) -> Tensor:
        return torch.from_numpy(self._session.run(None, {self._input: batch.numpy()})[0])


def _session(content: bytes) -> _Session:
    runtime = need_onnx("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors: it warns of what it optimises
    return _Session(runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"]))


def _facts(path: Path, text: str) -> tuple[ExportInfo, bool]:
    """What is kept in the file, and whether the graph has the preprocessing.

    Raises:
        ResultsError: it is not from tlsweep, or does not fit together.
    """
    if not text:
        raise ResultsError(
            f"'{one_line(str(path))}' says neither its classes nor how pictures become its input, as the models that "
            "'tlsweep export' writes do"
        )
    try:
        parts = json.loads(text)
        whole = parts.pop("with_preprocessing")
        return info_of(parts), bool(whole)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ResultsError:
    reason = one_line((str(error).splitlines() or [type(error).__name__])[0])[:200]
    return ResultsError(f"'{one_line(str(path))}' does not hold a model exported by tlsweep: {reason}; export it again")
