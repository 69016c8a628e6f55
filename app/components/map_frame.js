// What lies over the map's picture: how much is drawn, what is hidden, keys, and its empty state.
const MAP_KEYS = new Set(["+", "=", "-", "_", "0", "Home", "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"])

export function render({ model, el }) {
  // The figure takes the focus without a word of its own; the keys and the name are given here.
  const keys = h("div", { class: "keys", tabindex: 0, role: "group", "aria-roledescription": "map" })
  const drawn = h("span", { class: "drawn" })
  const hidden = h("span", { class: "hidden" })
  const all = h("button", { type: "button", class: "all", onclick: () => model.send_msg({ all: true }) }, "Show all")
  const line = h("div", { class: "line", role: "status" }, drawn, hidden, all)
  const empty = h("div", { class: "empty" }, h("div", {}, h("b"), h("p"), h("button", { type: "button", class: "btn", onclick: () => model.send_msg({ all: true }) }, "Show all")))
  el.append(keys, line, empty)

  keys.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !MAP_KEYS.has(event.key)) return
    event.preventDefault()
    event.stopPropagation()
    model.send_msg({ key: event.key })
  })

  function draw() {
    const d = model.frame_data
    keys.setAttribute("aria-label", d.label || "Map")
    drawn.textContent = d.drawn || ""
    hidden.textContent = d.hidden || ""
    hidden.hidden = all.hidden = !d.hidden
    empty.hidden = !d.empty
    empty.querySelector("b").textContent = d.empty || ""
    empty.querySelector("p").textContent = d.why || ""
    empty.querySelector("button").hidden = !d.hidden
  }
  model.on("frame_data", draw)
  draw()

  // A second stop of the Tab key that answers none would only be in the way, and so would the
  // dotted frame round a clicked figure: keys act on the page.
  let tries = 0
  const quiet = () => {
    const events = find(document.querySelector("body"))
    if (events) {
      events.tabIndex = -1
      events.style.setProperty("outline", "none", "important")
    } else if (tries++ < 40) timer = setTimeout(quiet, 250)
  }
  const find = (root) => {
    for (const each of root.querySelectorAll("*")) {
      if (each.classList.contains("bk-events") && within(each)) return each
      const found = each.shadowRoot && find(each.shadowRoot)
      if (found) return found
    }
    return null
  }
  const within = (element) => {
    const a = element.getBoundingClientRect(), b = keys.getBoundingClientRect()
    return a.width > 0 && a.left >= b.left - 2 && a.right <= b.right + 2 && a.top >= b.top - 2
  }
  let timer = setTimeout(quiet, 250)
  model.on("remove", () => clearTimeout(timer))
}
