"""What a team does to its service: a resource of its own in place of the sample, and an edit of every other kind."""

import re
from pathlib import Path

from tests.harness import Service, replaced

SAMPLE = ("src/app/items", "tests/unit/items", "tests/integration/items")
# What the edits of the template's and of shared files leave in them.
LINES = {
    "Dockerfile": ["HEALTHCHECK --interval=5s ", "ENV TZ=UTC\n"],
    "deploy/observability/alerts.yaml": ["      - alert: OrdersStopped\n"],
}
SETTING = """
    currency: str = Field("EUR", description="What orders are paid in.")
"""
RETRY = '''"""Prices, from a shop that is not always there."""

from tenacity import retry, stop_after_attempt


@retry(stop=stop_after_attempt(3), reraise=True)
def price(cents: int, currency: str) -> str:
    """Write an amount as people read it."""
    return f"{cents / 100:.2f} {currency}"
'''
RETRY_TEST = """from app.prices import price


def test_prices_have_two_digits() -> None:
    assert price(150, "EUR") == "1.50 EUR"
"""
ALERT = """
  - name: orders
    rules:
      - alert: OrdersStopped
        expr: rate(user_service_order_create_total[1h]) == 0
        labels:
          severity: ticket
"""
RULE = f"""apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: orders
spec:
  groups:{ALERT.replace(chr(10), chr(10) + "  ").rstrip()}
"""
WORKFLOW = "name: release\non: workflow_dispatch\njobs: {}\n"


def edit(service: Service) -> None:
    """Make all edits, renew what follows from them, and leave the service as its team would commit it."""
    root = service.path
    replace_sample(root)
    change(root / "src/app/settings.py", '''name."""\n''', f'''name."""\n{SETTING}''')
    change(
        root / "src/app/settings.py",
        "\n\nfrom chassis",
        "\n\nfrom pydantic import Field\n\nfrom chassis",
        1,
    )
    write(root / "src/app/prices.py", RETRY)
    write(root / "tests/unit/test_prices.py", RETRY_TEST)
    for environment in ("staging", "production"):
        overlay = root / f"deploy/kubernetes/overlays/{environment}/kustomization.yaml"
        change(
            overlay, "        LOG_LEVEL: INFO\n", "        LOG_LEVEL: INFO\n        CURRENCY: EUR\n"
        )
    change(overlay, "  - ../../base\n", "  - ../../base\n  - alerts.yaml\n")
    write(overlay.with_name("alerts.yaml"), RULE)
    change(root / "Dockerfile", "--interval=10s", "--interval=5s")
    change(root / "Dockerfile", "WORKDIR /app\n", "WORKDIR /app\nENV TZ=UTC\n")
    alerts = root / "deploy/observability/alerts.yaml"
    write(alerts, alerts.read_text() + ALERT)
    write(root / ".github/workflows/release.yml", WORKFLOW)
    write(root / "README.md", "# Orders\n\nAsk the team.\n")
    write(root / "local.mk", "hello:\n\techo hello\n")
    # The first versions ignored it.
    service.run("git", "add", "--force", "local.mk")
    (root / "renovate.json").unlink(missing_ok=True)
    service.run(".venv/bin/uv", "add", "--frozen", "--quiet", "tenacity>=9,<10")
    service.make("lock")
    service.make("env")
    # What UPGRADING.md says of tests that are the team's.
    test = root / "tests/unit/test_installed.py"
    write(test, f"# mypy: allow-untyped-decorators\n{test.read_text()}")
    patch = "    monkeypatch.setattr(trace"
    change(test, patch, f"    create_app(make_settings())\n{patch}")
    service.run(".venv/bin/ruff", "check", "--fix", "--quiet", "src", "tests")
    service.run(".venv/bin/ruff", "format", "--quiet", "src", "tests")


def replace_sample(root: Path) -> None:
    """Make the resource `orders`, with its routes, table, migration and tests, out of the sample, which goes."""
    for folder in SAMPLE:
        (root / folder).rename(root / folder.replace("items", "orders"))
    migrations = root / "migrations/versions"
    (migrations / "0001_items.py").rename(migrations / "0001_orders.py")
    for path in [*root.glob("src/**/*.py"), *root.glob("tests/**/*.py"), *migrations.glob("*.py")]:
        path.write_text(re.sub(r"([Ii])tem(?!s\(\))", renamed, path.read_text()))


def renamed(found: re.Match[str]) -> str:
    """Name an item an order, in its case."""
    return "Order" if found[1] == "I" else "order"


def change(path: Path, old: str, new: str, count: int = -1) -> None:
    """Replace text that is there."""
    path.write_text(replaced(path.read_text(), old, new, count))


def write(path: Path, text: str) -> None:
    """Write a file, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
