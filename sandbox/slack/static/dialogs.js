/** Native dialogs: they keep focus inside, and Escape and the buttons end them. */
import { freshId, h } from "./dom.js";
import { textNodes } from "./mrkdwn.js";

/** Slack's confirm object; resolves to true only when its confirming button was pressed. */
export function askToConfirm(confirm) {
  const title = freshId("confirm");
  const text = freshId("confirm");
  return new Promise((resolve) => {
    const end = (answer) => {
      dialog.close();
      dialog.remove();
      resolve(answer);
    };
    const style = confirm.style === "danger" ? "danger" : "primary";
    const dialog = h("dialog", { class: "confirm", role: "alertdialog", "aria-modal": "true", "aria-labelledby": title, "aria-describedby": text },
      h("h2", { id: title }, ...textNodes(confirm.title)),
      h("div", { id: text, class: "confirm-text" }, ...textNodes(confirm.text)),
      h("div", { class: "dialog-buttons" },
        h("button", { type: "button", class: "button", onclick: () => end(false) }, ...textNodes(confirm.deny ?? "Cancel")),
        h("button", { type: "button", class: `button filled ${style}`, autofocus: style === "primary", onclick: () => end(true) }, ...textNodes(confirm.confirm ?? "Yes"))));
    dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      end(false);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
