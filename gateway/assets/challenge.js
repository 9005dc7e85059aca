// Proof of work for browsers and web views: solves the ALTCHA v2 challenges of /auth/v1/challenge with WebCrypto.
//
//     import { check } from "https://api.example.com/auth/v1/challenge/page.js";
//     const captchaToken = await check();     // goes with signInWithOtp({ phone, options: { captchaToken } })
//
// The page beside it runs the same and hands the payload to who opened or embeds it (see deliver).

const BATCH = 512; // digests on their way at once

const bytesOf = (hex) => Uint8Array.from(hex.match(/../g), (two) => parseInt(two, 16));
const hexOf = (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");

const startsWith = (bytes, prefix) => prefix.every((b, i) => bytes[i] === b);

/** Counts up until the key of a counter begins with the prefix. onTries(count) now and then. */
export async function solve(challenge, onTries = () => {}) {
  const { algorithm, cost, keyPrefix, nonce, salt } = challenge.parameters;
  if (algorithm !== "SHA-256" || cost !== 1) {
    throw new Error(`this solver knows SHA-256 of one round, not ${algorithm} of ${cost}`);
  }
  const prefix = bytesOf(keyPrefix);
  const head = new Uint8Array([...bytesOf(salt), ...bytesOf(nonce)]);
  const began = performance.now();
  const keyOf = (counter) => {
    const text = new Uint8Array(head.length + 4);
    text.set(head);
    new DataView(text.buffer).setUint32(head.length, counter);
    return crypto.subtle.digest("SHA-256", text);
  };
  for (let first = 0; first < 2 ** 32; first += BATCH) {
    const keys = await Promise.all(Array.from({ length: BATCH }, (_, i) => keyOf(first + i)));
    for (let i = 0; i < BATCH; i++) {
      const key = new Uint8Array(keys[i]);
      if (startsWith(key, prefix)) {
        return { counter: first + i, derivedKey: hexOf(key), time: Math.round(performance.now() - began) };
      }
    }
    onTries(first + BATCH);
  }
  throw new Error("no counter solves it");
}

/** Fetches a challenge and solves it: the payload, and when it ends. level: "pow" or "pow_hard". */
export async function attempt(level = "pow", onTries) {
  const answer = await fetch(new URL(`../challenge?for=otp&level=${level}`, import.meta.url), { cache: "no-store" });
  if (!answer.ok) {
    throw new Error(`challenge: ${answer.status}`);
  }
  const challenge = await answer.json();
  const solution = await solve(challenge, onTries);
  return { payload: btoa(JSON.stringify({ challenge, solution })), expiresAt: challenge.parameters.expiresAt };
}

export const check = async (level) => (await attempt(level)).payload;

// --- the page ------------------------------------------------------------------------------------------------------

const WORDS = {
  en: {
    title: "Security check", working: "Checking your browser", wait: "This takes a few seconds and needs nothing from you.",
    done: "All set", back: "You can go back to the app.", failed: "The check did not work",
    insecure: "This page has to be opened over https.", retry: "Please look at your connection and try again.",
    expired: "This took too long. Please try again.", again: "Try again", tries: "tries", dev: "For developers",
  },
  "zh-Hans": {
    title: "安全验证", working: "正在验证您的浏览器", wait: "只需几秒钟，无需任何操作。", done: "验证完成", back: "您可以返回应用。",
    failed: "验证未成功", insecure: "请通过 https 打开此页面。", retry: "请检查网络后重试。", expired: "等待时间过长，请重试。",
    again: "重试", tries: "次尝试", dev: "开发者信息",
  },
  "zh-Hant": {
    title: "安全驗證", working: "正在驗證您的瀏覽器", wait: "只需幾秒鐘，無需任何操作。", done: "驗證完成", back: "您可以返回應用程式。",
    failed: "驗證未成功", insecure: "請透過 https 開啟此頁面。", retry: "請檢查網路後重試。", expired: "等待時間過長，請重試。",
    again: "重試", tries: "次嘗試", dev: "開發者資訊",
  },
};

function language(wanted) {
  for (const tag of wanted) {
    if (/^zh-(hant|tw|hk|mo)/i.test(tag)) return "zh-Hant";
    if (/^zh/i.test(tag)) return "zh-Hans";
    if (/^en/i.test(tag)) return "en";
  }
  return "en";
}

/** To the page that opened or embeds this one (its origin is in the URL, and listed by the server), and to the app
 * around a web view: iOS webkit.messageHandlers.tidegate, Android a JavascriptInterface named TidegateChallenge. */
function deliver(payload, origin) {
  const message = { type: "tidegate-challenge", payload };
  if (origin) {
    window.opener?.postMessage(message, origin);
    if (window.parent !== window) window.parent.postMessage(message, origin);
  }
  window.webkit?.messageHandlers?.tidegate?.postMessage(message);
  window.TidegateChallenge?.onSolved?.(payload);
}

function page() {
  const query = new URLSearchParams(location.search);
  const lang = language(query.has("lang") ? [query.get("lang")] : navigator.languages);
  const words = WORDS[lang];
  const at = (id) => document.getElementById(id);
  const card = document.querySelector(".card");

  const show = (state, title, text) => {
    card.dataset.state = state;
    at("title").textContent = title;
    at("text").textContent = text;
    at("count").textContent = "";
    at("again").hidden = state !== "failed";
    at("result").hidden = state !== "done";
  };

  const run = async () => {
    show("working", words.working, words.wait);
    if (!globalThis.crypto?.subtle) {
      show("failed", words.failed, words.insecure);
      return;
    }
    try {
      const level = query.get("level") === "pow_hard" ? "pow_hard" : "pow";
      const { payload, expiresAt } = await attempt(level, (n) => {
        at("count").textContent = `${n.toLocaleString(lang)} ${words.tries}`;
      });
      show("done", words.done, words.back);
      at("payload").value = payload;
      deliver(payload, query.get("origin"));
      setTimeout(() => show("failed", words.failed, words.expired), Math.max(0, expiresAt * 1000 - Date.now()));
    } catch (error) {
      console.error(error);
      show("failed", words.failed, words.retry);
    }
  };

  document.documentElement.lang = lang;
  document.title = words.title;
  at("again").textContent = words.again;
  at("summary").textContent = words.dev;
  at("again").addEventListener("click", run);
  run();
}

if (globalThis.document?.querySelector("[data-challenge-page]")) {
  page();
}
