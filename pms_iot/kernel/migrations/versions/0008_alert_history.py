"""Alerts of a rule by asset and time with their orders, for what came before an alert. Takes the place of the index on the rule."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("alert_history", "alert", ["rule", "asset_id", "opened_at", "work_order_id"])
    op.drop_index(op.f("ix_alert_rule"), table_name="alert")


def downgrade() -> None:
    op.create_index(op.f("ix_alert_rule"), "alert", ["rule"])
    op.drop_index("alert_history", table_name="alert")
