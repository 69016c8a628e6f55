// Colour of the points: four buttons for what every store has, and a grouped list for the rest.
export function render({ model, el }) {
  const group = h("div", { class: "seg", role: "radiogroup", "aria-label": "Colour by" })
  const list = h("select", { "aria-label": "Colour by, more", class: "more" })
  const buttons = []
  const send = (value) => { if (value) model.send_msg({ value }) }
  el.append(h("div", { class: "colour" }, group, list))

  function build() {
    const options = model.colour_options
    buttons.splice(0)
    for (const option of options.filter((o) => !o.group)) {
      buttons.push(h("button", { type: "button", role: "radio", "data-value": option.value, title: option.label, "aria-label": option.label, onclick: () => send(option.value) }, option.short, option.long && h("span", { class: "long" }, option.long)))
    }
    group.replaceChildren(...buttons)
    const groups = new Map()
    for (const option of options.filter((o) => o.group)) {
      if (!groups.has(option.group)) groups.set(option.group, h("optgroup", { label: option.group }))
      const text = option.reason ? `${option.label} (${option.reason})` : option.label
      groups.get(option.group).append(h("option", { value: option.value, disabled: Boolean(option.reason), "data-short": option.short }, text))
    }
    list.replaceChildren(h("option", { value: "", hidden: true, disabled: true }, "More"), ...groups.values())
    list.hidden = !groups.size
    mark()
  }

  function mark() {
    const value = model.colour_value
    let own = false
    for (const button of buttons) {
      const on = button.dataset.value === value
      own = own || on
      button.setAttribute("aria-checked", on)
      button.tabIndex = on || (buttons.indexOf(button) === 0 && !buttons.some((b) => b.dataset.value === value)) ? 0 : -1
    }
    list.value = own ? "" : value
    list.classList.toggle("on", !own)
    list.title = own ? "More to colour by" : list.selectedOptions[0]?.textContent ?? ""
  }

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
  list.onchange = () => { send(list.value); list.blur() }
  model.on("colour_options", build)
  model.on("colour_value", mark)
  build()
}
