"""How far counters have run, and their replacements."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "counter_total",
        sa.Column("series", sa.Integer(), nullable=False),
        sa.Column("total", sa.Float(), nullable=False),
        sa.Column("began_ns", sa.BigInteger(), nullable=False),
        sa.Column("read_to_ns", sa.BigInteger(), nullable=False),
        sa.Column("last_ns", sa.BigInteger(), nullable=False),
        sa.Column("last_value", sa.Float(), nullable=False),
        sa.Column("open_ns", sa.BigInteger(), nullable=True),
        sa.Column("open_value", sa.Float(), nullable=True),
        sa.Column("fell_ns", sa.BigInteger(), nullable=True),
        sa.Column("fell_value", sa.Float(), nullable=True),
        sa.Column("rollovers", sa.Integer(), nullable=False),
        sa.Column("resets", sa.Integer(), nullable=False),
        sa.Column("jumps", sa.Integer(), nullable=False),
        sa.Column("glitches", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["series"], ["point.id"]),
        sa.PrimaryKeyConstraint("series"),
    )
    op.create_table(
        "counter_replacement",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("series", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("old_reading", sa.Float(), nullable=False),
        sa.Column("new_reading", sa.Float(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("noted_by", sa.String(), nullable=False),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["series"], ["point.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("series", "at"),
    )


def downgrade() -> None:
    op.drop_table("counter_replacement")
    op.drop_table("counter_total")
