"""The part of the query language of Logs Insights that the saved queries use.

"CloudWatch Logs Insights language query syntax", CloudWatch Logs User Guide. Rows are dictionaries of the fields.
"""

import re

MOST_ROWS = 10_000
"""What Logs Insights returns where a query sets no limit."""


def run(query, rows):
    """Return what a query shows: rows with the fields that it names, in its order."""
    text = " ".join(line for line in query.splitlines() if not line.startswith("#"))
    shown, most = None, MOST_ROWS
    for command in re.split(r"\s*\|\s+(?=fields|filter|sort|limit|stats)", text):
        name, _, rest = command.strip().partition(" ")
        if name == "fields":
            shown = [field.strip() for field in rest.split(",")]
        elif name == "filter":
            rows = [row for row in rows if _holds(rest, row)]
        elif name == "sort":
            field, _, order = rest.partition(" ")
            rows = sorted(rows, key=lambda row, field=field: row[field], reverse=order == "desc")
        elif name == "limit":
            most = int(rest)
        elif name == "stats":
            rows = _grouped(rest, rows)
        else:
            raise ValueError(f"unknown command: {name}")
    rows = rows[:most]
    return [{field: row.get(field) for field in shown} for row in rows] if shown else rows


def _holds(condition, row):
    """Whether a condition holds for a row; the condition is rewritten in Python."""
    text = re.sub(
        r"(@?\w+) like /((?:[^/\\]|\\.)*)/", r"bool(re.search(r'\2', str(row.get('\1', ''))))", condition
    )
    text = re.sub(r"ispresent\((@?\w+)\)", r"(row.get('\1') is not None)", text)
    text = re.sub(r"(@?\w+) in (\[[^\]]*\])", r"(row.get('\1') in \2)", text)
    text = re.sub(r"(?<!['\w@])(@?\w+) = (\"[^\"]*\"|\d+)", r"(row.get('\1') == \2)", text)
    return bool(eval(text, {"re": re, "row": row}))


def _grouped(stats, rows):
    """One row for each value of the keys, with the aggregates."""
    aggregates, _, keys = stats.partition(" by ")
    names = [key.strip() for key in keys.split(",")]
    groups = {}
    for row in rows:
        groups.setdefault(tuple(_key(name, row) for name in names), []).append(row)
    parts = re.findall(r"(\w+)\(([^)]*)\) as (\w+)", aggregates)
    return [
        dict(zip(names, key, strict=True)) | {name: _aggregate(how, of, group) for how, of, name in parts}
        for key, group in groups.items()
    ]


def _key(name, row):
    hours = re.fullmatch(r"bin\((\d+)h\)", name)
    return row["@timestamp"] // (3600 * int(hours[1])) if hours else row[name]


def _aggregate(how, of, rows):
    field, _, share = of.partition(",")
    values = sorted(row[field] for row in rows if field in row)
    if how == "count":
        return len(rows)
    if not values:
        return None
    at = min(len(values) - 1, int(len(values) * float(share or 0) / 100))
    return {"avg": sum(values) / len(values), "max": values[-1], "pct": values[at]}[how]
