/* fast.h - the ops over packed weights and paged KV: threads and vector kernels, for cpu.c.
 *
 * Each function computes its op and returns true, or touches nothing and returns false when this
 * case has no fast version; then the naive op is to be taken. What decides is only the ISA, types
 * and sizes, never the values or the number of rows. Contracts were checked by ops.c. */
#ifndef KERNELS_CPU_FAST_H
#define KERNELS_CPU_FAST_H

#include "kernels/backend.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/pool.h"

/* Sines and cosines of the rows of a step, which all layers share; found again by content. */
struct rope_cache {
    int rows, n_freq, room; /* room: floats and positions there is memory for, in rows x n_freq */
    float factor;
    int32_t *pos;    /* [rows] */
    float *inv_freq; /* [n_freq] */
    float *turn;     /* [rows][2][n_freq] cosines, then sines */
};
void rope_cache_free(struct rope_cache *c);

struct fast {
    const struct cpu_isa *isa;
    struct pool *pool;
    void *scratch, *memory; /* of the op that runs: packed activations, partial attention */
    size_t scratch_bytes;
    struct rope_cache rope[2]; /* two: some models turn by two tables */
    int rope_next;
};
void fast_reserve(struct fast *f, size_t bytes); /* of scratch; its contents are lost */
/* Takes what the op will need in this case or a smaller one; see backend.reserve. */
void fast_reserve_linear(struct fast *f, const struct op_linear *a);
void fast_reserve_turns(struct fast *f, int rows, int n_freq);
void fast_reserve_attention(struct fast *f, const struct op_attention *a);
void fast_reserve_sample(struct fast *f);

/* isa NULL: the best. ERR_UNSUPPORTED names what this CPU has. */
enum status fast_open(struct fast *f, int threads, const char *isa);
void fast_close(struct fast *f);

bool fast_packs(const struct fast *f, enum dtype t, int64_t n, int64_t k, size_t *bytes);
/* Packs weights that fast_packs; `how` is not asked. */
void fast_pack(struct fast *f, const struct pack_item *item, int n);
/* KV pages of this type and head size have this ISA's own order: kv_write, rope_kv and attention
 * then all are fast. */
bool fast_kv(const struct fast *f, const struct kv_view *kv);

bool fast_embed(struct fast *f, const struct op_embed *a);
bool fast_rmsnorm(struct fast *f, const struct op_rmsnorm *a);
bool fast_linear(struct fast *f, const struct op_linear *a);
bool fast_rope(struct fast *f, const struct op_rope *a);
bool fast_rope_kv(struct fast *f, const struct op_rope_kv *a);
bool fast_attention(struct fast *f, const struct op_attention *a);
bool fast_glu(struct fast *f, const struct op_glu *a);
bool fast_add(struct fast *f, const struct op_add *a);
bool fast_sample(struct fast *f, const struct op_sample *a);

/* GB/s of one pass over `bytes` of memory with all threads; a stretch far above the caches tells
 * what DRAM gives at this moment. */
double fast_read_rate(struct fast *f, const void *p, size_t bytes);

#endif
