// Sliders and switches of a change. The newest value wins; the control in hand is never overwritten.

// Sends what is operated, the newest value of each control, one message at a time: a slow server is
// not flooded, and what it answers to an older message is not taken for the position of a control.
function outbox(send, changed) {
  const waiting = new Map()
  let sent = 0, answered = 0, since = 0, timer = 0
  function pump() {
    clearTimeout(timer)
    timer = 0
    if (!waiting.size) return
    const patience = sent > answered ? 400 - (performance.now() - since) : 0
    if (patience > 0) { timer = setTimeout(pump, patience); return }
    const [key, make] = waiting.entries().next().value
    waiting.delete(key)
    sent += 1
    since = performance.now()
    send({ ...make(), seq: sent })
    if (waiting.size) timer = setTimeout(pump, 400)
  }
  return {
    put(key, make) { waiting.set(key, make); if (!timer) timer = setTimeout(pump, 16); changed() },
    answer(seq) { answered = Math.max(answered, seq); if (answered >= sent) pump(); changed() },
    isQuiet: () => !waiting.size && answered >= sent,
  }
}
const FORMATS = {
  degrees: (v) => signed(v, 0) + "°",
  turns: (v) => signed(v, 2),
  factor: (v) => fixed(v, 2),
  pixels: (v, side) => `${fixed(v * side, 1)} px`,
  percent: (v) => `${fixed(100 * v, 0)} %`,
  plain: (v) => fixed(v, 3),
}
// What a typed figure means, the inverse of what is shown.
const SCALES = { pixels: (v, side) => v / side, percent: (v) => v / 100 }

function slider(spec, box) {
  let side = 1
  const name = h("button", { class: "k", type: "button", tabindex: -1, onclick: reset }, spec.label)
  const range = h("input", { type: "range", min: spec.low, max: spec.high, step: spec.step, "aria-label": spec.label })
  const shown = h("button", { class: "v", type: "button", tabindex: -1, title: "Click to type a value" })
  const typed = h("input", { class: "typed", type: "text", inputmode: "decimal", "aria-label": `${spec.label}, typed`, hidden: true })
  const row = h("div", { class: "sl", "data-name": spec.name }, name, h("span", { class: "tr" }, h("u"), range), shown, typed)
  const share = (v) => (100 * (v - spec.low)) / (spec.high - spec.low)
  row.querySelector("u").style.left = `calc(${share(spec.identity)}% + ${6.5 - (13 * share(spec.identity)) / 100}px)`
  let held = false

  function paint(value) {
    const [a, b] = [share(spec.identity), share(value)].sort((p, q) => p - q)
    range.style.setProperty("--from", `${a}%`)
    range.style.setProperty("--to", `${b}%`)
    const changed = Math.abs(value - spec.identity) > 1e-9
    row.classList.toggle("ch", changed)
    shown.textContent = FORMATS[spec.format](value, side)
    range.setAttribute("aria-valuetext", shown.textContent)
    name.title = changed ? `Reset ${spec.label}` : spec.label
  }
  function tell(value) {
    paint(value)
    box.put(spec.name, () => ({ kind: "set", name: spec.name, value: Number(range.value) }))
  }
  function reset() { range.value = spec.identity; tell(spec.identity) }
  range.addEventListener("input", () => tell(Number(range.value)))
  range.addEventListener("pointerdown", () => { held = true })
  for (const end of ["pointerup", "pointercancel", "blur"]) range.addEventListener(end, () => { held = false })
  range.addEventListener("dblclick", reset)
  range.addEventListener("keydown", (event) => {
    if (event.key === "Escape" || event.key === "Delete" || event.key === "Backspace") { event.preventDefault(); event.stopPropagation(); reset() }
  })
  shown.addEventListener("click", () => {
    typed.value = shown.textContent.replace(MINUS, "-").replace(/[^0-9.+-]/g, "")
    typed.hidden = false; shown.hidden = true
    typed.focus(); typed.select()
  })
  const leave = (keep) => {
    if (typed.hidden) return
    typed.hidden = true; shown.hidden = false
    const text = typed.value.trim().replace(",", ".").replace(MINUS, "-")
    const figure = Number(text)
    if (!keep || text === "" || !Number.isFinite(figure)) return
    const scale = SCALES[spec.format]
    range.value = Math.min(Math.max(scale ? scale(figure, side) : figure, spec.low), spec.high)
    tell(Number(range.value))
  }
  typed.addEventListener("keydown", (event) => {
    if (event.key === "Enter") leave(true)
    if (event.key === "Escape") { event.stopPropagation(); leave(false) }
  })
  typed.addEventListener("blur", () => leave(true))
  paint(spec.identity)
  return {
    node: row,
    set(value, shorter) {
      side = shorter
      if (held) { paint(Number(range.value)); return }
      range.value = value
      paint(value)
    },
  }
}

function controls(specs, send, changed) {
  const box = outbox(send, changed)
  const sliders = new Map()
  const switches = new Map()
  const list = h("div", { class: "sls" })
  const tools = h("div", { class: "tools" })
  const signs = { horizontal_flip: "↔", vertical_flip: "↕" }
  for (const spec of specs) {
    if (spec.is_switch) {
      const button = h("button", { class: "btn sw2", type: "button", "aria-pressed": "false", title: spec.label, "aria-label": spec.label, "data-name": spec.name }, signs[spec.name] || spec.label)
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") !== "true"
        button.setAttribute("aria-pressed", String(on))
        box.put(spec.name, () => ({ kind: "set", name: spec.name, value: on ? 1 : 0 }))
      })
      switches.set(spec.name, button)
      tools.append(button)
    } else {
      const row = slider(spec, box)
      sliders.set(spec.name, row)
      list.append(row.node)
    }
  }
  const restore = h("button", { class: "btn", type: "button", hidden: true, onclick: () => send({ kind: "unbox", index: -1 }) })
  const all = h("button", { class: "btn txt", type: "button", "data-action": "reset", onclick: () => box.put("reset", () => ({ kind: "reset" })) }, "Reset all")
  tools.append(restore, h("span", { class: "sp" }), all)
  return {
    isQuiet: box.isQuiet,
    node: h("div", { class: "ctl", role: "group", "aria-label": "Changes of the image" }, list, tools),
    set(change, shorter) {
      box.answer(change.seq)
      if (!box.isQuiet()) return
      for (const spec of specs) {
        const value = spec.name in change.magnitudes ? change.magnitudes[spec.name] : spec.identity
        if (spec.is_switch) switches.get(spec.name).setAttribute("aria-pressed", String(value === 1))
        else sliders.get(spec.name).set(value, shorter)
      }
      const n = change.boxes.length
      restore.hidden = n === 0
      restore.textContent = n === 1 ? "Restore region" : `Restore ${n} regions`
      all.disabled = n === 0 && Object.keys(change.magnitudes).length === 0
    },
  }
}
