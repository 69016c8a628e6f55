// The selection: how many, how it was made, its errors beside the base rate, its images.
const line = (d, more = "") => `<svg class="i" ${more} viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">${d}</svg>`
const UNDO = '<path d="M6 3L2.500 6.500 6 10M3 6.500h6.500a3.500 3.500 0 0 1 0 7H6"/>'

export function render({ model, el }) {
  el.innerHTML = `<section class="selbar" aria-label="Selection"><div class="edge"></div>
    <div class="n"><span class="big"></span><small></small></div>
    <div class="mix desk"><div class="mixbar" role="img"></div><small></small></div><div class="vr"></div>
    <button type="button" class="ib desk" data-act="previous" aria-label="Previous image" title="Previous image (←)">${line('<path d="M10 3L5 8l5 5"/>')}</button>
    <div class="film" role="listbox" ></div>
    <button type="button" class="ib desk" data-act="next" aria-label="Next image" title="Next image (→)">${line('<path d="M6 3l5 5-5 5"/>')}</button>
    <label class="at desk"><span class="place wide"></span><select class="order" aria-label="Order of the selected images"></select><span class="swept"></span></label><div class="vr"></div>
    <button type="button" class="btn desk" data-act="invert" title="Select the others (i)">Invert</button>
    <button type="button" class="ib" data-act="undo" aria-label="Undo" title="Undo (z)">${line(UNDO)}</button>
    <button type="button" class="ib desk" data-act="redo" aria-label="Redo" title="Redo (Shift z)">${line(UNDO, 'style="transform:scaleX(-1)"')}</button>
    <button type="button" class="btn" data-act="clear" title="Clear the selection (Esc)">Clear</button></section>`
  exportMenu(model, el.querySelector(".selbar"))
  const $ = (s) => el.querySelector(s)
  for (const button of el.querySelectorAll("[data-act]"))
    button.onclick = () => model.send_msg({ act: button.dataset.act })

  const order = $(".order")
  order.onchange = () => model.send_msg({ order: order.value })
  function options() {
    order.replaceChildren(...model.bar_orders.map((o) => {
      const option = document.createElement("option")
      option.value = o.value
      option.textContent = o.label
      return option
    }))
    order.value = model.bar_data.order || ""
  }

  function text() {
    const d = model.bar_data
    $(".selbar").classList.toggle("all", Boolean(d.all))
    const big = $(".big")
    big.textContent = `${d.n} `
    const of = document.createElement("em")
    of.textContent = d.of
    big.append(of)
    const small = $(".n small")
    small.replaceChildren()
    if (d.origin) {
      const origin = document.createElement("span")
      origin.className = "desk"
      origin.textContent = `${d.origin} · `
      small.append(origin)
    }
    const share = document.createElement("span")
    share.className = d.raised ? "up" : ""
    share.textContent = d.share || ""
    small.append(share, document.createTextNode(d.base || ""))
    small.title = `${d.origin ? d.origin + " · " : ""}${d.share || ""}${d.base || ""}`
    const bar = $(".mixbar")
    bar.setAttribute("aria-label", `True classes: ${d.mixtext || ""}`)
    bar.replaceChildren(...(d.mix || []).map(([width, colour, name]) => {
      const part = document.createElement("i")
      part.style.cssText = `flex:${width} 0 0;background:${colour}`
      part.title = name
      return part
    }))
    $(".mix small").textContent = d.mixtext || ""
    $(".mix small").title = d.mixtext || ""
    const at = d.at || ""
    $(".place").textContent = `${d.place || ""},`
    $(".swept").textContent = d.swept || ""
    $(".at").title = at
    order.value = d.order || ""
    $(".film").setAttribute("aria-label", `Selected images, ${at}; arrow keys move the focus`)
    for (const act of ["undo", "redo", "clear", "invert"])
      $(`[data-act=${act}]`).disabled = !(d.can || {})[act]
  }

  function film() {
    const strip = $(".film")
    const items = model.bar_film
    if (!items.length) {
      const none = document.createElement("span")
      none.className = "none"
      none.textContent = model.bar_data.hint || ""
      strip.replaceChildren(none)
      return
    }
    strip.replaceChildren(...items.map((item) => {
      const button = document.createElement("button")
      button.type = "button"
      button.className = `th${item.focus ? " focus" : ""}${item.bad ? " bad" : ""}`
      button.setAttribute("role", "option")
      button.setAttribute("aria-selected", Boolean(item.focus))
      button.setAttribute("aria-label", item.label)
      button.title = item.label
      button.dataset.image = item.id
      button.tabIndex = item.focus ? 0 : -1
      const picture = document.createElement("img")
      picture.src = item.url
      picture.alt = ""
      picture.loading = "lazy"
      button.append(picture)
      button.onclick = () => model.send_msg({ focus: item.id })
      return button
    }))
    centre()
  }
  function centre() {
    const strip = $(".film"), at = strip.querySelector(".focus")
    strip.scrollLeft = !at ? 0 : at.offsetLeft - strip.offsetLeft - strip.clientWidth / 2 + at.offsetWidth / 2
  }
  model.on("bar_orders", options)
  model.on("bar_data", text)
  model.on("bar_film", film)
  const seen = new ResizeObserver(centre)
  seen.observe($(".film"))
  model.on("remove", () => seen.disconnect())
  options()
  text()
  film()
}
