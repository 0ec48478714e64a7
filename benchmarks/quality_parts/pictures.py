def draw(report, rows, compared, folder):
    return []
