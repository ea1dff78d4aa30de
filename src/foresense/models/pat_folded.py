"""The encoder's features, rewritten for the edge: the same numbers from less memory and fewer products.

Every head has the whole width of the tokens, so its keys and values need not be computed. With tokens x and a head's
matrices Wq, Wk, Wv, Wo and biases bq, bk, bv,

    (x Wq + bq)(x Wk + bk)ᵀ = (x Wq Wkᵀ + bq Wkᵀ) xᵀ + a number for each query, which softmax takes away again;
    softmax(…)(x Wv + bv) Wo = (softmax(…) x) Wv Wo + bv Wo, because each row of softmax adds up to 1.

So keys and values of all heads are the tokens themselves, and the queries of all heads stand in one matrix: attention
is two plain products, with no copy between them. They run block by block over the queries, so that the attention of
all heads is never held at once (60 MiB for L). For the same two reasons the mean token m may be taken from the keys:

    softmax(q xᵀ) = softmax(q (x - m)ᵀ), and softmax(…) x = softmax(…)(x - m) + m.

That is for full integers: TFLite's int8 softmax counts in 1/256, of 560 keys most get 0, and what is lost is then a
deviation from m and not m itself.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn
from torch.nn.functional import layer_norm

from foresense.config.pat import EMBED_DIM, KEY_DIM, NORM_EPSILON, WEEK_MINUTES, PatSize, require_weights
from foresense.models.pat_arrays import positions


class FoldedPat(nn.Module):
    """Maps (1, n_minutes), standardised counts, float32, to the (1, 96) features of the encoder.

    Args:
        size: One without a convolution.
        weights: Path in the official file -> array.
        n_minutes: Of a recording.
        attention_mib: Attention that is held at once, at most; a block is the largest even share of the patches below.

    Raises:
        PatWeightsError: the weights are not the size's.
        ValueError: a size with a convolution, or `n_minutes` is no multiple of the patch length.
    """

    def __init__(
        self,
        size: PatSize,
        weights: Mapping[str, np.ndarray],
        *,
        n_minutes: int = WEEK_MINUTES,
        attention_mib: float = 4.0,
    ) -> None:
        super().__init__()
        if size.is_conv:
            raise ValueError(f"PAT-{size.name}: only the sizes without a convolution are folded; take {size.base}")
        require_weights(size, {name: np.shape(values) for name, values in weights.items()}, where="export")
        self.n_patches, self.patch_length = size.n_patches(n_minutes), size.patch_length
        self.embedding = _constant(weights["dense/dense/kernel:0"])
        self.placed = _constant(weights["dense/dense/bias:0"] + positions(self.n_patches))
        at_once = _patches_at_once(self.n_patches, size.n_heads, attention_mib)
        blocks = (_Block(weights, f"encoder_layer_{number}", at_once) for number in range(1, size.n_layers + 1))
        self.blocks = nn.ModuleList(blocks)

    def forward(self, actigraphy_input: torch.Tensor) -> torch.Tensor:
        """(1, 96) features."""
        tokens = actigraphy_input.reshape(self.n_patches, self.patch_length) @ self.embedding + self.placed
        for block in self.blocks:
            tokens = block(tokens)
        return tokens.mean(0, keepdim=True)


class _Block(nn.Module):
    """(n_patches, 96) to the same."""

    def __init__(self, weights: Mapping[str, np.ndarray], prefix: str, at_once: int) -> None:
        super().__init__()
        own = {
            name.removeprefix(f"{prefix}_transformer/{prefix}_"): np.asarray(values, np.float64)
            for name, values in weights.items()
        }
        asked, kept = (own[f"attention/{name}/kernel:0"] for name in ("query", "key"))
        # (96, heads, 96): the queries that meet the tokens, scaled; (heads, 96): their constants
        query = np.einsum("dhk,ehk->dhe", asked, kept) / np.sqrt(KEY_DIM)
        query_bias = np.einsum("hk,ehk->he", own["attention/query/bias:0"], kept) / np.sqrt(KEY_DIM)
        value, out = own["attention/value/kernel:0"], own["attention/attention_output/kernel:0"]
        mixed = np.einsum("ehk,hkd->hed", value, out)  # (heads, 96, 96): from a head's mean token to the block's width
        mixed_bias = own["attention/attention_output/bias:0"] + np.einsum(
            "hk,hkd->d", own["attention/value/bias:0"], out
        )
        self.query, self.query_bias = _constant(query.reshape(EMBED_DIM, -1)), _constant(query_bias.reshape(-1))
        self.mixed, self.mixed_bias = _constant(mixed.reshape(-1, EMBED_DIM)), _constant(mixed_bias)
        self.middle = _constant(mixed.sum(axis=0))
        self.ff1, self.ff1_bias = _constant(own["ff1/kernel:0"]), _constant(own["ff1/bias:0"])
        self.ff2, self.ff2_bias = _constant(own["ff2/kernel:0"]), _constant(own["ff2/bias:0"])
        self.gamma1, self.beta1 = _constant(own["norm1/gamma:0"]), _constant(own["norm1/beta:0"])
        self.gamma2, self.beta2 = _constant(own["norm2/gamma:0"]), _constant(own["norm2/beta:0"])
        self.at_once = at_once

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        queries = tokens @ self.query + self.query_bias
        middle = tokens.mean(0, keepdim=True)
        keys = (tokens - middle).unsqueeze(0)
        # litert-torch 0.10 cannot convert a split into one part
        parts = queries.split(self.at_once) if self.at_once < len(tokens) else (queries,)
        attended = torch.cat([_attend(part, keys) for part in parts])
        added = tokens + attended @ self.mixed + (middle @ self.middle + self.mixed_bias)
        first = layer_norm(added, (EMBED_DIM,), self.gamma1, self.beta1, NORM_EPSILON)
        fed = (first @ self.ff1 + self.ff1_bias).relu() @ self.ff2 + self.ff2_bias
        return layer_norm(first + fed, (EMBED_DIM,), self.gamma2, self.beta2, NORM_EPSILON)


def _attend(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """(some patches, heads * 96): each head's mean token; the reshapes move nothing.

    Two halves at a time: of a single product with the tokens litert-torch 0.10 makes a FULLY_CONNECTED whose weights
    change, which XNNPACK leaves alone: five times as slow as the BATCH_MATMUL that two become.
    """
    shares = (queries.reshape(2, -1, EMBED_DIM) @ keys.transpose(1, 2)).softmax(-1)
    return (shares @ keys).reshape(queries.shape[0], -1)


def _patches_at_once(n_patches: int, n_heads: int, attention_mib: float) -> int:
    fitting = attention_mib * 2**20 / (4 * n_heads * n_patches)
    return max(n for n in range(1, n_patches + 1) if n_patches % n == 0 and n <= max(1.0, fitting))


def _constant(values: np.ndarray) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(np.ascontiguousarray(values, np.float32)), requires_grad=False)
