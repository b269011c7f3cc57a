/* config.h - what inferd knows of one GPU: how to recognise it, what it can reach, which kernel to
 * take. A file of kernels/configs, or one that `inferd tune` wrote, as a struct.
 *
 * A config is a calibrated cost model (ceilings of the GPU, efficiencies of the kernels) with
 * measured exceptions, not a dump of shapes. Kernels are named by what they are (tile, splits,
 * attributes of a cuBLASLt algorithm), never by an index. It says of itself whether it was
 * measured, derived or written by hand. No file of this folder knows CUDA: configs are listed and
 * checked on machines without a GPU. */
#ifndef KERNELS_GPU_CONFIG_H
#define KERNELS_GPU_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/arena.h"
#include "kernels/base/buf.h"
#include "kernels/base/status.h"
#include "kernels/dtype.h"
#include "kernels/x_type.h"

enum { GPU_SCHEMA = 1, GPU_MODEL = 1, GPU_FILE_MAX = 4 << 20 };
enum { GPU_PCI_MAX = 16, GPU_CC_MAX = 8, GPU_EXCEPTIONS_MAX = 4096, GPU_DENY_MAX = 64 };
enum { GPU_ATTN_MAX = 64, GPU_CHUNK_MAX = 65536, GPU_PARTS_MAX = 64 };

/* Kernels that have efficiencies of their own: name in the file. */
/* clang-format off */
#define GPU_KERNELS(X)                                                                             \
    X(SKINNY_16, "skinny_16") X(SKINNY_8, "skinny_8") X(SKINNY_6, "skinny_6")                      \
    X(SKINNY_5, "skinny_5") X(SKINNY_4, "skinny_4") X(SKINNY_ANY, "skinny_any")                    \
    X(PLAIN, "plain") X(LT_BF16, "lt_bf16") X(LT_FP8, "lt_fp8") X(DEQUANT, "dequant")              \
    X(MMA8_8, "mma8_8") X(MMA8_6, "mma8_6") X(MMA8_5, "mma8_5") X(MMA8_4, "mma8_4")                \
    X(W8A8, "w8a8") X(W4A4, "w4a4") X(LT_FP4, "lt_fp4")                                            \
    X(ATTN_DEC, "attn_dec") X(ATTN_PRE, "attn_pre")
/* clang-format on */
#define GPU_KERNEL_ENUM(id, name) GPU_##id,
enum gpu_kernel { GPU_KERNELS(GPU_KERNEL_ENUM) N_GPU_KERNEL };
#undef GPU_KERNEL_ENUM

/* How a product is computed. */
enum gpu_path {
    GPU_PATH_SKINNY,
    GPU_PATH_LT,
    GPU_PATH_DEQUANT_LT,
    GPU_PATH_PLAIN,
    GPU_PATH_MMA8,   /* many rows in int8, with the bits of the skinny kernel */
    GPU_PATH_W8A8,   /* many rows with x as e4m3 too; where that is allowed */
    GPU_PATH_LT_FP8, /* the same by cuBLASLt, of weights whose rows have one scale */
    GPU_PATH_W4A4,   /* many rows with x as e2m1, as W is; where that is allowed */
    GPU_PATH_LT_FP4, /* the same by cuBLASLt, if it multiplies the format */
    N_GPU_PATH
};
/* Of kernels of our own with a tile and splits (struct gpu_params), not cuBLASLt's. */
static inline bool gpu_path_tiled(enum gpu_path p)
{
    return p == GPU_PATH_SKINNY || p == GPU_PATH_MMA8;
}
/* These, and those that do not split K: a file has their gpu_params as "p". */
static inline bool gpu_path_own(enum gpu_path p)
{
    return gpu_path_tiled(p) || p == GPU_PATH_W8A8 || p == GPU_PATH_W4A4;
}
/* What a path rounds x to, which must be allowed. */
static inline enum x_type gpu_path_x(enum gpu_path p)
{
    if (p == GPU_PATH_W4A4 || p == GPU_PATH_LT_FP4)
        return X_FP4;
    return p == GPU_PATH_W8A8 || p == GPU_PATH_LT_FP8 ? X_FP8 : X_EXACT;
}
/* And as beside weights of which format: x_type_round's `w`. */
static inline enum dtype gpu_path_x_like(enum gpu_path p, enum dtype w)
{
    return p == GPU_PATH_LT_FP4 ? DT_NVFP4 : w;
}
enum gpu_kind { GPU_DERIVED, GPU_HAND, GPU_MEASURED, N_GPU_KIND };

struct gpu_match {
    uint32_t pci[GPU_PCI_MAX], kin[GPU_PCI_MAX]; /* vendor << 16 | device; kin: near parts */
    int n_pci, n_kin;
    int cc[GPU_CC_MAX], n_cc; /* 89 for 8.9 */
    int sm;
    double mem_gib[2]; /* least, most; 0, 0: any */
    bool mig;
};

struct gpu_provenance {
    enum gpu_kind kind;
    const char *date, *how, *parent, *tool, *driver, *raw_sha256, *kernel_abi; /* "": not said */
    const char *ceilings; /* measured: names of those that were; the others are the parent's */
    int model;            /* version of the cost model */
    int cuda, cublaslt;   /* as 13000, 130100; 0: not said */
    double gain, worst;   /* measured: geometric mean and least of the speed against before */
    int entries, power_w, sm_mhz; /* measured: shapes; watts and clock that were seen */
};

