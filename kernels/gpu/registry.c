/* registry.c - see registry.h. */
#include "kernels/gpu/registry.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* clang-format off */
static const struct gpu_limits limits[] = {
    /* cc  smem/block  smem/SM     threads blocks */
    {75,  64 << 10,   64 << 10,   1024, 16},
    {80,  163 << 10,  164 << 10,  2048, 32},
    {86,  99 << 10,   100 << 10,  1536, 16},
    {87,  163 << 10,  164 << 10,  1536, 16},
    {89,  99 << 10,   100 << 10,  1536, 24},
    {90,  227 << 10,  228 << 10,  2048, 32},
    {100, 227 << 10,  228 << 10,  2048, 32},
    {103, 227 << 10,  228 << 10,  2048, 32},
    {110, 227 << 10,  228 << 10,  1536, 24},
    {120, 99 << 10,   100 << 10,  1536, 24},
    {121, 99 << 10,   100 << 10,  1536, 24},
};

/* Formats with tiles of their own; every other block format is GPU_SKINNY_ANY. */
static const struct {
    enum dtype type;
    enum gpu_kernel kernel;
    int tile;
} formats[] = {
    {DT_BF16, GPU_SKINNY_16, 2048},
    {DT_F16,  GPU_SKINNY_16, 2048},
    {DT_Q8_0, GPU_SKINNY_8,  1024 + 64},
    {DT_Q4_0, GPU_SKINNY_4,  512 + 64},
    {DT_Q4_1, GPU_SKINNY_4,  512 + 128},
    {DT_Q5_0, GPU_SKINNY_5,  512 + 128 + 64},
    {DT_Q5_1, GPU_SKINNY_5,  512 + 128 + 128},
    {DT_Q4_K, GPU_SKINNY_4,  512 + 128},
    {DT_Q5_K, GPU_SKINNY_5,  512 + 128 + 128},
    {DT_Q6_K, GPU_SKINNY_6,  512 + 256 + 96},
    {DT_NVFP4, GPU_SKINNY_4, 512 + 64},
    {DT_MXFP4, GPU_SKINNY_4, 512 + 32},
    {DT_F8_E4M3, GPU_SKINNY_8, 1024 + 64},
    {DT_NF4,  GPU_SKINNY_4,  512 + 64},
};
/* clang-format on */

enum { ANY_TILE = 1024 + 512 };
enum { N_LIMITS = sizeof limits / sizeof *limits, N_FORMATS = sizeof formats / sizeof *formats };

const struct gpu_tile gpu_tiles[] = {{1, 1}, {2, 1}, {4, 2}, {8, 2}};
enum { N_TILES = sizeof gpu_tiles / sizeof *gpu_tiles };

const struct gpu_tile gpu_mma8_tiles[] = {{8, 2}, {16, 2}};
enum { N_MMA8_TILES = sizeof gpu_mma8_tiles / sizeof *gpu_mma8_tiles };

const int gpu_buckets[] = {1,   2,   4,   8,   12,  16,   24,   32,   48,   64,   96,   128,
                           192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192};
enum { N_BUCKETS = sizeof gpu_buckets / sizeof *gpu_buckets };

const struct gpu_limits *gpu_limits_of(int cc)
{
    for (int i = 0; i < N_LIMITS; i++)
        if (limits[i].cc == cc)
            return &limits[i];
    return NULL;
}

int gpu_n_tiles(void)
{
    return N_TILES;
}

int gpu_n_mma8_tiles(void)
{
    return N_MMA8_TILES;
}

int gpu_n_buckets(void)
{
    return N_BUCKETS;
}

int gpu_bucket(int64_t m)
{
    for (int i = 0; i < N_BUCKETS; i++)
        if (gpu_buckets[i] >= m)
            return gpu_buckets[i];
    return gpu_buckets[N_BUCKETS - 1];
}

enum gpu_kernel gpu_skinny_of(enum dtype w)
{
    for (int i = 0; i < N_FORMATS; i++)
        if (formats[i].type == w)
            return formats[i].kernel;
    return dtype_info(w)->ints ? GPU_SKINNY_ANY : GPU_PLAIN;
}

enum gpu_kernel gpu_mma8_kernel(enum gpu_kernel skinny)
{
    switch (skinny) {
    case GPU_SKINNY_8:
        return GPU_MMA8_8;
    case GPU_SKINNY_6:
        return GPU_MMA8_6;
    case GPU_SKINNY_5:
        return GPU_MMA8_5;
    case GPU_SKINNY_4:
        return GPU_MMA8_4;
    default:
        return N_GPU_KERNEL;
    }
}

