"""What is learned: which of the evidence counts, where in the image, and what its pattern tells."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from cryocore.classify.evidence import BANDS, CELLS, PRODUCTS, SCALARS, turned

WIDTH, HEADS, DROPOUT = 32, 8, 0.4


class AttentionNet(nn.Module):
    """Log odds from evidence: a linear form of its means, and what a network with attention adds."""

    mean: torch.Tensor
    sd: torch.Tensor
    centre: torch.Tensor
    width: torch.Tensor
    radius: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        n_summaries = (SCALARS + 2) * BANDS
        shapes = {"mean": (PRODUCTS, BANDS), "sd": (PRODUCTS, BANDS), "centre": (n_summaries,), "width": (n_summaries,)}
        for name, shape in shapes.items():
            self.register_buffer(name, torch.ones(shape) if name in ("sd", "width") else torch.zeros(shape))
        middle = torch.arange(CELLS) - (CELLS - 1) / 2
        self.register_buffer("radius", torch.hypot(middle[:, None], middle[None]) / CELLS, persistent=False)
        self.linear = nn.Linear(n_summaries, 1)
        self.stem = nn.Sequential(nn.Conv2d(PRODUCTS * BANDS + 1, WIDTH, 3, padding=1), nn.GELU())
        self.block = nn.Sequential(
            nn.Dropout2d(DROPOUT), nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.GELU(), nn.Conv2d(WIDTH, WIDTH, 1)
        )
        self.attention, self.value = nn.Conv2d(WIDTH, HEADS, 1), nn.Conv2d(WIDTH, HEADS, 1)
        self.mix = nn.Sequential(
            nn.Linear(n_summaries + HEADS, WIDTH), nn.GELU(), nn.Dropout(DROPOUT), nn.Linear(WIDTH, 1)
        )
        for values in (*self.linear.parameters(), *self.mix[-1].parameters()):
            nn.init.zeros_(values)

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        """Log odds ``(n,)`` of evidence ``(n, PRODUCTS, BANDS, CELLS, CELLS)``."""
        local = self.standardised(cells)
        known = self.summaries(cells, local)
        known = soft((known - self.centre) / self.width)
        radius = self.radius.expand(len(cells), 1, CELLS, CELLS)
        hidden = self.stem(torch.cat([local.flatten(1, 2), radius], dim=1))
        hidden = hidden + self.block(hidden)
        attention = self.attention(hidden).flatten(2).softmax(dim=2)
        attended = (attention * self.value(hidden).flatten(2)).sum(dim=2)
        both = self.linear(known) + self.mix(torch.cat([known, attended], dim=1))
        return both[:, 0]

    def standardised(self, cells: torch.Tensor) -> torch.Tensor:
        """Cells in standard deviations of the training's, large ones drawn in."""
        return soft((cells - self.mean[..., None, None]) / self.sd[..., None, None])

    def summaries(self, cells: torch.Tensor, local: torch.Tensor) -> torch.Tensor:
        """What is known of the whole image, ``(n, (SCALARS + 2) BANDS)``.

        The mean of each product, the length of the mean vector, and the coefficient of correlation, in each band.
        """
        means = local.mean(dim=(3, 4))
        product, image, projection = cells[:, :3].mean(dim=(3, 4)).unbind(1)
        coefficient = product / (image * projection).clamp(min=1e-20).sqrt()
        length = means[:, SCALARS:].square().sum(dim=1)
        return torch.cat([means[:, :SCALARS].flatten(1), length, coefficient], dim=1)

    def averaged(self, cells: torch.Tensor) -> torch.Tensor:
        """Log odds averaged over rotations by right angles and mirrors, which leave them the same up to rounding."""
        return torch.stack([self(turned(cells, element)) for element in range(8)]).mean(dim=0)

    @torch.no_grad()
    def measure(self, batches: Callable[[], Iterable[torch.Tensor]]) -> None:
        """Take location and scale of all inputs from the evidence of the training images, which is read twice."""
        mean, variance = moments(b.permute(0, 3, 4, 1, 2).flatten(1, 2) for b in batches())
        variance[SCALARS:] = (variance + mean**2)[SCALARS:].mean(dim=0)  # a vector keeps its direction
        mean[SCALARS:] = 0.0
        self.mean.copy_(mean)
        self.sd.copy_(deviation(mean, variance))
        mean, variance = moments(self.summaries(b, self.standardised(b))[:, None] for b in batches())
        self.centre.copy_(mean)
        self.width.copy_(deviation(mean, variance))


def soft(values: torch.Tensor) -> torch.Tensor:
    """The same values up to about 3, growing with the logarithm beyond."""
    return 3.0 * torch.asinh(values / 3.0)


def moments(batches: Iterable[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance over the first two axes of all batches."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for batch in batches:
        values = batch.double().cpu()
        count += values.shape[0] * values.shape[1]
        total, squares = total + values.sum(dim=(0, 1)), squares + values.square().sum(dim=(0, 1))
    mean = total / count
    return mean, squares / count - mean**2


def deviation(mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    """Standard deviations; 1 for what is constant."""
    return torch.where(variance > 1e-10 * (mean**2 + 1e-30), variance.clamp(min=0.0).sqrt(), 1.0)
