// What went wrong, in words, and what to do about it.

import { sentence } from "./page.js";
import { Refused } from "./session.js";

/** Return `{title, text, needsToken}` for what came of asking the relay. */
export function explainRelay(error, { token, doing }) {
  const plain = (title, text) => ({ title, text, needsToken: false });
  if (!(error instanceof Refused)) {
    if (error.message === "no way")
      return plain(
        "Media do not get through",
        "The relay answers, but no media arrive. A firewall may keep UDP back.",
      );
    if (error instanceof TypeError)
      return plain(
        "The relay does not answer",
        "It may be starting anew, or this machine has no network.",
      );
    return plain("The connection was lost", "");
  }
  const detail = sentence(error.message);
  switch (error.status) {
    case 401:
      return token
        ? { title: "The token was refused", text: detail, needsToken: true }
        : {
            title: "A token is needed",
            text: `This relay wants a token for ${doing}.`,
            needsToken: true,
          };
    case 403:
      return { title: "The token is for something else", text: detail, needsToken: true };
    case 409:
      return plain("The room is taken", `${detail} Choose another room, or wait until it is free.`);
    case 429:
      return plain("Too many requests", "The relay wants a pause before the next one.");
    case 503:
      return plain("The relay has no place now", detail);
    default:
      return plain("The relay refused", detail);
  }
}

const CAMERA = {
  NotAllowedError: [
    "The camera was refused",
    "Allow it in the browser's address bar or settings, then press Publish again.",
  ],
  NotFoundError: [
    "There is no camera",
    "None was found on this machine. A screen or a file works too.",
  ],
  NotReadableError: [
    "The camera cannot be read",
    "Another program may be using it. Close that, then press Publish again.",
  ],
  OverconstrainedError: ["The camera cannot do that", "Choose another device or size."],
};

const SCREEN = {
  NotAllowedError: [
    "No screen was chosen",
    "Press Publish again and choose a screen, window or tab.",
  ],
  NotFoundError: ["There is no screen to share", "The browser found none."],
};

const FILE = {
  NotSupportedError: ["This file cannot be played", "The browser does not know its format."],
  NoFile: ["No file was chosen", "Choose a video file first."],
  NoCapture: [
    "Files cannot be published here",
    "This browser does not give a video's pictures out.",
  ],
};

/** Return `{title, text}` for what kept a source (camera, screen, file) from giving pictures. */
export function explainSource(error, kind) {
  if (error.name === "Insecure") {
    return {
      title: "The browser gives no camera to this page",
      text: "It does so over https, or on this machine itself (localhost), only.",
    };
  }
  const known = { camera: CAMERA, screen: SCREEN, file: FILE }[kind][error.name];
  const [title, text] = known ?? ["No pictures", sentence(error.message || error.name)];
  return { title, text };
}