enum gpu_kernel gpu_mma8_of(enum dtype w)
{
    if (w == DT_NVFP4) /* a scale for 16 columns, as q6_K has it */
        return GPU_MMA8_6;
    return gpu_is_floats(w) ? N_GPU_KERNEL : gpu_mma8_kernel(gpu_skinny_of(w));
}

enum gpu_kernel gpu_kernel_of(enum dtype w, enum gpu_path path)
{
    static const enum gpu_kernel of[N_GPU_PATH] = {
        [GPU_PATH_LT] = GPU_LT_BF16, [GPU_PATH_DEQUANT_LT] = GPU_DEQUANT,
        [GPU_PATH_W8A8] = GPU_W8A8,  [GPU_PATH_LT_FP8] = GPU_LT_FP8,
        [GPU_PATH_W4A4] = GPU_W4A4,  [GPU_PATH_LT_FP4] = GPU_LT_FP4,
    };

    if (path == GPU_PATH_MMA8)
        return gpu_mma8_of(w);
    return path == GPU_PATH_SKINNY || path == GPU_PATH_PLAIN ? gpu_skinny_of(w) : of[path];
}

int gpu_tile_bytes(enum dtype w)
{
    for (int i = 0; i < N_FORMATS; i++)
        if (formats[i].type == w)
            return formats[i].tile;
    return ANY_TILE;
}

bool gpu_is_floats(enum dtype w)
{
    return w == DT_F8_E4M3 || w == DT_NF4;
}

int gpu_piece_bytes(enum dtype w)
{
    if (gpu_is_floats(w))
        return GPU_PIECE_SCALED;
    return gpu_skinny_of(w) == GPU_SKINNY_16 ? GPU_PIECE_HALF : GPU_PIECE_INT;
}

int gpu_smem(enum dtype w, const struct gpu_params *p)
{
    return p->stages * (GPU_WARPS * p->r * gpu_tile_bytes(w) + p->nt * gpu_piece_bytes(w));
}

int gpu_stages(int cc)
{
    return cc >= 80 ? 4 : 2; /* Turing has no cp.async and 64 KB */
}

/* The skinny kernel, or mma8: a tile that is built, in a ring that fits. */
static enum status legal_tiled(int cc, enum dtype w, const struct gpu_params *p)
{
    const struct gpu_limits *l = gpu_limits_of(cc);
    bool built = false, mma8 = p->path == GPU_PATH_MMA8;
    const char *name = mma8 ? "mma8" : "skinny";
    const struct gpu_tile *tiles = mma8 ? gpu_mma8_tiles : gpu_tiles;
    int stages = mma8 ? GPU_MMA8_STAGES : gpu_stages(cc);
    for (int i = 0; i < (mma8 ? N_MMA8_TILES : N_TILES); i++)
        built |= tiles[i].nt == p->nt && tiles[i].r == p->r;
    if (gpu_skinny_of(w) == GPU_PLAIN || (mma8 && gpu_mma8_of(w) == N_GPU_KERNEL))
        return fail(ERR_FORMAT, "%s: %s weights have no such kernel", name, dtype_info(w)->name);
    if (!built)
        return fail(ERR_FORMAT, "%s: no kernel with nt %d and r %d", name, p->nt, p->r);
    if (p->stages != stages)
        return fail(ERR_FORMAT, "%s: %d stages, sm_%d has kernels of %d", name, p->stages, cc,
                    stages);
    if (p->splits < 1 || p->splits > GPU_SPLITS_MAX)
        return fail(ERR_FORMAT, "%s: splitk %d is not 1 to %d", name, p->splits, GPU_SPLITS_MAX);
    if (gpu_smem(w, p) > l->smem_block)
        return fail(ERR_FORMAT, "%s: %d bytes of shared memory, a block of sm_%d has %d", name,
                    gpu_smem(w, p), cc, l->smem_block);
    return OK;
}

/* Whether f16 has room for what it decodes to. */
static bool has_f16_scales(enum dtype w)
{
    return gpu_skinny_of(w) != GPU_SKINNY_ANY && w != DT_MXFP4;
}

