"""All kinds of packed weights: a new cell is added here."""

from .cell import Weights
from .gru import GRUWeights, ResetBeforeWeights
from .lstm import LSTMWeights
from .rnn import ReluWeights, TanhWeights

KINDS: tuple[type[Weights], ...] = GRUWeights, ResetBeforeWeights, TanhWeights, ReluWeights, LSTMWeights
