"""How the pages look: one style sheet for light and dark, desk and telephone, and the frame around every page.

The colours are Okabe and Ito's, which the colour-blind can tell apart; no meaning is in a colour alone.
"""

from __future__ import annotations

from html import escape

__all__ = ["page", "tiles"]

STYLE = """
:root { color-scheme: light dark;
  --paper:#fbfbfa; --card:#fff; --ink:#1c1e21; --soft:#5b616a; --line:#dcdee2; --grid:#eceef0; --heal:#eef4ee;
  --true:#56b4e9; --said:#00344f; --all:#c3c7cd; --said-all:#6b7178; --queue:#e69f00; --wait:#009e73; --calls:#0072b2;
  --bad:#c4320a; --differ:#e69f00; --impaired:#b9a3c9; --fault:#cc79a7; --strike:#7a1f55; --good:#00734f; }
@media (prefers-color-scheme: dark) { :root {
  --paper:#15171a; --card:#1d2024; --ink:#e8eaed; --soft:#a2a9b2; --line:#363b42; --grid:#2a2e33; --heal:#1f2a22;
  --true:#2f86ba; --said:#f2f6fa; --all:#4a5058; --said-all:#9aa1aa; --queue:#e69f00; --wait:#2fc79b; --calls:#56b4e9;
  --bad:#ff7a52; --differ:#e69f00; --impaired:#6d5a80; --fault:#b8628f; --strike:#f3b9da; --good:#3fd09f; } }
* { box-sizing:border-box }
html { -webkit-text-size-adjust:100% }
body { margin:0 auto; padding:20px 24px 48px; max-width:1400px; background:var(--paper); color:var(--ink);
  font:15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; overflow-wrap:anywhere }
h1 { font-size:26px; line-height:1.2; margin:0 0 4px; display:flex; flex-wrap:wrap; gap:4px 14px; align-items:center }
h2 { font-size:19px; margin:34px 0 4px }
h3 { font-size:15px; margin:0 0 2px }
p { margin:4px 0 10px; max-width:78ch }
.soft, figcaption, .legend, .xlabels, .ylabels, th { color:var(--soft) }
.verdict { font-size:14px; font-weight:600; padding:3px 12px; border-radius:99px; border:2px solid currentColor }
.verdict.ok, td.ok { color:var(--good) }
.verdict.bad, .bad-text { color:var(--bad) }
.tiles { display:grid; grid-template-columns:repeat(auto-fit,minmax(118px,1fr)); gap:8px; margin:16px 0; padding:0 }
.tiles div { background:var(--card); border:1px solid var(--line); border-radius:8px; padding:8px 12px }
.tiles dt { font-size:12.5px; color:var(--soft) }
.tiles dd { margin:0; font-size:19px; font-weight:600 }
pre, code { font:13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace }
pre { background:var(--card); border:1px solid var(--line); border-radius:8px; padding:10px 12px; margin:6px 0 12px;
  white-space:pre-wrap; overflow-wrap:anywhere }
.lines { font:13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; background:var(--card);
  border:1px solid var(--line); border-radius:8px; padding:8px 12px; margin:6px 0 12px }
.lines div { padding-left:24px; text-indent:-24px }
ul.breaches { list-style:none; margin:8px 0; padding:0 }
ul.breaches li { border-left:4px solid var(--bad); background:var(--card); padding:6px 12px; margin:6px 0 }
details { margin:10px 0 }
summary { cursor:pointer; font-weight:600 }
.card { background:var(--card); border:1px solid var(--line); border-radius:10px; padding:12px 14px 8px; margin:10px 0 }
.cards { display:grid; grid-template-columns:repeat(auto-fit,minmax(min(100%,540px),1fr)); gap:12px }
.cards .card { margin:0; min-width:0 }
figure.plot { margin:6px 0 4px; padding-left:30px }
figcaption { font-size:13px; margin-left:-30px }
.frame { position:relative; height:64px }
.tall .frame { height:132px }
.wide .frame { height:170px }
svg { display:block; width:100%; height:100%; overflow:visible }
.frame svg { border-left:1px solid var(--line); border-bottom:1px solid var(--line) }
.ylabels { position:absolute; inset:0 auto 0 -30px; width:25px; font-size:12px; line-height:1 }
.ylabels span { position:absolute; right:0; transform:translateY(-50%) }
.xlabels { position:relative; height:17px; margin-top:3px; font-size:12px; line-height:14px }
.xlabels span { position:absolute; transform:translateX(-50%) }
.xlabels .unit { right:0; transform:none }
path { fill:none; vector-effect:non-scaling-stroke; stroke-linejoin:miter }
.grid { stroke:var(--grid); stroke-width:1 }
.healing { fill:var(--heal) }
.breach { stroke:var(--bad); stroke-width:2 }
.true-healthy { stroke:var(--true); stroke-width:6 }
.said-healthy { stroke:var(--said); stroke-width:1.6 }
.true-total { stroke:var(--all); stroke-width:6 }
.said-total { stroke:var(--said-all); stroke-width:1.6; stroke-dasharray:4 2 }
.differs { fill:var(--differ); opacity:.28 }
.absent { fill:var(--all); opacity:.35 }
.asked { fill:var(--queue); fill-opacity:.55; stroke:var(--queue); stroke-width:1 }
.waits { stroke:var(--wait); stroke-width:2 }
.calls { fill:var(--calls); fill-opacity:.35; stroke:var(--calls); stroke-width:1.4 }
.limit { stroke:var(--bad); stroke-width:2; stroke-dasharray:7 4 }
.dot { stroke-width:7; stroke-linecap:round }
.dot.good { stroke:var(--calls) }
.dot.refused { stroke:var(--bad) }
.fault { fill:var(--fault) }
.impaired { fill:var(--impaired) }
.life { fill:var(--true) }
.dot.point { stroke:var(--fault); stroke-width:9 }
.dot.strike { stroke:var(--strike); stroke-width:6 }
.row { display:grid; grid-template-columns:300px 1fr; gap:0 12px; align-items:center; min-height:24px }
.row .label { font-size:13px; line-height:1.25; padding:2px 0 }
.row .label.named { padding-left:36px; text-indent:-36px }
.row .label b { display:inline-block; min-width:36px; text-indent:0 }
.track { position:relative; height:14px; background:var(--paper); min-width:0 }
.track.tall { height:26px }
.track.axis { background:none; height:20px }
.sign { position:absolute; top:50%; transform:translate(-50%,-50%); font-size:13px; line-height:1; font-weight:700 }
.sign.crashed, .sign.wedged, .sign.ended { color:var(--bad) }
.sign.restarted, .sign.released, .sign.started { color:var(--good) }
.sign.restarted, .sign.released, .sign.started { top:75% }
.sign.crashed, .sign.wedged, .sign.ended, .sign.quarantined { top:25% }
.sign.quarantined { color:var(--strike) }
.legend { font-size:13px; display:flex; flex-wrap:wrap; gap:2px 18px; margin:6px 0 8px; max-width:none }
.key { display:inline-flex; align-items:center; gap:6px }
.key i { display:inline-block; width:22px; height:10px; flex:none; font-style:normal; text-align:center; line-height:10px }
i.k-true { background:var(--true); height:6px }
i.k-said { background:var(--said); height:2px }
i.k-all { background:var(--all); height:6px }
i.k-said-all { border-top:2px dashed var(--said-all); height:0 }
i.k-differs { background:var(--differ); opacity:.4 }
i.k-absent { background:var(--all); opacity:.5 }
i.k-heal { background:var(--heal); border:1px solid var(--line) }
i.k-breach { background:var(--bad); width:2px; height:14px; margin:0 10px }
i.k-limit { border-top:2px dashed var(--bad); height:0 }
i.k-calls { background:var(--calls); opacity:.6 }
i.k-fault { background:var(--fault) }
i.k-impaired { background:var(--impaired) }
i.k-good, i.k-refused, i.k-strike, i.k-point { width:8px; height:8px; border-radius:9px; margin:0 7px }
i.k-good { background:var(--calls) }
i.k-refused { background:var(--bad) }
i.k-strike { background:var(--strike) }
i.k-point { background:var(--fault) }
.settings { display:grid; grid-template-columns:repeat(auto-fit,minmax(min(100%,250px),1fr)); gap:0 24px;
  margin:8px 0; font-size:14px }
.settings div { display:flex; justify-content:space-between; gap:12px; border-bottom:1px solid var(--grid); padding:2px 0 }
.settings dt { color:var(--soft) }
.settings dd { margin:0; text-align:right }
table { border-collapse:collapse; width:100%; font-size:14px; font-variant-numeric:tabular-nums }
th { text-align:left; font-weight:600; font-size:13px }
td, th { padding:3px 8px 3px 0; vertical-align:top }
td { border-top:1px solid var(--grid) }
td.number, th.number { text-align:right; white-space:nowrap }
td.bar { width:30% }
td.bar i { display:block; height:10px; margin-top:6px; background:var(--calls); min-width:1px }
tr.thin td { color:var(--bad); font-weight:600 }
tr.off td { color:var(--soft) }
@media (max-width:640px) {
  body { padding:14px 14px 40px; font-size:15px }
h1 { font-size:22px }
.odd { display:none }
  .row { grid-template-columns:1fr; margin-bottom:5px }
.row .label:empty { display:none }
.card { padding:10px 10px 6px }
  td.bar { width:22% }
.tiles { grid-template-columns:repeat(auto-fit,minmax(96px,1fr)) }
.tiles div { padding:6px 9px } }
"""


def page(title: str, body: str) -> str:
    """A whole document that needs nothing else, from a file or a server."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def tiles(*figures: tuple[str, object]) -> str:
    """(what, how much) of each of the figures at the head."""
    inside = "".join(f"<div><dt>{escape(what)}</dt><dd>{escape(str(value))}</dd></div>" for what, value in figures)
    return f'<dl class="tiles">{inside}</dl>'
