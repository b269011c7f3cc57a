/* panel.c - which formats have panels, and how large those are. */
#include "kernels/cuda/panel.h"

/* clang-format off */
static const struct panel_format formats[] = {
    /* dtype    bits sign   scales       bytes of a tile */
    {DT_Q8_0,   8,   false, PANEL_D,     1024 + 64},
    {DT_Q4_0,   4,   true,  PANEL_D,     512 + 64},
    {DT_Q4_1,   4,   false, PANEL_DM,    512 + 128},
    {DT_Q5_0,   5,   true,  PANEL_D,     512 + 128 + 64},
    {DT_Q5_1,   5,   false, PANEL_DM,    512 + 128 + 128},
    {DT_Q4_K,   4,   false, PANEL_K,     512 + 64 + 64},
    {DT_Q5_K,   5,   false, PANEL_K,     512 + 128 + 64 + 64},
    {DT_Q6_K,   6,   true,  PANEL_6,     512 + 256 + 64 + 32},
    {DT_NVFP4,  4,   false, PANEL_E4,    512 + 64},
    {DT_MXFP4,  4,   false, PANEL_E8,    512 + 32},
    {DT_F8_E4M3, 8,  false, PANEL_F32,   1024 + 64},
    {DT_NF4,    4,   false, PANEL_F32,   512 + 64},
};
static const struct panel_format any = {N_DTYPE, 8, false, PANEL_ANY, 1024 + 512};
/* clang-format on */

const struct panel_format *cuda_panel_format(enum dtype t)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (formats[i].dtype == t)
            return &formats[i];
    return dtype_info(t)->ints ? &any : NULL;
}

size_t cuda_panel_bytes(enum dtype t, int64_t n, int64_t k)
{
    const struct panel_format *f = cuda_panel_format(t);
    if (!f || k % dtype_info(t)->block != 0)
        return 0;
    return (size_t)((n + PANEL_ROWS - 1) / PANEL_ROWS * cuda_panel_chunks(k)) *
           (size_t)f->tile_bytes;
}
