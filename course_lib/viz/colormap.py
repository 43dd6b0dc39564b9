"""A heat scale for errors: dark is no error, glowing is much; lightness rises all the way, for grey prints too."""

import numpy as np

_STOPS = np.array(
    [(12, 12, 34), (58, 16, 96), (120, 30, 109), (181, 51, 86), (227, 96, 44), (249, 160, 20), (250, 236, 140)], float
)


def heat(values, top):
    """Colours (…, 3) uint8 for `values` (…) from 0 to `top`; anything above is shown as `top`."""
    at = np.clip(np.asarray(values, float) / top, 0, 1) * (len(_STOPS) - 1)
    return np.stack([np.interp(at, np.arange(len(_STOPS)), _STOPS[:, c]) for c in range(3)], axis=-1).astype(np.uint8)