struct gpu_ceil { /* GB/s, 1e12 operations a second, microseconds; 0: has none */
    double copy_gbs, read_gbs, l2_gbs, bf16_tflops, fp8_tflops, int8_tops, fp4_tflops;
    double mma_bf16_tflops, mma_int8_tops, latency_us, graph_gap_us;
    double launch_gap_us, pdl_gap_us; /* 0: not measured */
};

struct gpu_eff {
    double bw, fl;           /* shares of the ceilings */
    double t0_us, splitk_us; /* of a launch, and more for adding a split K up */
};

struct gpu_lt { /* a cuBLASLt algorithm, by attributes, and as the library's own bytes */
    int ver, id, tile, stages, splitk, reduction, swizzle, custom, inner, cluster;
    int64_t workspace;
    bool has_raw;
    uint8_t raw[64];
};

/* A launch. Of the skinny kernel: nt tiles of 8 rows of x, r tiles of 16 rows of W a warp. Of
 * cuBLASLt: its algorithm, or NULL for the library's first suggestion. */
struct gpu_params {
    enum gpu_path path;
    int nt, r, stages, splits;
    const struct gpu_lt *lt;
};

struct gpu_exception { /* for exactly w [n, k], the bucket m, and what x may be rounded to */
    enum dtype w;
    int64_t n, k;
    int m;
    struct gpu_params p;        /* its lt is NULL: */
    double us, base_us, ci_pct; /* measured; what the model would have taken; confidence */
    struct gpu_lt lt;           /* of paths through cuBLASLt; id -1: its first suggestion */
    enum x_type x;              /* of a product that may round to this; its path need not */
};

/* Attention cuts positions into parts: half of `parts` of `chunk` positions each, then twice as
 * long as far as four times the positions, and so on. */
struct gpu_cut {
    int chunk, parts;
};

struct gpu_attn { /* measured, for this head size and so many query heads a KV head */
    int head_dim, group;
    struct gpu_cut cut;
    double us, base_us, ci_pct; /* sums over what was measured; as in gpu_exception */
};

struct gpu_deny {
    int lt[2]; /* versions of cuBLASLt */
    const char *what, *why;
};

struct gpu_config {
    const char *id, *name;
    const char *unsupported; /* why inferd cannot run on it, else NULL */
    struct gpu_match match;
    struct gpu_provenance from;
    int mhz; /* boost clock, to scale by */
    struct gpu_ceil ceil;
    struct gpu_eff eff[N_GPU_KERNEL];
    int skinny_max_m[GPU_SKINNY_ANY + 1]; /* by kernel: rows above which cuBLASLt is faster, ... */
    int mma8_max_m[GPU_SKINNY_ANY + 1]; /* ... than mma8 too; 0: always. For weights that have it */
    int attn_chunk, attn_parts; /* the cut of heads that have no row of their own in `attn` */
    struct gpu_attn *attn;
    int n_attn;
    bool no_pdl; /* "pdl": false: kernels begin when those before have ended, on sm_90 too */
    struct gpu_exception *gemm;
    int n_gemm;
    struct gpu_deny *deny;
    int n_deny;
};

/* Reads a config; strings and lists lie in `a`. ERR_FORMAT names the member at fault, ERR_JSON,
 * ERR_UNSUPPORTED: another schema. Members that it does not know are refused: a misspelt name must
 * not hide a choice. Legality for the GPU is gpu_check's. */
enum status gpu_config_read(struct arena *a, const char *text, size_t n, struct gpu_config *out);
/* As JSON that gpu_config_read takes, one line a member. */
void gpu_config_write(struct buf *out, const struct gpu_config *c);
/* Every rule that can be checked without the GPU: values in range, choices legal for the compute
 * capability, one split for each weight shape, honest provenance. */
enum status gpu_check(const struct gpu_config *c);

struct json;
enum status gpu_exception_read(struct arena *a, const struct json *v, struct gpu_exception *out);
void gpu_exception_write(struct buf *out, const struct gpu_exception *x);
enum status gpu_attn_read(const struct json *v, struct gpu_attn *out);
void gpu_attn_write(struct buf *out, const struct gpu_attn *x);

/* What was measured (above 0) becomes c's; the names of these members, for the provenance. */
const char *gpu_ceil_merge(struct arena *a, const struct gpu_ceil *measured, struct gpu_ceil *c);
/* Member i of a gpu_ceil: its name in the file and its offset. False: there are fewer. */
bool gpu_ceil_row(int i, const char **name, size_t *at);
/* The same algorithm: by its attributes, whatever the bytes of its library. */
bool gpu_lt_same(const struct gpu_lt *a, const struct gpu_lt *b);

const char *gpu_kind_name(enum gpu_kind k);
const char *gpu_path_name(enum gpu_path p);
const char *gpu_kernel_name(enum gpu_kernel k);
/* "rtx4090 (derived from family-ada)": for one line of a log; arena memory. */
const char *gpu_config_title(struct arena *a, const struct gpu_config *c);

/* "kind": ..., and what else is known of where it comes from: members of a JSON object. */
void gpu_provenance_json(struct buf *out, const struct gpu_config *c);

struct gpu_choices {            /* how many of a config's choices were measured */
    int gemm, algorithms, attn; /* algorithms: of gemm, those of cuBLASLt */
};
struct gpu_choices gpu_choices_of(const struct gpu_config *c);

#endif
