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
// A typed value, or a flip, may lie between the slider's steps: then it has more digits.
const digits = (v, few, many) => Math.abs(v * 10 ** few - Math.round(v * 10 ** few)) < 1e-6 ? few : many
const FORMATS = {
  degrees: (v) => signed(v, digits(v, 0, Math.abs(v) < 10 ? 2 : 1)) + "°",
  turns: (v) => signed(v, digits(v, 2, 3)),
  factor: (v) => fixed(v, digits(v, 2, 3)),
  sigma: (v) => `${fixed(100 * v, digits(100 * v, 1, 2))} %`,
  percent: (v) => `${fixed(100 * v, digits(100 * v, 0, 1))} %`,
  plain: (v) => fixed(v, digits(v, 3, 4)),
  epsilon: (v) => `${Number((255 * v).toFixed(2))}/255`,
  switch: (v) => (v ? "on" : "off"),
}
// What a typed figure means, the inverse of what is shown.
const SCALES = { sigma: (v) => v / 100, percent: (v) => v / 100, epsilon: (v) => v / 255 }

function slider(spec, box, moved) {
  let side = 1
  const name = h("button", { class: "k", type: "button", tabindex: -1, onclick: reset }, spec.label)
  const range = h("input", { type: "range", min: spec.low, max: spec.high, step: spec.step, "aria-label": spec.label })
  const shown = h("button", { class: "v", type: "button", tabindex: -1 })
  const typed = h("input", { class: "typed", type: "text", inputmode: "decimal", "aria-label": `${spec.label}, typed`, hidden: true })
  const row = h("div", { class: "sl", "data-name": spec.name }, name, h("span", { class: "tr" }, h("u"), range), shown, typed)
  const share = (v) => (100 * (v - spec.low)) / (spec.high - spec.low)
  row.querySelector("u").style.left = `calc(${share(spec.identity)}% + ${6.5 - (13 * share(spec.identity)) / 100}px)`
  let held = false, current = spec.identity

  function paint(value) {
    current = value
    const [a, b] = [share(spec.identity), share(value)].sort((p, q) => p - q)
    range.style.setProperty("--from", `${a}%`)
    range.style.setProperty("--to", `${b}%`)
    const changed = Math.abs(value - spec.identity) > 1e-9
    row.classList.toggle("ch", changed)
    shown.textContent = FORMATS[spec.format](value)
    const pixels = spec.format === "sigma" ? ` (${fixed(value * side, 2)} px)` : ""
    shown.title = `${spec.label} ${shown.textContent}${pixels}. Click to type a value`
    range.setAttribute("aria-valuetext", shown.textContent + pixels)
    name.title = (changed ? `Reset ${spec.label}` : spec.label) + (spec.help ? `. ${spec.help}.` : "")
  }
  function tell(value) {
    paint(value)
    moved(spec.name, value)
    box.put(spec.name, () => ({ kind: "set", name: spec.name, value: current }))
  }
  function reset() { range.value = spec.identity; tell(spec.identity) }
  range.addEventListener("input", () => tell(Number(range.value)))
  range.addEventListener("pointerdown", () => { held = true })
  for (const end of ["pointerup", "pointercancel", "blur"]) range.addEventListener(end, () => { held = false })
  range.addEventListener("dblclick", reset)
  range.addEventListener("keydown", (event) => {
    if (event.key === "Escape" || event.key === "Delete" || event.key === "Backspace") { event.preventDefault(); event.stopPropagation(); reset() }
  })
  function type(text) {
    typed.value = text
    typed.hidden = false; shown.hidden = true
    typed.focus()
  }
  shown.addEventListener("click", () => {
    type(shown.textContent.replace(MINUS, "-").replace("/255", "").replace(/[^0-9.+-]/g, ""))
    typed.select()
  })
  // A figure typed on the slider begins a typed value.
  range.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !/^[0-9.+-]$/.test(event.key)) return
    event.preventDefault()
    event.stopPropagation()
    type(event.key)
  })
  const leave = (keep) => {
    if (typed.hidden) return
    typed.hidden = true; shown.hidden = false
    const text = typed.value.trim().replace(",", ".").replace(MINUS, "-").replace(/\/255$/, "")
    const figure = Number(text)
    if (!keep || text === "" || !Number.isFinite(figure)) return
    const scale = SCALES[spec.format]
    const value = Math.min(Math.max(scale ? scale(figure) : figure, spec.low), spec.high)
    range.value = value
    tell(value)
  }
  typed.addEventListener("keydown", (event) => {
    if (event.key === "Enter") leave(true)
    if (event.key === "Escape") { event.stopPropagation(); leave(false) }
  })
  typed.addEventListener("blur", () => leave(true))
  paint(spec.identity)
  return {
    node: row,
    move(value) { range.value = value; tell(value) },
    set(value, shorter) {
      side = shorter
      if (held) { paint(current); return }
      range.value = value
      paint(value)
    },
  }
}

