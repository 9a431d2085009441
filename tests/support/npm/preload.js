// Loaded before the server (`node -r`): keeps it on the loopback interface, and ends it when whoever
// started it has gone, so that an aborted test leaves nothing running.
"use strict";
const net = require("net");

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...args) {
  const [first, second] = args;
  if (first !== null && typeof first === "object") {
    if ("port" in first) args[0] = { ...first, host: "127.0.0.1" };
  } else if (typeof second === "string") {
    args[1] = "127.0.0.1";
  } else {
    args.splice(1, 0, "127.0.0.1");
  }
  return listen.apply(this, args);
};

process.stdin.on("end", () => process.exit(0));
process.stdin.on("error", () => process.exit(0));
process.stdin.resume();
