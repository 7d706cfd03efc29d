// Node.js 20 has no WebSocket of its own, and nostr-tools looks for one when it is loaded.

import WebSocket from "ws";

globalThis.WebSocket ??= WebSocket;
