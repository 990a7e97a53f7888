# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The frame of the report: its style and the little script that filters.

Nothing in the page is loaded from anywhere, and its policy forbids it.
"""

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881;
  --right: #1a7f37; --wrong: #cf222e; --unread: #9a6700; }
@media (prefers-color-scheme: dark) {
  :root { --right: #3fb950; --wrong: #f85149; --unread: #d29922; } }
* { box-sizing: border-box; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; padding: 16px;
  max-width: 1200px; }
h1 { font-size: 22px; margin: 4px 0; }
table { border-collapse: collapse; margin: 8px 0; }
td, th { text-align: left; vertical-align: top; padding: 2px 12px 2px 0;
  border-bottom: 1px solid var(--line); }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
td, p, li { overflow-wrap: anywhere; }
.top { display: flex; gap: 8px 40px; align-items: flex-start; }
.top > div { flex: 1 1 60%; min-width: 0; }
.top > table { flex: 0 0 auto; } .top div table { width: 100%; }
.top summary { cursor: pointer; }
.top td:first-child { white-space: nowrap; }
@media (max-width: 800px) { .top { flex-wrap: wrap; } }
nav { position: sticky; top: 0; padding: 8px 0; z-index: 1;
  background: Canvas; border-bottom: 1px solid var(--line); }
nav button, nav input { font: inherit; padding: 3px 10px; }
nav button[aria-pressed=true] { font-weight: 700; }
details.group { margin: 12px 0; }
details.group > summary { font-size: 17px; cursor: pointer; }
.cards { display: grid; gap: 10px; margin-top: 8px;
  grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); }
.card { display: flex; gap: 10px; padding: 8px; border-radius: 6px;
  border: 1px solid var(--line); border-left: 5px solid var(--line); }
.card.right { border-left-color: var(--right); }
.card.wrong { border-left-color: var(--wrong); }
.card.unread { border-left-color: var(--unread); }
.card img { width: 112px; height: 112px; object-fit: contain;
  flex: none; background: var(--soft); }
.card div { min-width: 0; }
.card p { margin: 0 0 4px; white-space: pre-wrap; }
.card small { opacity: .7; }
.card .answer { border-left: 3px solid var(--line); padding-left: 6px; }
.mark { font-weight: 700; }
.right .mark { color: var(--right); } .wrong .mark { color: var(--wrong); }
.unread .mark { color: var(--unread); }
[hidden] { display: none !important; }
"""

SCRIPT = """
const cards = [...document.querySelectorAll('.card')];
const groups = [...document.querySelectorAll('details.group')];
const buttons = [...document.querySelectorAll('nav button')];
const words = document.querySelector('nav input');
let kind = '';
function show() {
  const text = words.value.toLowerCase();
  for (const card of cards)
    card.hidden = (kind && !card.classList.contains(kind)) ||
      (text && !card.textContent.toLowerCase().includes(text));
  for (const group of groups) {
    group.hidden = !group.querySelector('.card:not([hidden])');
    if (kind || text) group.open = true;
  }
}
for (const button of buttons) button.onclick = () => {
  kind = button.dataset.kind;
  for (const other of buttons)
    other.setAttribute('aria-pressed', other === button);
  show();
};
words.oninput = show;
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none';
 img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<div class="top">
{tables}
</div>
<p>{note}</p>
{failures}
<nav>
{buttons}
<input type="search" placeholder="words" aria-label="words in a card">
</nav>
{groups}
<script>{script}</script>
</body>
</html>
"""
