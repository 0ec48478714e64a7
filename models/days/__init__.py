"""How a day's model goes on from that of an earlier day."""
