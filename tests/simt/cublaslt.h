/* cublaslt.h - switches of the emulated cuBLASLt, for tests. */
#ifndef TESTS_SIMT_CUBLASLT_H
#define TESTS_SIMT_CUBLASLT_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SIMT_LT_ALGO = 66 }; /* the only one that can be made by its number */

struct simt_cublaslt {
    bool refuse;        /* the heuristic finds nothing */
    bool refuse_late;   /* it does, and the product is then not supported */
    bool fail_start;    /* no handle can be made */
    bool fail_run;      /* products fail */
    bool refuse_algo;   /* one that was made from a configuration does not check */
    uint64_t workspace; /* bytes that the algorithms want, and spoil */
    /* counted */
    int searches, products, open; /* open: handles, descriptors, layouts, preferences */
    int64_t m, n, k;              /* of the last product, as row-major y [m, n] */
    int type;                     /* of its operands */
    int algo, splitk;             /* of its algorithm, as it was configured; else 0 */
};
extern struct simt_cublaslt simt_cublaslt; /* cublaslt.cc; on a GPU tests/gpu/real.c, all zero */

#ifdef __cplusplus
}
#endif

#endif
