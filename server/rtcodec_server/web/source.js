// Where a publish page's pictures come from: camera, screen, or a file that is played.

const FPS = 30;

/** A source that cannot be had; `name` is what words.js explains. */
class NoSource extends Error {
  constructor(name) {
    super("");
    this.name = name;
  }
}

/** Return the cameras there are; their names are empty until one was allowed. */
export async function cameras() {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return devices.filter((device) => device.kind === "videoinput" && device.deviceId);
}

/**
 * Open a source and let `preview` show it.
 *
 * Resolves to `{track, height, close}`: height of what it gives, in pixels. Rejects with what
 * getUserMedia or getDisplayMedia reject with, or with `NoSource`.
 */
export async function openSource(kind, { deviceId, height, file }, preview) {
  if (kind === "file") return openFile(file, preview);
  if (!navigator.mediaDevices) throw new NoSource("Insecure");
  const stream = kind === "screen" ? await openScreen() : await openCamera(deviceId, height);
  preview.srcObject = stream;
  const [track] = stream.getVideoTracks();
  track.contentHint = kind === "screen" ? "detail" : "motion";
  return { track, height: () => track.getSettings().height ?? height, close: () => track.stop() };
}

function openCamera(deviceId, height) {
  return navigator.mediaDevices.getUserMedia({
    video: {
      deviceId: deviceId ? { exact: deviceId } : undefined,
      height: { ideal: height },
      width: { ideal: Math.round((height * 16) / 9) },
      frameRate: { ideal: FPS, max: FPS },
    },
  });
}

function openScreen() {
  if (!navigator.mediaDevices.getDisplayMedia) throw new NoSource("NotFoundError");
  return navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { ideal: FPS, max: FPS } } });
}

async function openFile(file, preview) {
  if (!file) throw new NoSource("NoFile");
  const capture = preview.captureStream ?? preview.mozCaptureStream;
  if (!capture) throw new NoSource("NoCapture");
  const url = URL.createObjectURL(file);
  preview.srcObject = null;
  preview.loop = true;
  preview.src = url;
  const close = () => {
    preview.pause();
    preview.removeAttribute("src");
    preview.load();
    URL.revokeObjectURL(url);
  };
  try {
    await preview.play();
    const [track] = capture.call(preview).getVideoTracks();
    if (!track) throw new NoSource("NotSupportedError");
    return { track, height: () => preview.videoHeight, close };
  } catch (error) {
    close();
    throw error;
  }
}
