// A radio group drawn as a segmented control, or a native select.
export function render({ model, el }) {
  let box = null
  const send = (value) => model.send_msg({ value })

  function segmented() {
    const group = document.createElement("div")
    group.className = "seg"
    group.setAttribute("role", "radiogroup")
    group.setAttribute("aria-label", model.choice_label)
    const buttons = model.choice_options.map((option) => {
      const button = document.createElement("button")
      button.type = "button"
      button.setAttribute("role", "radio")
      button.textContent = option.label
      button.dataset.value = option.value
      button.onclick = () => send(option.value)
      group.append(button)
      return button
    })
    group.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key]
      if (!step) return
      event.preventDefault()
      event.stopPropagation()
      const at = buttons.findIndex((b) => b.getAttribute("aria-checked") === "true")
      const next = buttons[(at + step + buttons.length) % buttons.length]
      next.focus()
      send(next.dataset.value)
    })
    return group
  }

  function select() {
    const list = document.createElement("select")
    list.setAttribute("aria-label", model.choice_label)
    for (const option of model.choice_options) {
      const item = document.createElement("option")
      item.value = option.value
      item.textContent = option.label
      list.append(item)
    }
    list.onchange = () => send(list.value)
    return list
  }

  function mark() {
    if (box.tagName === "SELECT") { box.value = model.choice_value; return }
    for (const button of box.children) {
      const on = button.dataset.value === model.choice_value
      button.setAttribute("aria-checked", on)
      button.tabIndex = on ? 0 : -1
    }
  }

  const wide = window.matchMedia("(min-width: 1600px)")
  function draw() {
    const kind = model.choice_kind === "auto" ? (wide.matches ? "segmented" : "select") : model.choice_kind
    const fresh = kind === "select" ? select() : segmented()
    if (box) box.replaceWith(fresh); else el.append(fresh)
    box = fresh
    mark()
  }

  model.on("choice_options", draw)
  model.on("choice_value", mark)
  wide.addEventListener("change", draw)
  model.on("remove", () => wide.removeEventListener("change", draw))
  draw()
}
