// Legend of the map; every entry is a button that selects what it stands for.
export function render({ model, el }) {
  const box = document.createElement("div")
  el.append(box)
  function draw() {
    const d = model.legend_data
    box.className = "legend"
    box.setAttribute("aria-label", "Legend: click to select")
    box.replaceChildren()
    if (d.ramp) {
      const row = document.createElement("div")
      row.className = "ramprow"
      const low = document.createElement("span"), high = document.createElement("span")
      low.textContent = d.ramp[0]
      high.textContent = d.ramp[1]
      const ramp = document.createElement("i")
      ramp.className = "ramp"
      row.append(low, ramp, high)
      box.append(row)
    }
    for (const item of d.items || []) {
      const button = document.createElement("button")
      button.type = "button"
      button.dataset.key = item.key
      button.title = `Select ${item.name}`
      const swatch = document.createElement("i")
      swatch.className = "sw"
      swatch.style.background = item.colour
      const name = document.createElement("span")
      name.className = "nm"
      name.textContent = item.name
      const count = document.createElement("span")
      count.className = "ct"
      count.textContent = item.count
      button.append(swatch, name, count)
      button.onclick = () => model.send_msg({ key: item.key })
      box.append(button)
    }
    if (d.note) {
      const note = document.createElement("span")
      note.className = "note"
      note.textContent = d.note
      box.append(note)
    }
  }
  model.on("legend_data", draw)
  draw()
}
