// The viewer of exact pictures: /view shows files of this machine, /view/{room} the relay's studies.

import { room } from "./page.js";
import { listenToInput } from "./stage_input.js";
import { beginWithFiles } from "./view_file.js";
import { beginWithRoom } from "./view_room.js";

listenToInput();
if (room) beginWithRoom();
else beginWithFiles();
