"""``python -m dev.lines``: lines of Python by folder, blank ones and comments included, against their budgets."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
BUDGETS = {"functions": 3_600, "cdk": 2_400, "ops": 1_900, "tests": 13_500, "dev": 11_000}


def count(folder: str) -> int:
    """Return the lines of all modules below a folder."""
    return sum(len(path.read_text().splitlines()) for path in (ROOT / folder).rglob("*.py"))


def main() -> None:
    """Print a line a folder, and the largest of its parts."""
    lines = {folder: count(folder) for folder in BUDGETS}
    for folder, most in BUDGETS.items():
        parts = {
            path.name: count(f"{folder}/{path.name}") for path in (ROOT / folder).iterdir() if path.is_dir()
        }
        largest = sorted(((n, name) for name, n in parts.items() if n), reverse=True)[:6]
        print(
            f"{folder:10} {lines[folder]:6,} of {most:6,}  {'over' if lines[folder] > most else '':5}",
            ", ".join(f"{name} {n:,}" for n, name in largest),
        )
    product = lines["functions"] + lines["cdk"] + lines["ops"]
    print(f"tests and dev for each line of the product: {(lines['tests'] + lines['dev']) / product:.1f}")


if __name__ == "__main__":
    main()
