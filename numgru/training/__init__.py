"""Training: losses, clipping, optimizers, schedules."""

from .clip import NonFiniteGradientError, clip_grad_norm_, clip_grad_value_
from .losses import BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, L1Loss, Loss, MSELoss
from .optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from .schedules import ConstantLR, CosineAnnealingLR, ReduceLROnPlateau, Schedule, StepLR

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "BCEWithLogitsLoss",
    "ConstantLR",
    "CosineAnnealingLR",
    "CrossEntropyLoss",
    "HuberLoss",
    "L1Loss",
    "Loss",
    "MSELoss",
    "NonFiniteGradientError",
    "Optimizer",
    "RMSprop",
    "ReduceLROnPlateau",
    "Schedule",
    "StepLR",
    "clip_grad_norm_",
    "clip_grad_value_",
]
