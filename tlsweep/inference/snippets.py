"""Code for a model card: what predicts a picture where tlsweep is not installed."""

from tlsweep.inference.models import FILES
from tlsweep.training.exported import ExportInfo

_RESIZED = {
    "crop": """\
    short = min(image.size)
    left, top = (image.width - short) / 2, (image.height - short) / 2
    image = image.resize(({side}, {side}), {filter}, box=(left, top, left + short, top + short))
""",
    "squash": """\
    image = image.resize(({side}, {side}), {filter})
""",
    "pad": """\
    size = [max(1, round(length * {side} / max(image.size))) for length in image.size]
    beside = Image.new("RGB", ({side}, {side}), {background}).convert(image.mode)
    beside.paste(image.resize(size, {filter}), (({side} - size[0]) // 2, ({side} - size[1]) // 2))
    image = beside
""",
}
_OPENED = """\
import numpy as np
{imports}from PIL import Image, ImageOps


def square(path):
    image = Image.open(path)
    image.draft(None, ({twice}, {twice}))  # a JPEG is decoded no larger than it takes
    image = ImageOps.exif_transpose(image).convert("{mode}")
{resized}    return np.asarray(image).reshape({side}, {side}, {channels})


batch = np.stack([square("picture.png")])
"""
_NORMALISED = """\
mean, std = (np.array(each, np.float32).reshape(1, -1, 1, 1) for each in ({mean}, {std}))
centre = batch[:, {start}:{end}, {start}:{end}].transpose(0, 3, 1, 2)
batch = (centre.astype(np.float32) / 255 - mean) / std
"""
_COMPUTED = {
    "onnx": """\
session = onnxruntime.InferenceSession("{file}", providers=["CPUExecutionProvider"])
(logits,) = session.run(None, {{session.get_inputs()[0].name: batch}})
""",
    "pt2": """\
network = torch.export.load("{file}").module()
logits = network(torch.from_numpy(batch)).detach().numpy()
""",
}
_IMPORTS = {"onnx": "import onnxruntime\n", "pt2": "import torch\n"}
_SAFETENSORS = """\
from PIL import Image
from tlsweep.training import load_exported

network, info = load_exported(".")
logits = network(info.prepare(Image.open("picture.png"))).detach().numpy()
"""


def code_for(info: ExportInfo, form: str, *, with_preprocessing: bool) -> str:
    """Python that computes the logits of `picture.png` from the file of a format, in its folder."""
    if form == "safetensors":
        return _SAFETENSORS
    rule = info.preprocessing
    stored, size = rule["stored_size"], rule["image_size"]
    values = {
        "side": stored,
        "twice": 2 * stored,
        "channels": rule["channels"],
        "mode": "L" if rule["channels"] == 1 else "RGB",
        "filter": f"Image.Resampling.{info.transform().rendering.resampling.name}",
        "background": info.transform().rendering.background,
        "imports": _IMPORTS[form],
        "file": FILES[form],
        "mean": list(rule["mean"]),
        "std": list(rule["std"]),
        "start": (stored - size) // 2,
        "end": (stored - size) // 2 + size,
    }
    values["resized"] = _RESIZED[info.transform().rendering.fit].format(**values)
    parts = [_OPENED, *([] if with_preprocessing else [_NORMALISED]), _COMPUTED[form]]
    return "".join(part.format(**values) for part in parts)
