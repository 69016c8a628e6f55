// Tabs of the four views at the bottom of a phone.
const ICONS = {
  a: '<circle cx="4" cy="5" r="1.2"/><circle cx="7" cy="9" r="1.2"/><circle cx="11" cy="4" r="1.2"/><circle cx="12" cy="11" r="1.2"/><circle cx="4" cy="12" r="1.2"/>',
  b: '<path d="M2.500 4h11M2.500 8h11M2.500 12h11"/><circle cx="6" cy="4" r="1.600" fill="var(--vt-surface)"/><circle cx="10.500" cy="8" r="1.600" fill="var(--vt-surface)"/><circle cx="5" cy="12" r="1.600" fill="var(--vt-surface)"/>',
  c: '<path d="M3 4l5 3 5-3M3 12l5-5 5 5"/><circle cx="3" cy="4" r="1.400"/><circle cx="3" cy="12" r="1.400"/><circle cx="8" cy="7.500" r="1.400"/><circle cx="13" cy="4" r="1.400"/><circle cx="13" cy="12" r="1.400"/>',
  d: '<path d="M2 13.500h12M2 13V2.500M3.500 5c3 0 4 6 10 6"/>',
}
const NAMES = { a: "Map", b: "Test", c: "Network", d: "Simulation" }
export function render({ model, el }) {
  const bar = document.createElement("nav")
  bar.className = "tabs"
  bar.setAttribute("aria-label", "Views")
  el.append(bar)
  function draw() {
    bar.replaceChildren(...Object.entries(NAMES).map(([id, name]) => {
      const b = document.createElement("button")
      b.type = "button"
      b.dataset.view = id
      b.innerHTML = `<svg class="i" viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">${ICONS[id]}</svg><span>${name}</span>`
      if (model.tabs_view === id) b.setAttribute("aria-current", "page")
      b.onclick = () => model.send_msg({ view: id })
      return b
    }))
  }
  model.on("tabs_view", draw)
  draw()
}
