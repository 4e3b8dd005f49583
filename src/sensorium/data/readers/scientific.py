"""Amazon Scientific as sequence files, with titles.

    Scientific_users.tsv.gz   user<TAB>asin asin ...   oldest first; an item may stand again
    Scientific_items.tsv.gz   asin<TAB>title           titles carry HTML entities

12,076 users, 20,825 items, 85,211 rows. There are no times: the place in the line is the column `order`.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from sensorium.core.errors import DataError
from sensorium.data.columns import ROW
from sensorium.data.readers.base import Reading
from sensorium.data.readers.lines import scan_fields, unescape
from sensorium.data.readers.official import OfficialConfig, attributes, find_file, need_folder
from sensorium.data.readers.sequences import read_sequences


class ScientificReader:
    """Sequences of ASINs, and the titles of the items."""

    summary: ClassVar[str] = "folder amazon-scientific: one user a line, oldest first, and titles"
    Config = OfficialConfig

    def __init__(self, config: OfficialConfig | None = None) -> None:
        self.config = config or self.Config()

    def read(self, path: Path) -> Reading:
        """Read the folder.

        Raises:
            DataError: A file is missing, empty or of another format.
        """
        strict = self.config.strict
        log = find_file(need_folder(path), ["Scientific_users.tsv"])
        catalogue = find_file(path, ["Scientific_items.tsv"])
        if log is None or catalogue is None:
            raise DataError(f"{path}: there is no Scientific_users.tsv(.gz) with Scientific_items.tsv(.gz) here")
        rows, rejected = read_sequences(log, "\t", strict=strict)
        fields = scan_fields(catalogue, "\t", ("item_id", "title"), rest=True, strict=strict)
        items = attributes(
            fields.frame.select(ROW, "item_id", unescape("title")), catalogue.name, "item_id", strict=strict
        )
        return Reading(
            interactions=rows,
            files=[log, catalogue],
            items=items.frame,
            rejected=[*rejected, *fields.rejected, *items.rejected],
            licence="research use; no redistribution",
            notices=items.notices,
        )
