"""What the figures mean, in words that go into every file of results."""

CONVENTIONS = {
    "planes": "8-bit yuv420p, the same for every codec; images converted once, full-range BT.601",
    "psnr": "per plane, peak 255; yuv is the planes' PSNR weighted 6:1:1; mean over frames; "
    "identical planes count as 100 dB",
    "ms_ssim": "luma, five scales (Wang et al. 2003), mean over frames; empty below 161 pixels; "
    "in dB as -10 log10(1 - value), at most 100",
    "vmaf": "libvmaf's model v0.6.1 through FFmpeg, mean over frames, videos only; empty where "
    "FFmpeg has no libvmaf",
    "size": "every byte of the file, or of all packets of the stream; per frame without the "
    "header and end of a file",
    "bd_rate": "bjontegaard package, pchip, log rate over the common range of 6:1:1 PSNR (or "
    "MS-SSIM in dB) of each clip, mean over clips; negative is fewer bits than the anchor",
    "times": "wall time per frame, one thread per codec, including container and entropy coding; "
    "of reused points, those of the earlier run on the same processor",
}
