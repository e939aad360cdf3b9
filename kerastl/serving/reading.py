"""How the inputs of a model are read: its modality, and the columns of tables that it was trained on."""

from kerastl.data.cells import Kept
from kerastl.data.options import ReadOptions
from kerastl.data.prediction_inputs import Reading
from kerastl.versions.record import RunRecord


def reading_of(record: RunRecord, text_column: str | None = None, path_column: str | None = None,
               cache_dir: str | None = None, kept: Kept | None = None) -> Reading:
    """For a model with this record. text_column, path_column: of tables, instead of those of training. cache_dir: where
    images inside tables are unpacked. kept: is filled with the columns of tables, whose rows then have their cells."""
    options = ReadOptions(text_column=text_column or record.read_options.text_column,
                          path_column=path_column or record.read_options.path_column)
    return Reading(record.modality, options, bool(record.input.get("pair")), cache_dir, kept=kept)
