"""Files of the first version held a row for each sample; they become blocks when such a file is opened."""

import numpy as np

from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.embedded import blocks
from pms_iot.telemetry.embedded.file import StoreFile

_ROWS = "SELECT series, at, value, quality FROM samples WHERE series = ? ORDER BY at"


def adopt_rows(file: StoreFile) -> None:
    """Cut off in the middle, the next opening goes on: a series is moved in one transaction."""
    with file.reading() as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'samples'").fetchone():
            return
        found = [row[0] for row in db.execute("SELECT DISTINCT series FROM samples")]
    for series in found:
        with file.writing() as db:
            rows = db.execute(_ROWS, (series,)).fetchall()
            numbers, at, value, quality = zip(*rows, strict=True)
            batch = Batch.of(numbers, at, np.array(value, np.float64), quality)
            blocks.insert(db, blocks.cut(batch))
            db.execute("DELETE FROM samples WHERE series = ?", (series,))
    with file.writing() as db:
        db.execute("DROP TABLE samples")
