// The test view in one piece: verdict, four pictures, evidence, controls, scores, and its states.
function verdictLine() {
  const before = h("span", { class: "p" })
  const arrow = h("span", { class: "ar", "aria-hidden": "true" }, "→")
  const after = h("span", { class: "p" })
  const spoken = h("span", { class: "spoken", role: "status" })
  const flipped = h("span", { class: "chip wrong" }, icon("no", 12), "prediction flipped")
  const truth = h("span", { class: "chip truth" })
  const node = h("div", { class: "headline" }, h("span", { class: "names", "aria-hidden": "true" }, before, arrow, after), spoken, h("span", { class: "sp" }), flipped, truth)
  const show = (box, side) => box.replaceChildren(h("span", { class: "sw", style: `background:${side.colour}` }), h("b", {}, side.name), h("em", {}, fixed(side.score, 2)))
  return {
    node,
    draw(v) {
      show(before, v.before)
      show(after, v.after)
      arrow.hidden = after.hidden = !v.is_changed
      arrow.classList.toggle("calm", !v.is_flipped)
      flipped.hidden = !v.is_flipped
      truth.hidden = !v.truth
      truth.textContent = v.truth ? `true class ${v.truth}` : ""
      truth.classList.toggle("bad", Boolean(v.is_wrong))
      if (spoken.textContent !== v.spoken) spoken.textContent = v.spoken
    },
  }
}

function evidenceRow(send) {
  const choice = (label, kind) => {
    const list = h("select", { "aria-label": label, onchange: () => send({ kind, value: list.value }) })
    return list
  }
  const layers = choice("Layer of the evidence", "layer")
  const classes = choice("Class of the evidence", "class")
  const lock = h("span", { class: "lock", title: "The class is held for both pictures" }, icon("lock", 13))
  const top = h("span", { class: "mut" })
  const better = h("button", { class: "btn", type: "button" })
  better.addEventListener("click", () => send({ kind: "layer", value: better.dataset.layer }))
  const note = h("span", { class: "mut note" })
  const fill = (list, options, value) => {
    const key = JSON.stringify(options)
    if (list.dataset.key !== key) {
      list.dataset.key = key
      list.replaceChildren(...options.map((o) => h("option", { value: o.value }, o.label)))
    }
    list.value = value
  }
  return {
    node: h("div", { class: "camrow" }, layers, h("span", { class: "cls" }, lock, classes), h("span", { class: "scale" }, h("span", { class: "mut" }, "0"), h("span", { class: "ramp", role: "img", "aria-label": "colour scale of both maps" }), top), note, better),
    draw(v) {
      fill(layers, v.layers, v.layer)
      fill(classes, v.classes, v.class_value)
      lock.hidden = v.class_value === ""
      const e = v.evidence
      const shared = Math.max(...e.max)
      top.textContent = readable(shared)
      node_hidden(better, !e.better)
      better.dataset.layer = e.better || ""
      better.textContent = `Use ${e.better_label || e.better || ""}`
      note.textContent = e.better ? `its map is only ${e.height}×${e.width}` : ""
    },
  }
}
const node_hidden = (node, hidden) => { node.hidden = hidden }

