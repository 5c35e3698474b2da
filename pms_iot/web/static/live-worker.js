// One stream of live values for all tabs: browsers open at most six connections to a server over HTTP/1.1.
"use strict";
const ports = new Set();
let source = null;

function tell(message) {
  for (const port of ports) port.postMessage(message);
}

function connect() {
  source = new EventSource("/api/v1/live");
  source.addEventListener("tick", (event) => tell({ kind: "tick", data: JSON.parse(event.data) }));
  source.addEventListener("changed", (event) => tell({ kind: "changed", data: JSON.parse(event.data) }));
  source.onerror = () => {
    tell({ kind: "lost" });
    if (source.readyState === EventSource.CLOSED) { // refused, e.g. after the log-in ended: the browser gives up, we do not
      setTimeout(() => { if (ports.size && source?.readyState === EventSource.CLOSED) connect(); }, 5000);
    }
  };
}

onconnect = (event) => {
  const port = event.ports[0];
  port.onmessage = (message) => {
    if (message.data === "bye") ports.delete(port);
    if (ports.size === 0 && source) { source.close(); source = null; }
  };
  // A tab that joins later needs every value, not only those that change from now on.
  ports.add(port);
  if (source) source.close();
  connect();
};
