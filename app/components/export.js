// The menu "Export" of the selection bar: what can be taken along, and how large it is.
function exportMenu(model, bar) {
  const make = (tag, name, text) => {
    const element = document.createElement(tag)
    element.className = name
    if (text) element.textContent = text
    return element
  }
  const open = make("button", "btn export")
  open.type = "button"
  open.title = "Take the selected images along"
  open.innerHTML = '<svg class="i" viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d="M8 2v8M4.800 7L8 10.200 11.200 7M2.500 11v2.500h11V11"/></svg>'
  open.append(make("span", "desk", "Export"))
  open.setAttribute("aria-label", "Export the selected images")
  open.setAttribute("aria-haspopup", "menu")
  open.setAttribute("aria-expanded", "false")
  const menu = make("div", "menu")
  menu.setAttribute("role", "menu")
  menu.setAttribute("popover", "auto")
  const said = make("p", "said")
  said.setAttribute("role", "status")
  bar.append(open, menu)

  const entries = () => [...menu.querySelectorAll("button:not(:disabled)")]
  function draw() {
    menu.replaceChildren(...model.bar_exports.map((item) => {
      const entry = make("button", "entry")
      entry.type = "button"
      entry.setAttribute("role", "menuitem")
      entry.dataset.kind = item.kind
      entry.disabled = !item.can
      entry.append(make("b", "", item.label), make("span", "", item.detail))
      entry.onclick = () => {
        said.textContent = ""
        model.send_msg({ export: item.kind })
      }
      return entry
    }), said)
  }
  function place() {
    const at = open.getBoundingClientRect(), width = menu.offsetWidth, height = menu.offsetHeight
    const below = at.bottom + 6
    menu.style.left = `${Math.max(8, Math.min(at.right - width, innerWidth - width - 8))}px`
    menu.style.top = `${below + height > innerHeight - 8 ? Math.max(8, at.top - height - 6) : below}px`
  }
  // A press outside closes an open menu before the click on the button arrives.
  let wasOpen = false
  open.onpointerdown = () => { wasOpen = menu.matches(":popover-open") }
  open.onclick = () => {
    const stays = wasOpen
    wasOpen = false
    said.textContent = ""
    if (stays || menu.matches(":popover-open")) { menu.hidePopover(); return }
    menu.showPopover()
    place()
    const [first] = entries()
    if (first) first.focus()
  }
  menu.addEventListener("toggle", (event) => open.setAttribute("aria-expanded", String(event.newState === "open")))
  menu.addEventListener("keydown", (event) => {
    event.stopPropagation()
    const all = entries(), at = all.indexOf(event.target)
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key]
    if (event.key === "Escape") { event.preventDefault(); menu.hidePopover(); open.focus() }
    if (to === undefined || !all.length) return
    event.preventDefault()
    all[(to + all.length) % all.length].focus()
  })

  function save({ name, url, type, data, reason }) {
    if (reason) { said.textContent = reason; place(); return }
    const link = document.createElement("a")
    link.download = name
    const bytes = data && Uint8Array.from(atob(data), (c) => c.charCodeAt(0))
    link.href = url || URL.createObjectURL(new Blob([bytes], { type }))
    link.click()
    if (!url) setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
    menu.hidePopover()
  }
  model.on("bar_exports", draw)
  model.on("msg:custom", (message) => { if (message.download) save(message.download) })
  draw()
}
