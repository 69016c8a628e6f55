// Legend of the map: a name selects what it stands for, its swatch shows or hides it.
export function render({ model, el }) {
  const box = h("div", { class: "legend", role: "group", "aria-label": "Legend: a name selects, its swatch hides" })
  el.append(box)
  const toggle = (key) => model.send_msg({ hide: key })

  function entry(item) {
    const eye = h("input", {
      type: "checkbox", class: "sw", title: item.hidden ? `Show ${item.name}` : `Hide ${item.name}`,
      "aria-label": `Show ${item.name} on the map`,
    })
    eye.style.setProperty("--c", item.colour)
    eye.checked = !item.hidden
    eye.dataset.key = item.key
    // Page keys are off while an input has the focus; a mouse does not need it there.
    eye.onclick = (event) => { if (event.detail) eye.blur() }
    eye.onchange = () => toggle(item.key)
    const name = h("button", { type: "button", "data-key": item.key, title: `Select ${item.name} (Alt: ${item.hidden ? "show" : "hide"})` },
      h("span", { class: "nm" }, item.name), h("span", { class: "ct" }, item.count))
    name.onclick = (event) => { if (event.altKey) toggle(item.key); else model.send_msg({ key: item.key }) }
    return h("div", { class: item.hidden ? "it off" : "it" }, eye, name)
  }

  function find(d) {
    const id = "vatun-legend-names"
    const field = h("input", { type: "search", class: "find", placeholder: d.find, "aria-label": d.find, list: id })
    const go = () => { if (field.value.trim()) model.send_msg({ find: field.value }) }
    field.onkeydown = (event) => { if (event.key === "Enter") go() }
    // A name that was picked from the list is whole at once.
    field.oninput = (event) => { if (event.inputType === undefined || event.inputType === "insertReplacementText") go() }
    return h("div", { class: "search" }, field, h("datalist", { id }, ...d.names.map((name) => h("option", { value: name }))))
  }

  function draw() {
    const d = model.legend_data
    const active = el.getRootNode().activeElement
    const at = active?.dataset?.key, was = active?.tagName
    box.classList.toggle("wide", Boolean(d.ramp))
    const longest = Math.max(0, ...(d.items || []).map((item) => item.name.length + item.count.length))
    box.style.setProperty("--w", `${Math.round(Math.min(24 + 6.1 * longest, 170))}px`)
    box.replaceChildren()
    if (d.ramp) {
      const ramp = h("i", { class: d.ramp.reversed ? "ramp reversed" : "ramp" })
      box.append(h("div", { class: "ramprow" }, h("b", {}, d.ramp.title), h("span", {}, d.ramp.low), ramp, h("span", {}, d.ramp.high)))
    }
    box.append(...(d.items || []).map(entry))
    if (d.note) box.append(h("span", { class: "note", title: d.note }, d.note))
    if (d.names) box.append(find(d))
    if (at !== undefined) [...box.querySelectorAll(`[data-key="${CSS.escape(at)}"]`)].find((e) => e.tagName === was)?.focus()
  }
  model.on("legend_data", draw)
  draw()
}
