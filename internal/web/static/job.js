// Shows the rest of a log while it comes. Without this the page says where to read it.
"use strict";
const lines = document.getElementById("lines");
const live = document.getElementById("live");
const atEnd = () => window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - 60;
const events = new EventSource(lines.dataset.follow);
const add = (text) => {
	const follow = atEnd();
	lines.append(text);
	if (follow) window.scrollTo(0, document.documentElement.scrollHeight);
};
events.onopen = () => { live.textContent = "Live."; };
events.onmessage = (e) => add(e.data + "\n");
events.addEventListener("part", (e) => add(e.data));
events.addEventListener("end", () => { events.close(); location.reload(); });
events.onerror = () => { live.textContent = events.readyState === EventSource.CLOSED ? "The connection ended; load the page again." : "The connection was lost; trying again."; };
