/** The page's way to its server: posts that never throw, and a feed that comes back by itself. */

async function answerOf(response) {
  const body = await response.json().catch(() => ({}));
  return response.ok ? body : { ...body, ok: false, error: body.error ?? `http_${response.status}` };
}

const unreachable = { ok: false, error: "unreachable", message: "The sandbox does not answer. Is it still running?" };

export function post(path, body) {
  const request = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  return fetch(`/page/${path}`, request).then(answerOf, () => unreachable);
}

export async function get(path) {
  const response = await fetch(`/page/${path}`);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

/** One person's events: `started` gets the whole state first, `event` what comes after it, `lost` a broken line. */
export class Feed {
  #socket = null;
  #ended = false;
  #pause = 250;

  constructor(person, { started, event, lost }) {
    Object.assign(this, { person, started, event, lost });
    this.#connect();
  }

  #connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/page/ws?as=${encodeURIComponent(this.person)}`);
    this.#socket = socket;
    // Events that overtake the state wait for it: both then end in the same picture.
    let waiting = [];
    socket.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      if (waiting) waiting.push(event);
      else this.event(event);
    };
    socket.onopen = async () => {
      const state = await get(`state?as=${encodeURIComponent(this.person)}`).catch(() => null);
      if (this.#ended || this.#socket !== socket) return;
      if (!state) {
        socket.close();
        return;
      }
      this.#pause = 250;
      this.started(state);
      const overtaken = waiting;
      waiting = null;
      overtaken.forEach((event) => this.event(event));
    };
    socket.onclose = () => {
      if (this.#ended || this.#socket !== socket) return;
      this.lost();
      setTimeout(() => !this.#ended && this.#connect(), this.#pause);
      this.#pause = Math.min(this.#pause * 2, 4000);
    };
  }

  end() {
    this.#ended = true;
    this.#socket.close();
  }
}
