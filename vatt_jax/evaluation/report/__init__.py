"""The report of a run: one HTML file that needs nothing else, for a newcomer as for the one who tunes."""

from vatt_jax.evaluation.report.document import write_report

__all__ = ["write_report"]
