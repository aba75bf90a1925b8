/** Block Kit's interactive elements as real controls. */
import { freshId, h, icon } from "./dom.js";
import { emojiText } from "./emoji.js";
import { attachMenu } from "./menu.js";
import { textNodes } from "./mrkdwn.js";
import { optionsOf, valueField } from "./surface.js";

/** What marks a control in the page, so that focus finds it again after an update. */
const at = (block, element) => JSON.stringify([block.block_id, element.action_id]);

function button(element, place) {
  const classes = `button ${element.style ?? ""}`.trim();
  const node = h("button", {
    type: "button", class: classes, "data-at": at(place.block, element),
    "aria-label": element.accessibility_label ? emojiText(element.accessibility_label) : null,
    onclick: async () => {
      const agreed = await place.surface.act(node, place.block, element, {});
      if (agreed && /^https?:/.test(element.url ?? "")) open(element.url, "_blank", "noopener");
    },
  }, h("span", { class: "button-text" }, ...textNodes(element.text)));
  return node;
}

function groupsOf(element) {
  return element.option_groups ?? [{ options: optionsOf(element) }];
}

/** The name of a control: its label in an input block, else its placeholder. */
function naming(element, place, otherwise) {
  if (place.labelledBy) return { "aria-labelledby": place.labelledBy, "aria-describedby": place.describedBy };
  return { "aria-label": emojiText(element.placeholder ?? otherwise) };
}

function comboButton(element, place, otherwise) {
  return h("button", {
    type: "button", role: "combobox", class: "select", "aria-haspopup": "listbox", "aria-expanded": "false",
    "data-at": at(place.block, element), ...naming(element, place, otherwise),
  });
}

function staticSelect(element, place) {
  const { surface, block } = place;
  const node = comboButton(element, place, "Choose an option");
  const chosen = () => surface.value(block, element);
  const show = () => {
    const text = chosen()?.text ?? element.placeholder ?? "Choose an option";
    node.replaceChildren(h("span", { class: chosen() ? "select-text" : "select-text placeholder" }, ...textNodes(text)), icon("chevron"));
  };
  attachMenu(node, {
    label: emojiText(element.placeholder ?? "Options"),
    groups: () => groupsOf(element),
    isChosen: (option) => option.value === chosen()?.value,
    pick: async (option) => {
      const before = chosen();
      surface.choose(block, element, option);
      show();
      if (!place.acts || (await surface.act(node, block, element, { selected_option: option }))) return;
      surface.choose(block, element, before);
      show();
    },
  });
  show();
  return node;
}

function multiSelect(element, place) {
  const { surface, block } = place;
  const node = comboButton(element, place, "Choose options");
  const box = h("div", { class: "multi-select" });
  const chosen = () => surface.value(block, element);
  const values = () => chosen().map((option) => option.value).join("\n");
  let posted = values();
  const post = async () => {
    if (!place.acts || values() === posted) return;
    posted = values();
    await surface.act(node, block, element, { selected_options: chosen() });
  };
  const set = (options) => {
    surface.choose(block, element, options);
    show();
  };
  const without = (option) => chosen().filter((each) => each.value !== option.value);
  const chip = (option) => h("span", { class: "chip" }, h("span", { class: "chip-text" }, ...textNodes(option.text)),
    h("button", { type: "button", class: "chip-remove", "aria-label": `Remove ${emojiText(option.text)}`, onclick: () => {
      set(without(option));
      node.focus();
      post();
    } }, icon("close")));
  const show = () => {
    for (const old of box.querySelectorAll(".chip")) old.remove();
    node.before(...chosen().map(chip));
  };
  node.append(h("span", { class: "select-text placeholder" }, ...textNodes(element.placeholder ?? "Choose options")), icon("chevron"));
  box.append(node);
  attachMenu(node, {
    multiple: true,
    label: emojiText(element.placeholder ?? "Options"),
    groups: () => groupsOf(element),
    isChosen: (option) => chosen().some((each) => each.value === option.value),
    pick: (option) => {
      const rest = without(option);
      const full = chosen().length >= (element.max_selected_items ?? Infinity);
      if (rest.length < chosen().length) set(rest);
      else if (!full) set([...chosen(), option]);
    },
    closed: post,
  });
  show();
  return box;
}

function overflow(element, place) {
  const node = h("button", {
    type: "button", class: "button overflow", "aria-label": "More actions", "aria-haspopup": "menu", "aria-expanded": "false",
    "data-at": at(place.block, element),
  }, icon("more"));
  attachMenu(node, {
    role: "menu",
    label: "More actions",
    groups: () => groupsOf(element),
    pick: (option) => place.surface.act(node, place.block, element, { selected_option: option }),
  });
  return node;
}

/** Checkboxes and radio buttons: the browser's own controls with the option's text as label. */
function choices(kind) {
  return (element, place) => {
    const { surface, block } = place;
    const name = freshId("choice");
    const many = kind === "checkbox";
    const chosen = () => [surface.value(block, element) ?? []].flat();
    const group = h("div", { class: "choices", role: many ? "group" : "radiogroup", ...naming(element, place, many ? "Options" : "Choices") });
    const boxes = optionsOf(element).map((option) => {
      const box = h("input", { type: kind, name, "data-at": at(block, element), onchange: () => change() });
      const description = option.description ? h("span", { class: "option-description" }, ...textNodes(option.description)) : null;
      group.append(h("label", { class: "choice" }, box, h("span", {}, ...textNodes(option.text), description)));
      return { option, box };
    });
    const show = () => {
      for (const { option, box } of boxes) box.checked = chosen().some((each) => each.value === option.value);
    };
    const change = async () => {
      const before = surface.value(block, element);
      const picked = boxes.filter(({ box }) => box.checked).map(({ option }) => option);
      const value = many ? picked : (picked[0] ?? null);
      surface.choose(block, element, value);
      if (!place.acts || (await surface.act(group, block, element, { [valueField(element)]: value }))) return;
      surface.choose(block, element, before);
      show();
    };
    show();
    return group;
  };
}

function textInput(element, place) {
  const { surface, block } = place;
  const whole = element.type === "number_input" && !element.is_decimal_allowed;
  const node = h(element.multiline ? "textarea" : "input", {
    type: element.multiline ? null : "text", class: "field", "data-at": at(block, element), ...naming(element, place, "Text"),
    placeholder: element.placeholder ? emojiText(element.placeholder) : null,
    maxlength: element.max_length, rows: element.multiline ? 4 : null, autocomplete: "off",
    inputmode: element.type === "number_input" ? (whole ? "numeric" : "decimal") : null,
    oninput: () => surface.choose(block, element, node.value === "" ? null : node.value),
    onkeydown: (event) => {
      if (event.key !== "Enter" || element.multiline || !place.acts) return;
      event.preventDefault();
      surface.act(node, block, element, { value: surface.value(block, element) });
    },
  });
  node.value = surface.value(block, element) ?? "";
  return node;
}

const ELEMENTS = {
  button,
  static_select: staticSelect,
  multi_static_select: multiSelect,
  overflow,
  checkboxes: choices("checkbox"),
  radio_buttons: choices("radio"),
  plain_text_input: textInput,
  number_input: textInput,
};

/**
 * The control for an element, or null when the page knows none. `place` says where it stands:
 * `surface`, `block`, whether a choice `acts` at once, and for inputs the ids `labelledBy` and `describedBy`.
 */
export function control(element, place) {
  return ELEMENTS[element.type]?.(element, place) ?? null;
}
