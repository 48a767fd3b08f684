"""A run whose result is a character model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..data import counts
from ..data.text import Text
from ..runs import Run, margin, margin_in_words
from .model import CharacterModel, Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class TextRun(Run[Settings, Text, CharacterModel]):
    """A run that learns to write a text, in one folder."""

    settings_type, learner_type = Settings, CharacterModel

    def _tested(self, data: Text, learner: CharacterModel) -> tuple[dict[str, Any], dict[str, Figure]]:
        ours, baselines = learner.bits_per_character(data), counts.bits_per_character(data)
        metrics = {
            "text": {"name": data.name, "note": data.note},
            "characters": {"fit": len(data.fit), "validation": len(data.validation), "tail": len(data.tail)},
            "tail": {"numgru": ours, **baselines},
            "margin": {name: margin(ours, bits) for name, bits in baselines.items()},
        }
        return metrics, {}

    def summary(self, metrics: dict[str, Any], data: Text) -> str:
        """The bits per character on the held-out part and the margins."""
        lines = [f"held-out tail, {metrics['characters']['tail']} characters; bits per character:"]
        lines.append(f"{'':26}{'bits':>10}   numgru's are")
        for name, bits in metrics["tail"].items():
            lines.append(f"{name:26}{bits:>10.4g}   {margin_in_words(metrics['margin'].get(name))}".rstrip())
        return "\n".join(lines)
