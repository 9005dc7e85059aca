"use strict";
// Takes the parts that the server has drawn anew and puts them in their places. Without this script the page reloads itself.
(() => {
  const live = document.getElementById("live");
  const icon = document.querySelector("link[rel=icon]");
  const name = document.title.slice(document.title.lastIndexOf(" · "));
  let heard = Date.now();

  const say = (text, lost) => {
    if (live.textContent !== text) live.textContent = text;
    document.body.classList.toggle("lost", lost);
  };

  const onPart = event => {
    const space = event.data.indexOf(" ");
    document.getElementById(event.data.slice(0, space)).innerHTML = event.data.slice(space + 1);
    const headline = document.querySelector("h1");
    document.title = headline.textContent + name;
    icon.href = icon.href.replace(/%23[0-9a-f]{6}/, "%23" + headline.dataset.colour);
  };

  // Not before somebody answers: a browser's error page would stay. (The origin: fetch takes no address with a password.)
  const reload = () => fetch(location.origin + "/ops", {method: "HEAD"}).then(() => location.reload(), () => setTimeout(reload, 10000));

  const source = new EventSource("/ops/events");
  source.addEventListener("part", onPart);
  source.addEventListener("beat", () => { heard = Date.now(); });
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) { // refused: too many viewers, or another password
      say("reloads every 10 s", false);
      setTimeout(reload, 10000);
    }
  };
  setInterval(() => {
    const silent = Math.round((Date.now() - heard) / 1000);
    if (source.readyState !== EventSource.CLOSED) {
      say(silent > 15 ? `no connection for ${silent} s` : "live", silent > 15);
    }
  }, 1000);
})();
