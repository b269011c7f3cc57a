/* lab.h - where kernels are tried against their definitions (check.c).
 *
 * Host and device have arenas of one layout: an op's arguments are made once, with host pointers,
 * and moved. A case runs the op by the scalar CPU on the host's arena and by the kernel on the
 * device's, then compares the output. What was not written is NaN, so a kernel that does nothing is
 * wrong too. */
#ifndef KERNELS_CUDA_LAB_H
#define KERNELS_CUDA_LAB_H

#include "kernels/backend.h"
#include "kernels/base/clock.h"
#include "kernels/cuda/cuda.h"

enum { LAB_ARENA = 4 << 20, LAB_ROWS = 21, LAB_WIDE = 512, LAB_OUT = 80 };

struct lab {
    struct cuda_queue *q;
    struct queue *cpu;
    const struct backend *b;
    char *host, *back,
        *dev; /* arenas of LAB_ARENA bytes: the definition's, the GPU's copied back */
    size_t used;
    uint32_t seed;
    enum dtype type; /* of the weight at hand */
    bool row_scaled; /* its rows have one scale each, in the model */
    enum dtype kv;   /* of the pages at hand */
    int dim;         /* head size at hand */
    float off;       /* worst |a - b| / max|b| of the case */
    double cpu_s;    /* seconds of all that the CPU computed: weights and definitions */
    int compared;    /* results of kernels */
};

void lab_reset(struct lab *l);
void *lab_take(struct lab *l, size_t bytes); /* NULL: the arena is full */
float *lab_numbers(struct lab *l, int n);    /* random, -1 to 1 */
struct tensor lab_matrix(struct lab *l, int rows, int cols, bool filled);
/* Random weights [LAB_OUT, LAB_WIDE] of the type at hand; data NULL: nothing here encodes it. */
struct tensor lab_weight(struct lab *l);
/* Packs `w` into the arena as the backend wants it for `op`. */
enum status lab_packed(struct lab *l, enum op op, const struct tensor *w, struct tensor *out);
/* One sequence, with rows at positions from `pos` on. */
struct ragged lab_sequence(struct lab *l, int rows, int pos);

/* The same place in the device's arena. */
void *lab_moved(const struct lab *l, const void *p);
#define MOVE(l, p) ((p) = lab_moved(l, p))
void lab_move_ragged(const struct lab *l, struct ragged *r);

enum status lab_up(struct lab *l);
enum status lab_down(struct lab *l);
/* Numbers at `want` in the host's arena against those that the GPU has there. */
void lab_compare(struct lab *l, const void *want, int64_t n, enum dtype t);

/* What the op is: the scalar CPU backend computes it. */
#define DEFINED(name, a)                                                                           \
    do {                                                                                           \
        const double begun_ = clock_now();                                                         \
        enum status defined_ = op_##name(l->cpu, &(a));                                            \
        l->cpu_s += clock_now() - begun_;                                                          \
        TRY(defined_);                                                                             \
    } while (0)

/* What is tried, in order (check_cases.c). */
struct check_case {
    const char *name;
    enum status (*run)(struct lab *);
    unsigned refuse;     /* CUDA_NO_...; 0: nothing takes its place */
    const char *instead; /* NULL: a path that the GPU's configuration prefers then */
    enum { ONCE, EACH_WEIGHT, EACH_TABLE, EACH_HEADS, EACH_FP8, EACH_FP8_ROWS, EACH_FP4 } times;
};
extern const struct check_case check_cases[];
extern const int n_check_cases;

#endif
