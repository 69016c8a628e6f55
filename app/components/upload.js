// Sends one picture in pieces, each after the one before was acknowledged.
const PIECE = 192 * 1024
const TYPES = ["image/png", "image/jpeg", "image/webp", "image/bmp", "image/gif"]
const VIEW = "view-b"
const PATIENCE_MS = 30000

const isView = (node) => Boolean(node.classList && node.classList.contains(VIEW))
function viewAround(node) {
  while (node && !isView(node)) node = node.parentNode || node.host
  return node
}
const hasFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files")
function base64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader()
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1))
    reader.onerror = () => reject(reader.error)
    reader.readAsDataURL(blob)
  })
}

export function render({ model, el }) {
  const chooser = h("input", { type: "file", accept: TYPES.join(","), hidden: true, tabindex: -1, "aria-hidden": "true" })
  const button = h("button", { class: "btn", type: "button", title: `Upload, drop or paste a picture. ${model.upload_accepted}` })
  const stop = h("button", { class: "ib", type: "button", title: "Stop the upload", "aria-label": "Stop the upload", hidden: true }, "×")
  const zone = h("div", { class: "zone", hidden: true, "aria-hidden": "true" }, "Drop the picture to test it")
  const pop = h("div", { class: "pop", popover: "auto", role: "alert" })
  el.append(h("div", { class: "up" }, chooser, button, stop), zone, pop)
  // The file that is being sent: `next` is the piece whose turn it is.
  let job = null
  let timer = 0

  function draw() {
    const s = model.upload_state
    const isReading = s.stage === "decoding"
    const share = job ? s.share : 0
    const percent = `${Math.floor(100 * share)} %`
    button.textContent = job ? percent : isReading ? "Reading …" : "Upload"
    button.setAttribute("aria-label", job ? `Uploading, ${percent}` : isReading ? "Reading the picture" : "Upload a picture")
    button.style.setProperty("--share", share)
    button.disabled = Boolean(job) || isReading
    stop.hidden = !job
  }
  function say(text) {
    pop.textContent = text
    if (!pop.isConnected) return
    pop.showPopover()
    const at = button.getBoundingClientRect()
    pop.style.left = `${Math.max(8, Math.min(at.left, innerWidth - pop.offsetWidth - 8))}px`
    pop.style.top = `${Math.min(at.bottom + 6, innerHeight - pop.offsetHeight - 8)}px`
  }
  function end() {
    const had = stop.matches(":focus")
    job = null
    clearTimeout(timer)
    draw()
    if (had) button.focus()
  }
  function fail(text) {
    end()
    say(text)
  }
  function abort() {
    if (!job) return
    model.send_msg({ kind: "abort" })
    end()
  }
  function wait() {
    clearTimeout(timer)
    timer = setTimeout(() => { abort(); say("The server does not answer. Try the upload again.") }, PATIENCE_MS)
  }

  function start(files) {
    const file = files[0]
    if (!file || model.upload_state.stage === "decoding") return
    abort()
    const wrong = files.length > 1 ? "One picture at a time."
      : !file.size ? "The file is empty."
      : file.size > model.upload_limit ? `The file has ${(file.size / 2 ** 20).toFixed(1)} MB.`
      : file.type && !TYPES.includes(file.type) ? "The file is no picture of an accepted kind."
      : ""
    if (wrong) { say(`${wrong} ${model.upload_accepted}`); return }
    if (pop.matches(":popover-open")) pop.hidePopover()
    job = { file, next: 0, pieces: Math.ceil(file.size / PIECE) }
    model.send_msg({ kind: "begin", name: file.name, size: file.size, chunks: job.pieces })
    wait()
    draw()
  }
  async function piece() {
    const mine = job
    const at = mine.next++
    try {
      const data = await base64(mine.file.slice(at * PIECE, (at + 1) * PIECE))
      if (job !== mine) return
      model.send_msg({ kind: "chunk", index: at, data })
      wait()
    } catch {
      if (job === mine) { abort(); say("The browser cannot read this file any more.") }
    }
  }
  model.on("upload_state", () => {
    const s = model.upload_state
    if (s.stage === "error") { fail(s.error); return }
    if (s.stage === "decoding" && job) end()
    // An answer to an upload that was given up has another number.
    if (job && s.stage === "receiving" && s.have === job.next && job.next < job.pieces) piece()
    draw()
  })

  button.addEventListener("click", () => chooser.click())
  stop.addEventListener("click", abort)
  chooser.addEventListener("change", () => {
    start([...chooser.files])
    // The same file may be chosen again.
    chooser.value = ""
  })
  const over = (event) => {
    if (!hasFiles(event)) return
    // Anywhere on the page: the browser would leave it and open the file.
    event.preventDefault()
    const view = event.composedPath().find(isView)
    const mine = Boolean(view) && view === viewAround(el)
    event.dataTransfer.dropEffect = mine ? "copy" : "none"
    zone.hidden = !mine
    if (!mine) return
    const at = view.getBoundingClientRect()
    zone.style.cssText = `left:${at.left}px;top:${at.top}px;width:${at.width}px;height:${at.height}px`
  }
  const leave = (event) => { if (!event.relatedTarget) zone.hidden = true }
  const drop = (event) => {
    if (!hasFiles(event)) return
    event.preventDefault()
    if (!zone.hidden) start([...event.dataTransfer.files])
    zone.hidden = true
  }
  const paste = (event) => {
    const target = event.composedPath()[0]
    if (/^(INPUT|TEXTAREA)$/.test(target?.tagName) || target?.isContentEditable) return
    const files = [...(event.clipboardData?.files || [])].filter((file) => TYPES.includes(file.type))
    if (files.length) { event.preventDefault(); start(files.slice(0, 1)) }
  }
  const key = (event) => {
    if (event.key !== "Escape" || !job) return
    // Before the keys of the page: Esc ends what runs, and nothing else.
    event.stopImmediatePropagation()
    abort()
  }
  const listeners = { dragover: over, dragleave: leave, drop, paste, keydown: key }
  for (const [name, act] of Object.entries(listeners)) document.addEventListener(name, act, true)
  model.on("remove", () => {
    clearTimeout(timer)
    for (const [name, act] of Object.entries(listeners)) document.removeEventListener(name, act, true)
  })
  draw()
}
