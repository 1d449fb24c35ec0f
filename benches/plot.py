"""Draws docs/plots from what the benches wrote: python3 benches/plot.py

`cargo bench --bench line_rate` and `--bench patch_core` write target/line_rate.json and
target/patch_core.json; nothing here is typed in by hand.
"""

import html
import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
WIDTH, LABEL, BAR, GAP = 800, 290, 15, 12
# Readable on white and on black, and for those who see no red or green.
COLOURS = {"raw relay": "#8c8c8c", "TLS relay": "#8c8c8c", "frame relay": "#5b9bd5", "schema-proxy": "#e08214"}


def bars(title, unit, groups, goal=None):
    """groups: (label, [(name, value)]); a bar for each value."""
    most = max(value for _, values in groups for _, value in values) * 1.12
    scale = (WIDTH - LABEL - 90) / most
    parts, y = [], 58
    for label, values in groups:
        middle = y + len(values) * BAR / 2 + 4
        parts.append(f'<text x="{LABEL - 10}" y="{middle:.0f}" text-anchor="end">{html.escape(label)}</text>')
        for name, value in values:
            colour = COLOURS.get(name, "#e08214")
            width = value * scale
            parts.append(f'<rect x="{LABEL}" y="{y}" width="{width:.1f}" height="{BAR - 3}" fill="{colour}"/>')
            text = f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
            parts.append(f'<text x="{LABEL + width + 6:.1f}" y="{y + BAR - 5}" class="n">{text}</text>')
            y += BAR
        y += GAP
    if goal is not None:
        x = LABEL + goal * scale
        parts.append(f'<line x1="{x:.1f}" y1="50" x2="{x:.1f}" y2="{y - GAP}" class="goal"/>')
    names = list(dict.fromkeys(name for _, values in groups for name, _ in values))
    legend = "".join(
        f'<rect x="{LABEL + 130 * at}" y="33" width="10" height="10" fill="{COLOURS.get(name, "#e08214")}"/>'
        f'<text x="{LABEL + 130 * at + 15}" y="42">{html.escape(name)}</text>'
        for at, name in enumerate(names)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" font-family="sans-serif" font-size="12">'
        "<style>text{fill:#666}.n{font-size:11px}.t{font-size:15px}.goal{stroke:#666;stroke-dasharray:4 3}</style>"
        f'<text x="10" y="20" class="t">{html.escape(title)} ({html.escape(unit)})</text>{legend}{"".join(parts)}</svg>\n'
    )


def size(record):
    return f"{record} B" if record < 1024 else f"{record / 1024:.0f} KiB"


def line_rate(figures):
    rows = {}
    for it in figures:
        if it["what"] != "idle":
            key = (it["what"], it["codec"], it["record"], it["connections"], it["ids"])
            rows.setdefault(key, []).append(it)
    def label(key):
        what, codec, record, connections, ids = key
        more = f", {ids:,} ids" if ids > 1 else ""
        return f"{what}, {codec}, {size(record)}, {connections} conn.{more}"
    for name, unit, field in [
        ("throughput", "MB/s", "megabytes_per_second"),
        ("cpu", "CPU s/GB", "cpu_seconds_per_gigabyte"),
    ]:
        groups = [(label(key), [(it["between"], it[field]) for it in row]) for key, row in rows.items()]
        if field.startswith("cpu"):
            # What compressing costs would hide all others.
            groups = [it for it in groups if ", zstd," not in it[0] and ", gzip," not in it[0]]
        yield f"line_rate_{name}.svg", bars(f"Line rate: {name}", unit, groups)


def patch_core(figures):
    groups = [(f"none, {size(it['record'])}", [("translating", it["of_memcpy"])]) for it in figures if it["kind"] == "core"]
    yield "patch_core.svg", bars("Patch core", "times memcpy of the same cold bytes", groups, goal=1)
    groups = [
        (f"{it['codec']}, {it['text']}, {size(it['record'])}", [(f"{it['ids']} ids, {it['width']} bytes", it["of_repacking"])])
        for it in figures
        if it["kind"] == "compressed" and it["ids"] == 16 and it["width"] == 4
    ]
    yield "compressed.svg", bars("Compressed batches, 16 ids of 4 bytes", "times decompressing and compressing", groups, goal=0.35)


def main():
    folder = ROOT / "docs/plots"
    folder.mkdir(exist_ok=True)
    for draw in (line_rate, patch_core):
        source = ROOT / "target" / f"{draw.__name__}.json"
        for name, svg in draw(json.loads(source.read_text())):
            (folder / name).write_text(svg)
            print(folder / name)


if __name__ == "__main__":
    main()
