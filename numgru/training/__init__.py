"""Training: losses, clipping, optimizers, schedules, the fit loop, checkpoints."""

from ._gradients import NonFiniteGradientError
from .checkpoint import load_weights
from .clip import ClipReport, clip_grad_adaptive_, clip_grad_norm_, clip_grad_norm_per_array_, clip_grad_value_
from .epoch import Step, TrainingDivergedError
from .fit import fit
from .history import History
from .losses import BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, L1Loss, Loss, MSELoss
from .optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from .schedules import ConstantLR, CosineAnnealingLR, ReduceLROnPlateau, Schedule, StepLR

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "BCEWithLogitsLoss",
    "ClipReport",
    "ConstantLR",
    "CosineAnnealingLR",
    "CrossEntropyLoss",
    "History",
    "HuberLoss",
    "L1Loss",
    "Loss",
    "MSELoss",
    "NonFiniteGradientError",
    "Optimizer",
    "RMSprop",
    "ReduceLROnPlateau",
    "Schedule",
    "Step",
    "StepLR",
    "TrainingDivergedError",
    "clip_grad_adaptive_",
    "clip_grad_norm_",
    "clip_grad_norm_per_array_",
    "clip_grad_value_",
    "fit",
    "load_weights",
]
