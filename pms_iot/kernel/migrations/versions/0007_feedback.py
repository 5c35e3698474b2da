"""What people say of detectors' alarms, the detectors' limits, and alerts that the budget held."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "feedback",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("series", sa.Integer(), nullable=False),
        sa.Column("alert_id", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("after_ns", sa.BigInteger(), nullable=True),
        sa.Column("heard", sa.Boolean(), nullable=False),
        sa.Column("limit_before", sa.Float(), nullable=True),
        sa.Column("limit_after", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["series"], ["point.id"]),
        sa.ForeignKeyConstraint(["alert_id"], ["alert.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("number"),
    )
    op.create_index(op.f("ix_feedback_alert_id"), "feedback", ["alert_id"])
    op.create_table(
        "detector_limit",
        sa.Column("series", sa.Integer(), nullable=False),
        sa.Column("limit", sa.Float(), nullable=False),
        sa.Column("target", sa.Float(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["series"], ["point.id"]),
        sa.PrimaryKeyConstraint("series"),
    )
    with op.batch_alter_table("alert") as table:
        table.add_column(sa.Column("released_at", sa.DateTime(timezone=True), nullable=True))
        table.create_index(op.f("ix_alert_released_at"), ["released_at"])
    with op.batch_alter_table("order_alert") as table:
        table.add_column(sa.Column("series", sa.Integer(), nullable=True))
        table.create_foreign_key("order_alert_series", "point", ["series"], ["id"])
    op.execute(
        "UPDATE order_alert SET series ="
        " (SELECT alert.point_id FROM alert WHERE alert.id = order_alert.alert_id)"
    )


def downgrade() -> None:
    with op.batch_alter_table("order_alert") as table:
        table.drop_constraint("order_alert_series", type_="foreignkey")
        table.drop_column("series")
    with op.batch_alter_table("alert") as table:
        table.drop_index(op.f("ix_alert_released_at"))
        table.drop_column("released_at")
    op.drop_table("detector_limit")
    op.drop_table("feedback")
