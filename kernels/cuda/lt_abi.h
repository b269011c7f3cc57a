/* lt_abi.h - what is used of cuBLASLt's binary interface, so that its header is not needed to
 * build: the types and numbers are those of CUDA 13 (and 12); handles and descriptors are made by
 * the library and opaque. The emulator's stand-in (tests/simt/cublaslt.cc) is declared by the same
 * list. */
#ifndef KERNELS_CUDA_LT_ABI_H
#define KERNELS_CUDA_LT_ABI_H

#include <cuda_runtime_api.h>

#include <stddef.h>
#include <stdint.h>

enum { LT_MAJOR = 13 }; /* of cublasLtGetVersion, which counts 10000 a major version */

/* cublasStatus_t */
enum {
    LT_SUCCESS = 0,
    LT_NOT_INITIALIZED = 1,
    LT_ALLOC_FAILED = 3,
    LT_INVALID_VALUE = 7,
    LT_ARCH_MISMATCH = 8,
    LT_EXECUTION_FAILED = 13,
    LT_NOT_SUPPORTED = 15
};

enum { LT_COMPUTE_32F = 68, LT_COMPUTE_32I = 72 }; /* cublasComputeType_t */
enum { LT_OP_N = 0, LT_OP_T = 1 };                 /* cublasOperation_t, int32_t as an attribute */

/* cublasLtMatmulDescAttributes_t */
enum {
    LT_DESC_TRANSA = 3,       /* int32_t */
    LT_DESC_TRANSB = 4,       /* int32_t */
    LT_DESC_EPILOGUE = 7,     /* uint32_t */
    LT_DESC_BIAS_POINTER = 8, /* void * */
    LT_DESC_A_SCALE_POINTER = 17,
    LT_DESC_B_SCALE_POINTER = 18,
    LT_DESC_FAST_ACCUM = 25,     /* int8_t */
    LT_DESC_BIAS_DATA_TYPE = 26, /* int32_t */
    LT_DESC_A_SCALE_MODE = 31,   /* int32_t */
    LT_DESC_B_SCALE_MODE = 32
};
/* cublasLtMatmulMatrixScale_t: one float for the matrix; along K an e4m3 for 16 numbers; a float
 * for each row of w, and of x */
enum { LT_SCALE_SCALAR = 0, LT_SCALE_VEC16_UE4M3 = 1, LT_SCALE_OUTER_VEC = 3 };
enum { LT_EPILOGUE_DEFAULT = 1, LT_EPILOGUE_BIAS = 4 };

/* cublasLtMatmulPreferenceAttributes_t; alignments are uint32_t, bytes */
enum {
    LT_PREF_MAX_WORKSPACE_BYTES = 1,   /* uint64_t */
    LT_PREF_REDUCTION_SCHEME_MASK = 3, /* uint32_t */
    LT_PREF_MIN_ALIGNMENT_A = 5,
    LT_PREF_MIN_ALIGNMENT_B = 6,
    LT_PREF_MIN_ALIGNMENT_C = 7,
    LT_PREF_MIN_ALIGNMENT_D = 8
};
enum { LT_REDUCTION_NONE = 0, LT_REDUCTION_COMPUTE_TYPE = 2 };

/* cublasLtMatmulAlgoConfigAttributes_t; int32_t or uint32_t, the shapes uint16_t */
enum {
    LT_ALGO_ID = 0,
    LT_ALGO_TILE = 1,
    LT_ALGO_SPLITK = 2,
    LT_ALGO_REDUCTION = 3,
    LT_ALGO_SWIZZLE = 4,
    LT_ALGO_CUSTOM = 5,
    LT_ALGO_STAGES = 6,
    LT_ALGO_INNER_SHAPE = 7,
    LT_ALGO_CLUSTER_SHAPE = 8
};

struct lt_algo {
    uint64_t data[8];
};

struct lt_found { /* cublasLtMatmulHeuristicResult_t */
    struct lt_algo algo;
    size_t workspace;
    int state; /* LT_SUCCESS: may be used */
    float waves;
    int reserved[4];
};

/* name behind "cublasLt", result, arguments. Matrices are column-major. */
/* clang-format off */
#define LT_FUNCTIONS(X)                                                                            \
    X(GetVersion, size_t, (void))                                                                  \
    X(Create, int, (void **handle))                                                                \
    X(Destroy, int, (void *handle))                                                                \
    X(MatmulDescCreate, int, (void **desc, int compute, int scale))                                \
    X(MatmulDescDestroy, int, (void *desc))                                                        \
    X(MatmulDescSetAttribute, int, (void *desc, int which, const void *value, size_t bytes))       \
    X(MatrixLayoutCreate, int, (void **layout, int type, uint64_t rows, uint64_t cols, int64_t ld)) \
    X(MatrixLayoutDestroy, int, (void *layout))                                                    \
    X(MatmulPreferenceCreate, int, (void **pref))                                                  \
    X(MatmulPreferenceDestroy, int, (void *pref))                                                  \
    X(MatmulPreferenceSetAttribute, int, (void *pref, int which, const void *value, size_t bytes)) \
    X(MatmulAlgoGetHeuristic, int,                                                                 \
      (void *handle, void *desc, void *a, void *b, void *c, void *d, void *pref, int wanted,       \
       struct lt_found *found, int *n))                                                            \
    X(MatmulAlgoInit, int,                                                                         \
      (void *handle, int compute, int scale, int a, int b, int c, int d, int id,                   \
       struct lt_algo *algo))                                                                      \
    X(MatmulAlgoConfigSetAttribute, int,                                                           \
      (struct lt_algo *algo, int which, const void *value, size_t bytes))                          \
    X(MatmulAlgoConfigGetAttribute, int,                                                           \
      (const struct lt_algo *algo, int which, void *value, size_t bytes, size_t *written))         \
    X(MatmulAlgoCheck, int,                                                                        \
      (void *handle, void *desc, void *a, void *b, void *c, void *d, const struct lt_algo *algo,   \
       struct lt_found *found))                                                                    \
    X(Matmul, int,                                                                                 \
      (void *handle, void *desc, const void *alpha, const void *a, void *la, const void *b,        \
       void *lb, const void *beta, const void *c, void *lc, void *d, void *ld,                     \
       const struct lt_algo *algo, void *workspace, size_t bytes, cudaStream_t stream))
/* clang-format on */

struct lt_functions {
#define LT_POINTER(name, result, args) result(*name) args;
    LT_FUNCTIONS(LT_POINTER)
#undef LT_POINTER
};

#endif
