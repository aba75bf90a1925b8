/** One message or one modal: what was chosen in it, and how its controls act. */
import { askToConfirm } from "./dialogs.js";

const VALUE_FIELDS = {
  static_select: "selected_option",
  radio_buttons: "selected_option",
  multi_static_select: "selected_options",
  checkboxes: "selected_options",
  plain_text_input: "value",
  number_input: "value",
};

/** The name under which Slack's state holds what was chosen in an element of this type. */
export const valueField = (element) => VALUE_FIELDS[element.type];

function initialValue(element) {
  switch (valueField(element)) {
    case "selected_option": return element.initial_option ?? null;
    case "selected_options": return element.initial_options ?? [];
    default: return element.initial_value ?? null;
  }
}

export function optionsOf(element) {
  return element.options ?? (element.option_groups ?? []).flatMap((group) => group.options);
}

/** Every interactive element of the blocks with the block it stands in. */
export function* elementsOf(blocks) {
  for (const block of blocks ?? []) {
    const here = [block.accessory, block.element, ...(block.elements ?? []), ...(Array.isArray(block.actions) ? block.actions : [])];
    for (const element of here) {
      if (element?.action_id !== undefined) yield [block, element];
      if (element?.type === "card") yield* elementsOf([element]);
    }
    yield* elementsOf(block.child_blocks);
  }
}

const keyOf = (block, element) => JSON.stringify([block.block_id, element.action_id, element.type]);

export class Surface {
  #chosen = new Map();
  #running = new Set();
  blocks = [];

  /** `post` sends an action to the server; `warn` shows a sentence at this surface, or clears it with "". */
  constructor({ post, warn }) {
    this.post = post;
    this.warn = warn;
  }

  /** New blocks: a choice lives on where its element does and still offers it. */
  update(blocks) {
    this.blocks = blocks ?? [];
    const kept = new Map();
    for (const [block, element] of elementsOf(this.blocks)) {
      const key = keyOf(block, element);
      if (this.#chosen.has(key)) {
        const value = stillOffered(element, this.#chosen.get(key));
        if (value !== undefined) kept.set(key, value);
      }
    }
    this.#chosen = kept;
  }

  value(block, element) {
    const key = keyOf(block, element);
    return this.#chosen.has(key) ? this.#chosen.get(key) : initialValue(element);
  }

  choose(block, element, value) {
    this.#chosen.set(keyOf(block, element), value);
  }

  /** state.values in Slack's form. */
  state() {
    const values = {};
    for (const [block, element] of elementsOf(this.blocks)) {
      const field = valueField(element);
      if (!field) continue;
      values[block.block_id] ??= {};
      values[block.block_id][element.action_id] = { type: element.type, [field]: this.value(block, element) };
    }
    return values;
  }

  /** Asks where the element wants it, then acts; false if the person said no. */
  async act(control, block, element, choice) {
    const key = keyOf(block, element);
    if (element.type === "button" && this.#running.has(key)) return true;
    // An update may take the element away while its list or question is still open.
    const gone = () => ![...elementsOf(this.blocks)].some((pair) => keyOf(...pair) === key);
    if (gone()) return true;
    if (element.confirm && !(await askToConfirm(element.confirm))) return false;
    if (gone()) return true;
    this.#running.add(key);
    control.setAttribute("aria-busy", "true");
    this.warn("");
    const answer = await this.post({ block_id: block.block_id, action_id: element.action_id, ...choice, state: this.state() });
    this.#running.delete(key);
    control.removeAttribute("aria-busy");
    if (!answer.ok) this.warn(failureText(answer));
    return true;
  }
}

function stillOffered(element, value) {
  const field = valueField(element);
  const offered = (option) => optionsOf(element).find((each) => each.value === option?.value);
  if (field === "selected_option") return offered(value) ?? (value === null ? null : undefined);
  if (field === "selected_options") return value.map(offered).filter(Boolean);
  return value;
}

export function failureText(answer) {
  if (answer.error === "operation_timeout") return "The app did not respond in time. (operation_timeout)";
  return answer.message ?? `That did not work: ${answer.error}`;
}
