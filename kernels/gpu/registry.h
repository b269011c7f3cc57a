/* registry.h - which GPU kernels for matrix products there are, and what they need: the domain of
 * every choice that a config may name.
 *
 * The same facts are types in kernels/cuda/linear.cuh; tests/simt/test_linear.c runs every launch
 * and holds the two together. gpu_kernel_abi changes when the domain does, and only then: measured
 * choices stay valid while kernels are merely rewritten. */
#ifndef KERNELS_GPU_REGISTRY_H
#define KERNELS_GPU_REGISTRY_H

#include "kernels/gpu/config.h"

enum { GPU_SPLITS_MAX = 8, GPU_SPLIT_CHUNKS = 8, GPU_LARGE_M = 64, GPU_WARPS = 4 };
enum { GPU_MMA8_MIN_M = 32, GPU_MMA8_STAGES = 2 }; /* rows above which mma8 is thought of */
enum { GPU_FP4_CC = 100, GPU_W4A4_CC = 120, GPU_W4A4_NT = 16 };
enum { GPU_FP8_CC = 89 }; /* the least capability that multiplies it */
/* Bytes of 8 x 64 numbers of x: f16 or bf16; int8; f16 with a scale a row. */
enum { GPU_PIECE_HALF = 1024, GPU_PIECE_INT = 512 + 3 * 64, GPU_PIECE_SCALED = 1024 + 32 };

struct gpu_limits {                                     /* of a compute capability */
    int cc, smem_block, smem_sm, threads_sm, blocks_sm; /* bytes; numbers */
};
/* NULL: not a capability that inferd runs on. */
const struct gpu_limits *gpu_limits_of(int cc);

struct gpu_tile {
    int nt, r;
};
extern const struct gpu_tile gpu_tiles[]; /* what linear_skinny is compiled for, least first */
int gpu_n_tiles(void);
extern const struct gpu_tile gpu_mma8_tiles[]; /* and linear_mma8, likewise */
int gpu_n_mma8_tiles(void);

/* Kernel of a weight's format, and bytes of its tile of 16 x 64 numbers and of a piece of x. */
enum gpu_kernel gpu_skinny_of(enum dtype w);
/* That for many rows in int8, of weights with this skinny kernel; N_GPU_KERNEL: there is none. */
enum gpu_kernel gpu_mma8_kernel(enum gpu_kernel skinny);
enum gpu_kernel gpu_mma8_of(enum dtype w);
/* The kernel whose efficiencies a launch by this path is about. */
enum gpu_kernel gpu_kernel_of(enum dtype w, enum gpu_path path);
int gpu_tile_bytes(enum dtype w);
int gpu_piece_bytes(enum dtype w);
bool gpu_is_floats(enum dtype w); /* its codes stand for floats and are multiplied as f16 */
/* Dynamic shared memory of a launch. */
int gpu_smem(enum dtype w, const struct gpu_params *p);
/* Stages of the ring on this capability. */
int gpu_stages(int cc);

/* OK, or ERR_FORMAT with the reason: a kernel of these parameters exists and runs on cc. */
enum status gpu_legal(int cc, enum dtype w, const struct gpu_params *p);

/* Sixteen hexadecimal digits of the domain. */
const char *gpu_kernel_abi(void);

/* Numbers of rows that are planned and tuned for, those that the engine rounds its steps to
 * (engine/tasks/generate.c): the least that holds m, or the last. */
int gpu_bucket(int64_t m);
extern const int gpu_buckets[];
int gpu_n_buckets(void);

#endif