function scoreBars() {
  const rows = h("div", { class: "bars", role: "table", "aria-label": "Scores before and after the change" })
  const chips = h("div", { class: "chips" })
  const key = h("span", { class: "key" }, h("i", { class: "was" }), "original", h("i", { class: "now" }), "changed")
  return {
    node: h("div", { class: "scores" }, h("div", { class: "sh" }, h("h3", {}, "Scores"), key), rows, chips),
    draw(v) {
      key.querySelector(".now").style.background = v.verdict.after.colour
      rows.replaceChildren(...v.scores.map((s) => {
        const delta = s.after - s.before
        const still = Math.abs(delta) < 0.005
        return h("div", { class: "row", role: "row" },
          h("span", { class: "nm", role: "rowheader", title: s.name }, s.name, s.is_true ? h("small", { title: "true class" }, " true") : null),
          h("span", { class: "bb", role: "cell", "aria-label": `${fixed(s.before, 2)} to ${fixed(s.after, 2)}` },
            h("i", { style: `width:${(100 * s.before).toFixed(1)}%` }), h("b", { style: `width:${Math.max(0.6, 100 * s.after).toFixed(1)}%;background:${s.colour}` })),
          h("span", { class: "num", role: "cell" }, fixed(s.after, 2)),
          h("span", { class: `dl ${still ? "" : delta > 0 ? "gain" : "loss"}`, role: "cell" }, still ? "" : signed(delta, 2)))
      }))
      chips.replaceChildren(...v.chips.map((c) => h("span", { class: "chip", title: c.help }, c.text)))
    },
  }
}

export function render({ model, el }) {
  const send = (message) => model.send_msg(message)
  const verdict = verdictLine()
  const pics = pictures(send)
  const cam = evidenceRow(send)
  const panel = controls(model.bench_specs, send, () => pause())
  const bars = scoreBars()
  const stop = h("button", { class: "btn", type: "button", onclick: () => send({ kind: "stop" }) }, "Stop")
  const waitText = h("span")
  const wait = h("div", { class: "wait", role: "status" }, waitText, stop)
  const progress = h("div", { class: "prog", "aria-hidden": "true" }, h("i"))
  const figures = h("div", { class: "figures" }, verdict.node, pics.node, cam.node)
  const bottom = h("div", { class: "bcols" }, panel.node, bars.node)
  const head = h("b")
  const detail = h("p")
  const cure = h("button", { class: "btn", type: "button", onclick: () => send({ kind: "cure" }) })
  const sign = h("span", { class: "sign" }, icon("warn", 18))
  const notice = h("div", { class: "notice", role: "status" }, h("div", {}, sign, head, detail, cure))
  const bones = h("div", { class: "bones", role: "status", "aria-label": "loading" }, h("i", { class: "w" }), h("div", {}, h("i"), h("i"), h("i"), h("i")), h("i", { class: "w" }), h("i", { class: "f" }))
  const bench = h("div", { class: "bench" }, progress, figures, bottom, wait, notice, bones)
  el.append(bench)

  function draw() {
    const v = model.bench_view
    bench.dataset.stage = v.stage || "empty"
    sign.hidden = !v.is_error
    head.textContent = v.headline || ""
    detail.textContent = v.detail || ""
    cure.hidden = !v.cure
    cure.textContent = v.cure || ""
    pause()
    if (v.stage !== "ready") return
    verdict.draw(v.verdict)
    cam.draw(v)
    bars.draw(v)
    pics.draw(v, model.bench_images, model.bench_maps)
    sync()
  }
  function sync() {
    const image = model.bench_view.image
    panel.set(model.bench_change, image ? Math.min(image.width, image.height) : 1)
    pics.boxes(model.bench_change.boxes)
  }
  function pause() {
    const ahead = model.bench_ahead
    // From the moment a control is moved until its answer is drawn, the figures are old ones.
    // A notice has no figures: nothing is waited for beside it.
    const there = (model.bench_view.stage || "empty") !== "empty"
    bench.classList.toggle("waiting", there && (ahead >= 0 || !panel.isQuiet()))
    waitText.textContent = ahead > 0 ? `The network is busy: ${ahead} ${ahead === 1 ? "request is" : "requests are"} ahead of yours` : "Predicting… the figures belong to the previous change"
  }
  const ask = onceAFrame(model, ["bench_view", "bench_images", "bench_maps"], draw)
  model.on("bench_change", sync)
  model.on("bench_ahead", pause)
  const watch = new ResizeObserver(ask)
  watch.observe(pics.node)
  model.on("remove", () => watch.disconnect())
  draw()
  sync()
  pause()
}
