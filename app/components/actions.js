// Buttons with a line icon or a word, and the popover that explains a view.
const ICONS = {
  info: '<circle cx="8" cy="8" r="6"/><path d="M8 7.2v4M8 4.6v.6"/>',
  max: '<path d="M9.5 2.5h4v4M6.5 13.5h-4v-4M13 3L9.5 6.5M3 13l3.5-3.5"/>',
  min: '<path d="M13.500 6.500h-4v-4M2.500 9.500h4v4M9.500 6.500L13 3M6.500 9.500L3 13"/>',
  lasso: '<path d="M13.5 6c0 2-2.5 3.5-5.5 3.5S2.5 8 2.5 6 5 2.5 8 2.5s5.5 1.5 5.5 3.5zM5 9c-1.5.8-.5 2.5.5 2 .8-.6.3-1.8-.5-2M5 11c0 1.5-.5 2-1.5 2.5"/>',
  box: '<path d="M2.500 2.500h11v11h-11z" stroke-dasharray="2.400 1.600"/>',
  pan: '<path d="M8 1.8v12.4M1.8 8h12.4M6.3 3.5L8 1.8l1.7 1.7M6.3 12.5L8 14.2l1.7-1.7M3.5 6.3L1.8 8l1.7 1.7M12.5 6.3L14.2 8l-1.7 1.7"/>',
  in: '<path d="M8 3.500v9M3.500 8h9"/>',
  out: '<path d="M3.500 8h9"/>',
  density: '<circle cx="8" cy="8" r="5.800"/><path d="M8 2.200v11.600M8 4.600h4.700M8 8h5.800M8 11.400h4.700"/>',
  table: '<path d="M2.500 3h11v10h-11zM2.500 6.300h11M2.500 9.700h11M6.500 6.300V13"/>',
  home: '<path d="M2.500 8L8 3l5.500 5M4 7v6.500h8V7"/>',
}

export function icon(name) {
  return `<svg viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">${ICONS[name] || ""}</svg>`
}

export function render({ model, view, el }) {
  // In the browser: through the server, a drag begun at once would still use the tool before.
  function arm(id) {
    const prefix = model.action_toolbar
    if (!prefix) return
    const find = (name) => view.model.document?.get_model_by_name(`${prefix}-${name}`)
    const bar = find("toolbar"), tool = find(id)
    if (bar && tool) bar.active_drag = tool
  }

  // A press of 300 ms before the first move ends Bokeh's gesture, and nobody is told: who thinks
  // where to begin, or whose page is busy, would draw nothing.
  function wait(tries = 1200) {
    const models = [...(view.model.document?._all_models.values() ?? [])]
    const figure = models.find((one) => one.toolbar?.name === `${model.action_toolbar}-toolbar`)
    const gestures = figure && window.Bokeh?.index.find_one(figure)?.canvas_view?.ui_event_bus?.ui_gestures
    if (gestures) gestures.constructor.press_threshold = 2 ** 30
    else if (tries) setTimeout(() => wait(tries - 1), 100)
  }
  if (model.action_toolbar) wait()

  const box = document.createElement("div")
  const pop = document.createElement("div")
  pop.className = "pop"
  pop.setAttribute("popover", "auto")
  pop.setAttribute("role", "note")
  el.append(box, pop)

  function explain(button, text) {
    pop.textContent = text
    pop.showPopover()
    const at = button.getBoundingClientRect()
    const width = pop.offsetWidth
    pop.style.left = `${Math.max(8, Math.min(at.right - width, innerWidth - width - 8))}px`
    pop.style.top = `${Math.min(at.bottom + 6, innerHeight - pop.offsetHeight - 8)}px`
  }

  function draw() {
    box.className = model.action_column ? "col" : "row"
    box.replaceChildren(...model.action_items.map((item) => {
      const button = document.createElement("button")
      button.type = "button"
      button.title = item.label
      button.dataset.id = item.id
      button.setAttribute("aria-label", item.label)
      button.disabled = Boolean(item.disabled)
      if (item.text) { button.className = "btn"; button.textContent = item.text }
      else { button.className = "ib"; button.innerHTML = icon(item.icon) }
      if ("pressed" in item) button.setAttribute("aria-pressed", Boolean(item.pressed))
      button.onclick = () => {
        if (item.help) { explain(button, item.help); return }
        arm(item.id)
        model.send_msg({ id: item.id })
      }
      return button
    }))
  }
  model.on(["action_items", "action_column"], draw)
  draw()
}
