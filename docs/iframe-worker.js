/* Search without a server: a browser starts no worker from the disk, so a frame of this page does its work. */
if (location.protocol === "file:") window.Worker = class extends EventTarget {
  constructor(url) {
    super()
    const frame = document.createElement("iframe")
    frame.hidden = true
    document.body.append(frame)
    this.inner = frame.contentWindow
    this.waiting = []
    this.inner.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
    this.inner.importScripts = (...urls) => urls.reduce((before, one) => before.then(() => this.load(one)), Promise.resolve())
    this.load(url).then(() => this.waiting.splice(0).forEach(data => this.tell(data)), () => {})
  }
  load(url) {
    return new Promise((resolve, reject) => {
      const script = this.inner.document.createElement("script")
      Object.assign(script, { src: url, onload: () => { this.ready = true; resolve() }, onerror: reject })
      this.inner.document.body.append(script)
    })
  }
  postMessage(data) { this.ready ? this.tell(data) : this.waiting.push(data) }
  tell(data) { this.inner.dispatchEvent(new MessageEvent("message", { data })) }
  terminate() { this.inner.frameElement.remove() }
}
