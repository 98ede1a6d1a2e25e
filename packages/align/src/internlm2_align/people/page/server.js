// What the page asks the server. The token comes with the address, behind #, and stays in this tab alone.

if (location.hash.length > 1) {
  sessionStorage.setItem("token", location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
}

const random = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16)).join("");

// A seat is one tab: the server gives each another comparison, and the same one after a reload.
export const seat = sessionStorage.getItem("seat") || random();
sessionStorage.setItem("seat", seat);

export class Refused extends Error {
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

export async function ask(path, body) {
  const response = await fetch(`/api/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${sessionStorage.getItem("token") || ""}` },
    body: JSON.stringify({ ...body, seat }),
  });
  const answer = await response.json();
  if (response.status >= 500) throw new Error(answer.error); // It may work later.
  if (!response.ok) throw new Refused(response.status, answer.error);
  return answer;
}

// Asks until there is an answer. What is asked is kept in the tab, so that a reload does not lose a verdict.
export async function insist(path, body, onFailure) {
  const kept = { path, body: { request: random(), ...body } };
  sessionStorage.setItem("pending", JSON.stringify(kept));
  for (;;) {
    try {
      const answer = await ask(kept.path, kept.body);
      sessionStorage.removeItem("pending");
      return answer;
    } catch (error) {
      if (error instanceof Refused) {
        if (error.status !== 401) sessionStorage.removeItem("pending");
        throw error;
      }
      onFailure();
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
}

export const pending = () => JSON.parse(sessionStorage.getItem("pending") || "null");
