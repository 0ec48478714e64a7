"""The options of `ncs4cvr init`; apart from what reads logs, so that `--help` answers at once."""

from __future__ import annotations

import argparse

#: Roles of columns, and what these are called elsewhere, the likeliest first.
NAMES = {
    "user": "user_id userid uid user member_id viewer_id visitor_id device_id account_id member "
    "viewer visitor",
    "video": "video_id videoid vid photo_id item_id itemid feed_id content_id movie_id clip_id "
    "post_id media_id item video clip",
    "time": "time_ms timestamp ts time event_time request_time created_at datetime unix_time "
    "served_at event_ts impression_time",
    "click": "is_click click clicked is_clicked label_click valid_play",
    "conversion": "long_view is_conversion conversion converted purchase is_purchase buy is_buy "
    "pay order finish is_finish finished completed is_like like liked",
    "watched": "play_time_ms play_time watch_time watch_ms watch_time_ms playing_time view_time "
    "watch_s watch_seconds play_seconds",
    "duration": "duration_ms duration video_duration video_duration_ms video_length length "
    "duration_s duration_seconds",
    "history_order": "steps_before_cutoff steps step rank position order",
}
FILES = {
    "events": "one impression a row",
    "users": "one user a row, under the events' user column",
    "videos": "one video a row, under the events' video column",
    "history": "impressions older than the log, the latest of a user at step 0",
}


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds them to a parser; write_starter takes what they are parsed to."""
    for kind, what in FILES.items():
        told = f"{what}: .parquet, .csv, .jsonl or .tfrecord files (globs, separated by commas)"
        command.add_argument(
            f"--{kind}", default="", required=kind == "events", metavar="FILES", help=told
        )
    command.add_argument(
        "--output", default="my_log.py", metavar="FILE", help="the recipe to write (%(default)s)"
    )
    command.add_argument(
        "--utc-offset-hours",
        type=float,
        metavar="HOURS",
        help="of local days (default: the zone that the times are written in, else UTC)",
    )
    for role in NAMES:
        command.add_argument(
            flag(role), default="", metavar="COLUMN", help="its column, instead of a guess"
        )


def flag(role: str) -> str:
    """The option that names a role's column.

    >>> flag("history_order")
    '--history-order'
    """
    return "--" + role.replace("_", "-")
