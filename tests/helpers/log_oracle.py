"""What examples of a small log must hold, one row at a time, straight from the definitions."""

import numpy as np

DAY_MS = 86_400_000


def day_of(row):
    return row["ts"] // DAY_MS


def clicked(row):
    return row["is_click"]


def converted(row):
    return row["is_click"] & row["long_view"]


def expected(log, row):
    """What the example of `row` must hold, one row at a time, straight from the definitions."""
    user, video, now = row["user_id"], row["video_id"], row["ts"]
    past = [r for r in log.events if r["user_id"] == user and r["ts"] < now]
    old = [r for r in log.history if r["user_id"] == user]
    seen = [r for r in log.events if r["video_id"] == video and day_of(r) < day_of(row)]
    seen_old = [r for r in log.history if r["video_id"] == video]
    clicks, conversions = sum(map(clicked, past)), sum(map(converted, past))
    old_long = sum(r["long_view"] for r in old)
    long_seen = sum(map(converted, seen)) + sum(r["long_view"] for r in seen_old)
    share = row["played"] / row["duration"] if row["duration"] > 0 else 0
    result = {
        "user_id": user,
        "video_id": video,
        "time_ms": now,
        "day": 20220101 + day_of(row) - 18_993,
        "click": row["is_click"],
        "conversion": converted(row),
        "completion": np.float32(min(max(share, 0), 1)),
        "tab": row["tab"],
        "duration": row["duration"],
        "user_n": len(past) + len(old),
        "user_clicks": clicks,
        # The history file does not know clicks, so its rows are no trials of conversion | click.
        "user_cvr": np.float32((conversions + 1) / (clicks + 2)),
        "user_long": np.float32((conversions + old_long + 1) / (len(past) + len(old) + 4)),
        "video_n": len(seen) + len(seen_old),
        "video_ctr": np.float32((sum(map(clicked, seen)) + 1) / (len(seen) + 2)),
        "video_long": np.float32((long_seen + 1) / (len(seen) + len(seen_old) + 4)),
    }
    for table, key in ((log.users, "user_id"), (log.videos, "video_id")):
        for other in table:
            if other[key] == row[key]:
                result |= other
    return result


def expected_history(log, row, length=4):
    """(video, action, gap, time) of the last impressions, newest first; ties by video, action."""
    user, now = row["user_id"], row["ts"]
    past = [
        (r["ts"], r["video_id"], clicked(r) + 2 * converted(r))
        for r in log.events
        if r["user_id"] == user and r["ts"] < now
    ]
    old = sorted((r for r in log.history if r["user_id"] == user), key=lambda r: r["steps"])
    entries = [(v, a, (now - t) // 1000, t) for t, v, a in sorted(past, reverse=True)]
    entries += [(r["video_id"], 2 * r["long_view"], -1, 0) for r in old]
    return entries[:length]
