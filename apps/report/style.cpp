#include "apps/report/style.h"

namespace klens::apps {

// Bands b0 to b6 are one hue from ground to ink, so that they are told apart in grey too; text on
// them has a contrast of 4.5 and more, as all text. Series colours have 3 and more on the ground,
// and shapes and dashes of their own.
const char* const kReportStyle = R"(
:root { color-scheme: light dark;
  --ground: #ffffff; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --faint: #eaeef2;
  --panel: #f6f8fa; --link: #0550ae;
  --b0: #eff3fa; --b1: #d3e0f2; --b2: #aecbe8; --b3: #7fafdb; --b4: #5d9bd0; --b5: #1f66a8;
  --b6: #083d77; --on-low: #1b1f24; --on-high: #ffffff; --on-middle: #10151a;
  --n0: #fbe3d0; --n1: #f2b98a; --n2: #e08a45;
  --s0: #0058a3; --s1: #b04a00; --s2: #00725a; --s3: #8a3b8f; --s4: #7a5c00; --s5: #a3194b;
  --s6: #4b5563; --s7: #3730a3; }
@media (prefers-color-scheme: dark) { :root {
  --ground: #0f1419; --ink: #e6edf3; --soft: #9da7b3; --line: #3a424b; --faint: #232a32;
  --panel: #171d24; --link: #79b8ff;
  --b0: #17212d; --b1: #1b3350; --b2: #204a78; --b3: #2a629d; --b4: #6ba3dd; --b5: #9cc4ec;
  --b6: #dcebfa; --on-low: #f0f6fc; --on-high: #10151a; --on-middle: #10151a;
  --n0: #3a2413; --n1: #6b3f1c; --n2: #d98a4a;
  --s0: #5cadff; --s1: #ff9a57; --s2: #3fcfa6; --s3: #d898dd; --s4: #dcb545; --s5: #ff8fb0;
  --s6: #aab4c0; --s7: #a5a1ff; } }
@media print { :root { color-scheme: light;
  --ground: #ffffff; --ink: #000000; --soft: #333333; --line: #bbbbbb; --faint: #e5e5e5;
  --panel: #ffffff; --link: #000000;
  --b0: #eff3fa; --b1: #d3e0f2; --b2: #aecbe8; --b3: #7fafdb; --b4: #5d9bd0; --b5: #1f66a8;
  --b6: #083d77; --on-low: #1b1f24; --on-high: #ffffff; --on-middle: #10151a;
  --n0: #fbe3d0; --n1: #f2b98a; --n2: #e08a45;
  --s0: #0058a3; --s1: #b04a00; --s2: #00725a; --s3: #8a3b8f; --s4: #7a5c00; --s5: #a3194b;
  --s6: #4b5563; --s7: #3730a3; } }
* { box-sizing: border-box; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }
main, header, footer { max-width: 1120px; margin: 0 auto; padding: 0 16px; }
header { padding-top: 24px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 20px; margin: 44px 0 6px; border-top: 1px solid var(--line); padding-top: 18px; }
h3 { font-size: 15px; margin: 0 0 2px; }
p { margin: 4px 0 12px; max-width: 75ch; }
p.soft, footer { color: var(--soft); }
p.soft { font-size: 14px; }
a { color: var(--link); }
nav ul { display: flex; flex-wrap: wrap; gap: 4px 18px; list-style: none; padding: 0; margin: 14px 0 0; }
nav a { display: inline-block; padding: 4px 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px;
  margin: 16px 0 0; padding: 0; list-style: none; }
.tiles li { background: var(--panel); border: 1px solid var(--line); border-radius: 6px;
  padding: 8px 12px; }
.tiles b { display: block; font-size: 19px; font-variant-numeric: tabular-nums; }
.tiles span { color: var(--soft); font-size: 14px; }
.maps { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(340px, 100%), 1fr));
  gap: 28px 24px; align-items: start; }
.maps > div { break-inside: avoid; min-width: 0; }
svg { display: block; max-width: 100%; height: auto; overflow: visible; }
svg text { font-size: 13px; fill: var(--ink); font-variant-numeric: tabular-nums; }
svg text.small { font-size: 11px; }
svg text.axis-name { fill: var(--soft); }
svg text.halo { paint-order: stroke; stroke: var(--ground); stroke-width: 3px; }
.wide { display: none; }
@media (min-width: 820px) { .wide { display: block; } .narrow { display: none; } }
@media print { .wide { display: block; } .narrow { display: none; } }
.grid { stroke: var(--line); stroke-width: 1; } .grid.faint { stroke: var(--faint); }
.axis { stroke: var(--soft); stroke-width: 1; }
.equal { stroke: var(--soft); stroke-width: 1.5; stroke-dasharray: 5 4; }
.line { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
.line.s0 { stroke-width: 2.6; }
.line.s1 { stroke-dasharray: 7 3; } .line.s2 { stroke-dasharray: 2 3; }
.line.s3 { stroke-dasharray: 9 3 2 3; } .line.s4 { stroke-dasharray: 4 4; }
.line.s5 { stroke-dasharray: 12 4; } .line.s6 { stroke-dasharray: 1 4; }
.dot { stroke: var(--ground); stroke-width: 1; }
.ring { fill: none; stroke: var(--ink); stroke-width: 1.8; }
.s0 { stroke: var(--s0); } .s1 { stroke: var(--s1); } .s2 { stroke: var(--s2); }
.s3 { stroke: var(--s3); } .s4 { stroke: var(--s4); } .s5 { stroke: var(--s5); }
.s6 { stroke: var(--s6); } .s7 { stroke: var(--s7); }
.dot.s0 { fill: var(--s0); } .dot.s1 { fill: var(--s1); } .dot.s2 { fill: var(--s2); }
.dot.s3 { fill: var(--s3); } .dot.s4 { fill: var(--s4); } .dot.s5 { fill: var(--s5); }
.dot.s6 { fill: var(--s6); } .dot.s7 { fill: var(--s7); }
.dot.s0, .dot.s1, .dot.s2, .dot.s3, .dot.s4, .dot.s5, .dot.s6, .dot.s7 { stroke: var(--ground); }
.b0 { fill: var(--b0); } .b1 { fill: var(--b1); } .b2 { fill: var(--b2); } .b3 { fill: var(--b3); }
.b4 { fill: var(--b4); } .b5 { fill: var(--b5); } .b6 { fill: var(--b6); }
.none { fill: none; stroke: var(--line); stroke-dasharray: 2 2; }
rect.b0 { stroke: var(--line); stroke-width: .5; }
svg text.on { font-size: 10.5px; fill: var(--on-low); stroke: none; }
svg text.on.b4 { fill: var(--on-middle); }
svg text.on.b5, svg text.on.b6 { fill: var(--on-high); }
svg text.on.format { fill: #10151a; }
rect.format { stroke: #57606a; stroke-width: .5; }
.scale { display: flex; flex-wrap: wrap; align-items: center; gap: 2px 6px; margin: 2px 0 6px; padding: 0;
  font-size: 13px; color: var(--soft); max-width: none; }
.scale i { width: 18px; height: 12px; border: 1px solid var(--line); display: inline-block; }
.scale i + i { margin-left: -6px; }
i.b0, td.b0 { background: var(--b0); } i.b1, td.b1 { background: var(--b1); }
i.b2, td.b2 { background: var(--b2); } i.b3, td.b3 { background: var(--b3); }
i.b4, td.b4 { background: var(--b4); } i.b5, td.b5 { background: var(--b5); }
i.b6, td.b6 { background: var(--b6); } td.n0 { background: var(--n0); }
td.n1 { background: var(--n1); } td.n2 { background: var(--n2); color: var(--on-middle); }
td.b4 { color: var(--on-middle); } td.b5, td.b6 { color: var(--on-high); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 20px; padding: 0; margin: 8px 0 14px;
  font-size: 14px; }
.legend li { display: inline-flex; align-items: center; gap: 6px; }
.legend svg { display: inline-block; flex: none; }
.swatch { display: inline-block; min-width: 20px; text-align: center; font-size: 12px; color: #10151a;
  border: 1px solid #57606a; padding: 0 3px; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(340px, 100%), 1fr));
  gap: 16px 32px; align-items: start; }
.beside > div { min-width: 0; }
.scroll { overflow-x: auto; max-width: 100%; margin: 8px 0 24px; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: 4px; }
th, td { padding: 3px 10px 3px 0; text-align: left; font-weight: 400; border-bottom: 1px solid var(--faint);
  overflow-wrap: normal; }
thead th { font-weight: 600; border-bottom: 1px solid var(--line); vertical-align: bottom; }
th.number, td.number { text-align: right; white-space: nowrap; }
tbody th { overflow-wrap: anywhere; min-width: 9em; }
table.ranks tbody th { min-width: 0; }
table.ranks { font-size: 11.5px; table-layout: fixed; width: 100%; max-width: 560px; }
table.ranks th, table.ranks td { padding: 5px 2px; text-align: center; border: 1px solid var(--ground); }
table.ranks tbody th { text-align: left; width: 26%; padding-left: 0; }
table.ranks thead th:first-child { width: 26%; }
table.ranks thead th span { writing-mode: vertical-rl; transform: rotate(180deg); }
details { margin: 10px 0; }
summary { cursor: pointer; padding: 6px 0; color: var(--link); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(300px, 100%), 1fr)); gap: 8px 24px;
  margin: 8px 0 16px; }
dt { color: var(--soft); font-size: 13px; } dd { margin: 0; }
.skip { position: absolute; left: -999px; } .skip:focus { position: static; }
footer { padding: 32px 16px 40px; font-size: 14px; }
@media print { body { font-size: 11pt; } nav, .skip { display: none; } section { break-inside: auto; }
  h2 { break-after: avoid; } details::details-content { content-visibility: visible; display: block; } }
)";

}  // namespace klens::apps
