"use strict";
// The token stands in the fragment of the page's address; it goes nowhere but into the header.
const token = location.hash.slice(1);
const said = document.getElementById("said");
const list = document.getElementById("pairings");
let shown = "";

async function call(method, path, body) {
  const headers = { Authorization: "Bearer " + token };
  if (body) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  return answer.json();
}

function input(name, label, more) {
  const field = Object.assign(document.createElement("input"), { name, ariaLabel: label }, more);
  field.placeholder = label;
  return field;
}

function show(pairing) {
  const form = document.createElement("form");
  const title = document.createElement("p");
  title.textContent = "Pairing " + pairing.id + ", a client at " + pairing.address;
  const pin = input("pin", "PIN", { inputMode: "numeric", maxLength: 4, pattern: "[0-9]{4}" });
  const name = input("name", "name (optional)", { maxLength: 64 });
  const button = Object.assign(document.createElement("button"), { textContent: "Pair" });
  pin.required = true;
  form.append(title, pin, " ", name, " ", button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    const body = { pin: pin.value, id: pairing.id };
    if (name.value.trim()) body.name = name.value.trim();
    try {
      const answer = await call("POST", "/api/v1/gamestream/pin", body);
      said.textContent = answer.error || "Pairing " + answer.id + ": " + answer.outcome;
    } catch (error) {
      said.textContent = "The host does not answer.";
    }
    shown = "";
    refresh();
  });
  return form;
}

async function refresh() {
  try {
    const answer = await call("GET", "/api/v1/gamestream/pairings");
    if (answer.error) {
      list.textContent = answer.error + "; open the address that `punktfunk pin --page` prints";
      return;
    }
    const now = JSON.stringify(answer.pairings.map((it) => it.id));
    if (now === shown) return;
    shown = now;
    list.replaceChildren(...answer.pairings.map(show));
    if (!answer.pairings.length) list.textContent = "No client waits for a PIN.";
  } catch (error) {
    list.textContent = "The host does not answer.";
    shown = "";
  }
}

refresh();
setInterval(refresh, 2000);
