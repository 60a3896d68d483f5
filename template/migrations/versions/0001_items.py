"""The table of the sample resource; goes when `app.items` goes."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "items",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="items_pkey"),
        sa.UniqueConstraint("name", name="items_name_key"),
    )
    op.create_index("items_created_at_id_idx", "items", ["created_at", "id"])


def downgrade() -> None:
    op.drop_index("items_created_at_id_idx", table_name="items")
    op.drop_table("items")
