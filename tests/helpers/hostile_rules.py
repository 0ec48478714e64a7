"""What must become of an odd cell, by the rules of docs/reliability.md, in plain Python."""

import json
import math
import re

import numpy as np

DAY_MS, FIRST_DAY = 86_400_000, 18_993  # 2022-01-01
LAST_MS = 253_402_300_799_999
DEAD, MISSING = object(), object()
NO_NUMBER = {"", "na", "nan", "n/a", "null", "none", "\\n"}


def text_of(cell):
    """The stated rule for cells of JSON and TFRecord: the text that a CSV file would hold."""
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return str(int(cell))
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))
    if isinstance(cell, list):
        parts = [text_of(part) for part in cell]
        return ",".join(p for p in parts if p is not None) if parts else None
    return json.dumps(cell)


def number_of(text):
    """A whole number as int, another as float, else DEAD."""
    if re.fullmatch(r"[+-]?\d+", text):
        try:
            return int(text)
        except ValueError:  # too many digits
            return DEAD
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text):
        return float(text)
    return math.copysign(math.inf, -(text[0] == "-") or 1) if "inf" in text.lower() else DEAD


def expected(kind, cell):
    """What must come of a cell, by the rules: a value, MISSING or DEAD."""
    text = text_of(cell)
    if text is None:
        return MISSING
    try:
        text.encode()
    except UnicodeEncodeError:
        return DEAD
    if kind == "string":
        return text or MISSING
    text = text.strip()
    if text.lower() in NO_NUMBER:
        return MISSING
    if kind == "label" and text.lower() in ("true", "false"):
        return int(text.lower() == "true")
    number = number_of(text)
    if number is DEAD:
        return DEAD
    if kind == "float":
        number = float(number) if abs(number) < 1e300 else math.inf
        return np.float32(number) if abs(number) <= np.finfo(np.float32).max else DEAD
    if isinstance(number, float):
        if not number.is_integer() or abs(number) >= 2**53:
            return DEAD
        number = int(number)
    if not -(2**63) < number < 2**63:
        return DEAD
    if kind == "label" and number not in (0, 1):
        return DEAD
    if kind == "time" and (abs(number) > LAST_MS or number >= (FIRST_DAY + 6) * DAY_MS):
        return DEAD  # of no calendar, or after the last split
    return number