/* e4m3 on both sides: tensor cores have it from sm_89 on. */
static enum status legal_fp8(int cc, enum dtype w, const struct gpu_params *p)
{
    const char *name = gpu_path_name(p->path);
    bool built = p->path == GPU_PATH_LT_FP8;
    for (int i = 0; i < N_MMA8_TILES; i++)
        built |= gpu_mma8_tiles[i].nt == p->nt && gpu_mma8_tiles[i].r == p->r;
    if (w != DT_F8_E4M3)
        return fail(ERR_FORMAT, "%s: %s weights have no such kernel", name, dtype_info(w)->name);
    if (cc < GPU_FP8_CC)
        return fail(ERR_FORMAT, "%s: sm_%d does not multiply fp8", name, cc);
    if (!built || (p->path == GPU_PATH_W8A8 && (p->stages != GPU_MMA8_STAGES || p->splits != 1)))
        return fail(ERR_FORMAT, "%s: no kernel with nt %d, r %d, %d stages, splitk %d", name, p->nt,
                    p->r, p->stages, p->splits);
    return OK;
}

/* e2m1 on both sides: mma.sync has it on sm_120 and its kin, cuBLASLt from sm_100 on. */
static enum status legal_fp4(int cc, enum dtype w, const struct gpu_params *p)
{
    const char *name = gpu_path_name(p->path);
    bool own = p->path == GPU_PATH_W4A4;
    if (x_type_of(w) != X_FP4)
        return fail(ERR_FORMAT, "%s: %s weights have no such kernel", name, dtype_info(w)->name);
    if (cc < (own ? GPU_W4A4_CC : GPU_FP4_CC))
        return fail(ERR_FORMAT, "%s: sm_%d does not multiply fp4 so", name, cc);
    if (own &&
        (p->nt != GPU_W4A4_NT || p->r != 2 || p->stages != GPU_MMA8_STAGES || p->splits != 1))
        return fail(ERR_FORMAT, "%s: no kernel with nt %d, r %d, %d stages, splitk %d", name, p->nt,
                    p->r, p->stages, p->splits);
    return OK;
}

enum status gpu_legal(int cc, enum dtype w, const struct gpu_params *p)
{
    bool half = w == DT_BF16 || w == DT_F16;
    if (!gpu_limits_of(cc))
        return fail(ERR_FORMAT, "compute capability %d.%d: inferd has no kernels for it", cc / 10,
                    cc % 10);
    switch (p->path) {
    case GPU_PATH_SKINNY:
    case GPU_PATH_MMA8:
        return legal_tiled(cc, w, p);
    case GPU_PATH_LT:
        return half ? OK : fail(ERR_FORMAT, "lt: not for %s weights", dtype_info(w)->name);
    case GPU_PATH_DEQUANT_LT:
        /* sm_75 decodes to f16. */
        return !half && w != DT_F32 && (cc >= 80 || has_f16_scales(w))
                   ? OK
                   : fail(ERR_FORMAT, "dequant_lt: not for %s weights on sm_%d",
                          dtype_info(w)->name, cc);
    case GPU_PATH_PLAIN:
        return w == DT_F32 ? OK
                           : fail(ERR_FORMAT, "plain: only for f32, not %s", dtype_info(w)->name);
    case GPU_PATH_W8A8:
    case GPU_PATH_LT_FP8:
        return legal_fp8(cc, w, p);
    case GPU_PATH_W4A4:
    case GPU_PATH_LT_FP4:
        return legal_fp4(cc, w, p);
    case N_GPU_PATH:
        break;
    }
    return fail(ERR_FORMAT, "no such path");
}

/* FNV-1a over the domain, written out. */
static char abi[17];

static void make_abi(void)
{
    uint64_t h = 0xcbf29ce484222325;
    char line[96];
    for (int i = 0; i < N_TILES + N_FORMATS; i++) {
        if (i < N_TILES)
            snprintf(line, sizeof line, "skinny %d %d;", gpu_tiles[i].nt, gpu_tiles[i].r);
        else
            snprintf(line, sizeof line, "%s %d %d;", dtype_info(formats[i - N_TILES].type)->name,
                     (int)formats[i - N_TILES].kernel, formats[i - N_TILES].tile);
        for (const char *p = line; *p; p++)
            h = (h ^ (uint8_t)*p) * 0x100000001b3;
    }
    for (int i = 0; i < N_MMA8_TILES; i++)
        h = (h ^ (uint64_t)(gpu_mma8_tiles[i].nt << 8 | gpu_mma8_tiles[i].r)) * 0x100000001b3;
    snprintf(abi, sizeof abi, "%016llx", (unsigned long long)(h ^ GPU_SPLITS_MAX));
}

const char *gpu_kernel_abi(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_abi);
    return abi;
}
