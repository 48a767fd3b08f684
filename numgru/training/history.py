"""What a training run leaves behind, epoch by epoch."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class History:
    """One entry an epoch in every list.

    Attributes
    ----------
    loss : list of float
        Mean training loss, each batch taken before its step.
    validation_loss : list of float
        Mean validation loss at the end of the epoch; empty without validation.
    grad_norm_mean, grad_norm_max : list of float
        Of the gradients' norm over the steps, before clipping.
    clipped_share : list of float
        Share of the steps, 0 to 1, in which clipping changed a gradient.
    skipped_share : list of float
        Share of the steps, 0 to 1, that were left out because something wasn't finite; the entries of the other lists
        are of the steps that were made.
    examples_per_second : list of float
        Training examples, without the time for validation.
    lr : list of float
        Learning rate.
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    grad_norm_mean: list[float] = field(default_factory=list)
    grad_norm_max: list[float] = field(default_factory=list)
    clipped_share: list[float] = field(default_factory=list)
    skipped_share: list[float] = field(default_factory=list)
    examples_per_second: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        """Number of epochs."""
        return len(self.loss)

    def append(self, **entries: float) -> None:
        """Add an entry to each list that is named."""
        for name, value in entries.items():
            getattr(self, name).append(value)

    @property
    def monitored(self) -> list[float]:
        """The validation loss, or the training loss if nothing is validated."""
        return self.validation_loss or self.loss

    @property
    def best_epoch(self) -> int:
        """Number, counted from 1, of the first epoch with the lowest monitored loss; 0 before any epoch."""
        return self.monitored.index(min(self.monitored)) + 1 if self.loss else 0
