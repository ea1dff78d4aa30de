"""Sizes of the Pretrained Actigraphy Transformer, and the name and shape of every weight in its files.

Source: Ruan et al. 2024, arXiv 2411.15240, section 3 and the notebooks of njacobsonlab; nothing here needs a library.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

EMBED_DIM = 96
KEY_DIM = 96  # of each head: the official layers give every head the whole width, not a share of it
FF_DIM = 256
HEAD_DIM = 128  # hidden layer of the fine-tuning head
DROPOUT = 0.1
NORM_EPSILON = 1e-6  # not in the files; Keras' default of 1e-3 gives other features
CONV_KERNEL = 3
WEEK_MINUTES = 10_080

Shape = tuple[int, ...]


class PatWeightsError(ValueError):
    """Weights are not those of the network that they are meant for; the message lists every difference."""


@dataclass(frozen=True)
class PatSize:
    """One published size.

    Attributes:
        name: `S`, `M`, `L`, `Huge`; `conv-` before it where patches are embedded by a convolution.
        patch_length: Minutes in a patch.
        n_heads: Attention heads of every block, the decoder's included.
        n_layers: Encoder blocks.
        is_conv: Whether patches are embedded by a convolution and a mean instead of one linear map.
    """

    name: str
    patch_length: int
    n_heads: int
    n_layers: int
    is_conv: bool = False

    @property
    def base(self) -> str:
        """Name without `conv-`: what learning rates are listed under."""
        return self.name.removeprefix("conv-")

    @property
    def n_parameters(self) -> int:
        """Weights of the encoder."""
        return sum(prod(shape) for shape in weight_shapes(self).values())

    def n_patches(self, n_minutes: int) -> int:
        """Patches in a recording of so many minutes.

        Raises:
            ValueError: the recording is not a whole number of patches.
        """
        if n_minutes < self.patch_length or n_minutes % self.patch_length:
            raise ValueError(
                f"PAT-{self.name} takes a whole number of patches of {self.patch_length} minutes, found {n_minutes} "
                f"minutes; cut to {n_minutes - n_minutes % self.patch_length or self.patch_length} (a week is "
                f"{WEEK_MINUTES})"
            )
        return n_minutes // self.patch_length


_LINEAR = (PatSize("S", 18, 6, 1), PatSize("M", 18, 12, 2), PatSize("L", 9, 12, 4), PatSize("Huge", 5, 12, 8))
_CONV = tuple(PatSize(f"conv-{size.name}", size.patch_length, size.n_heads, size.n_layers, True) for size in _LINEAR)
#: name -> size.
PAT_SIZES: dict[str, PatSize] = {size.name: size for size in (*_LINEAR, *_CONV)}


def pat_size(name: str) -> PatSize:
    """The size of a name.

    Raises:
        ValueError: there is none; lists the known ones.
    """
    if name not in PAT_SIZES:
        raise ValueError(f"no size {name!r} of the Pretrained Actigraphy Transformer; known: {', '.join(PAT_SIZES)}")
    return PAT_SIZES[name]


def weight_shapes(size: PatSize) -> dict[str, Shape]:
    """Path in the official HDF5 file -> shape, in the network's order; positions are fixed and in no file."""
    if size.is_conv:  # no file of this variant is published: the path is what Keras 2 would write
        embedding = "conv1d_patch_embedding/conv1d_patch_embedding"
        kernel: Shape = (CONV_KERNEL, 1, EMBED_DIM)
    else:
        embedding, kernel = "dense/dense", (size.patch_length, EMBED_DIM)
    shapes: dict[str, Shape] = {f"{embedding}/kernel:0": kernel, f"{embedding}/bias:0": (EMBED_DIM,)}
    for number in range(1, size.n_layers + 1):
        prefix = f"encoder_layer_{number}"
        block = block_shapes(prefix, size.n_heads)
        shapes |= {f"{prefix}_transformer/{name}": shape for name, shape in block.items()}
    return shapes


def block_shapes(prefix: str, n_heads: int) -> dict[str, Shape]:
    """Path below its group -> shape, of one transformer block."""
    attention = f"{prefix}_attention"
    shapes: dict[str, Shape] = {}
    for name in ("query", "key", "value"):
        shapes[f"{attention}/{name}/kernel:0"] = (EMBED_DIM, n_heads, KEY_DIM)
        shapes[f"{attention}/{name}/bias:0"] = (n_heads, KEY_DIM)
    shapes[f"{attention}/attention_output/kernel:0"] = (n_heads, KEY_DIM, EMBED_DIM)
    shapes[f"{attention}/attention_output/bias:0"] = (EMBED_DIM,)
    shapes |= _norm(f"{prefix}_norm1")
    shapes |= {f"{prefix}_ff1/kernel:0": (EMBED_DIM, FF_DIM), f"{prefix}_ff1/bias:0": (FF_DIM,)}
    shapes |= {f"{prefix}_ff2/kernel:0": (FF_DIM, EMBED_DIM), f"{prefix}_ff2/bias:0": (EMBED_DIM,)}
    return shapes | _norm(f"{prefix}_norm2")


def require_weights(size: PatSize, found: Mapping[str, Shape], *, where: str) -> None:
    """Refuse weights whose names and shapes are not exactly those of a size.

    Args:
        size: What is expected.
        found: Path -> shape.
        where: Names the origin in the message.

    Raises:
        PatWeightsError: lists every missing, unknown and misshapen weight, and says so where they are another size's.
    """
    expected = weight_shapes(size)
    if dict(found) == expected:
        return
    other = next((known for known in PAT_SIZES.values() if weight_shapes(known) == dict(found)), None)
    total, wanted = sum(prod(shape) for shape in found.values()), size.n_parameters
    if other is not None:
        raise PatWeightsError(
            f"{where}: expected the {wanted:,} weights of PAT-{size.name}, found the {total:,} of PAT-{other.name}; "
            f"load it as {other.name}, or take the file of {size.name}"
        )
    problems = [f"{name}: missing, expected {shape}" for name, shape in expected.items() if name not in found]
    problems += [f"{name}: unknown, found {shape}" for name, shape in found.items() if name not in expected]
    for name, shape in expected.items():
        seen = found.get(name, shape)
        if seen != shape:
            hint = " (transposed)" if seen == shape[::-1] else ""
            problems.append(f"{name}: expected {shape}, found {seen}{hint}")
    raise PatWeightsError(
        f"{where}: not the weights of PAT-{size.name}: expected {len(expected)} arrays of {wanted:,} numbers, found "
        f"{len(found)} of {total:,}; take the official file\n  " + "\n  ".join(problems)
    )


def _norm(prefix: str) -> dict[str, Shape]:
    return {f"{prefix}/gamma:0": (EMBED_DIM,), f"{prefix}/beta:0": (EMBED_DIM,)}
