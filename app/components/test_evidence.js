// What the evidence is drawn for, how strongly it is laid over the picture, and whether to trust it.
function evidenceRow(send, overlay) {
  const layers = h("select", { "aria-label": "Explanation and layer of the evidence", onchange: () => send({ kind: "evidence", value: layers.value }) })
  const classes = h("select", { "aria-label": "Class of the evidence", onchange: () => send({ kind: "class", value: classes.value }) })
  const lock = h("span", { class: "lock", title: "The class is held for both pictures" }, icon("lock", 13))
  const top = h("span", { class: "mut" })
  const strength = h("input", { type: "range", class: "strength", min: 0, max: 1, step: 0.05, value: 1, "aria-label": "Strength of the evidence over the picture", title: "Strength of the evidence over the picture" })
  strength.style.setProperty("--from", "0%")
  const laid = () => { strength.style.setProperty("--to", `${100 * strength.value}%`); overlay(Number(strength.value)) }
  strength.addEventListener("input", laid)
  strength.style.setProperty("--to", "100%")
  const better = h("button", { class: "btn", type: "button" })
  better.addEventListener("click", () => send({ kind: "evidence", value: better.dataset.value }))
  const check = h("button", { class: "btn", type: "button", title: "Draw the maps again from networks of random weights: a map that survives does not show what was learnt", onclick: () => send({ kind: "randomise" }) }, "Random weights")
  const said = h("p", { class: "said", role: "status", hidden: true })
  const fillGroups = (groups) => {
    const key = JSON.stringify(groups)
    if (layers.dataset.key === key) return
    layers.dataset.key = key
    layers.replaceChildren(...groups.map((g) => h("optgroup", { label: g.label }, ...g.options.map((o) => h("option", { value: o.value }, o.label)))))
  }
  const fillClasses = (options) => {
    const key = JSON.stringify(options)
    if (classes.dataset.key === key) return
    classes.dataset.key = key
    classes.replaceChildren(...options.map((o) => h("option", { value: o.value }, o.label)))
  }
  const row = h("div", { class: "camrow" }, layers, h("span", { class: "cls" }, lock, classes), strength,
    h("span", { class: "scale" }, h("span", { class: "mut" }, "0"), h("span", { class: "ramp", role: "img", "aria-label": "colour scale of both maps" }), top), better, h("span", { class: "sp" }), check)
  return {
    node: h("div", { class: "cam" }, row, said),
    draw(v, e) {
      fillClasses(v.classes)
      if (e.choices) { fillGroups(e.choices); layers.value = e.value; classes.value = e.class_value }
      lock.hidden = !e.class_value
      row.classList.toggle("idle", !e.choices)
      top.textContent = e.max ? readable(Math.max(...e.max)) : ""
      better.hidden = !e.better
      // Where there is little to see, the way to more takes the place of its check.
      check.hidden = Boolean(e.better)
      better.dataset.value = e.better || ""
      better.textContent = `Use ${e.better_label || ""}`
      better.title = e.is_small ? `The map of this layer is only ${e.height}×${e.width}` : ""
      check.disabled = e.stage !== "ready" || e.randomised === "…"
      said.hidden = !e.randomised && e.stage !== "failed"
      said.textContent = e.stage === "failed" ? e.message : e.randomised === "…" ? "Drawing the maps with random weights…" : e.randomised || ""
    },
  }
}

// Two lines under a map: what its hottest tenth does to the score, and what random parts do.
function trustLines() {
  const first = h("span"), second = h("span")
  return {
    node: h("div", { class: "facts" }, first, second),
    draw(test, isKnown) {
      first.className = second.className = ""
      first.replaceChildren(); second.replaceChildren()
      if (!isKnown) return
      if (!test) { first.textContent = "nothing to test"; return }
      first.append("hottest tenth ", h("b", { class: test.stands_out ? "" : "weak" }, test.hottest))
      second.append(test.stands_out ? "" : h("b", { class: "weak" }, "▲ "), `random ${test.random}`)
      first.title = second.title = test.help
    },
  }
}

// Pictures and figures of cases that are held, to look at side by side.
function heldCases(send) {
  const list = h("div", { class: "cases" })
  const count = h("span", { class: "mut" })
  const node = h("section", { class: "held", "aria-label": "Held cases" }, h("div", { class: "sh" }, h("h3", {}, "Held"), count), list)
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0))
  const side = (s) => h("span", { class: "p" }, h("i", { class: "sw", style: `background:${s.colour}` }), `${s.name} ${fixed(s.score, 2)}`)
  return {
    node,
    draw(cases, colour) {
      node.hidden = cases.length === 0
      count.textContent = cases.length === 1 ? "1 case" : `${cases.length} cases`
      const draws = []
      list.replaceChildren(...cases.map((c) => {
        const pixels = bytes(c.pictures), size = 3 * c.width * c.height
        const pair = [pixels.subarray(0, size), pixels.subarray(size)]
        const maps = new Float32Array(bytes(c.evidence.maps).buffer)
        const cells = c.evidence.width * c.evidence.height
        const canvases = [0, 1, 2, 3].map(() => h("canvas"))
        draws.push(() => canvases.forEach((canvas, k) => {
          if (k < 2) drawPixels(canvas, pair[k], c.width, c.height)
          else drawEvidence(canvas, pair[k - 2], c.width, c.height, maps.subarray((k - 2) * cells, (k - 1) * cells), c.evidence.width, c.evidence.height, Math.max(...c.evidence.max), colour, 1)
        }))
        return h("article", { class: "case" },
          h("div", { class: "t" }, h("b", {}, c.title), h("span", { class: "sp" }),
            h("button", { class: "btn txt", type: "button", onclick: () => send({ kind: "open", number: c.number }) }, "Open"),
            h("button", { class: "btn txt", type: "button", "aria-label": `Let go of ${c.title}`, title: "Let go", onclick: () => send({ kind: "release", number: c.number }) }, "×")),
          h("div", { class: "fours" }, ...canvases.map((canvas) => h("div", { class: "im" }, canvas))),
          h("div", { class: "line" }, side(c.before), ...(c.is_changed ? [h("span", { class: c.is_flipped ? "ar" : "ar calm" }, "→"), side(c.after)] : []), h("span", { class: "mut" }, c.truth ? `true ${c.truth}` : "")),
          h("div", { class: "mut words", title: c.words }, c.words))
      }))
      draws.forEach((draw) => draw())
    },
  }
}
