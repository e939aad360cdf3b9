"""Re-check file hashes and that all formats give the same predictions."""

from kerastl.verbs._ship import VerifyConfig as Config
from kerastl.verbs._ship import show_verify as show
from kerastl.verbs._ship import verify as run

__all__ = ["Config", "run", "show"]
