"""The recorder: runs a model once under a dispatch mode and writes every aten call to a trace."""

from . import requirement  # noqa: F401 - first: the others import PyTorch
from .neurons import NeuronRule
from .notices import RecordingWarning
from .record import record
from .recorder import Recorder

__all__ = ["NeuronRule", "Recorder", "RecordingWarning", "record"]
