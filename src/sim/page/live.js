// Keeps the page as the server has it; what the reader opened stays open. Everything works without this script too.
(() => {
  const live = document.getElementById("live");
  const times = () => document.querySelectorAll("time").forEach((t) => {
    const s = Math.max(0, (Date.now() - new Date(t.dateTime)) / 1000);
    const said = s < 10 ? "just now" : s < 60 ? Math.floor(s) + " seconds ago" : s < 3600 ? Math.floor(s / 60) + " min ago"
      : s < 86400 ? Math.floor(s / 3600) + " h ago" : t.dateTime.slice(0, 10);
    if (t.textContent !== said) t.textContent = said;
  });
  times();
  if (!live) { setInterval(times, 1000); return; }
  const key = (d) => {
    const box = d.closest("[id]");
    const summary = d.querySelector("summary");
    return (box ? box.id : "") + "|" + (summary ? summary.textContent.trim().split("\n")[0].slice(0, 60) : "");
  };
  const touched = new Map();
  document.addEventListener("toggle", (e) => { if (e.target.tagName === "DETAILS") touched.set(key(e.target), e.target.open); }, true);
  let last = live.dataset.hash;
  const look = async () => {
    try {
      const answer = await fetch(live.dataset.from, { headers: { "x-have": last } });
      if (answer.status === 200) {
        const html = await answer.text();
        const hash = answer.headers.get("x-hash");
        if (hash !== last) {
          last = hash;
          live.innerHTML = html;
          live.querySelectorAll("details").forEach((d) => { const was = touched.get(key(d)); if (was !== undefined) d.open = was; });
        }
      }
    } catch { /* the server is away; the next look tells */ }
    times();
    setTimeout(look, document.hidden ? 5000 : 1000);
  };
  setTimeout(look, 1000);
})();
