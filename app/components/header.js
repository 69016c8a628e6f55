// Header of the page: name, pages, search, store, theme, help. Text from data is set as text.
const LOGO = `<svg width="22" height="22" viewBox="0 0 22 22" aria-hidden="true"><rect x="1" y="1" width="9" height="9" rx="2" fill="var(--vt-ink)"/><rect x="12" y="1" width="9" height="9" rx="2" fill="var(--vt-ink)" opacity=".32"/><rect x="1" y="12" width="9" height="9" rx="2" fill="var(--vt-ink)" opacity=".32"/><rect x="12" y="12" width="9" height="9" rx="2" fill="var(--vt-accent)"/></svg>`
const line = (d) => `<svg class="i" viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">${d}</svg>`
const SEARCH = line('<circle cx="7" cy="7" r="4.5"/><path d="M10.5 10.5L14 14"/>')
const THEME = line('<circle cx="8" cy="8" r="5.5"/><path d="M8 2.5a5.5 5.5 0 0 1 0 11z" fill="currentColor"/>')
const HELP = line('<circle cx="8" cy="8" r="6"/><path d="M6.2 6.2c.2-2.2 3.7-2.1 3.6.1 0 1.4-1.8 1.4-1.8 2.9M8 11.4v.4"/>')

export function render({ model, el }) {
  el.innerHTML = `<div class="header"><div class="logo">${LOGO}<span>VATUN</span></div>
    <div class="phone"><b></b><span></span></div><nav aria-label="Pages"></nav><div class="sp"></div>
    <form class="search" role="search">${SEARCH}<input type="text" autocomplete="off" spellcheck="false" aria-label="Search"/><kbd>/</kbd>
    <div class="hint" popover="manual"></div></form><div class="store"></div>
    <button type="button" class="ib hand" id="seek" aria-label="Search" title="Search">${SEARCH}</button>
    <button type="button" class="ib desk" id="theme">${THEME}</button><button type="button" class="ib" id="help" aria-label="Help and keyboard" title="Help and keyboard (?)">${HELP}</button></div>`
  const $ = (s) => el.querySelector(s)
  const input = $("input"), hint = $(".hint"), form = $("form")

  function place() {
    const at = form.getBoundingClientRect()
    hint.style.left = `${Math.max(8, Math.min(at.right, innerWidth - 8) - 340)}px`
    hint.style.top = `${at.bottom + 5}px`
  }
  function showHint(none) {
    hint.replaceChildren()
    if (none) {
      const said = document.createElement("div")
      said.className = "none"
      said.textContent = none
      hint.append(said)
    }
    for (const [text, means] of model.header_data.examples || []) {
      const row = document.createElement("div")
      const code = document.createElement("code")
      code.textContent = text
      const span = document.createElement("span")
      span.textContent = ` ${means}`
      row.append(code, span)
      hint.append(row)
    }
    place()
    if (!hint.matches(":popover-open")) hint.showPopover()
  }
  const hide = () => { if (hint.matches(":popover-open")) hint.hidePopover() }
  input.addEventListener("focus", () => showHint(""))
  // On a phone the search takes the header's place while it is used.
  const open = (on) => $(".header").classList.toggle("seeking", on)
  input.addEventListener("blur", () => { hide(); open(false) })
  input.addEventListener("keydown", (e) => {
    if (e.key === "Escape") { input.value = ""; input.blur() }
    e.stopPropagation()
  })
  form.addEventListener("submit", (e) => { e.preventDefault(); model.send_msg({ search: input.value }) })
  const take = () => { open(true); input.focus(); input.select() }
  $("#seek").onclick = take
  $("#theme").onclick = () => model.send_msg({ theme: true })
  $("#help").onclick = () => model.send_msg({ help: true })

  function draw() {
    const d = model.header_data
    const wide = innerWidth >= 1600
    input.placeholder = wide ? "Search images, classes, filters" : "Search"
    const theme = $("#theme")
    theme.title = d.dark ? "Switch to the light theme" : "Switch to the dark theme"
    theme.setAttribute("aria-label", theme.title)
    $("nav").replaceChildren(...(d.pages || []).map((p) => {
      const b = document.createElement("button")
      b.type = "button"
      b.textContent = p.label
      b.dataset.page = p.id
      if (p.id === d.page) b.setAttribute("aria-current", "page")
      b.onclick = () => model.send_msg({ page: p.id })
      return b
    }))
    const store = $(".store")
    store.replaceChildren()
    const names = d.stores || []
    // Without one of them on the page, they are the way to it.
    if (names.length > 1 || (names.length && !d.store)) {
      const list = document.createElement("select")
      list.setAttribute("aria-label", "Store")
      for (const name of d.store ? names : ["", ...names]) {
        const o = document.createElement("option")
        o.value = name
        o.textContent = name || "Choose a store"
        list.append(o)
      }
      list.value = d.store
      list.onchange = () => { location.search = `?store=${encodeURIComponent(list.value)}` }
      store.append(list)
    } else {
      const b = document.createElement("b")
      b.textContent = d.store || ""
      store.append(b)
    }
    const splits = d.splits || []
    if (splits.length > 1) {
      const list = document.createElement("select")
      list.className = "line"
      list.setAttribute("aria-label", "Images that are shown")
      for (const split of splits) {
        const o = document.createElement("option")
        o.value = split.id
        o.textContent = split.label
        list.append(o)
      }
      list.value = d.split
      list.onchange = () => model.send_msg({ split: list.value })
      store.append(list)
    } else {
      const small = document.createElement("span")
      small.textContent = d.line || ""
      store.append(small)
    }
    $(".phone b").textContent = d.store || ""
    $(".phone span").textContent = d.line || ""
  }
  model.on("header_data", draw)
  addEventListener("resize", draw)
  const found = (msg) => {
    if (msg.found) { hide(); input.blur() }
    else if (msg.none) showHint(msg.none)
  }
  model.on("msg:custom", found)
  // Asked for by the key in the browser: through the server, the first letters typed would be lost.
  document.addEventListener("vatun-search", take)
  model.on("remove", () => {
    removeEventListener("resize", draw)
    document.removeEventListener("vatun-search", take)
  })
  draw()
}
