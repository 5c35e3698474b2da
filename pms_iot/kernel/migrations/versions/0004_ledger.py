"""What came in each hour, since when points are known, who was away when."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

COUNTS = [
    "samples",
    "missing",
    "late",
    "duplicate_samples",
    "batches",
    "sent",
    "duplicate_batches",
    "skipped",
    "spoilt",
    "unknown",
    "too_old",
    "in_future",
    "text",
]


def upgrade() -> None:
    op.create_table(
        "ledger_hour",
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("gateway", sa.String(), nullable=False),
        sa.Column("lane", sa.String(), nullable=False),
        sa.Column("epoch", sa.String(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=True),
        sa.Column("last_seq", sa.BigInteger(), nullable=True),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in COUNTS),
        sa.Column("late_points", sa.LargeBinary(), nullable=True),
        sa.Column("duplicate_points", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("site", "gateway", "lane", "epoch", "hour"),
    )
    op.create_index("ix_ledger_hour_hour", "ledger_hour", ["hour"])
    op.create_table(
        "ledger_point",
        sa.Column("series", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("series"),
    )
    op.create_table(
        "ledger_outage",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end", sa.DateTime(timezone=True), nullable=True),
        sa.Column("why", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_ledger_outage_name", "ledger_outage", ["name"])
    op.create_index("ix_ledger_outage_end", "ledger_outage", ["end"])
    op.create_table(
        "ledger_pulse",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    for table in ("ledger_pulse", "ledger_outage", "ledger_point", "ledger_hour"):
        op.drop_table(table)