// A select that is there only while its choice has an effect.
function fillChoice(label, kind, options, send) {
  const node = h("select", { class: "fill", "aria-label": label, title: label, hidden: true, onchange: () => send({ kind, value: node.value }) },
    ...options.map((name) => h("option", { value: name }, `${label.split(" ")[0].toLowerCase()}: ${name}`)))
  return { node, set(value, hasEffect) { node.hidden = !hasEffect; node.value = value } }
}

const SHOWN_SLIDERS = 6
// `moved(name, value)` is told of a control in hand at once, before the server answers.
function controls(specs, send, changed, moved) {
  const box = outbox(send, changed)
  const sliders = new Map()
  const switches = new Map()
  const list = h("div", { class: "sls" })
  const tools = h("div", { class: "tools" })
  const signs = { horizontal_flip: "↔", vertical_flip: "↕" }
  const more = h("button", { class: "btn txt more", type: "button", "aria-expanded": "false" })
  const opened = (is) => {
    list.classList.toggle("all", is)
    more.setAttribute("aria-expanded", String(is))
    more.textContent = is ? "Fewer" : `+ ${sliders.size - SHOWN_SLIDERS} more`
  }
  function build(given) {
    specs = given
    sliders.clear(); switches.clear(); list.replaceChildren()
    tools.querySelectorAll(".sw2").forEach((b) => b.remove())
    for (const spec of specs) {
      if (spec.is_switch) {
        const button = h("button", { class: "btn sw2", type: "button", "aria-pressed": "false", title: spec.label, "aria-label": spec.label, "data-name": spec.name }, signs[spec.name] || spec.label)
        button.addEventListener("click", () => {
          const on = button.getAttribute("aria-pressed") !== "true"
          button.setAttribute("aria-pressed", String(on))
          moved(spec.name, on ? 1 : 0)
          box.put(spec.name, () => ({ kind: "set", name: spec.name, value: on ? 1 : 0 }))
        })
        switches.set(spec.name, button)
        tools.insertBefore(button, more)
      } else {
        const row = slider(spec, box, moved)
        sliders.set(spec.name, row)
        list.append(row.node)
      }
    }
    more.hidden = sliders.size <= SHOWN_SLIDERS
    opened(list.classList.contains("all"))
  }
  more.addEventListener("click", () => opened(!list.classList.contains("all")))
  const restore = h("button", { class: "btn", type: "button", hidden: true, onclick: () => send({ kind: "unbox", index: -1 }) })
  const undo = h("button", { class: "btn txt", type: "button", title: "Undo (z)", "aria-label": "Undo", onclick: () => box.put("undo", () => ({ kind: "undo" })) }, "↶")
  const all = h("button", { class: "btn txt", type: "button", "data-action": "reset", onclick: () => box.put("reset", () => ({ kind: "reset" })) }, "Reset all")
  const fill = fillChoice("Fill of removed regions", "region_fill", ["mean", "black", "blur"], (m) => box.put("region_fill", () => m))
  const corners = fillChoice("Corners that a rotation turns in", "rotation_fill", ["black", "edge", "mirror"], (m) => box.put("rotation_fill", () => m))
  const note = h("span", { class: "mut attack", hidden: true })
  tools.append(more, h("span", { class: "sp" }), undo, all)
  const extra = h("div", { class: "tools extra" }, restore, fill.node, corners.node, note)
  build(specs)
  return {
    isQuiet: box.isQuiet,
    build,
    move(name, value) {
      if (sliders.has(name)) sliders.get(name).move(value)
      else { moved(name, value >= 0.5 ? 1 : 0); box.put(name, () => ({ kind: "set", name, value: value >= 0.5 ? 1 : 0 })) }
    },
    node: h("div", { class: "ctl", role: "group", "aria-label": "Changes of the image" }, list, tools, extra),
    set(change, shorter, attack) {
      box.answer(change.seq)
      if (!box.isQuiet()) return
      let hidden = false
      specs.forEach((spec) => {
        const value = spec.name in change.magnitudes ? change.magnitudes[spec.name] : spec.identity
        if (spec.is_switch) switches.get(spec.name).setAttribute("aria-pressed", String(value === 1))
        else {
          sliders.get(spec.name).set(value, shorter)
          if (spec.name in change.magnitudes && [...sliders.keys()].indexOf(spec.name) >= SHOWN_SLIDERS) hidden = true
        }
      })
      // A change that cannot be seen would puzzle: its slider is shown.
      if (hidden) opened(true)
      const n = change.boxes.length
      restore.hidden = n === 0
      restore.textContent = n === 1 ? "Restore" : `Restore ${n}`
      restore.title = n === 1 ? "Restore the removed region" : "Restore all removed regions"
      fill.set(change.region_fill || "mean", n > 0)
      corners.set(change.rotation_fill || "black", "rotation" in change.magnitudes)
      note.hidden = !("fgsm" in change.magnitudes) || !attack
      note.textContent = attack || ""
      extra.hidden = n === 0 && !("rotation" in change.magnitudes) && note.hidden
      all.disabled = n === 0 && Object.keys(change.magnitudes).length === 0
    },
  }
}
