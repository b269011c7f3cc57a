/* cublaslt.h - switches of the emulated cuBLASLt, for tests. */
#ifndef TESTS_SIMT_CUBLASLT_H
#define TESTS_SIMT_CUBLASLT_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Algorithms by number, all of which can be made by it. The heuristic suggests them in this order;
 * the best, ADEPT with K in three parts, it does not. */
enum {
    SIMT_LT_FIRST = 0,  /* what it begins with */
    SIMT_LT_SLOW = 21,  /* slower */
    SIMT_LT_LIAR = 31,  /* fast, and leaves the last columns of K out */
    SIMT_LT_QUITS = 41, /* is not supported when it runs */
    SIMT_LT_ALGO = 66   /* ADEPT */
};

struct simt_cublaslt {
    bool refuse;        /* the heuristic finds nothing */
    bool refuse_late;   /* it does, and the product is then not supported */
    bool fail_start;    /* no handle can be made */
    bool fail_run;      /* products fail */
    bool lies;          /* they leave the last columns of K out */
    bool refuse_algo;   /* one that was made from a configuration does not check */
    bool outer;         /* fp8 with a scale for each row of both, as Hopper's has it */
    uint64_t workspace; /* bytes that the algorithms want, and spoil */
    int version;        /* of the library; 0: 130100 */
    /* counted */
    int searches, products, open; /* open: handles, descriptors, layouts, preferences */
    int64_t m, n, k;              /* of the last product, as row-major y [m, n] */
    int type, scale_mode;         /* of its operands */
    int algo, splitk;             /* of its algorithm; splitk 0: not configured */
    double us;                    /* that all products took, by the algorithms' own clock */
};
extern struct simt_cublaslt simt_cublaslt; /* cublaslt.cc; on a GPU tests/gpu/real.c, all zero */

#ifdef __cplusplus
}
#endif

#endif
